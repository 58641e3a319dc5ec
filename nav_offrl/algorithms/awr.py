"""Goal-conditioned advantage-weighted regression: two regressions on what the drives did.

Peng, Kumar, Zhang, Levine: Advantage-Weighted Regression, 2019 (arXiv 1910.00177). V is fitted to
the returns of the log and the policy to its actions, weighted by how much better than V each turned
out. No action outside the data is ever evaluated, and the advantage is the behaviour's, not the
policy's (AWAC).

With -1 a step until the goal, a goal k steps ahead in the drive has the return
-(1 - gamma^k) / (1 - gamma). A goal that the drive does not come to has none: there V learns by
TD(0), which says how far the behaviour is from it, and the policy learns nothing, for nobody showed
it the way. The policy therefore copies towards `goal`, whose return is known, and not `actor_goal`.
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


class AWRConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    discrete: ClassVar[bool] = True
    any_reward: ClassVar[bool] = False

    name: Literal["awr"] = "awr"
    td_lambda: float = Field(
        default=0.95, ge=0, le=1, description="share of the Monte Carlo return; the rest is TD(0)"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="beta of exp(A / beta): smaller is greedier"
    )
    max_weight: float = Field(default=20.0, gt=0, description="clip of exp(A / beta)")
    normalise_advantage: bool = Field(
        default=True, description="divide A by its standard deviation, as the authors' code does"
    )
    target_update_rate: float = Field(default=0.005, gt=0, le=1)
    policy_dropout: float = Field(default=0.3, ge=0, lt=1, description="as IQL's")


class AWR(Method):
    """Value with its target, and policy."""

    config: AWRConfig

    def __init__(self, config: AWRConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        self.value = GoalValue(self.features.size, config.hidden)
        self.target_value = copy.deepcopy(self.value).requires_grad_(False)
        self.policy = spaces.policy(self.features.size, config.hidden, config.policy_dropout)

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_V and L_pi."""
        here = self.features(batch.observation, batch.goal)
        value, returns = self.value(here)[0], self.returns(batch)
        value_loss = (returns - value).square().mean()
        policy_loss, metrics = self.policy_loss(here, (returns - value).detach(), batch)
        metrics |= {"value/mean": value.mean(), "value/return": returns.mean()}
        return {"value": value_loss, "policy": policy_loss}, metrics

    @torch.no_grad()
    def returns(self, batch: Batch) -> Tensor:
        """R^lambda of the log's actions, (B,).

        TD(lambda) of the paper mixes the returns of all lengths; a batch knows two of them, the
        shortest, r + gamma m V'(s'), and the whole.
        """
        following = self.target_value(self.features(batch.next_observation, batch.goal))[0]
        bootstrapped = batch.reward + batch.discount * batch.mask * following
        bootstrapped = within(bootstrapped, self.spaces.return_bounds)
        gamma = self.config.discount
        monte_carlo = -(1 - gamma ** batch.steps_to_goal.clamp(min=0)) / (1 - gamma)
        share = torch.where(batch.steps_to_goal >= 0, self.config.td_lambda, 0.0)
        return torch.lerp(bootstrapped, monte_carlo, share)

    def policy_loss(self, here: Tensor, advantage: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_pi = -E[min(exp(A / beta), w_max) log pi(a | s, g)] over the goals ahead (eq. 10)."""
        ahead = (batch.steps_to_goal > 0).float()
        share = ahead.mean().clamp(min=1 / len(batch))
        if self.config.normalise_advantage:
            advantage = advantage / standard_deviation(advantage, ahead).clamp(min=1e-6)
        weight = (advantage / self.config.temperature).exp().clamp(max=self.config.max_weight)
        weight = ahead * weight
        log_prob = self.policy.log_prob(here, batch.action)
        # The floor only keeps a batch without any goal ahead from dividing 0 by 0.
        of_batch = effective_sample_share(weight.clamp(min=1e-12))
        return -(weight * log_prob).mean(), {
            "policy/log_prob": (ahead * log_prob).mean() / share,
            "policy/effective_sample_share": of_batch / share,
        }

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
        """Return V(s, g), (B,)."""
        value: Tensor = self.value(self.features(observation, goal))[0]
        return value


def standard_deviation(values: Tensor, chosen: Tensor) -> Tensor:
    """Of those of the values (B,) where `chosen` (B,) is 1 and not 0."""
    share = chosen.mean().clamp(min=1 / len(chosen))
    mean = (chosen * values).mean() / share
    return ((chosen * (values - mean).square()).mean() / share).sqrt()
