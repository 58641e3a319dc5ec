"""A synthetic log for all contenders. numpy alone: peers have nothing else in common."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OBSERVATION, ACTION, EPISODE = 29, 8, 1000  # sizes of OGBench's antmaze
BATCHES = 8  # drawn beforehand where the update is measured alone

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """What every contender of a group does: updates alone, or sampling and updates."""

    method: str
    batch_size: int
    hidden: tuple[int, ...]
    sampling: bool = False
    rows: int = 1_000_000
    where: str = ""  # the peer's sources, or our store
    images: bool = False  # end to end from frames
    products: bool = False  # only the matrix products of ours
    like_peers: bool = False  # ReLU, no LayerNorm, one goal: what peers without goals do

    @classmethod
    def of_command_line(cls) -> "Case":
        values = json.loads(sys.argv[1])
        return cls(**(values | {"hidden": tuple(values["hidden"])}))

    @property
    def enough_rows(self) -> int:
        """Without sampling a log that fills the batches does."""
        return self.rows if self.sampling else 10 * EPISODE


def log(rows: int) -> Arrays:
    """Episodes of random observations (rows, 29) and actions (rows, 8)."""
    random = np.random.default_rng(0)
    last = np.arange(rows) % EPISODE == EPISODE - 1
    return {
        "observations": random.standard_normal((rows, OBSERVATION), np.float32),
        "actions": random.uniform(-0.95, 0.95, (rows, ACTION)).astype(np.float32),
        "rewards": random.uniform(-1, 0, rows).astype(np.float32),
        "terminals": last.astype(np.float32),
    }


def log_with_goals(rows: int) -> Arrays:
    """The same for peers that know no goals: they are half of the observation (rows, 58)."""
    made, goals = log(rows), np.random.default_rng(1).standard_normal((rows, OBSERVATION))
    both = np.concatenate([made["observations"], goals.astype(np.float32)], 1)
    return made | {"observations": both}
