"""Goal-conditioned TD3+BC: climb the critic, tied to the data by least squares.

Fujimoto and Gu: A Minimalist Approach to Offline Reinforcement Learning, 2021 (arXiv 2106.06860),
on TD3 (Fujimoto et al. 2018, arXiv 1802.09477). The critics have LayerNorm as in ReBRAC (Tarasov et
al. 2023, arXiv 2305.09836); its second weight, in the critic's target, would need the log's next
action, which a batch does not hold.
"""

import copy
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics, frozen, polyak_update, within
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.heads import GoalCritic
from nav_offrl.networks.policies import DeterministicPolicy


class TD3BCConfig(MethodConfig):
    """Hyperparameters, named as in the papers."""

    name: Literal["td3_bc"] = "td3_bc"
    alpha: float = Field(
        default=2.5, ge=0, description="weight of the critic against imitation; 0 only imitates"
    )
    policy_noise: float = Field(
        default=0.2, ge=0, description="standard deviation of the noise on the target's action"
    )
    noise_clip: float = Field(default=0.5, ge=0, description="greatest size of that noise")
    policy_delay: int = Field(default=2, ge=1, description="critic steps a policy step")
    target_update_rate: float = Field(default=0.005, gt=0, le=1)


class TD3BC(Method):
    """A deterministic policy and twin critics, both with targets."""

    config: TD3BCConfig
    updates: Tensor

    def __init__(self, config: TD3BCConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        size, hidden = self.features.size, config.hidden
        self.policy = DeterministicPolicy(size, spaces.action_size, hidden)
        self.critic = GoalCritic(size, spaces.action_size, hidden)
        self.target_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_Q, and L_pi in every `policy_delay`-th step."""
        critic_loss, metrics = self.critic_loss(batch)
        if self.training and not self.policy_is_due():
            return {"critic": critic_loss}, metrics
        policy_loss, policy_metrics = self.policy_loss(batch)
        return {"critic": critic_loss, "policy": policy_loss}, metrics | policy_metrics

    def policy_is_due(self) -> bool:
        """Whether this step moves the policy and the targets."""
        return (int(self.updates) + 1) % self.config.policy_delay == 0

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m min Q'(s', mu'(s') + noise) - Q(s, a))^2], summed over the twins.

        Target policy smoothing and clipped double Q-learning: TD3, algorithm 1.
        """
        with torch.no_grad():
            there = self.features(batch.next_observation, batch.goal)
            noise = self.config.policy_noise * torch.randn_like(batch.action)
            noise = noise.clamp(-self.config.noise_clip, self.config.noise_clip)
            action = (self.target_policy(there) + noise).clamp(-1, 1)
            following = self.target_critic(there, action).amin(0)
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
        """L_pi = E[-lambda Q_1(s, mu(s)) + |mu(s) - a|^2], lambda = alpha / E|Q_1| (section 4).

        As in the authors' code, lambda takes Q at the policy's actions and the square is the mean
        over the action's dimensions.
        """
        there = self.features(batch.observation, batch.actor_goal)
        action = self.policy(there)
        with frozen(self.critic):
            q = self.critic(there, action)[0]
        weight = self.config.alpha / q.abs().mean().detach().clamp(min=1e-6)
        squared_error = (action - batch.action).square().mean()
        return squared_error - weight * q.mean(), {
            "policy/q": q.mean(),
            "policy/squared_error": squared_error,
            "policy/critic_weight": weight,
        }

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Critic and policy."""
        rate = self.config.learning_rate
        return {
            "critic": ParameterGroup.of(self.critic, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
        }

    def after_step(self) -> None:
        """Let both targets follow when the policy has moved."""
        if self.policy_is_due():
            polyak_update(self.target_policy, self.policy, self.config.target_update_rate)
            polyak_update(self.target_critic, self.critic, self.config.target_update_rate)
        self.updates += 1

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the policy's action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return min Q(s, mu(s, g), g), (B,)."""
        here = self.features(observation, goal)
        value: Tensor = self.critic(here, self.policy(here)).amin(0)
        return value
