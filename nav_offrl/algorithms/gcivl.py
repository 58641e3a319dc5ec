"""Goal-conditioned implicit V-learning: IQL without a Q, for logs of a deterministic world.

The value of Park, Ghosh, Eysenbach, Levine: HIQL, 2023 (arXiv 2307.11949), section 4.2, used flat
as in OGBench (Park et al. 2024, arXiv 2410.20092). V(s) is an upper expectile of r + gamma V(s')
over the successors that the log holds, so the value needs no actions. An upper expectile takes the
best of the actions and, where the world is stochastic, the best of the luck: V is then too high.
"""

import copy
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import (
    Losses,
    Metrics,
    effective_sample_share,
    polyak_update,
    within,
)
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.heads import GoalValue


class GCIVLConfig(MethodConfig):
    """Hyperparameters; the defaults are OGBench's."""

    goals: ClassVar[str] = "gciql"
    discrete: ClassVar[bool] = True

    name: Literal["gcivl"] = "gcivl"
    expectile: float = Field(default=0.9, gt=0, lt=1, description="tau of L_V")
    temperature: float = Field(default=10.0, ge=0, description="alpha: inverse temperature of AWR")
    max_weight: float = Field(default=100.0, gt=0, description="clip of exp(alpha A)")
    target_update_rate: float = Field(default=0.005, gt=0, le=1)
    policy_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="IQL's 0.3 helps where the log is small"
    )


class GCIVL(Method):
    """Twin values with targets, and policy."""

    config: GCIVLConfig

    def __init__(self, config: GCIVLConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        self.value = GoalValue(self.features.size, config.hidden, members=2)
        self.target_value = copy.deepcopy(self.value).requires_grad_(False)
        self.policy = spaces.policy(self.features.size, config.hidden, config.policy_dropout)

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_V and L_pi."""
        value_loss, value_metrics = self.value_loss(batch)
        policy_loss, policy_metrics = self.policy_loss(batch)
        return {"value": value_loss, "policy": policy_loss}, value_metrics | policy_metrics

    def value_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_V = E[|tau - 1(A < 0)| (r + gamma m V'(s', g) - V(s, g))^2], summed over the twins.

        HIQL, eq. 4. The sign is that of A = r + gamma m min V'(s', g) - mean V'(s, g), of the
        targets alone: as in double Q-learning, whose error is squared does not choose its weight.
        """
        here = self.features(batch.observation, batch.goal)
        with torch.no_grad():
            following = self.target_value(self.features(batch.next_observation, batch.goal))
            target = batch.reward + batch.discount * batch.mask * following
            target = within(target, self.spaces.return_bounds)
            advantage = target.amin(0) - self.target_value(here).mean(0)
            tau = self.config.expectile
            weight = torch.where(advantage >= 0, tau, 1 - tau)
        value = self.value(here)
        td_error = (target - value).square()
        return (weight * td_error).mean(-1).sum(), {
            "value/mean": value.mean(),
            "value/td_error": td_error.mean(),
        }

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_pi = -E[min(exp(alpha A), w_max) log pi(a | s, g)], A = V(s', g) - V(s, g)."""
        advantage = self.advantage(batch.observation, batch.next_observation, batch.actor_goal)
        weight = (self.config.temperature * advantage).exp().clamp(max=self.config.max_weight)
        there = self.features(batch.observation, batch.actor_goal)
        log_prob = self.policy.log_prob(there, batch.action)
        return -(weight * log_prob).mean(), {
            "policy/log_prob": log_prob.mean(),
            "policy/advantage": advantage.mean(),
            "policy/effective_sample_share": effective_sample_share(weight),
        }

    @torch.no_grad()
    def advantage(self, observation: Tensor, following: Tensor, goal: Tensor) -> Tensor:
        """How much nearer to the goal the second observation is, (B,)."""
        return self.state_value(following, goal) - self.state_value(observation, goal)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Value and policy."""
        rate = self.config.learning_rate
        return {
            "value": ParameterGroup.of(self.value, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
        }

    def after_step(self) -> None:
        """Let the target value follow."""
        polyak_update(self.target_value, self.value, self.config.target_update_rate)

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the mean or most likely action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return V(s, g), the twins' mean, (B,)."""
        value: Tensor = self.value(self.features(observation, goal)).mean(0)
        return value
