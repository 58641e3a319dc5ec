"""The worlds and tasks of an evaluation suite, the same for the same file."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.suites import SuiteConfig
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.tasks import arrival_yaw
from nav_offrl_sim.world import FreeSpace, World
from nav_offrl_sim.world_configuration import WorldConfig, load_world_config
from nav_offrl_sim.world_pool import WorldPool

GOAL_DRAWS = 100  # before a bin is given up


@dataclass(frozen=True)
class SuiteTask:
    """One start and goal.

    Attributes:
        distance_bin: index of the bin.
        shortest: path from start to goal for the suite's footprint, m.
    """

    world_seed: int
    distance_bin: int
    start: Pose
    goal: Pose
    shortest: float


def suite_world_config(suite: SuiteConfig) -> WorldConfig:
    """The suite's family of worlds, with its changes.

    Raises:
        NavOffrlError: the world is unknown or a changed field does not fit.
    """
    values = _merged(load_world_config(suite.world).model_dump(), suite.world_changes)
    return parse_config(WorldConfig, values, f"suite '{suite.name}', world_changes")


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(change, dict):
            change = _merged(inner, change)
        merged[key] = change
    return merged


def suite_world(suite: SuiteConfig, seed: int) -> World:
    """One of the suite's worlds."""
    return WorldPool(suite_world_config(suite)).world(seed)


def world_tasks(suite: SuiteConfig, world: World) -> list[SuiteTask]:
    """The tasks of one world, bin after bin.

    Raises:
        NavOffrlError: the world has no two places that far apart.
    """
    space = world.free_space(suite.footprint_radius)
    rng = np.random.default_rng([suite.seed, world.seed])
    return [
        _draw(suite, space, rng, world, number)
        for number in range(len(suite.distances))
        for _ in range(suite.tasks_per_world)
    ]


def _draw(
    suite: SuiteConfig, space: FreeSpace, rng: np.random.Generator, world: World, number: int
) -> SuiteTask:
    near, far = suite.distances[number]
    goals = np.argwhere(space.free & (space.clearance >= suite.goal_clearance))
    for _ in range(GOAL_DRAWS if len(goals) else 0):
        row, column = (int(i) for i in goals[int(rng.integers(len(goals)))])
        field = space.graph.field(row, column)
        starts = np.argwhere((field >= near) & (field < far))
        if len(starts) == 0:
            continue
        cell = tuple(int(i) for i in starts[int(rng.integers(len(starts)))])
        start = (*space.centre(*cell), float(rng.uniform(-math.pi, math.pi)))
        goal = (*space.centre(row, column), arrival_yaw(space, field, start))
        return SuiteTask(world.seed, number, start, goal, float(field[cell]))
    raise NavOffrlError(
        f"world {world.config.name} {world.seed} has no start and goal {near} to {far} m apart",
        where=f"suite '{suite.name}'",
        remedy="enlarge the world (world_changes: size) or leave the bin out",
    )


def suite_tasks(suite: SuiteConfig) -> Iterator[tuple[World, list[SuiteTask]]]:
    """Every world of the suite with its tasks, one after the other."""
    for seed in suite.world_seeds:
        world = suite_world(suite, seed)
        yield world, world_tasks(suite, world)


def fingerprint(tasks: Sequence[SuiteTask]) -> str:
    """A hash of tasks to the millimetre: two suites of one fingerprint ask the same."""
    lines = [
        " ".join(
            [
                f"{task.world_seed} {task.distance_bin}",
                *(f"{value:.3f}" for value in (*task.start, *task.goal, task.shortest)),
            ]
        )
        for task in tasks
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
