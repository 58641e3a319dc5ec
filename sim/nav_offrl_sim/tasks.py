"""Starts and goals: drawn at random for training, or a fixed list for evaluation."""

import math

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.world import FreeSpace, World

ARRIVAL_LOOKBACK = 0.8  # the goal's yaw is the way's direction over this last stretch, m


def random_pose(space: FreeSpace, rng: np.random.Generator) -> Pose:
    """A pose uniform over the free space and over headings."""
    x, y = space.centre(*space.cells[int(rng.integers(len(space.cells)))])
    return x, y, float(rng.uniform(-math.pi, math.pi))


def sample_task(
    space: FreeSpace, rng: np.random.Generator, min_distance: float, max_distance: float
) -> tuple[Pose, Pose, FloatArray]:
    """A random start, a goal whose shortest path is within the range (m), and the goal's field.

    The field tells distances up to `max_distance`.

    Raises:
        NavOffrlError: no two free places are that far apart.
    """
    for _ in range(50):
        goal_cell = space.cells[int(rng.integers(len(space.cells)))]
        x, y = space.centre(*goal_cell)
        field = space.distance_field(x, y, max_distance)
        starts = np.argwhere((field >= min_distance) & (field <= max_distance))
        if len(starts) == 0:
            continue
        start_cell = starts[int(rng.integers(len(starts)))]
        start = (*space.centre(*start_cell), float(rng.uniform(-math.pi, math.pi)))
        return start, (x, y, arrival_yaw(space, field, start)), field
    raise NavOffrlError(
        f"no two free places are {min_distance} to {max_distance} m apart",
        where="min_goal_distance, max_goal_distance",
        remedy="lower the distances or take a larger world",
    )


def sample_goal(
    space: FreeSpace,
    rng: np.random.Generator,
    start: Pose,
    min_distance: float,
    max_distance: float,
) -> Pose:
    """A random goal within the range (m) of a start; the farthest place where none is."""
    field = space.distance_field(start[0], start[1])
    goals = np.argwhere((field >= min_distance) & (field <= max_distance))
    if len(goals) == 0:
        goals = np.argwhere(field == field[space.free].max())
    x, y = space.centre(*goals[int(rng.integers(len(goals)))])
    return x, y, float(rng.uniform(-math.pi, math.pi))


def arrival_yaw(space: FreeSpace, field: FloatArray, start: Pose) -> float:
    """Heading of the shortest path from a start as it arrives at the goal of `field`, rad."""
    row, column = space.cell_of(start[0], start[1])
    trail = [(row, column)]
    while field[row, column] > 0:
        low_row, low_column = max(row - 2, 0), max(column - 2, 0)
        window = field[low_row : row + 3, low_column : column + 3]
        step = np.unravel_index(int(np.argmin(window)), window.shape)
        row, column = low_row + int(step[0]), low_column + int(step[1])
        trail.append((row, column))
    end = space.centre(row, column)
    for cell in reversed(trail):
        x, y = space.centre(*cell)
        if math.hypot(end[0] - x, end[1] - y) >= ARRIVAL_LOOKBACK:
            break
    return math.atan2(end[1] - y, end[0] - x)


def evaluation_pairs(
    world: World,
    count: int,
    seed: int,
    min_distance: float,
    max_distance: float,
    footprint_radius: float = 0.25,
) -> list[tuple[Pose, Pose]]:
    """A fixed list of (start, goal) poses, the same for the same arguments; distances in m.

    Raises:
        NavOffrlError: no two free places are that far apart.
    """
    space = world.free_space(footprint_radius)
    rng = np.random.default_rng([seed, 5])
    tasks = (sample_task(space, rng, min_distance, max_distance) for _ in range(count))
    return [(start, goal) for start, goal, _ in tasks]
