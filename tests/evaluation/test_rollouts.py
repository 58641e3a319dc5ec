"""Every figure of a drive against one worked out by hand on a point robot."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.figures import draw_drives
from nav_offrl.evaluation.rollouts import (
    BundlePilot,
    Drive,
    RandomPilot,
    drive,
    drive_all,
    summarise,
    wilson_interval,
)
from nav_offrl.evaluation.simulated import OraclePilot, SimulatedWorld
from nav_offrl.runtime import Command, load_bundle
from nav_offrl_export.example import write_example_bundle

START, GOAL = (0.0, 0.0, 0.0), (4.0, 0.0, 0.0)
QUARTER = math.pi / 2


class Script:
    """Commands given in advance; (v, omega) pairs, or None to claim arrival."""

    def __init__(self, commands: Sequence[tuple[float, float] | None]) -> None:
        self._commands = commands

    def begin(self, goal_image: Any) -> None:
        self._next = iter(self._commands)

    def command(self, observation: Any, info: Any) -> Command | None:
        pair = next(self._next)
        return None if pair is None else Command(*pair)


def test_a_detour_counts_by_its_length(point_robot: Any) -> None:
    around = Script([(1, QUARTER), (4, -QUARTER), (1, -QUARTER)])
    done = drive(point_robot(), around, START, GOAL)
    assert done.success and not done.false_arrival
    assert (done.shortest, done.driven) == (4, pytest.approx(6))
    assert done.path_efficiency == pytest.approx(4 / 6)
    assert done.closest == pytest.approx(0, abs=1e-9) and done.seconds == 3
    assert done.path.shape == (4, 3) and done.collisions == 0


def test_a_straight_drive_is_wholly_efficient_and_ends_at_the_goal(point_robot: Any) -> None:
    done = drive(point_robot(), Script([(2, 0)] * 9), START, GOAL)
    assert done.success and done.path_efficiency == 1 and len(done.path) == 3


def test_contacts_count_once_each_and_time_runs_out(point_robot: Any) -> None:
    into_the_wall = [(1.5, 0), (1, 0), (1, 0), (-1, 0), (1.5, 0), (0, 0)]
    done = drive(point_robot(wall=2, time_limit=6), Script(into_the_wall), START, GOAL)
    assert done.collisions == 2
    assert not done.success and not done.false_arrival and done.path_efficiency == 0
    assert done.closest == 2 and done.seconds == 6
    assert done.driven == pytest.approx(2 + 1 + 1)


def test_closest_is_the_least_distance_on_the_way(point_robot: Any) -> None:
    past = Script([(3, 0.1), (6, 0), None])
    done = drive(point_robot(success_radius=0.2), past, START, GOAL)
    assert done.closest == pytest.approx(math.dist((3 * math.cos(0.1), 3 * math.sin(0.1)), (4, 0)))


def test_a_claim_away_from_the_goal_is_false_and_ends_the_drive(point_robot: Any) -> None:
    done = drive(point_robot(), Script([(1, 0), None]), START, GOAL)
    assert done.false_arrival and not done.success
    assert done.seconds == 1 and done.closest == 3


def test_the_robots_navigator_drives_to_the_goal(point_robot: Any, tmp_path: Path) -> None:
    bundle = load_bundle(write_example_bundle(tmp_path / "example"))
    done = drive(point_robot(period=0.1), BundlePilot(bundle), START, (2.0, 0.0, 0.0))
    assert done.success and not done.false_arrival
    speed = np.linalg.norm(np.diff(done.path[:, :2], axis=0), axis=1) / 0.1
    assert speed[0] <= 0.1 + 1e-6, "it accelerates from standing"
    assert speed.max() == pytest.approx(0.5, abs=1e-6), "half its limit, as the example says"


@pytest.mark.parametrize(("offset", "short"), [(0.0, 0.0), (1.0, 1.0)])
def test_arrived_is_said_where_the_distance_says_so(
    offset: float, short: float, point_robot: Any, tmp_path: Path
) -> None:
    pilot = BundlePilot(load_bundle(write_example_bundle(tmp_path / "example")))
    env = point_robot(period=0.1, success_radius=-1.0, picture_offset=offset)
    first, second = (drive(env, pilot, START, (2.0, 0.0, 0.0)) for _ in range(2))
    assert first.false_arrival, "no place is within a negative radius"
    last = math.dist(first.path[-1, :2], (2, 0))
    assert last == pytest.approx(short, abs=0.12)
    np.testing.assert_array_equal(first.path, second.path)  # nothing of a drive is left over


def test_in_a_real_world_the_map_reader_arrives_and_the_random_walk_does_not(
    tmp_path: Path,
) -> None:
    world = SimulatedWorld("courtyard", 0)
    pairs = world.pairs(3, seed=0)
    assert pairs == world.pairs(3, seed=0) != world.pairs(3, seed=1)
    space = world.env.action_space
    oracle, random = (
        drive_all(world.env, pilot, pairs)
        for pilot in (OraclePilot(world.env), RandomPilot(space.low, space.high))
    )
    best, worst = summarise(oracle), summarise(random)
    assert best["success"] == 1 and best["collisions_per_km"] == 0 and best["spl"] > 0.9
    assert worst["success"] < 1 and worst["spl"] < best["spl"]
    assert worst["closest_m"] > best["closest_m"] and worst["false_arrivals"] == 0
    picture, to_pixel = world.top_down()
    draw_drives(oracle, picture, to_pixel, tmp_path / "drives.png", "three drives")
    assert cv2.imread(str(tmp_path / "drives.png")).std() > 10
    with pytest.raises(NavOffrlError, match="0 drives"):
        world.pairs(0, seed=0)


def test_random_commands_stay_inside_the_limits_and_repeat() -> None:
    low, high = (-0.2, -1.0), (1.0, 1.5)
    walks = []
    for _ in range(2):
        pilot = RandomPilot(low, high, seed=4)
        pilot.begin(np.zeros((1, 1, 3), np.uint8))
        commands = [pilot.command({}, {}) for _ in range(300)]
        walks.append(np.array([(c.linear, c.angular) for c in commands if c is not None]))
    np.testing.assert_array_equal(walks[0], walks[1])
    assert (walks[0] >= low).all() and (walks[0] <= high).all()
    assert np.corrcoef(walks[0][1:, 1], walks[0][:-1, 1])[0, 1] > 0.4, "correlated in time"


def a_drive(success: bool, driven: float, collisions: int = 0, claimed: bool = False) -> Drive:
    return Drive(
        success=success,
        false_arrival=claimed,
        shortest=4.0,
        driven=driven,
        closest=driven / 10,
        collisions=collisions,
        seconds=driven,
        path=np.zeros((2, 3)),
        goal=GOAL,
    )


def test_summary_by_hand() -> None:
    figures = summarise([a_drive(True, 5), a_drive(True, 3), a_drive(False, 12, 3, claimed=True)])
    low, high = wilson_interval(2, 3)
    expected = {
        "drives": 3,
        "success": 2 / 3,
        "success_low": low,
        "success_high": high,
        "spl": (4 / 5 + 1 + 0) / 3,
        "false_arrivals": 1 / 3,
        "closest_m": 2 / 3,
        "collisions_per_km": 150,
        "driven_m": 20,
        "seconds": 20,
    }
    assert figures == pytest.approx(expected)


def test_a_robot_that_never_moved_has_no_collision_rate() -> None:
    assert summarise([a_drive(False, 0.0)])["collisions_per_km"] == 0


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(successes: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=6e-5)


@given(st.data(), st.integers(1, 500))
def test_wilson_interval_holds_the_share_and_shrinks(data: st.DataObject, count: int) -> None:
    successes = data.draw(st.integers(0, count))
    low, high = wilson_interval(successes, count)
    assert 0 <= low <= successes / count + 1e-12 and successes / count <= high + 1e-12 <= 1 + 1e-12
    assert high - low < 1
    narrower = wilson_interval(4 * successes, 4 * count)
    assert narrower[1] - narrower[0] < high - low
    mirrored = wilson_interval(count - successes, count)
    assert mirrored == pytest.approx((1 - high, 1 - low))
