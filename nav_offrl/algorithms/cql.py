"""Goal-conditioned conservative Q-learning.

Kumar, Zhou, Tucker, Levine: Conservative Q-Learning for Offline Reinforcement Learning, 2020
(arXiv 2006.04779), with goals by hindsight. Whatever the critic believes of actions that the log
does not hold is pushed down, so that the policy's value is a lower bound of the true one and there
is nothing wrong for the policy to climb. Actions may be continuous, with a policy as soft
actor-critic has it (Haarnoja et al. 2018, arXiv 1812.05905), or discrete, without one.

The paper's eq. 4 halves the Bellman error and its authors' code does not; `conservative_weight` is
that of the code, as other implementations have it too.
"""

import copy
import math
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics, frozen, polyak_update, within
from nav_offrl.algorithms.dual import LagrangeMultiplier
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.heads import DiscreteGoalCritic, GoalCritic
from nav_offrl.networks.policies import TanhGaussianPolicy

MULTIPLIER_RANGE = (1e-4, 1e6)  # the upper end is the authors'


class CQLConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    discrete: ClassVar[bool] = True

    name: Literal["cql"] = "cql"
    bound: Literal["basic", "better", "max_entropy"] = Field(
        default="max_entropy",
        description="push down the policy's actions (eq. 1); and up the data's (eq. 2); or CQL(H), "
        "which pushes down the soft maximum over all actions (eq. 4)",
    )
    conservative_weight: float = Field(
        default=1.0,
        ge=0,
        description="alpha; 5 in the paper's mazes, whose rewards differ by 4 between the step "
        "that arrives and the others, where here they differ by 1",
    )
    lagrange_threshold: float | None = Field(
        default=None,
        description="tau: adapt alpha until the gap is this (appendix F); null: keep it",
    )
    multiplier_learning_rate: float = Field(default=3e-4, gt=0, description="of alpha, adapted")
    sampled_actions: int = Field(
        default=10, ge=1, description="from each proposal: uniform, pi(.|s) and pi(.|s')"
    )
    max_target_backup: bool = Field(
        default=False, description="target: the best of the sampled actions of s', not one of them"
    )
    entropy_in_backup: bool = Field(default=False, description="soft targets, as in SAC")
    target_entropy: float | None = Field(default=None, description="of SAC; null: minus A")
    policy_learning_rate: float = Field(default=1e-4, gt=0, description="below the critic's")
    target_update_rate: float = Field(default=0.005, gt=0, le=1)

    @model_validator(mode="after")
    def _threshold_has_a_gap(self) -> "CQLConfig":
        if self.lagrange_threshold is not None and self.bound == "basic":
            raise ValueError("lagrange_threshold needs a bound with a gap, 'basic' has none")
        return self


class Values(NamedTuple):
    """What the critic's loss is made of.

    data: (E, B) Q(s, a, g) of the log's actions.
    pushed: (E, B) what is pushed down: the expected or soft maximal Q(s, ., g).
    following: (B,) V(s', g) by the target critic, without gradient.
    """

    data: Tensor
    pushed: Tensor
    following: Tensor


class CQL(Method):
    """Twin critics with targets and, for continuous actions, policy and temperature."""

    config: CQLConfig
    grid: Tensor

    def __init__(self, config: CQLConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        inputs = self.features.size
        self.critic = spaces.critic(inputs, config.hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.policy: TanhGaussianPolicy | None = None
        if spaces.grid is None:
            self.policy = TanhGaussianPolicy(inputs, spaces.action_size, config.hidden)
            self.temperature = LagrangeMultiplier()
        else:
            self.register_buffer("grid", spaces.grid.clone())
        if config.lagrange_threshold is not None:
            self.multiplier = LagrangeMultiplier(
                max(config.conservative_weight, MULTIPLIER_RANGE[0]),
                (math.log(MULTIPLIER_RANGE[0]), math.log(MULTIPLIER_RANGE[1])),
            )

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_Q, L_pi and those of the temperature and of alpha, where there are such."""
        critic_loss, metrics = self.critic_loss(batch)
        losses = {"critic": critic_loss}
        if self.policy is not None:
            losses["policy"], policy_metrics = self.policy_loss(self.policy, batch)
            metrics |= policy_metrics
            losses["temperature"] = self.temperature_loss(metrics["policy/entropy"])
        if self.config.lagrange_threshold is not None:
            excess = metrics["critic/gap"] - self.config.lagrange_threshold
            losses["dual"] = self.multiplier.loss(excess)
        return losses, metrics

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = alpha gap + E[(r + gamma m V(s', g) - Q(s, a, g))^2], summed over the twins."""
        here = self.features(batch.observation, batch.goal)
        following = self.features(batch.next_observation, batch.goal)
        if isinstance(self.critic, DiscreteGoalCritic):
            values = self.exact_values(here, following, batch)
        else:
            values = self.sampled_values(here, following, batch)
        target = batch.reward + batch.discount * batch.mask * values.following
        target = within(target, self.spaces.return_bounds)
        td_error = (values.data - target).square().mean(-1)
        pulled = 0.0 if self.config.bound == "basic" else values.data
        gap = (values.pushed - pulled).mean(-1)
        weight = self.conservative_weight()
        return (td_error + weight * gap).sum(), {
            "critic/td_error": td_error.mean(),
            "critic/data_value": values.data.mean(),
            "critic/target": target.mean(),
            "critic/gap": gap.mean(),
            "critic/conservative_weight": weight,
        }

    def exact_values(self, here: Tensor, following: Tensor, batch: Batch) -> Values:
        """Values on a grid of actions, whose policy is the greedy one."""
        assert isinstance(self.critic, DiscreteGoalCritic)
        assert isinstance(self.target_critic, DiscreteGoalCritic)
        every = self.critic.of_every_action(here).movedim(-1, 1)
        data = every.gather(1, batch.action.expand(len(every), 1, -1))[:, 0]
        every = self.calibrated(every, batch)
        if self.config.bound == "max_entropy":
            pushed = every.logsumexp(1)
        else:
            best = every.detach().amin(0).argmax(0)
            pushed = every.gather(1, best.expand(len(every), 1, -1))[:, 0]
        with torch.no_grad():
            return Values(
                data, pushed, self.target_critic.of_every_action(following).amin(0).amax(-1)
            )

    def sampled_values(self, here: Tensor, following: Tensor, batch: Batch) -> Values:
        """Values on continuous actions, by samples.

        The policy goes over s and s' in one pass, the critic over all actions of s in one call.
        The actions of s' serve the target too: they are drawn from pi(.|s') for both.
        """
        assert isinstance(self.critic, GoalCritic) and self.policy is not None
        with torch.no_grad():
            drawn, log_prob = self.policy.sample(
                torch.cat([here, following]), self.config.sampled_actions
            )
            own, next_own = drawn.chunk(2, 1)
            own_log_prob, next_log_prob = log_prob.chunk(2, 1)
            backup = self.backup(following, next_own, next_log_prob)
        if self.config.bound != "max_entropy":
            q = self.critic.of_actions(here, torch.cat([batch.action[None], own]))
            return Values(q[:, 0], self.calibrated(q[:, 1:], batch).mean(1), backup)
        uniform = 2 * torch.rand_like(own) - 1
        q = self.critic.of_actions(here, torch.cat([batch.action[None], uniform, own, next_own]))
        data, of_uniform, of_policy = q.tensor_split([1, 1 + len(uniform)], 1)
        sampled = torch.cat([of_uniform, self.calibrated(of_policy, batch)], 1)
        log_uniform = torch.full_like(own_log_prob, -uniform.shape[-1] * math.log(2))
        density = torch.cat([log_uniform, own_log_prob, next_log_prob])
        return Values(data[:, 0], sampled_log_integral_exp(sampled, density), backup)

    def backup(self, following: Tensor, actions: Tensor, log_prob: Tensor) -> Tensor:
        """Return V(s', g) = E_pi[min Q'(s', a', g)], (B,), of actions (N, B, A) of the policy.

        From one of them or, with `max_target_backup`, from the best (appendix F, for mazes).
        """
        assert isinstance(self.target_critic, GoalCritic)
        count = len(actions) if self.config.max_target_backup else 1
        value = self.target_critic.of_actions(following, actions[:count]).amin(0)
        if self.config.entropy_in_backup:
            value = value - self.temperature() * log_prob[:count]
        return value.amax(0)

    def calibrated(self, value: Tensor, batch: Batch) -> Tensor:
        """Return what is pushed down of the policy's Q (E, N, B): all of it. Cal-QL spares some."""
        return value

    def conservative_weight(self) -> Tensor:
        """Return alpha: fixed, or the Lagrange multiplier; no gradient."""
        if self.config.lagrange_threshold is None:
            return torch.tensor(self.config.conservative_weight)
        weight: Tensor = self.multiplier()
        return weight

    def policy_loss(self, policy: TanhGaussianPolicy, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_pi = E[temperature log pi(a | s, g) - min Q(s, a, g)], a from pi (SAC, eq. 7)."""
        there = self.features(batch.observation, batch.actor_goal)
        action, log_prob = policy.sample(there)
        with frozen(self.critic):
            q = self.critic(there, action[0]).amin(0)
        loss = (self.temperature() * log_prob[0] - q).mean()
        return loss, {"policy/q": q.mean(), "policy/entropy": -log_prob.mean()}

    def temperature_loss(self, entropy: Tensor) -> Tensor:
        """Raise the temperature where the entropy is below its target (SAC, eq. 18)."""
        target = self.config.target_entropy
        target = -float(self.spaces.action_size) if target is None else target
        return self.temperature.loss(target - entropy)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Critic and, where there are such, policy, temperature and alpha."""
        config = self.config
        groups = {"critic": ParameterGroup.of(self.critic, learning_rate=config.learning_rate)}
        if self.policy is not None:
            rate = config.policy_learning_rate
            groups["policy"] = ParameterGroup.of(self.policy, learning_rate=rate)
            groups["temperature"] = ParameterGroup.of(self.temperature, learning_rate=rate)
        if config.lagrange_threshold is not None:
            rate = config.multiplier_learning_rate
            groups["dual"] = ParameterGroup.of(self.multiplier, learning_rate=rate)
        return groups

    def after_step(self) -> None:
        """Let the target critic follow, and keep alpha in its range."""
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)
        if self.config.lagrange_threshold is not None:
            self.multiplier.clip()

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the mean or best action (B, A) in [-1, 1]."""
        there = self.features(observation, goal)
        if isinstance(self.critic, DiscreteGoalCritic):
            return self.grid[self.critic.of_every_action(there).amin(0).argmax(-1)]
        assert self.policy is not None
        action: Tensor = self.policy(there)
        return action

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return min Q(s, act(s, g), g), (B,)."""
        there = self.features(observation, goal)
        if isinstance(self.critic, DiscreteGoalCritic):
            return self.critic.of_every_action(there).amin(0).amax(-1)
        assert self.policy is not None
        value: Tensor = self.critic(there, self.policy(there)).amin(0)
        return value


def sampled_log_integral_exp(value: Tensor, log_prob: Tensor) -> Tensor:
    """Estimate the log of the integral over a of exp Q(s, a), (E, B).

    `value` (E, N, B) are Q of N actions drawn with log densities `log_prob` (N, B). Each proposal
    has an equal share of the N, so that the mean of the weighted samples is without bias.
    """
    return (value - log_prob).logsumexp(1) - math.log(len(log_prob))
