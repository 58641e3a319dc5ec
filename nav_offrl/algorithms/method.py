"""What a method is: losses by name, the parameters that each of them moves, and how to act.

A method is an `nn.Module` on vectors. It knows neither files nor optimizers: the `Learner` takes
its losses, moves the parameters that belong to them, and calls `after_step` for targets.
"""

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics
from nav_offrl.config import Config
from nav_offrl.networks.heads import DiscreteGoalCritic, GoalCritic, PairFeatures, PairHead
from nav_offrl.networks.policies import CategoricalPolicy, GaussianPolicy


class MethodConfig(Config):
    """Hyperparameters that every method has."""

    goals: ClassVar[str] = "navigation"  # its way to draw goals, of nav_offrl.store.goal_presets
    discrete: ClassVar[bool] = False  # whether it learns on a grid of actions as well
    any_reward: ClassVar[bool] = True  # whether it learns from rewards beyond reaching the goal

    name: str
    discount: float = Field(default=0.98, gt=0, lt=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    hidden: tuple[int, ...] = (256, 256)


@dataclass(frozen=True)
class Spaces:
    """What a method learns on.

    observation_size: D of observations and goals.
    action_size: A of actions in [-1, 1].
    grid: (N, A) the discrete actions, None where actions are continuous.
    relation: a trained pair head, whose word on how far and where a goal is the heads then see.
    compare: without `relation`, heads see the product and difference of state and goal as well.
    return_bounds: least and greatest return that the reward allows.
    """

    observation_size: int
    action_size: int
    grid: Tensor | None = None
    relation: PairHead | None = None
    compare: bool = True
    return_bounds: tuple[float, float] = (-float("inf"), float("inf"))

    def features(self) -> PairFeatures:
        """What heads see of a state and a goal."""
        return PairFeatures(self.observation_size, self.relation, compare=self.compare)

    def critic(
        self, inputs: int, hidden: Sequence[int], members: int = 2
    ) -> GoalCritic | DiscreteGoalCritic:
        """Return an ensemble of Q(s, a, g), of the kind that the actions need."""
        if self.grid is not None:
            return DiscreteGoalCritic(inputs, len(self.grid), hidden, members)
        return GoalCritic(inputs, self.action_size, hidden, members)

    def policy(
        self, inputs: int, hidden: Sequence[int], dropout: float = 0.0
    ) -> GaussianPolicy | CategoricalPolicy:
        """Return a policy whose likelihood is learned, of the kind that the actions need."""
        if self.grid is not None:
            return CategoricalPolicy(inputs, self.grid, hidden, dropout)
        return GaussianPolicy(inputs, self.action_size, hidden, dropout)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that one of a method's losses moves, and how fast."""

    parameters: list[nn.Parameter]
    learning_rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0

    @classmethod
    def of(cls, *modules: nn.Module, learning_rate: float, **options: object) -> "ParameterGroup":
        """Collect what is trained of some modules."""
        own: Iterable[nn.Parameter] = (p for module in modules for p in module.parameters())
        return cls([p for p in own if p.requires_grad], learning_rate, **options)  # type: ignore[arg-type]


class Method(nn.Module, abc.ABC):
    """The interface of every method."""

    config: MethodConfig

    @abc.abstractmethod
    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return scalar losses by the name of the parameter group that each moves, and metrics.

        A loss reaches the parameters of its own group alone, so that one backward pass of their
        sum is as good as one of each. A group whose loss is left out is not moved in this step.
        """

    @abc.abstractmethod
    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Return what is trained, by name of its loss."""

    def after_step(self) -> None:
        """Let targets follow, once every parameter has moved."""

    @abc.abstractmethod
    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return what the robot does: (B, D), (B, D) -> (B, A) in [-1, 1].

        Deterministic, and made of operators that ONNX has. Put the module into evaluation mode
        first.
        """

    @abc.abstractmethod
    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return V(s, g) as the method sees it: (B, D), (B, D) -> (B,)."""
