"""Tasks that can be judged on logged drives: from where, to which place, and who arrives.

A goal in hindsight is no task: every drive reaches the place that it reached, whatever its driver
was worth. Here the goal is a place that the drive had not yet decided about when the task begins:
one of other drives in the same odometry frame, or of the drive's own past.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import Store
from nav_offrl.suites import worlds_in
from nav_offrl.training.trained_policy import TrainedPolicy

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


class TaskConfig(Config):
    """Which tasks are laid out."""

    count: int = Field(default=1000, ge=1, description="tasks")
    horizon: int = Field(
        default=60, ge=1, description="steps; who has not arrived by then never will"
    )
    min_distance: float = Field(default=1.5, ge=0, description="m from start to goal")
    max_distance: float = Field(default=6.0, gt=0, description="m from start to goal")
    seed: int = 0


@dataclass(frozen=True)
class LoggedDrives:
    """N steps of E drives, one drive behind the other.

    vector: (N, D) what a policy sees.
    action: (N, A) what was done, in [-1, 1].
    place: (N, P) where the robot was, in metres or whatever `radius` is in.
    frame: (N,) number of the frame that `place` is in; those of two frames are not comparable.
    drive: (N,) number of the drive, ascending.
    radius: who is this near to the goal has arrived.
    """

    vector: Tensor
    action: Tensor
    place: NDArray[np.float64]
    frame: Rows
    drive: Rows
    radius: float

    def arrived(self, row: Rows, goal: Rows) -> Flags:
        """Return whether to be at `row` is to have arrived at `goal`, elementwise."""
        apart = np.linalg.norm(self.place[row] - self.place[goal], axis=-1)
        near: Flags = (self.frame[row] == self.frame[goal]) & (apart <= self.radius)
        return near

    @property
    def transitions(self) -> Rows:
        """The rows that have a successor in their drive."""
        return np.flatnonzero(np.diff(self.drive) == 0)

    def steps_left(self) -> Rows:
        """Return how many successors each row has in its drive, (N,)."""
        last = np.searchsorted(self.drive, self.drive, side="right") - 1
        return last - np.arange(len(self.drive))


@dataclass(frozen=True)
class Tasks:
    """From `start` (T,) to `goal` (T,), rows of the drives, in `horizon` steps at most."""

    start: Rows
    goal: Rows
    horizon: int


def drives_of(policy: TrainedPolicy, split: str) -> LoggedDrives:
    """Return the drives of a split as the policy sees them.

    Raises:
        NavOffrlError: there are none, or the store has no positions.
    """
    vector, steps = policy.latents(split)
    store, actions = policy.store, policy.agent.facts.actions
    action = actions.of_store(store)[torch.from_numpy(steps)]
    if actions.grid is not None:
        action = actions.grid[action]
    drive = np.searchsorted(store.episodes.start, steps, side="right") - 1
    return LoggedDrives(
        vector,
        action,
        store.field("position")[steps].astype(np.float64),
        _frames(store)[drive],
        drive,
        policy.config.arrival_radius,
    )


def _frames(store: Store) -> Rows:
    """Number the odometry frames of the episodes, (E,): of a world, of a session, or their own."""
    episodes = store.episodes
    names = [
        str(sorted(worlds_in([source])) or session or ("episode", row))
        for row, (source, session) in enumerate(zip(episodes.source, episodes.session, strict=True))
    ]
    frames: Rows = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    return frames


def lay_out(drives: LoggedDrives, config: TaskConfig) -> Tasks:
    """Draw tasks from the drives.

    Raises:
        NavOffrlError: no place of the same frame is as far away as it must be.
    """
    rng = np.random.default_rng(config.seed)
    starts = np.flatnonzero(drives.steps_left() >= config.horizon)
    chosen = rng.permutation(np.resize(starts, config.count)) if len(starts) else starts
    found = [(int(row), _goal(drives, int(row), config, rng)) for row in chosen]
    tasks = np.array([(row, goal) for row, goal in found if goal is not None], np.int64)
    if not len(tasks):
        raise NavOffrlError(
            f"no held-out drive has {config.horizon} steps ahead and another place of its frame "
            f"{config.min_distance} to {config.max_distance} m away",
            remedy="hold out more or longer drives",
        )
    return Tasks(tasks[:, 0], tasks[:, 1], config.horizon)


def _goal(
    drives: LoggedDrives, row: int, config: TaskConfig, rng: np.random.Generator
) -> int | None:
    apart = np.linalg.norm(drives.place - drives.place[row], axis=-1)
    near, far = max(config.min_distance, drives.radius), config.max_distance
    possible = (apart > near) & (apart <= far) & (drives.frame == drives.frame[row])
    # Its own future depends on what was done after the start.
    possible &= (drives.drive != drives.drive[row]) | (np.arange(len(apart)) < row)
    rows = np.flatnonzero(possible)
    return int(rng.choice(rows)) if len(rows) else None


def random_goals(drives: LoggedDrives, rows: Rows, rng: np.random.Generator) -> Rows:
    """Draw a goal for each row: half of them ahead in the drive, the others any place."""
    ahead = rows + (rng.random(len(rows)) * (drives.steps_left()[rows] + 1)).astype(np.int64)
    anywhere = rng.integers(0, len(drives.drive), len(rows))
    return np.where(rng.random(len(rows)) < 0.5, ahead, anywhere)
