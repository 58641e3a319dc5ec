"""Everything that decides a training run, in one YAML file."""

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.algorithms.method import MethodConfig
from nav_offrl.algorithms.registry import method_config
from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store.goal_presets import goal_preset
from nav_offrl.store.relabelling import GoalRelabelling, SamplingConfig
from nav_offrl.training.actions import ActionsConfig
from nav_offrl.training.rewards import RewardConfig

DEFAULT_GOALS = goal_preset(IQLConfig.goals)


class TrainConfig(Config):
    """Offline training: for images first the goal representation, then a method on its latents.

    In a file, `goals: gciql` gives `value_goals` and `actor_goals` a published mixture by name (see
    `nav_offrl.store.goal_presets`); without it they are the method's own.
    """

    method: SerializeAsAny[MethodConfig] = IQLConfig()
    seed: int = Field(default=0, ge=0)
    device: str = Field(default="auto", description="'auto', 'cpu' or 'cuda'")
    observation: Literal["images", "state"] = Field(
        default="images", description="learn from a camera, or from the field 'observation'"
    )
    camera: str = Field(default="front", description="the store's camera to learn from")
    encoder: EncoderConfig = EncoderConfig()
    representation: GoalRepresentationConfig = GoalRepresentationConfig()
    end_to_end: bool = Field(
        default=False,
        description="the method's losses train the encoder too; else it stays as pre-trained",
    )
    actions: ActionsConfig = ActionsConfig()
    reward: RewardConfig = RewardConfig()
    value_goals: GoalRelabelling = DEFAULT_GOALS.value_goals
    actor_goals: GoalRelabelling = DEFAULT_GOALS.actor_goals
    n_steps: int = Field(default=1, ge=1, description="of the n-step returns")
    store_weights: dict[str, float] = Field(
        default_factory=dict,
        description="shares of several stores, by name; empty: every step counts the same",
    )
    cache: Literal["map", "device"] = Field(
        default="map", description="frames stay memory-mapped, or all go to the device once"
    )
    steps: int = Field(default=5000, ge=0, description="gradient steps of the method")
    batch_size: int = Field(default=256, ge=2, description="transitions")
    threads: int = Field(
        default=1, ge=1, description="of the method's updates on a CPU; more pays when it is idle"
    )
    log_every: int = Field(default=50, ge=1, description="gradient steps")
    checkpoint_every: int = Field(default=250, ge=1, description="gradient steps")
    keep_every: int = Field(
        default=0,
        ge=0,
        description="gradient steps whose checkpoints are kept to choose from; 0: the last two",
    )
    arrival_radius: float = Field(
        default=1.0, gt=0, description="m: the robot may say 'arrived' within this distance"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        try:
            model = method_config(str(value.get("name", "iql")))
        except NavOffrlError as error:
            raise ValueError(str(error)) from error
        return model.model_validate(value)

    @model_validator(mode="before")
    @classmethod
    def _goals_by_name(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        method, rest = values.get("method", {}), dict(values)
        name = rest.pop("goals", None)
        try:
            if name is None and isinstance(method, dict):
                name = method_config(str(method.get("name", "iql"))).goals
            named = goal_preset(str(name if name is not None else method.goals))
        except NavOffrlError as error:
            raise ValueError(str(error)) from error
        return {"value_goals": named.value_goals, "actor_goals": named.actor_goals} | rest

    @model_validator(mode="after")
    def _kept_checkpoints_are_written(self) -> "TrainConfig":
        if self.keep_every % self.checkpoint_every:
            raise ValueError("keep_every must be a multiple of checkpoint_every")
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> "TrainConfig":
        if not self.reward.only_goals and not self.method.any_reward:
            raise ValueError(
                f"method '{self.method.name}' knows only -1 a step until the goal: "
                "leave the weights of 'reward' out, or choose another method"
            )
        warmup = getattr(self.method, "warmup_steps", 0)
        if self.steps and warmup >= self.steps:
            raise ValueError(
                f"method.warmup_steps is {warmup}, which leaves nothing of {self.steps} steps"
            )
        return self

    @property
    def sampling(self) -> SamplingConfig:
        """How transitions and goals are drawn."""
        return SamplingConfig(
            value_goals=self.value_goals,
            actor_goals=self.actor_goals,
            n_steps=self.n_steps,
            discount=self.method.discount,
            **({"subgoal_steps": self.subgoal_steps} if self.subgoal_steps else {}),
        )

    @property
    def subgoal_steps(self) -> int | None:
        """How far ahead the method's subgoals lie, None for one that has no subgoals."""
        steps: int | None = getattr(self.method, "subgoal_steps", None)
        return steps
