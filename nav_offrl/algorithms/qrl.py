"""Quasimetric reinforcement learning: the shortest way as the greatest distance that steps allow.

Wang, Torralba, Isola, Zhang: Optimal Goal-Reaching Reinforcement Learning via Quasimetric Learning,
2023 (arXiv 2304.01203). Of all functions with d(s, s') <= 1 for the steps of the log and the
triangle inequality, the greatest is the number of steps of the shortest way. So random states are
pushed apart while the log's steps hold their ends together, by a network that obeys the triangle
inequality whatever its weights. That puts pieces of different drives together; it takes the world
for deterministic, and luck for a way.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics, ddpg_bc_loss, frozen
from nav_offrl.algorithms.dual import LagrangeMultiplier
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.policies import DeterministicPolicy
from nav_offrl.networks.quasimetric import IntervalQuasimetric
from nav_offrl.networks.representations import Embedding


class QRLConfig(MethodConfig):
    """Hyperparameters; the defaults are OGBench's."""

    goals: ClassVar[str] = "qrl"
    any_reward: ClassVar[bool] = False

    name: Literal["qrl"] = "qrl"
    squared_violation: float = Field(
        default=0.05,
        gt=0,
        description="epsilon^2: mean square of what d(s, s') may exceed a step by (paper: 0.0625)",
    )
    push_scale: float = Field(
        default=100.0, gt=0, description="steps over which the push on distances tapers off"
    )
    push_offset: float = Field(
        default=5.0, description="the push is halved at this many times push_scale"
    )
    latent_size: int = Field(default=512, ge=1)
    component_size: int = Field(default=8, ge=1, description="intervals whose union is measured")
    behaviour_weight: float = Field(
        default=0.003, ge=0, description="alpha of DDPG+BC; OGBench: 0.0003 for point mazes"
    )
    dual_learning_rate: float = Field(default=3e-4, gt=0, description="of lambda")
    policy_dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _latent_splits_into_components(self) -> "QRLConfig":
        if self.latent_size % self.component_size:
            raise ValueError("latent_size must be a multiple of component_size")
        return self


class QRL(Method):
    """Embedding, quasimetric and dynamics of embeddings; lambda; policy."""

    config: QRLConfig

    def __init__(self, config: QRLConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config = config
        hidden, size = config.hidden, config.latent_size
        self.embedding = Embedding(spaces.observation_size, hidden, size)
        self.quasimetric = IntervalQuasimetric(size, config.component_size)
        self.dynamics = Embedding(size + spaces.action_size, hidden, size)
        self.multiplier = LagrangeMultiplier()
        self.features = spaces.features()
        self.policy = DeterministicPolicy(
            self.features.size, spaces.action_size, hidden, config.policy_dropout
        )

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return the loss of the distance and its dynamics, of lambda, and L_pi."""
        together = torch.cat([batch.observation, batch.next_observation, batch.goal])
        here, there, goal = self.embedding(together).chunk(3)
        push, push_metrics = self.push(here, goal)
        violation, violation_metrics = self.violation(here, there, batch)
        dynamics_loss = self.dynamics_loss(here, there, batch)
        policy_loss, policy_metrics = self.policy_loss(here.detach(), batch)
        losses = {
            "critic": push + self.multiplier() * violation + dynamics_loss,
            "dual": self.multiplier.loss(violation - self.config.squared_violation),
            "policy": policy_loss,
        }
        metrics = push_metrics | violation_metrics | policy_metrics
        return losses, metrics | {"dynamics/distance": dynamics_loss}

    def push(self, here: Tensor, goal: Tensor) -> tuple[Tensor, Metrics]:
        """E[phi(d(s, g))], to be made small: random pairs are pushed apart.

        phi(d) = 100 softplus(5 - d / 100) falls with d at a slope of nearly 1 that vanishes far
        beyond the longest ways, so that pairs without a way between them do not take over.
        """
        scale, offset = self.config.push_scale, self.config.push_offset
        distance = self.quasimetric(here, goal)
        push = scale * functional.softplus(offset - distance / scale)
        return push.mean(), {"critic/distance": distance.mean()}

    def violation(self, here: Tensor, there: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """E[relu(d(s, s') - n)^2] of pairs that are n steps apart, to be at most epsilon^2."""
        steps = batch.discount.log() / math.log(self.config.discount)
        distance = self.quasimetric(here, there)
        violation = functional.relu(distance - steps).square().mean()
        return violation, {
            "critic/step": distance.mean(),
            "critic/violation": violation,
            "dual/multiplier": self.multiplier(),
        }

    def dynamics_loss(self, here: Tensor, there: Tensor, batch: Batch) -> Tensor:
        """E[d(z', z'^) + d(z'^, z')] / 2 of z'^ = z + T(z, a)."""
        predicted = self.following(here, batch.action)
        both = self.quasimetric(there, predicted) + self.quasimetric(predicted, there)
        loss: Tensor = both.mean() / 2
        return loss

    def following(self, latent: Tensor, action: Tensor) -> Tensor:
        """Predict the embedding that an action leads to."""
        change: Tensor = self.dynamics(torch.cat([latent, action], -1))
        return latent + change

    def policy_loss(self, here: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """DDPG+BC on Q(s, a, g) = -d(z + T(z, a), z_g)."""
        action = self.policy(self.features(batch.observation, batch.actor_goal))
        with torch.no_grad():
            goal = self.embedding(batch.actor_goal)
        with frozen(self.dynamics, self.quasimetric):
            q = -self.quasimetric(self.following(here, action), goal)
        loss = ddpg_bc_loss(q, action, batch.action, self.config.behaviour_weight)
        squared_error = (action - batch.action).square().mean()
        return loss, {"policy/q": q.mean(), "policy/squared_error": squared_error}

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """All that makes the distance, as in the paper; lambda; policy."""
        rate = self.config.learning_rate
        distance = (self.embedding, self.quasimetric, self.dynamics)
        return {
            "critic": ParameterGroup.of(*distance, learning_rate=rate),
            "dual": ParameterGroup.of(
                self.multiplier, learning_rate=self.config.dual_learning_rate
            ),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
        }

    def after_step(self) -> None:
        """Keep lambda within its bounds."""
        self.multiplier.clip()

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the policy's action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def distance(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return d(s, g), the steps of the shortest way, (B,)."""
        distance: Tensor = self.quasimetric(self.embedding(observation), self.embedding(goal))
        return distance

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return V(s, g) = -(1 - gamma^d) / (1 - gamma), the return of d steps of -1, (B,)."""
        gamma = self.config.discount
        return (gamma ** self.distance(observation, goal) - 1) / (1 - gamma)
