"""Fitted Q evaluation: the value of a policy learned from drives of another.

Le, Voloshin, Yue: Batch Policy Learning under Constraints, 2019 (arXiv 1903.08738), algorithm 3,
with targets that follow slowly instead of being fixed for a whole regression. Each member of an
ensemble is fitted to its own bootstrap sample of the drives (Hao et al. 2021, arXiv 2102.03607), so
the interval holds the error of the fit as well as the choice of tasks.

It assumes that the drives cover what the policy does; where they do not, the value there is a
guess of the network. In a world with chance, goals that a drive did reach make it optimistic.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nav_offrl.algorithms.common import polyak_update
from nav_offrl.config import Config
from nav_offrl.evaluation.logged_tasks import LoggedDrives, Rows, Tasks, random_goals
from nav_offrl.networks.heads import GoalCritic

Act = Callable[[Tensor, Tensor], Tensor]  # vectors (B, D), goals (B, D) -> actions (B, A)
Features = Callable[[Tensor, Tensor], Tensor]
CONFIDENCE = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Estimate:
    """A discounted return, -1 a step until arrival, with its 95 % bootstrap interval.

    effective_tasks: how many tasks it rests on, where they are weighted.
    """

    value: float
    low: float
    high: float
    effective_tasks: float | None = None


class FittedQConfig(Config):
    """How the value is fitted."""

    members: int = Field(default=10, ge=2, description="bootstrap samples")
    steps: int = Field(default=4000, ge=1, description="gradient steps")
    batch_size: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=3e-3, gt=0)
    target_update_rate: float = Field(default=0.02, gt=0, le=1)
    hidden: tuple[int, ...] = (128, 128)
    seed: int = 0


def fitted_q_evaluation(
    act: Act,
    features: Features,
    drives: LoggedDrives,
    tasks: Tasks,
    discount: float,
    config: FittedQConfig | None = None,
) -> Estimate:
    """Estimate the mean return of `act` over the tasks.

    `features` is what the critic sees of vector and goal: (B, D), (B, D) -> (B, F).
    """
    config = config or FittedQConfig()
    rng = np.random.default_rng(config.seed)
    critic, weight = _fit(act, features, drives, discount, config, rng)
    start = drives.vector[tasks.start]
    goal = drives.vector[tasks.goal]
    with torch.no_grad():
        q = critic(features(start, goal), act(start, goal)).clamp(-1 / (1 - discount), 0)
    values = q.double().numpy()
    # Each member's mean is over the tasks of its own bootstrap sample of the drives.
    own = weight[:, drives.drive[tasks.start]]
    means = (own * values).sum(1) / np.maximum(own.sum(1), 1e-9)
    low, high = np.percentile(means[own.sum(1) > 0], CONFIDENCE)
    return Estimate(float(values.mean()), float(low), float(high))


def _fit(
    act: Act,
    features: Features,
    drives: LoggedDrives,
    discount: float,
    config: FittedQConfig,
    rng: np.random.Generator,
) -> tuple[GoalCritic, NDArray[np.float64]]:
    """Return the ensemble, and how often each drive is in each member's sample: (E, drives)."""
    torch.manual_seed(config.seed)
    size = features(drives.vector[:1], drives.vector[:1]).shape[-1]
    critic = GoalCritic(size, drives.action.shape[-1], config.hidden, config.members)
    target = copy.deepcopy(critic).requires_grad_(False)
    optimizer = torch.optim.Adam(critic.parameters(), lr=config.learning_rate, fused=True)
    weight = bootstrap_counts(drives.drive, config.members, rng)
    rows = drives.transitions
    for _ in range(config.steps):
        row = rng.choice(rows, config.batch_size)
        goal = random_goals(drives, row, rng)
        here, there = drives.vector[row], drives.vector[goal]
        with torch.no_grad():
            wanted = _targets(target, act, features, drives, row, goal, discount)
        q = critic(features(here, there), drives.action[row])
        count = torch.from_numpy(weight[:, drives.drive[row]]).float()
        loss = (count * (q - wanted).square()).mean(1).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        polyak_update(target, critic, config.target_update_rate)
    return critic, weight


def _targets(
    target: GoalCritic,
    act: Act,
    features: Features,
    drives: LoggedDrives,
    row: Rows,
    goal: Rows,
    discount: float,
) -> Tensor:
    """Return 0 at the goal, else -1 + gamma Q(s', pi(s', g), g), within what returns can be."""
    following, there = drives.vector[row + 1], drives.vector[goal]
    value = target(features(following, there), act(following, there))
    on_the_way = torch.from_numpy(~drives.arrived(row, goal)).float()
    wanted: Tensor = on_the_way * (-1 + discount * value.clamp(-1 / (1 - discount), 0))
    return wanted


def bootstrap_counts(drive: Rows, samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw as many drives as there are, with replacement: counts (samples, 1 + largest number)."""
    present = np.unique(drive)
    counts = np.zeros((samples, int(present.max()) + 1))
    even = np.full(len(present), 1 / len(present))
    counts[:, present] = rng.multinomial(len(present), even, samples)
    return counts
