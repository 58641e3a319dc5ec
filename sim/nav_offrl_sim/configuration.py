"""The configuration of the task; those of robots and worlds are re-exported from their modules."""

from typing import Literal

from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl_sim.randomisation import RandomisationConfig
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
    "PedestriansConfig",
    "RandomisationConfig",
    "RobotConfig",
    "SlipConfig",
    "TippingConfig",
    "WorldConfig",
    "load_robot_config",
    "load_world_config",
]


class PedestriansConfig(Config):
    """People who walk between places that they see."""

    count: int = Field(0, ge=0, le=8, description="people")
    min_speed: float = Field(0.6, gt=0, le=3, description="walking speed of the slowest, m/s")
    max_speed: float = Field(1.4, gt=0, le=3, description="walking speed of the fastest, m/s")
    stops: bool = Field(True, description="they stop before the robot; else they walk into it")
    stop_distance: float = Field(0.6, ge=0, description="gap to the robot at which they stop, m")

    @model_validator(mode="after")
    def _ordered(self) -> "PedestriansConfig":
        if self.max_speed < self.min_speed:
            raise ValueError("max_speed must not be below min_speed")
        return self


class EnvConfig(Config):
    """The navigation task: which robot, how far the goals are, when a drive ends."""

    world: str = Field("campus", description="name of a world here, or path of a YAML file")
    robot: str = Field("generic", description="name of a robot here, or path of a YAML file")
    min_goal_distance: float = Field(3.0, gt=0, description="shortest path to a goal, m")
    max_goal_distance: float = Field(6.0, gt=0, description="longest path to a goal, m")
    success_radius: float = Field(1.0, gt=0, description="true distance that counts as arrival, m")
    time_limit: float = Field(60.0, gt=0, description="simulated time before truncation, s")
    goal: Literal["image", "pose", "both"] = Field(
        "image", description="observed as a photograph, as x, y, yaw in the robot's frame, or both"
    )
    images: Literal["always", "lazy", "never"] = Field(
        "always",
        description="lazy: drawn only when asked for by `image`, `goal_image` or `render`, and not "
        "observed; never: nothing is drawn, no renderer is needed",
    )
    lidar: bool = Field(True, description="scan at every step; else only when `scan` is called")
    pedestrians: PedestriansConfig = PedestriansConfig()
    randomisation: RandomisationConfig = RandomisationConfig()

    @model_validator(mode="after")
    def _ordered(self) -> "EnvConfig":
        if self.max_goal_distance <= self.min_goal_distance:
            raise ValueError("max_goal_distance must exceed min_goal_distance")
        return self
