"""Goal-conditioned BEAR: any policy within the behaviour's support, and none outside.

Kumar, Fu, Tucker, Levine: Stabilizing Off-Policy Q-Learning via Bootstrapping Error Reduction, 2019
(arXiv 1906.00949). The policy maximises E[min Q] subject to MMD(pi_beta, pi) <= epsilon. On a few
samples each the MMD hardly sees how pi is spread inside the support of pi_beta, yet sees well when
pi leaves it: with many it would tie pi to the distribution itself.

Kernels and epsilon are those of the authors' code, on actions before their squashing by tanh.
"""

import copy
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics, frozen, polyak_update, within
from nav_offrl.algorithms.dual import LagrangeMultiplier
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.action_vae import ActionVAE
from nav_offrl.networks.heads import GoalCritic
from nav_offrl.networks.policies import TanhGaussianPolicy

Kernel = Literal["laplacian", "gaussian"]


class BEARConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    name: Literal["bear"] = "bear"
    kernel: Kernel = "laplacian"
    kernel_scale: float = Field(default=20.0, gt=0, description="sigma, of actions before tanh")
    mmd_threshold: float = Field(default=0.05, gt=0, description="epsilon")
    mmd_samples: int = Field(
        default=10, ge=1, description="n actions of each policy; many match more than the support"
    )
    dual_learning_rate: float = Field(default=1e-3, gt=0, description="of log alpha")
    behaviour_sees_goal: bool = Field(
        default=False,
        description="pi_beta(a | s, g) and not pi_beta(a | s), which knows nothing of random goals",
    )
    vae_kl_weight: float = Field(
        default=0.04,
        ge=0,
        description="four times the variance of actions that pi_beta may take for noise; the "
        "authors' 0.5 drops whatever spreads by less than 0.35 of the range [-1, 1]",
    )
    warmup_steps: int = Field(
        default=1000, ge=0, description="first steps, in which the policy only seeks the support"
    )
    minimum_share: float = Field(
        default=0.75, ge=0, le=1, description="lambda of the target's lambda min + (1-lambda) max"
    )
    target_actions: int = Field(default=10, ge=1, description="the best of so many in the target")
    act_samples: int = Field(default=100, ge=1, description="the best of so many is executed")
    target_update_rate: float = Field(default=0.005, gt=0, le=1)


class BEAR(Method):
    """Policy and twin critics with targets, behaviour autoencoder, and alpha."""

    config: BEARConfig
    updates: Tensor
    noise: Tensor

    def __init__(self, config: BEARConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        size, actions, hidden = self.features.size, spaces.action_size, config.hidden
        self.policy = TanhGaussianPolicy(size, actions, hidden)
        self.critic = GoalCritic(size, actions, hidden)
        self.target_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        seen = size if config.behaviour_sees_goal else spaces.observation_size
        self.behaviour = ActionVAE(seen, actions, hidden)
        self.multiplier = LagrangeMultiplier()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        table = torch.Generator().manual_seed(0)
        self.register_buffer("noise", torch.randn(config.act_samples, 1, actions, generator=table))

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return the losses of critic, behaviour and policy and, after the warm-up, of alpha."""
        critic_loss, critic_metrics = self.critic_loss(batch)
        behaviour_loss, behaviour_metrics = self.behaviour_loss(batch)
        policy_loss, divergence, policy_metrics = self.policy_loss(batch)
        losses = {"critic": critic_loss, "behaviour": behaviour_loss, "policy": policy_loss}
        if not self.is_warming_up():
            losses["dual"] = self.multiplier.loss(divergence - self.config.mmd_threshold)
        return losses, critic_metrics | behaviour_metrics | policy_metrics

    def is_warming_up(self) -> bool:
        """Whether the policy only seeks the support."""
        return int(self.updates) < self.config.warmup_steps

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m max_i [lambda min + (1 - lambda) max] Q'(s', a_i, g) - Q)^2].

        The a_i are actions of the target policy, least and greatest those of the twins (section 5).
        """
        with torch.no_grad():
            there = self.features(batch.next_observation, batch.goal)
            actions, _ = self.target_policy.sample(there, self.config.target_actions)
            twins = self.target_critic.of_actions(there, actions)
            mixed = torch.lerp(twins.amax(0), twins.amin(0), self.config.minimum_share)
            target = batch.reward + batch.discount * batch.mask * mixed.amax(0)
            target = within(target, self.spaces.return_bounds)
        q = self.critic(self.features(batch.observation, batch.goal), batch.action)
        td_error = (q - target).square().mean(-1)
        return td_error.sum(), {
            "critic/td_error": td_error.mean(),
            "critic/data_value": q.mean(),
            "critic/target": target.mean(),
        }

    def behaviour_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Evidence lower bound of the log's actions."""
        seen = self.seen_by_behaviour(batch)
        loss, reconstruction = self.behaviour.loss(seen, batch.action, self.config.vae_kl_weight)
        return loss, {"behaviour/squared_error": reconstruction}

    def seen_by_behaviour(self, batch: Batch) -> Tensor:
        """What pi_beta is conditioned on: (B, D), or pair features."""
        if not self.config.behaviour_sees_goal:
            return batch.observation
        seen: Tensor = self.features(batch.observation, batch.actor_goal)
        return seen

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        """L_pi = -E[min Q] + alpha (MMD - epsilon); in the warm-up the MMD. Also returns E[MMD]."""
        there = self.features(batch.observation, batch.actor_goal)
        mean, log_std = self.policy.mean_and_log_std(there)
        noise = torch.randn(self.config.mmd_samples, *mean.shape, device=mean.device)
        before = mean + log_std.exp() * noise
        with torch.no_grad():
            behaviour = self.behaviour.sample(self.seen_by_behaviour(batch), len(noise))
        distance = mmd(before, behaviour, self.config.kernel, self.config.kernel_scale).mean()
        if self.is_warming_up():
            return distance, distance, {"policy/divergence": distance}
        with frozen(self.critic):
            q = self.critic.of_actions(there, torch.tanh(before)).amin(0).mean()
        alpha = self.multiplier()
        return alpha * (distance - self.config.mmd_threshold) - q, distance, {
            "policy/divergence": distance,
            "policy/divergence_weight": alpha,
            "policy/q": q,
        }  # fmt: skip

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Critic, behaviour, policy and the logarithm of alpha."""
        rate, dual_rate = self.config.learning_rate, self.config.dual_learning_rate
        return {
            "critic": ParameterGroup.of(self.critic, learning_rate=rate),
            "behaviour": ParameterGroup.of(self.behaviour, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
            "dual": ParameterGroup.of(self.multiplier, learning_rate=dual_rate),
        }

    def after_step(self) -> None:
        """Let both targets follow."""
        polyak_update(self.target_policy, self.policy, self.config.target_update_rate)
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)
        self.multiplier.clip()
        self.updates += 1

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the best of `act_samples` actions by Q, (B, A) in [-1, 1].

        Their noise is a fixed table, the same for every row.
        """
        action, _ = self.best_of_samples(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return min Q of the action that would be executed, (B,)."""
        return self.best_of_samples(self.features(observation, goal))[1]

    def best_of_samples(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action (B, A) of greatest min Q, and that (B,)."""
        mean, log_std = self.policy.mean_and_log_std(features)
        actions = torch.tanh(mean + log_std.exp() * self.noise)
        value, best = self.critic.of_actions(features, actions).amin(0).max(0)
        chosen = best[None, :, None].expand(1, -1, actions.shape[-1])
        return actions.gather(0, chosen)[0], value


def mmd(first: Tensor, second: Tensor, kernel: Kernel, scale: float) -> Tensor:
    """Maximum mean discrepancy of actions (N, B, A) and (M, B, A), row by row: (B,).

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) over all pairs, an action with itself among them
    (section 5), with k = exp(-|x - y|_1 / (2 sigma)) or exp(-|x - y|^2 / (2 sigma)).
    """

    def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
        difference = x[:, None] - y[None]
        power = difference.abs() if kernel == "laplacian" else difference.square()
        return (-power.sum(-1) / (2 * scale)).exp().mean((0, 1))

    squared = mean_kernel(first, first) + mean_kernel(second, second)
    squared = squared - 2 * mean_kernel(first, second)
    # The root has no slope at 0, and rounding may lead below it.
    return (squared.clamp(min=0) + 1e-6).sqrt()
