"""The configuration of the task; those of robots and worlds are re-exported from their modules."""

from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl_sim.robot_configuration import (
    CameraConfig,
    ImuConfig,
    LidarConfig,
    RobotConfig,
    SlipConfig,
    TippingConfig,
    load_robot_config,
)
from nav_offrl_sim.world_configuration import WorldConfig, load_world_config

__all__ = [
    "CameraConfig",
    "EnvConfig",
    "ImuConfig",
    "LidarConfig",
    "RobotConfig",
    "SlipConfig",
    "TippingConfig",
    "WorldConfig",
    "load_robot_config",
    "load_world_config",
]


class EnvConfig(Config):
    """The navigation task: which robot, how far the goals are, when a drive ends."""

    world: str = Field("campus", description="name of a world here, or path of a YAML file")
    robot: str = Field("generic", description="name of a robot here, or path of a YAML file")
    min_goal_distance: float = Field(3.0, gt=0, description="shortest path to a goal, m")
    max_goal_distance: float = Field(6.0, gt=0, description="longest path to a goal, m")
    success_radius: float = Field(1.0, gt=0, description="true distance that counts as arrival, m")
    time_limit: float = Field(60.0, gt=0, description="simulated time before truncation, s")

    @model_validator(mode="after")
    def _ordered(self) -> "EnvConfig":
        if self.max_goal_distance <= self.min_goal_distance:
            raise ValueError("max_goal_distance must exceed min_goal_distance")
        return self
