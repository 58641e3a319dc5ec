"""Goal-conditioned behaviour cloning.

Ghosh et al. 2021, *Learning to Reach Goals via Iterated Supervised Learning* (arXiv 1912.06088),
on a fixed log: whatever the robot did on its way to a place is taken for the way there. The
baseline of every method here, and the estimate of the behaviour policy for some.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.policies import CategoricalPolicy, DeterministicPolicy, GaussianPolicy


class BCConfig(MethodConfig):
    """Hyperparameters."""

    discrete: ClassVar[bool] = True
    any_reward: ClassVar[bool] = False

    name: Literal["bc"] = "bc"
    policy: Literal["gaussian", "deterministic"] = Field(
        default="gaussian", description="maximum likelihood, or least squares"
    )
    policy_dropout: float = Field(default=0.3, ge=0, lt=1)


class BC(Method):
    """A policy and nothing else."""

    config: BCConfig

    def __init__(self, config: BCConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config = config
        self.features = spaces.features()
        size, dropout = self.features.size, config.policy_dropout
        self.policy: DeterministicPolicy | GaussianPolicy | CategoricalPolicy
        if config.policy == "deterministic" and spaces.grid is None:
            self.policy = DeterministicPolicy(size, spaces.action_size, config.hidden, dropout)
        else:
            self.policy = spaces.policy(size, config.hidden, dropout)

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """L = -E[log pi(a | s, g)], or E[|mu(s, g) - a|^2]."""
        there = self.features(batch.observation, batch.actor_goal)
        if isinstance(self.policy, DeterministicPolicy):
            error = (self.policy(there) - batch.action).square().sum(-1).mean()
            return {"policy": error}, {"policy/squared_error": error}
        log_prob = self.policy.log_prob(there, batch.action).mean()
        return {"policy": -log_prob}, {"policy/log_prob": log_prob}

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """The policy."""
        rate = self.config.learning_rate
        return {"policy": ParameterGroup.of(self.policy, learning_rate=rate)}

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the mean or most likely action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Imitation has no notion of value: zeros (B,)."""
        return torch.zeros(len(observation), device=observation.device)
