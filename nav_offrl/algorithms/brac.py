"""Goal-conditioned BRAC: an actor and a critic that pay for leaving the behaviour policy.

Wu, Tucker, Nachum: Behavior Regularized Offline Reinforcement Learning, 2019 (arXiv 1911.11361),
with D = KL(pi || pi_beta) estimated by the policy's own samples. In both forms the policy maximises
E[Q] - alpha D. In BRAC-v the value pays as well, V(s) = E[Q(s, a)] - alpha D(s), so that a policy
also avoids states where it would have to diverge later; in BRAC-p it does not.

pi_beta is learned in the same run, ahead of the rest: until `warmup_steps` the policy only follows
it, lest the first values be full of the divergence of an untrained policy.
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
from nav_offrl.networks.heads import GoalCritic
from nav_offrl.networks.policies import TanhGaussianPolicy


class BRACConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    name: Literal["brac"] = "brac"
    regularisation: Literal["value", "policy"] = Field(
        default="value", description="BRAC-v, the paper's better one, or BRAC-p"
    )
    divergence_weight: float = Field(
        default=1.0, gt=0, description="alpha, in units of return a nat; the first one if adapted"
    )
    divergence_threshold: float | None = Field(
        default=None,
        gt=0,
        description="nats: alpha adapts to keep D below it; null: alpha is fixed",
    )
    dual_learning_rate: float = Field(default=1e-3, gt=0, description="of log alpha, if adapted")
    action_samples: int = Field(default=4, ge=1, description="actions that estimate E[Q] and D")
    behaviour_sees_goal: bool = Field(
        default=False,
        description="pi_beta(a | s, g) and not pi_beta(a | s), which knows nothing of random goals",
    )
    warmup_steps: int = Field(
        default=1000, ge=0, description="first steps, in which only pi_beta and its follower learn"
    )
    target_update_rate: float = Field(default=0.005, gt=0, le=1)


class BRAC(Method):
    """Policy, twin critics with targets, behaviour policy, and alpha if it adapts."""

    config: BRACConfig
    updates: Tensor

    def __init__(self, config: BRACConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        size, actions, hidden = self.features.size, spaces.action_size, config.hidden
        self.policy = TanhGaussianPolicy(size, actions, hidden)
        self.critic = GoalCritic(size, actions, hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        seen = size if config.behaviour_sees_goal else spaces.observation_size
        self.behaviour = TanhGaussianPolicy(seen, actions, hidden)
        adapts = config.divergence_threshold is not None
        self.multiplier = LagrangeMultiplier(config.divergence_weight) if adapts else None
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return the losses of behaviour and policy and, after the warm-up, of critic and alpha."""
        behaviour_loss = self.behaviour_loss(batch)
        policy_loss, divergence, metrics = self.policy_loss(batch)
        losses = {"behaviour": behaviour_loss, "policy": policy_loss}
        if self.is_warming_up():
            return losses, metrics
        losses["critic"], critic_metrics = self.critic_loss(batch)
        if self.multiplier is not None and self.config.divergence_threshold is not None:
            losses["dual"] = self.multiplier.loss(divergence - self.config.divergence_threshold)
        return losses, metrics | critic_metrics

    def is_warming_up(self) -> bool:
        """Whether only behaviour and policy are moved."""
        return int(self.updates) < self.config.warmup_steps

    def behaviour_loss(self, batch: Batch) -> Tensor:
        """L_beta = -E[log pi_beta(a | s)]: maximum likelihood (section 3)."""
        seen = self.seen_by_behaviour(batch.observation, batch.actor_goal)
        return -self.behaviour.log_prob(seen, batch.action).mean()

    def seen_by_behaviour(self, observation: Tensor, goal: Tensor) -> Tensor:
        """What pi_beta is conditioned on: (B, D), (B, D) -> (B, D) or pair features."""
        return self.features(observation, goal) if self.config.behaviour_sees_goal else observation

    def divergence(self, seen: Tensor, actions: Tensor, log_prob: Tensor) -> Tensor:
        """Estimate KL(pi || pi_beta) from N actions of pi and their log pi, (N, B): (B,)."""
        return (log_prob - self.behaviour.log_prob(seen, actions)).mean(0)

    def policy_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        """L_pi = -E[min Q(s, a, g)] + alpha D; in the warm-up D alone. Also returns E[D]."""
        there = self.features(batch.observation, batch.actor_goal)
        seen = self.seen_by_behaviour(batch.observation, batch.actor_goal)
        actions, log_prob = self.policy.sample(there, self.config.action_samples)
        with frozen(self.critic, self.behaviour):
            divergence = self.divergence(seen, actions, log_prob).mean()
            metrics = {"policy/divergence": divergence}
            if self.is_warming_up():
                return divergence, divergence, metrics
            q = self.critic.of_actions(there, actions).amin(0).mean()
        metrics |= {"policy/q": q, "policy/divergence_weight": self.divergence_weight()}
        return self.divergence_weight() * divergence - q, divergence, metrics

    def divergence_weight(self) -> Tensor:
        """Return alpha, a scalar without gradient."""
        if self.multiplier is None:
            return torch.tensor(self.config.divergence_weight, device=self.updates.device)
        alpha: Tensor = self.multiplier()
        return alpha

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m V(s', g) - Q(s, a, g))^2], summed over the twins."""
        with torch.no_grad():
            target = batch.reward + batch.discount * batch.mask * self.next_value(batch)
            # A value that has paid for divergence may lie below the return of never arriving.
            least, greatest = self.spaces.return_bounds
            pays = self.config.regularisation == "value"
            target = within(target, (-float("inf") if pays else least, greatest))
        q = self.critic(self.features(batch.observation, batch.goal), batch.action)
        td_error = (q - target).square().mean(-1)
        return td_error.sum(), {
            "critic/td_error": td_error.mean(),
            "critic/data_value": q.mean(),
            "critic/target": target.mean(),
        }

    def next_value(self, batch: Batch) -> Tensor:
        """V(s', g) = E[min Q'(s', a', g)], less alpha D(s') in BRAC-v: (B,)."""
        there = self.features(batch.next_observation, batch.goal)
        actions, log_prob = self.policy.sample(there, self.config.action_samples)
        value = self.target_critic.of_actions(there, actions).amin(0).mean(0)
        if self.config.regularisation == "policy":
            return value
        seen = self.seen_by_behaviour(batch.next_observation, batch.goal)
        return value - self.divergence_weight() * self.divergence(seen, actions, log_prob)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Behaviour, policy, critic and, if alpha adapts, its logarithm."""
        rate = self.config.learning_rate
        groups = {
            "behaviour": ParameterGroup.of(self.behaviour, learning_rate=rate),
            "policy": ParameterGroup.of(self.policy, learning_rate=rate),
            "critic": ParameterGroup.of(self.critic, learning_rate=rate),
        }
        if self.multiplier is not None:
            dual_rate = self.config.dual_learning_rate
            groups["dual"] = ParameterGroup.of(self.multiplier, learning_rate=dual_rate)
        return groups

    def after_step(self) -> None:
        """Let the target critic follow."""
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)
        if self.multiplier is not None:
            self.multiplier.clip()
        self.updates += 1

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the squashed mean action (B, A) in [-1, 1]."""
        action: Tensor = self.policy(self.features(observation, goal))
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return min Q at the mean action, (B,); in BRAC-v later divergence is paid for."""
        here = self.features(observation, goal)
        value: Tensor = self.critic(here, self.policy(here)).amin(0)
        return value
