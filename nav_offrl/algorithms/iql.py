"""Goal-conditioned implicit Q-learning.

Kostrikov, Nair, Levine: Offline Reinforcement Learning with Implicit Q-Learning, 2021
(arXiv 2110.06169), with goals by hindsight. No action outside the data is ever evaluated: V is an
upper expectile of Q over the data's actions, and the policy is a weighted copy of them. Deploying
with DDPG+BC instead of the weighted copy: Park et al. 2024, arXiv 2406.09329.
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
    expectile_loss,
    frozen,
    polyak_update,
    within,
)
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.heads import GoalValue


class IQLConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    discrete: ClassVar[bool] = True

    name: Literal["iql"] = "iql"
    value_loss: Literal["expectile", "quantile", "exponential"] = Field(
        default="expectile", description="how V finds the upper end of Q over the data's actions"
    )
    expectile: float = Field(
        default=0.9, gt=0, lt=1, description="tau of L_V; the quantile with that loss"
    )
    exponential_scale: float = Field(
        default=2.0, gt=0, description="of the exponential value loss, in units of return"
    )
    extraction: Literal["awr", "ddpg_bc"] = Field(
        default="awr", description="policy: weighted copy of the data, or climb Q near the data"
    )
    temperature: float = Field(default=3.0, ge=0, description="beta: inverse temperature of AWR")
    max_weight: float = Field(default=100.0, gt=0, description="clip of exp(beta A)")
    behaviour_weight: float = Field(default=0.3, ge=0, description="alpha of DDPG+BC")
    target_update_rate: float = Field(default=0.005, gt=0, le=1)
    policy_dropout: float = Field(
        default=0.3, ge=0, lt=1, description="as for the paper's small data sets (appendix B)"
    )


class IQL(Method):
    """Value, twin critics with targets, and policy."""

    config: IQLConfig

    def __init__(self, config: IQLConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        inputs = self.features.size
        self.value = GoalValue(inputs, config.hidden)
        self.critic = spaces.critic(inputs, config.hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.policy = spaces.policy(inputs, config.hidden, config.policy_dropout)

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_V, L_Q and L_pi."""
        here = self.features(batch.observation, batch.goal)
        value_loss, value_metrics = self.value_loss(here, batch)
        critic_loss, critic_metrics = self.critic_loss(here, batch)
        policy_loss, policy_metrics = self.policy_loss(batch)
        losses = {"value": value_loss, "critic": critic_loss, "policy": policy_loss}
        return losses, value_metrics | critic_metrics | policy_metrics

    def value_loss(self, here: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_V = E[L_tau(Q'(s, a, g) - V(s, g))] (eq. 5)."""
        with torch.no_grad():
            q = self.target_critic(here, batch.action).amin(0)
        value = self.value(here)[0]
        return self.asymmetric_loss(q - value).mean(), {"value/mean": value.mean()}

    def asymmetric_loss(self, difference: Tensor) -> Tensor:
        """Punish Q above V more than Q below it, elementwise.

        The expectile is the paper's. The quantile's minimiser is the tau-quantile of Q. The
        exponential one is the Gumbel regression of Garg et al. 2023, *Extreme Q-Learning*
        (arXiv 2301.02328), eq. 9, whose minimiser is the soft maximum of Q.
        """
        tau = self.config.expectile
        if self.config.value_loss == "expectile":
            return expectile_loss(difference, tau)
        if self.config.value_loss == "quantile":
            return torch.where(difference > 0, tau, tau - 1) * difference
        scaled = difference / self.config.exponential_scale
        # Beyond the clip the loss goes on along its tangent's end: exp must not overflow.
        return scaled.clamp(max=5.0).exp() - scaled - 1

    def critic_loss(self, here: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m V(s', g) - Q(s, a, g))^2] (eq. 6), summed over the twins."""
        with torch.no_grad():
            following = self.value(self.features(batch.next_observation, batch.goal))[0]
            target = batch.reward + batch.discount * batch.mask * following
            target = within(target, self.spaces.return_bounds)
        q = self.critic(here, batch.action)
        td_error = (q - target).square().mean(-1)
        return td_error.sum(), {
            "critic/td_error": td_error.mean(),
            "critic/data_value": q.mean(),
            "critic/target": target.mean(),
        }

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Weighted imitation (eq. 7), or DDPG+BC."""
        there = self.features(batch.observation, batch.actor_goal)
        if self.config.extraction == "ddpg_bc":
            return self.ddpg_bc_loss(there, batch)
        return self.awr_loss(there, batch)

    def awr_loss(self, there: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_pi = -E[exp(beta A) log pi(a | s, g)] with A = Q' - V (eq. 7)."""
        with torch.no_grad():
            q = self.target_critic(there, batch.action).amin(0)
            advantage = q - self.value(there)[0]
            weight = (self.config.temperature * advantage).exp().clamp(max=self.config.max_weight)
        log_prob = self.policy.log_prob(there, batch.action)
        return -(weight * log_prob).mean(), {
            "policy/log_prob": log_prob.mean(),
            "policy/advantage": advantage.mean(),
            "policy/effective_sample_share": effective_sample_share(weight),
        }

    def ddpg_bc_loss(self, there: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """-E[Q(s, mu(s), g) / mean|Q| + alpha log pi(a | s, g)] (Park et al. 2024, eq. 5)."""
        with frozen(self.critic):
            q = self.critic(there, self.policy(there)).amin(0)
        log_prob = self.policy.log_prob(there, batch.action)
        climb = q.mean() / q.abs().mean().detach().clamp(min=1e-6)
        loss = -climb - self.config.behaviour_weight * log_prob.mean()
        return loss, {"policy/log_prob": log_prob.mean(), "policy/q": q.mean()}

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Value, critic and policy."""
        rate = self.config.learning_rate
        return {
            "value": ParameterGroup.of(self.value, learning_rate=rate),
            "critic": ParameterGroup.of(self.critic, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
        }

    def after_step(self) -> None:
        """Let the target critic follow."""
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the mean action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return V(s, g), (B,)."""
        value: Tensor = self.value(self.features(observation, goal))[0]
        return value
