"""QT-Opt: Q-learning whose maximum over continuous actions is searched, not learned.

Kalashnikov et al. 2018, *QT-Opt: Scalable Deep Reinforcement Learning for Vision-Based Robotic
Manipulation* (arXiv 1806.10293), with goals by hindsight. There is no policy network: the robot
does what the cross-entropy method finds best. Nothing keeps the search near the log's actions, so
from a log alone it finds those that the critic is most wrong about: the naive method whose failure
conservative ones mend. It learns well from logs that cover the actions, and online.

The paper's returns are probabilities of success, learned by cross entropy; here they are any, and
learned by least squares.
"""

import copy
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics, polyak_update, within
from nav_offrl.algorithms.method import Method, MethodConfig, ParameterGroup, Spaces
from nav_offrl.networks.cross_entropy_method import CrossEntropyMethod
from nav_offrl.networks.heads import DiscreteGoalCritic


class QTOptConfig(MethodConfig):
    """Hyperparameters, named as in the paper."""

    discrete: ClassVar[bool] = True

    name: Literal["qt_opt"] = "qt_opt"
    cem_samples: int = Field(default=64, ge=2, description="N: actions in a round")
    cem_elites: int = Field(default=6, ge=1, description="M: the best of them, to fit a Gaussian")
    cem_rounds: int = Field(default=2, ge=1)
    clipped_double: bool = Field(
        default=True, description="target: the lower twin at the action that the first finds best"
    )
    target_update_rate: float = Field(default=0.005, gt=0, le=1)

    @model_validator(mode="after")
    def _elites_are_some(self) -> "QTOptConfig":
        if self.cem_elites > self.cem_samples:
            raise ValueError("cem_elites must not be above cem_samples")
        return self


class QTOpt(Method):
    """Twin critics with targets, and a search."""

    config: QTOptConfig
    grid: Tensor

    def __init__(self, config: QTOptConfig, spaces: Spaces, extra_inputs: int = 0) -> None:
        """`extra_inputs` are numbers that subclasses append to what the critic sees."""
        super().__init__()
        self.config, self.spaces = config, spaces
        self.features = spaces.features()
        self.critic = spaces.critic(self.features.size + extra_inputs, config.hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        if spaces.grid is None:
            self.search = CrossEntropyMethod(
                spaces.action_size, config.cem_samples, config.cem_elites, config.cem_rounds
            )
        else:
            self.register_buffer("grid", spaces.grid.clone())

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return L_Q."""
        here = self.seen(batch.observation, batch)
        following = self.seen(batch.next_observation, batch)
        loss, metrics = self.critic_loss(here, following, batch)
        return {"critic": loss}, metrics

    def seen(self, observation: Tensor, batch: Batch) -> Tensor:
        """Return what the critic sees of observations (B, D) and the goals of a batch."""
        seen: Tensor = self.features(observation, batch.goal)
        return seen

    def critic_loss(self, here: Tensor, following: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(r + gamma m max Q'(s', ., g) - Q(s, a, g))^2] (eq. 1), summed over the twins."""
        target = self.target(following, batch)
        q = self.critic(here, batch.action)
        td_error = (q - target).square().mean(-1)
        return td_error.sum(), {
            "critic/td_error": td_error.mean(),
            "critic/data_value": q.mean(),
            "critic/target": target.mean(),
        }

    @torch.no_grad()
    def target(self, following: Tensor, batch: Batch) -> Tensor:
        """Return r + gamma m max Q'(s', a', g) within the bounds of the return, (B,)."""
        target = batch.reward + batch.discount * batch.mask * self.maximum(following)
        return within(target, self.spaces.return_bounds)

    def maximum(self, following: Tensor) -> Tensor:
        """Return max over a' of Q'(s', a', g), (B,).

        With `clipped_double` the first target critic chooses the action and the lower one judges
        it (section 4.3); else the mean of both does both.
        """
        target, double = self.target_critic, self.config.clipped_double
        if isinstance(target, DiscreteGoalCritic):
            every = target.of_every_action(following)
            chosen = (every[0] if double else every.mean(0)).argmax(-1, keepdim=True)
            lower = every.amin(0) if double else every.mean(0)
            return lower.gather(-1, chosen)[:, 0]

        def score(actions: Tensor) -> Tensor:
            q = target.of_actions(following, actions)
            return q[0] if double else q.mean(0)

        best, value = self.search(score, following.shape[0], fixed=False)
        judged: Tensor = target(following, best).amin(0) if double else value
        return judged

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """The critic."""
        rate = self.config.learning_rate
        return {"critic": ParameterGroup.of(self.critic, learning_rate=rate)}

    def after_step(self) -> None:
        """Let the target critic follow."""
        polyak_update(self.target_critic, self.critic, self.config.target_update_rate)

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the best action (B, A) in [-1, 1]."""
        return self.best(self.features(observation, goal))[0]

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return max over a of the lower Q(s, a, g), (B,)."""
        return self.best(self.features(observation, goal))[1]

    def best(self, here: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions (B, A) that the lower critic values most, and the values (B,)."""
        critic = self.critic
        if isinstance(critic, DiscreteGoalCritic):
            value, number = critic.of_every_action(here).amin(0).max(-1)
            return self.grid[number], value

        def score(actions: Tensor) -> Tensor:
            return critic.of_actions(here, actions).amin(0)

        action, value = self.search(score, here.shape[0], fixed=True)
        return action, value
