"""Contrastive reinforcement learning: which of many goals did this drive come to?

Eysenbach, Zhang, Levine, Salakhutdinov: Contrastive Learning as Goal-Conditioned Reinforcement
Learning, 2022 (arXiv 2206.07568), offline with DDPG+BC as in OGBench. A critic
f(s, a, g) = phi(s, a) . psi(g) / sqrt(d) tells the place that a drive came to from those that other
drives came to. There is no bootstrapping, so nothing diverges and nothing is put together from
pieces of different drives either: the value is that of the behaviour.

f is a log ratio, log p(g | s, a) / p(g) up to a constant, with p the discounted share of time that
the behaviour will spend at g. It ranks actions and states for one goal. It is no return: it can be
positive, and it does not compare goals, nor count steps.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics, ddpg_bc_loss, frozen
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.policies import DeterministicPolicy
from nav_offrl.networks.representations import BilinearCritic


class CRLConfig(MethodConfig):
    """Hyperparameters; the defaults are OGBench's."""

    goals: ClassVar[str] = "crl"
    any_reward: ClassVar[bool] = False

    name: Literal["crl"] = "crl"
    latent_size: int = Field(default=512, ge=1, description="d, numbers in phi and psi")
    behaviour_weight: float = Field(
        default=0.1, ge=0, description="alpha of DDPG+BC; OGBench: 0.03 for point mazes"
    )
    policy_dropout: float = Field(default=0.0, ge=0, lt=1)


class CRL(Method):
    """Twin critics and policy."""

    config: CRLConfig

    def __init__(self, config: CRLConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config = config
        observed, acted = spaces.observation_size, spaces.action_size
        self.critic = BilinearCritic(observed + acted, observed, config.hidden, config.latent_size)
        self.features = spaces.features()
        self.policy = DeterministicPolicy(
            self.features.size, acted, config.hidden, config.policy_dropout
        )

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_f and L_pi."""
        critic_loss, critic_metrics = self.critic_loss(batch)
        policy_loss, policy_metrics = self.policy_loss(batch)
        return {"critic": critic_loss, "policy": policy_loss}, critic_metrics | policy_metrics

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Binary NCE over all B x B pairs, the twins' mean: was it row i that came to goal j?

        A goal drawn twice counts as false for the other row. That is right: rows and goals of
        different drives are then independent, as p(g) in the denominator supposes.
        """
        logits = self.critic.of_every_pair(
            torch.cat([batch.observation, batch.action], -1), batch.goal
        )
        same = torch.eye(len(batch), device=logits.device).expand_as(logits)
        loss = functional.binary_cross_entropy_with_logits(logits, same)
        positive = logits.diagonal(dim1=1, dim2=2)
        found = logits.mean(0).argmax(-1) == torch.arange(len(batch), device=logits.device)
        return loss, {
            "critic/data_value": positive.mean(),
            "critic/mean_logit": logits.mean(),
            "critic/accuracy": found.float().mean(),
        }

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """DDPG+BC on the lower of the twins."""
        action = self.policy(self.features(batch.observation, batch.actor_goal))
        with frozen(self.critic):
            q = self.log_ratio(batch.observation, action, batch.actor_goal)
        loss = ddpg_bc_loss(q, action, batch.action, self.config.behaviour_weight)
        squared_error = (action - batch.action).square().mean()
        return loss, {"policy/q": q.mean(), "policy/squared_error": squared_error}

    def log_ratio(self, observation: Tensor, action: Tensor, goal: Tensor) -> Tensor:
        """Return the lower f(s, a, g) of the twins, (B,)."""
        lower: Tensor = self.critic(torch.cat([observation, action], -1), goal).amin(0)
        return lower

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Critic and policy."""
        rate = self.config.learning_rate
        return {
            "critic": ParameterGroup.of(self.critic, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
        }

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the policy's action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return f(s, mu(s, g), g), (B,): a log ratio, not a return (see above)."""
        return self.log_ratio(observation, self.act(observation, goal), goal)
