"""Everything that decides a training run, in one YAML file."""

from typing import Any, Literal

from pydantic import Field, model_validator

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store.goal_presets import goal_preset
from nav_offrl.store.relabelling import GoalRelabelling, SamplingConfig


class TrainConfig(Config):
    """Offline training: first the goal representation, then IQL on its latents.

    In a file, `goals: gciql` gives `value_goals` and `actor_goals` a published mixture by name (see
    `nav_offrl.store.goal_presets`).
    """

    seed: int = Field(default=0, ge=0)
    device: str = Field(default="auto", description="'auto', 'cpu' or 'cuda'")
    camera: str = Field(default="front", description="the store's camera to learn from")
    encoder: EncoderConfig = EncoderConfig()
    representation: GoalRepresentationConfig = GoalRepresentationConfig()
    iql: IQLConfig = IQLConfig()
    value_goals: GoalRelabelling = GoalRelabelling(discount=0.98)
    actor_goals: GoalRelabelling = GoalRelabelling(
        current=0.0, geometric=1.0, random=0.0, discount=0.98
    )
    store_weights: dict[str, float] = Field(
        default_factory=dict,
        description="shares of several stores, by name; empty: every step counts the same",
    )
    cache: Literal["map", "device"] = Field(
        default="map", description="frames stay memory-mapped, or all go to the device once"
    )
    steps: int = Field(default=5000, ge=0, description="gradient steps of IQL")
    batch_size: int = Field(default=256, ge=2, description="transitions")
    log_every: int = Field(default=50, ge=1, description="gradient steps")
    checkpoint_every: int = Field(default=250, ge=1, description="gradient steps")
    arrival_radius: float = Field(
        default=1.0, gt=0, description="m: the robot may say 'arrived' within this distance"
    )

    @model_validator(mode="before")
    @classmethod
    def _goals_by_name(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "goals" not in values:
            return values
        rest = {key: value for key, value in values.items() if key != "goals"}
        try:
            named = goal_preset(str(values["goals"]))
        except NavOffrlError as error:
            raise ValueError(str(error)) from error
        return {"value_goals": named.value_goals, "actor_goals": named.actor_goals} | rest

    @property
    def sampling(self) -> SamplingConfig:
        """How transitions and goals are drawn."""
        return SamplingConfig(value_goals=self.value_goals, actor_goals=self.actor_goals)
