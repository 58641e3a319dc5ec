"""Everything that decides a training run, in one YAML file."""

from pydantic import Field

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.config import Config
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store.sampler import GoalRelabelling


class TrainConfig(Config):
    """Offline training: first the goal representation, then IQL on its latents."""

    seed: int = Field(default=0, ge=0)
    device: str = Field(default="auto", description="'auto', 'cpu' or 'cuda'")
    camera: str = Field(default="front", description="the store's camera to learn from")
    encoder: EncoderConfig = EncoderConfig()
    representation: GoalRepresentationConfig = GoalRepresentationConfig()
    iql: IQLConfig = IQLConfig()
    value_goals: GoalRelabelling = GoalRelabelling(discount=0.98)
    actor_goals: GoalRelabelling = GoalRelabelling(
        current=0.0, future=1.0, random=0.0, future_distribution="geometric", discount=0.98
    )
    steps: int = Field(default=5000, ge=0, description="gradient steps of IQL")
    batch_size: int = Field(default=256, ge=2, description="transitions")
    log_every: int = Field(default=50, ge=1, description="gradient steps")
    checkpoint_every: int = Field(default=250, ge=1, description="gradient steps")
    arrival_radius: float = Field(
        default=1.0, gt=0, description="m: the robot may say 'arrived' within this distance"
    )
