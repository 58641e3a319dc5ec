"""Hierarchical implicit Q-learning: one value, a policy that says where to, one that goes there.

Park, Ghosh, Eysenbach, Levine: HIQL, Offline Goal-Conditioned RL with Latent States as Actions,
2023 (arXiv 2307.11949). Far from the goal a step changes the value by less than its error, so a
flat policy is lost there. Here the high policy compares states k steps apart, whose values differ
by much, and says a subgoal; the low policy takes single steps towards it, where values are right.
The subgoal is a representation phi(s, g) that the value learns on the way: V(s, phi(s, g)). The
value needs to know how far g is, not where: phi may lose the side that g lies on.
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
from nav_offrl.networks.mlp import perceptron
from nav_offrl.networks.policies import gaussian_log_prob
from nav_offrl.networks.representations import LengthNormalisedEmbedding, length_normalised


class HIQLConfig(MethodConfig):
    """Hyperparameters; the defaults are OGBench's (the paper has 1 for both temperatures)."""

    goals: ClassVar[str] = "hiql"
    discrete: ClassVar[bool] = True

    name: Literal["hiql"] = "hiql"
    expectile: float = Field(default=0.7, gt=0, lt=1, description="tau of L_V")
    high_temperature: float = Field(
        default=3.0, ge=0, description="beta of the high policy: inverse temperature of AWR"
    )
    low_temperature: float = Field(default=3.0, ge=0, description="beta of the low policy")
    max_weight: float = Field(default=100.0, gt=0, description="clip of exp(beta A)")
    subgoal_steps: int = Field(default=25, ge=1, description="k: how far ahead subgoals lie")
    representation_size: int = Field(default=10, ge=1, description="numbers in phi")
    representation_of: Literal["state_and_goal", "goal"] = Field(
        default="state_and_goal",
        description="phi(s, g) as in the authors' code, or phi(g), which must serve every state: "
        "it cannot take a subgoal on the left for one as far on the right",
    )
    target_update_rate: float = Field(default=0.005, gt=0, le=1)
    policy_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="IQL's 0.3 helps where the log is small"
    )


class HIQL(Method):
    """Representation, twin values with targets, and two policies."""

    config: HIQLConfig

    def __init__(self, config: HIQLConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        pair, hidden, size = self.features.size, config.hidden, config.representation_size
        alone = config.representation_of == "goal"
        represented = spaces.observation_size if alone else pair
        self.representation = LengthNormalisedEmbedding(represented, hidden, size)
        self.value = GoalValue(spaces.observation_size + size, hidden, members=2)
        # As in the authors' code the target has no representation of its own.
        self.target_value = copy.deepcopy(self.value).requires_grad_(False)
        self.high_policy = perceptron(pair, hidden, size, config.policy_dropout)
        self.low_policy = spaces.policy(
            spaces.observation_size + size, hidden, config.policy_dropout
        )

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_V and the two L_pi; only L_V moves the representation."""
        value_loss, value_metrics = self.value_loss(batch)
        high_loss, high_metrics = self.high_policy_loss(batch)
        low_loss, low_metrics = self.low_policy_loss(batch)
        losses = {"value": value_loss, "high_policy": high_loss, "low_policy": low_loss}
        return losses, value_metrics | high_metrics | low_metrics

    def represent(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return phi(s, g) or phi(g), (B, size)."""
        alone = self.config.representation_of == "goal"
        phi: Tensor = self.representation(goal if alone else self.features(observation, goal))
        return phi

    def seen(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return what value and low policy see: the observation and phi, (B, D + size)."""
        return torch.cat([observation, self.represent(observation, goal)], -1)

    def value_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_V = E[|tau - 1(A < 0)| (r + gamma m V'(s', g) - V(s, g))^2], summed over the twins.

        Eq. 4. The sign is that of A = r + gamma m min V'(s', g) - mean V'(s, g), of the targets
        alone: as in double Q-learning, whose error is squared does not choose its weight.
        """
        here = self.seen(batch.observation, batch.goal)
        with torch.no_grad():
            following = self.target_value(self.seen(batch.next_observation, batch.goal))
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

    def high_policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """-E[exp(beta A) log pi(phi(s, s_k) | s, g)], A = V(s_k, g) - V(s, g) (eq. 6).

        s_k is k steps ahead or the goal, where that is nearer. The density is a Gaussian's of
        standard deviation 1.
        """
        assert batch.actor_subgoal is not None, "HIQL needs subgoals"
        weight = self.weight(
            self.advantage(batch.observation, batch.actor_subgoal, batch.actor_goal),
            self.config.high_temperature,
        )
        with torch.no_grad():
            subgoal = self.represent(batch.observation, batch.actor_subgoal)
        mean = self.high_policy(self.features(batch.observation, batch.actor_goal))
        log_prob = gaussian_log_prob(subgoal, mean, torch.zeros_like(mean))
        return -(weight * log_prob).mean(), {
            "high_policy/log_prob": log_prob.mean(),
            "high_policy/effective_sample_share": effective_sample_share(weight),
        }

    def low_policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """-E[exp(beta A) log pi(a | s, phi(s, s_k))], A = V(s', s_k) - V(s, s_k) (eq. 7)."""
        assert batch.subgoal is not None, "HIQL needs subgoals"
        weight = self.weight(
            self.advantage(batch.observation, batch.next_observation, batch.subgoal),
            self.config.low_temperature,
        )
        with torch.no_grad():
            seen = self.seen(batch.observation, batch.subgoal)
        log_prob = self.low_policy.log_prob(seen, batch.action)
        return -(weight * log_prob).mean(), {
            "policy/log_prob": log_prob.mean(),
            "policy/effective_sample_share": effective_sample_share(weight),
        }

    @torch.no_grad()
    def advantage(self, observation: Tensor, following: Tensor, goal: Tensor) -> Tensor:
        """How much nearer to the goal the second observation is, (B,)."""
        return self.state_value(following, goal) - self.state_value(observation, goal)

    def weight(self, advantage: Tensor, temperature: float) -> Tensor:
        """exp(beta A), clipped, (B,)."""
        return (temperature * advantage).exp().clamp(max=self.config.max_weight)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Representation and value, which share a loss, and the policies."""
        rate = self.config.learning_rate
        return {
            "value": ParameterGroup.of(self.representation, self.value, learning_rate=rate),
            "high_policy": ParameterGroup.of(self.high_policy, learning_rate=rate),
            "low_policy": ParameterGroup.of(self.low_policy, learning_rate=rate),
        }

    def after_step(self) -> None:
        """Let the target value follow."""
        polyak_update(self.target_value, self.value, self.config.target_update_rate)

    def subgoal(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the representation that the high policy says, (B, size) of length sqrt(size)."""
        return length_normalised(self.high_policy(self.features(observation, goal)))

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the low policy's mean or most likely action (B, A) towards the subgoal."""
        seen = torch.cat([observation, self.subgoal(observation, goal)], -1)
        action: Tensor = self.low_policy(seen)
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return V(s, phi(s, g)), the twins' mean, (B,)."""
        value: Tensor = self.value(self.seen(observation, goal)).mean(0)
        return value
