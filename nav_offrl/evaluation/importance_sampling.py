"""Weighted importance sampling: returns of logged drives, weighted by how the policy would drive.

Precup, Sutton, Singh: Eligibility Traces for Off-Policy Policy Evaluation, 2000, in the weighted
per-decision form (Thomas 2015, *Safe Reinforcement Learning*, section 3.9): the reward of a step is
weighted by the actions before it alone, and the weights of each step are divided by their sum.

It assumes that the behaviour policy is known, or estimated well; that what the driver did depends
on nothing but what the policy sees; and that the behaviour could have done all that the policy
does. A deterministic policy has no density: what is evaluated instead is a Gaussian around it,
`SmoothedPolicy`. Weights multiply from step to step, so on long tasks few drives carry all of
them: the estimate says how many tasks it rests on.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nav_offrl.config import Config
from nav_offrl.evaluation.fitted_q import CONFIDENCE, Act, Estimate, bootstrap_counts
from nav_offrl.evaluation.logged_tasks import LoggedDrives, Tasks
from nav_offrl.networks.policies import GaussianPolicy, gaussian_log_prob

Floats = NDArray[np.float64]


class Likelihood(Protocol):
    """A policy that says how likely an action is."""

    def __call__(self, vector: Tensor, goal: Tensor, action: Tensor) -> Tensor:
        """Return log pi(action | vector, goal): (B, D), (B, D), (B, A) -> (B,)."""


@dataclass(frozen=True)
class SmoothedPolicy:
    """A Gaussian of standard deviation `std`, in units of actions, around what a policy does."""

    act: Act
    std: float

    def __call__(self, vector: Tensor, goal: Tensor, action: Tensor) -> Tensor:
        """Return log pi(action | vector, goal)."""
        mean = self.act(vector, goal)
        return gaussian_log_prob(action, mean, torch.full_like(mean, self.std).log())


class BehaviourConfig(Config):
    """How the behaviour policy is estimated."""

    steps: int = Field(default=2000, ge=1, description="gradient steps")
    batch_size: int = Field(default=256, ge=2)
    learning_rate: float = Field(
        default=3e-3, gt=0, description="times steps, well above 3: the way of log std down to -3"
    )
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0


class EstimatedBehaviour:
    """The behaviour policy by maximum likelihood: a Gaussian that sees where, not whereto."""

    def __init__(self, drives: LoggedDrives, config: BehaviourConfig | None = None) -> None:
        """Fit it to drives other than those that are weighted by it."""
        config = config or BehaviourConfig()
        torch.manual_seed(config.seed)
        inputs, outputs = drives.vector.shape[-1], drives.action.shape[-1]
        self._policy = GaussianPolicy(inputs, outputs, config.hidden, config.dropout)
        optimizer = torch.optim.Adam(self._policy.parameters(), lr=config.learning_rate, fused=True)
        for _ in range(config.steps):
            rows = torch.randint(0, len(drives.vector), (config.batch_size,))
            loss = -self._policy.log_prob(drives.vector[rows], drives.action[rows]).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        self._policy.eval()

    def __call__(self, vector: Tensor, goal: Tensor, action: Tensor) -> Tensor:
        """Return log pi(action | vector)."""
        return self._policy.log_prob(vector, action)


def weighted_importance_sampling(
    policy: Likelihood,
    behaviour: Likelihood,
    drives: LoggedDrives,
    tasks: Tasks,
    discount: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Estimate the mean return of `policy` over the tasks."""
    weight, on_the_way = _weights(policy, behaviour, drives, tasks)
    powers = np.power(discount, np.arange(tasks.horizon + 1, dtype=np.float64))
    powers[-1] /= 1 - discount  # who has not arrived by the horizon never will
    every = np.ones((1, len(tasks.start)))
    rng = np.random.default_rng(seed)
    counts = bootstrap_counts(drives.drive, resamples, rng)[:, drives.drive[tasks.start]]
    resampled = _mean_return(weight, on_the_way, counts[counts.sum(1) > 0], powers)
    low, high = np.percentile(resampled, CONFIDENCE)
    last = weight[:, -1]
    return Estimate(
        value=float(_mean_return(weight, on_the_way, every, powers)[0]),
        low=float(low),
        high=float(high),
        effective_tasks=float(last.sum() ** 2 / (last**2).sum()),
    )


def _mean_return(weight: Floats, on_the_way: Floats, counts: Floats, powers: Floats) -> Floats:
    """Return the weighted mean return of each resample: counts (R, T), the others (T, H + 1)."""
    total = np.maximum(counts @ weight, np.finfo(np.float64).tiny)
    returns: Floats = -(counts @ (weight * on_the_way) / total) @ powers
    return returns


def _weights(
    policy: Likelihood, behaviour: Likelihood, drives: LoggedDrives, tasks: Tasks
) -> tuple[Floats, Floats]:
    """Return weights, up to a factor, and 1 where a task has not arrived, (T, horizon + 1) each.

    The weight of a step is that of the actions before it; who has arrived acts no more.
    """
    rows = tasks.start[:, None] + np.arange(tasks.horizon + 1)
    goal = np.broadcast_to(tasks.goal[:, None], rows.shape)
    on_the_way = np.logical_and.accumulate(~drives.arrived(rows, goal), axis=1)
    flat, there = rows[:, :-1].ravel(), drives.vector[goal[:, :-1].ravel()]
    here, action = drives.vector[flat], drives.action[flat]
    with torch.no_grad():
        ratio = policy(here, there, action) - behaviour(here, there, action)
    steps = ratio.double().numpy().reshape(len(rows), -1) * on_the_way[:, :-1]
    log_weight = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(steps, 1)], 1)
    return np.exp(log_weight - log_weight.max(0)), on_the_way.astype(np.float64)
