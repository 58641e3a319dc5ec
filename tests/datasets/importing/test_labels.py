"""Each cause of a collision on steps worked out by hand, and what may be labelled from what."""

import numpy as np
import pytest

from nav_offrl_datasets.config import LabelConfig
from nav_offrl_datasets.importing import labels

CONFIG = LabelConfig(close_range=0.5, jolt=8.0)
REST = [0.0, 0.0, 0.0, 0.0, 0.0, 9.81]


def imu(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_bumpiness_is_the_rms_of_roll_and_pitch_rates_alone() -> None:
    readings = imu(REST, [3.0, 4.0, 100.0, 50.0, 0.0, 9.81], [np.nan, 0.0, 0.0, 0.0, 0.0, 9.81])
    np.testing.assert_allclose(labels.bumpiness(readings), [0.0, np.sqrt(12.5), np.nan])


def test_close_is_any_return_below_the_range() -> None:
    lidar = np.array([[2.0, 0.49], [0.5, 0.6], [np.inf, np.nan], [0.0, 3.0]])
    assert labels.close(lidar, 0.5).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("command", "speed", "expected"),
    [
        # A second at 2 Hz is two steps; one alone is an acceleration that takes its time.
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.0, 0.0, 0.5], [0, 1, 1, 0]),
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.0, 0.5, 0.5], [0, 0, 0, 0]),
        # Not told to go, or told to go back and held; limits are inclusive.
        ([0.1, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
        ([-0.2, -0.2, 0.5, 0.5], [0.05, 0.05, 0.5, 0.5], [1, 1, 0, 0]),
        # The last step holds as long as the one before it.
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0], [0, 0, 1, 1]),
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.0], [0, 0, 0, 0]),
        ([0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0], [1, 1, 1, 1]),
        ([0.5, np.nan, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5], [0, 0, 0, 0]),
    ],
)
def test_stuck_is_told_to_go_and_staying_for_a_second(
    command: list[float], speed: list[float], expected: list[int]
) -> None:
    seconds = 0.5 * np.arange(4)
    marked = labels.stuck(np.array(command), np.array(speed), seconds, LabelConfig())
    assert marked.astype(int).tolist() == expected


def test_collision_names_its_causes() -> None:
    values = {
        "lidar": np.array([[0.4, 2.0], [2.0, 2.0], [2.0, 2.0], [2.0, np.nan]]),
        "imu": imu(
            REST,
            [0, 0, 0, 0, 0, 4.0],  # on its side
            [0, 0, 0, 6.0, 6.0, 9.81],  # 8.49 m/s^2 in the plane
            [np.nan] * 6,
        ),
        "action": np.array([[0.5, 0.0]] * 4),
        # Told 0.5 m/s, moves 0.01 m in each of the last two seconds.
        "position": np.array([[0.0, 0.0], [0.5, 0.0], [0.51, 0.0], [0.52, 0.0]]),
        "velocity": np.array([[0.5, 0.0]] * 4),  # the wheels turn: they are not believed
    }
    told_by = labels.causes(values, True, CONFIG)
    assert told_by == ("close", "stuck", "flipped", "jolt")
    marks = labels.collision(values, np.arange(4.0), told_by, CONFIG)
    assert {cause: np.flatnonzero(mark).tolist() for cause, mark in marks.items()} == {
        "close": [0],
        "stuck": [1, 2, 3],
        "flipped": [1],
        "jolt": [2],
    }


def test_without_poses_the_measured_speed_decides() -> None:
    values = {"action": np.array([[0.5, 0.0]] * 4), "velocity": np.array([[0.0, 1.0]] * 4)}
    marks = labels.collision(values, np.arange(4.0), ["stuck"], CONFIG)
    assert marks["stuck"].all()


@pytest.mark.parametrize(
    ("fields", "commanded", "expected"),
    [
        ({"lidar", "imu", "position", "action"}, True, "close, stuck, flipped, jolt"),
        ({"position", "action"}, False, ""),  # actions made of the motion cannot differ from it
        ({"action"}, True, ""),
        ({"lidar"}, False, "close"),
        ({"imu"}, False, "flipped, jolt"),
    ],
)
def test_only_what_the_log_can_tell_is_labelled(
    fields: set[str], commanded: bool, expected: str
) -> None:
    added = labels.labelled_fields(fields, commanded, CONFIG)
    assert ("bumpiness" in added) == ("imu" in fields)
    source = added["collision"].source if "collision" in added else "labelled: "
    assert source == f"labelled: {expected}"


def test_the_log_has_the_last_word_and_nothing_is_labelled_unasked() -> None:
    fields = {"imu", "lidar", "collision", "bumpiness"}
    assert labels.labelled_fields(fields, True, CONFIG) == {}
    assert labels.labelled_fields({"imu", "lidar"}, True, None) == {}
    off = LabelConfig(flipped_gravity=0.0)
    assert set(labels.labelled_fields({"imu", "lidar"}, True, off)) == {"bumpiness"}
