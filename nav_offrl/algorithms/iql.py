"""Goal-conditioned implicit Q-learning.

Kostrikov, Nair, Levine: Offline Reinforcement Learning with Implicit Q-Learning, 2021
(arXiv 2110.06169), with goals by hindsight. No action outside the data is ever evaluated: V is an
upper expectile of Q over the data's actions, and the policy is a weighted copy of them.
"""

import copy

import torch
from pydantic import Field
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import (
    Metrics,
    effective_sample_share,
    expectile_loss,
    polyak_update,
)
from nav_offrl.config import Config
from nav_offrl.networks.heads import (
    GaussianPolicy,
    GoalCritic,
    GoalValue,
    PairFeatures,
    PairHead,
)


class IQLConfig(Config):
    """Hyperparameters, named as in the paper."""

    discount: float = Field(default=0.98, gt=0, lt=1)
    expectile: float = Field(default=0.9, gt=0, lt=1, description="tau of L_V")
    temperature: float = Field(default=3.0, ge=0, description="beta: inverse temperature of AWR")
    max_weight: float = Field(default=100.0, gt=0, description="clip of exp(beta A)")
    learning_rate: float = Field(default=3e-4, gt=0)
    target_update_rate: float = Field(default=0.005, gt=0, le=1)
    hidden: tuple[int, ...] = (256, 256)
    policy_dropout: float = Field(
        default=0.3, ge=0, lt=1, description="as for the paper's small data sets (appendix B)"
    )


class IQL(nn.Module):
    """Value, twin critics with targets, and policy on latents."""

    def __init__(
        self,
        config: IQLConfig,
        latent_size: int,
        action_size: int,
        relation: PairHead | None = None,
    ) -> None:
        """`relation` is a pair head of its own, frozen here; the heads see its predictions."""
        super().__init__()
        self.config = config
        self.features = PairFeatures(latent_size, relation)
        inputs = self.features.size
        self.value = GoalValue(inputs, config.hidden)
        self.critic = GoalCritic(inputs, action_size, config.hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.policy = GaussianPolicy(inputs, action_size, config.hidden, config.policy_dropout)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=config.learning_rate, foreach=True)

    def value_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_V = E[L_tau(Q'(s, a, g) - V(s, g))] (eq. 5)."""
        features = self.features(batch.observation, batch.goal)
        with torch.no_grad():
            q = self.target_critic(features, batch.action).amin(0)
        value = self.value(features)[0]
        loss = expectile_loss(q - value, self.config.expectile).mean()
        return loss, {"value/loss": loss, "value/mean": value.mean()}

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m V(s', g) - Q(s, a, g))^2] (eq. 6), for both critics.

        Rewards are -1 or 0, so a return lies in [-1 / (1 - gamma), 0]; targets are clipped to it.
        """
        gamma = self.config.discount
        with torch.no_grad():
            following = self.value(self.features(batch.next_observation, batch.goal))[0]
            target = batch.reward + gamma * batch.mask * following
            target = target.clamp(-1.0 / (1.0 - gamma), 0.0)
        q = self.critic(self.features(batch.observation, batch.goal), batch.action)
        loss = (q - target).square().mean(-1).sum()
        return loss, {"critic/loss": loss, "critic/mean": q.mean(), "critic/target": target.mean()}

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_pi = -E[exp(beta A) log pi(a | s, g)] with A = Q' - V (eq. 7)."""
        features = self.features(batch.observation, batch.actor_goal)
        with torch.no_grad():
            q = self.target_critic(features, batch.action).amin(0)
            advantage = q - self.value(features)[0]
            weight = (self.config.temperature * advantage).exp().clamp(max=self.config.max_weight)
        log_prob = self.policy.log_prob(features, batch.action)
        loss = -(weight * log_prob).mean()
        return loss, {
            "policy/loss": loss,
            "policy/log_prob": log_prob.mean(),
            "policy/advantage": advantage.mean(),
            "policy/effective_sample_share": effective_sample_share(weight),
        }

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step on all three losses; returns detached metrics."""
        self.train()
        value_loss, metrics = self.value_loss(batch)
        critic_loss, critic_metrics = self.critic_loss(batch)
        policy_loss, policy_metrics = self.policy_loss(batch)
        # The three losses share no head, so one backward of their sum is three separate ones.
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value_loss + critic_loss + policy_loss)
        self.optimizer.step()
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)
        metrics |= critic_metrics | policy_metrics
        return {name: value.detach() for name, value in metrics.items()}

    @torch.no_grad()
    def act(self, latent: Tensor, goal: Tensor) -> Tensor:
        """Return the mean action (B, A) in [-1, 1], in evaluation mode."""
        self.eval()
        mean: Tensor = self.policy(self.features(latent, goal))
        return mean
