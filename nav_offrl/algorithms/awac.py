"""Goal-conditioned AWAC: policy iteration whose policy never leaves the data's actions.

Nair, Gupta, Dalal, Levine: AWAC: Accelerating Online Reinforcement Learning with Offline Datasets,
2020 (arXiv 2006.09359). Maximising the advantage under KL(pi || pi_beta) <= epsilon has the
solution pi* = pi_beta exp(A / lambda) / Z; the policy is fitted to it by weighted maximum
likelihood on the log. The critic's targets do ask for actions of the policy: the hole that IQL
closes.
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
from nav_offrl.networks.heads import DiscreteGoalCritic, GoalCritic
from nav_offrl.networks.policies import CategoricalPolicy


class AWACConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    discrete: ClassVar[bool] = True

    name: Literal["awac"] = "awac"
    temperature: float = Field(
        default=0.3, gt=0, description="lambda of exp(A / lambda): smaller is greedier"
    )
    weighting: Literal["clipped", "softmax"] = Field(
        default="clipped", description="exp(A / lambda) up to max_weight, or its share of the batch"
    )
    max_weight: float = Field(default=100.0, gt=0, description="clip of exp(A / lambda)")
    normalise_advantage: bool = Field(
        default=False, description="divide A by its standard deviation over the batch"
    )
    action_samples: int = Field(
        default=4, ge=1, description="actions that estimate V; discrete actions are summed over"
    )
    target_update_rate: float = Field(default=0.005, gt=0, le=1)
    policy_dropout: float = Field(default=0.3, ge=0, lt=1, description="as IQL's")


class AWAC(Method):
    """Twin critics with targets, and a policy."""

    config: AWACConfig

    def __init__(self, config: AWACConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        self.critic = spaces.critic(self.features.size, config.hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.policy = spaces.policy(self.features.size, config.hidden, config.policy_dropout)

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_Q and L_pi."""
        critic_loss, critic_metrics = self.critic_loss(batch)
        policy_loss, policy_metrics = self.policy_loss(batch)
        return {"critic": critic_loss, "policy": policy_loss}, critic_metrics | policy_metrics

    def policy_value(self, critic: GoalCritic | DiscreteGoalCritic, features: Tensor) -> Tensor:
        """V(s, g) = E_{a ~ pi}[min Q(s, a, g)]: (B, F) -> (B,); exact for discrete actions."""
        if isinstance(self.policy, CategoricalPolicy):
            assert isinstance(critic, DiscreteGoalCritic)
            every = critic.of_every_action(features).amin(0)
            return (self.policy.log_probs(features).exp() * every).sum(-1)
        assert isinstance(critic, GoalCritic)
        actions, _ = self.policy.sample(features, self.config.action_samples)
        return critic.of_actions(features, actions).amin(0).mean(0)

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m E_{a' ~ pi} min Q'(s', a', g) - Q(s, a, g))^2] (algorithm 1)."""
        with torch.no_grad():
            there = self.features(batch.next_observation, batch.goal)
            following = self.policy_value(self.target_critic, there)
            target = batch.reward + batch.discount * batch.mask * following
            target = within(target, self.spaces.return_bounds)
        q = self.critic(self.features(batch.observation, batch.goal), batch.action)
        td_error = (q - target).square().mean(-1)
        return td_error.sum(), {
            "critic/td_error": td_error.mean(),
            "critic/data_value": q.mean(),
            "critic/target": target.mean(),
        }

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_pi = -E[w(A) log pi(a | s, g)] with A = min Q(s, a, g) - V(s, g) (algorithm 1)."""
        there = self.features(batch.observation, batch.actor_goal)
        with torch.no_grad():
            value = self.policy_value(self.critic, there)
            advantage = self.critic(there, batch.action).amin(0) - value
            weight = self.weight(advantage)
        log_prob = self.policy.log_prob(there, batch.action)
        return -(weight * log_prob).mean(), {
            "value/mean": value.mean(),
            "policy/log_prob": log_prob.mean(),
            "policy/advantage": advantage.mean(),
            "policy/effective_sample_share": effective_sample_share(weight),
        }

    def weight(self, advantage: Tensor) -> Tensor:
        """Return w(A), (B,): proportional to exp(A / lambda) but for the clip.

        The softmax stands in for dividing by Z(s) as in the authors' code: its mean is 1.
        """
        if self.config.normalise_advantage:
            advantage = advantage / advantage.std(correction=0).clamp(min=1e-6)
        scaled = advantage / self.config.temperature
        if self.config.weighting == "softmax":
            return len(scaled) * scaled.softmax(0)
        return scaled.exp().clamp(max=self.config.max_weight)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Critic and policy."""
        rate = self.config.learning_rate
        return {
            "critic": ParameterGroup.of(self.critic, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
        }

    def after_step(self) -> None:
        """Let the target critic follow."""
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the mean or most likely action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return min Q at the mean action, or its expectation over discrete ones, (B,)."""
        here = self.features(observation, goal)
        if isinstance(self.critic, DiscreteGoalCritic):
            return self.policy_value(self.critic, here)
        value: Tensor = self.critic(here, self.policy(here)).amin(0)
        return value
