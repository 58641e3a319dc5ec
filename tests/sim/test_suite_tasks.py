"""Starts and goals of the suites: free, reachable, as far apart as they say, always the same."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.suites import SuiteConfig, shipped_suites
from nav_offrl_sim import load_robot_config, load_world_config
from nav_offrl_sim.suite_tasks import (
    fingerprint,
    suite_tasks,
    suite_world,
    suite_world_config,
    world_tasks,
)

SUITES = sorted(shipped_suites())


def check_tasks(suite, world, tasks):
    """Every task is one that any robot up to the suite's size can be asked to drive."""
    for radius in (suite.footprint_radius, 0.17):
        space = world.free_space(radius)
        for task in tasks:
            near, far = suite.distances[task.distance_bin]
            for x, y, _ in (task.start, task.goal):
                assert world.clearance.at(x, y) >= suite.footprint_radius
                assert space.free[space.cell_of(x, y)]
            field = space.distance_field(task.goal[0], task.goal[1])
            shortest = field[space.cell_of(task.start[0], task.start[1])]
            assert shortest <= task.shortest + 1e-9, "a smaller robot finds no longer way"
            if radius == suite.footprint_radius:
                assert shortest == pytest.approx(task.shortest)
            assert near <= task.shortest < far
            assert math.dist(task.start[:2], task.goal[:2]) <= task.shortest + 1e-6
            assert world.clearance.at(*task.goal[:2]) >= suite.goal_clearance - 0.05


@pytest.mark.parametrize("name", SUITES)
def test_tasks_can_be_driven(name):
    suite = shipped_suites()[name]
    world = suite_world(suite, suite.world_seeds[0])
    tasks = world_tasks(suite, world)
    assert len(tasks) == len(suite.distances) * suite.tasks_per_world
    check_tasks(suite, world, tasks)


@pytest.mark.parametrize("name", SUITES)
def test_arrival_is_not_through_a_wall(name):
    """Whoever is within the success radius is also near by the way a robot has to drive."""
    suite = shipped_suites()[name]
    world = suite_world(suite, suite.world_seeds[1])
    space = world.free_space(0.17)
    for task in world_tasks(suite, world):
        field = space.distance_field(task.goal[0], task.goal[1])
        centres = (np.argwhere(space.free)[:, ::-1] + 0.5) * space.cell
        close = np.hypot(*(centres - task.goal[:2]).T) <= suite.success_radius
        assert field[space.free][close].max() <= 1.6 * suite.success_radius


@pytest.mark.parametrize("name", SUITES)
def test_every_robot_that_is_shipped_is_small_enough(name):
    suite = shipped_suites()[name]
    for robot in ("generic", "jackal", "turtlebot"):
        assert load_robot_config(robot).footprint_radius <= suite.footprint_radius
    assert suite_world_config(suite).name == load_world_config(suite.world).name


def test_the_same_file_asks_the_same_and_another_seed_something_else():
    values = {"name": "x", "world": "courtyard", "world_seeds": (5, 6), "distances": ((3, 8),)}
    first, again, other = (
        [task for _, tasks in suite_tasks(SuiteConfig(**values, seed=seed)) for task in tasks]
        for seed in (0, 0, 1)
    )
    assert first == again and fingerprint(first) == fingerprint(again)
    assert fingerprint(first) != fingerprint(other)
    assert len({task.start for task in first + other}) == 8


def test_a_fingerprint_changes_with_every_part_of_a_task():
    suite = SuiteConfig(name="x", world="courtyard", world_seeds=(5,), distances=((3, 8),))
    (task, *_) = world_tasks(suite, suite_world(suite, 5))
    changed = [
        replace(task, world_seed=6),
        replace(task, distance_bin=1),
        replace(task, start=(task.start[0] + 0.001, *task.start[1:])),
        replace(task, goal=(*task.goal[:2], task.goal[2] + 0.01)),
        replace(task, shortest=task.shortest + 0.01),
    ]
    prints = {fingerprint([one]) for one in [task, *changed]}
    assert len(prints) == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_the_suite_is_as_published(name):
    suite = shipped_suites()[name]
    tasks = []
    for world, there in suite_tasks(suite):
        check_tasks(suite, world, there)
        tasks += there
    assert fingerprint(tasks) == suite.fingerprint, "see 'Changing a suite' in sim/README.md"


# Of the first world of each suite; the whole suites are compared by the slow test above.
FIRST_WORLD = {
    "campus": "e09ba510d79fb7ec",
    "forest": "2d5efe3035ba7eb6",
    "office": "523fe78b998bcc53",
    "open": "b1a5b285771e31b2",
    "warehouse": "422773943b3ff6d3",
}


@pytest.mark.parametrize("name", SUITES)
def test_the_first_world_of_a_suite_is_as_published(name):
    suite = shipped_suites()[name]
    world = suite_world(suite, suite.world_seeds[0])
    assert fingerprint(world_tasks(suite, world)) == FIRST_WORLD[name]


@given(
    world=st.sampled_from(["courtyard", "office"]),
    world_seed=st.integers(0, 3),
    seed=st.integers(0, 10**6),
    near=st.floats(1.0, 6.0),
    span=st.floats(0.5, 5.0),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_task_of_any_suite_is_impossible(world, world_seed, seed, near, span):
    suite = SuiteConfig(
        name="x",
        world=world,
        world_seeds=(world_seed,),
        distances=((near, near + span),),
        seed=seed,
    )
    there = suite_world(suite, world_seed)
    check_tasks(suite, there, world_tasks(suite, there))


def test_a_bin_beyond_the_world_is_named():
    suite = SuiteConfig(name="x", world="courtyard", world_seeds=(0,), distances=((50, 60),))
    with pytest.raises(NavOffrlError, match=r"no start and goal 50\.0 to 60\.0 m apart"):
        world_tasks(suite, suite_world(suite, 0))


def test_changes_of_the_world_reach_deep_and_are_checked():
    changes = {"size": [12.0, 10.0], "outdoor": {"sky_clouds": 0.9}}
    suite = SuiteConfig(name="x", world="courtyard", world_seeds=(0,), world_changes=changes)
    config, shipped = suite_world_config(suite), load_world_config("courtyard")
    assert config.size == (12.0, 10.0) and config.outdoor.sky_clouds == 0.9
    assert config.outdoor.paths == shipped.outdoor.paths and config.objects == shipped.objects
    wrong = suite.model_copy(update={"world_changes": {"outdoor": {"sky": 1}}})
    with pytest.raises(NavOffrlError, match=r"suite 'x', world_changes.*outdoor.sky"):
        suite_world_config(wrong)
