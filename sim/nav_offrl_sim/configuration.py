"""Configurations of robots and the environment; those of worlds are in `world_configuration.py`."""

import math
from pathlib import Path

from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl_sim.world_configuration import WorldConfig, load_named, load_world_config

__all__ = [
    "CameraConfig",
    "EnvConfig",
    "RobotConfig",
    "WorldConfig",
    "load_robot_config",
    "load_world_config",
]


class CameraConfig(Config):
    """A pinhole camera, fixed on the robot, looking forward."""

    width: int = Field(128, ge=16, le=1280, description="pixels")
    height: int = Field(96, ge=16, le=960, description="pixels")
    horizontal_fov: float = Field(
        math.radians(100), gt=0.1, lt=2.8, description="horizontal field of view, rad"
    )
    forward: float = Field(0.15, description="lens ahead of the robot's centre, m")
    up: float = Field(0.5, gt=0, description="lens above the ground, m")
    pitch: float = Field(0.0, description="rotation about y, downwards positive, rad")

    @property
    def vertical_fov(self) -> float:
        """Vertical field of view for square pixels, rad."""
        half = math.tan(self.horizontal_fov / 2) * self.height / self.width
        return 2 * math.atan(half)


class RobotConfig(Config):
    """A differential-drive robot with a round footprint."""

    name: str = Field(description="name of the robot")
    footprint_radius: float = Field(0.25, gt=0, description="m")
    max_linear: float = Field(1.0, gt=0, description="highest forward speed, m/s; no reverse")
    max_angular: float = Field(1.2, gt=0, description="highest yaw rate, rad/s")
    linear_acceleration: float = Field(1.5, gt=0, description="m/s²")
    angular_acceleration: float = Field(4.0, gt=0, description="rad/s²")
    linear_lag: float = Field(0.12, ge=0, description="time constant of the drive, s")
    angular_lag: float = Field(0.08, ge=0, description="time constant of turning, s")
    control_period: float = Field(0.2, gt=0, description="time between two commands, s")
    velocity_noise: float = Field(
        0.01, ge=0, description="standard deviation of measured velocity, m/s and rad/s"
    )
    odometry_scale_error: float = Field(
        0.005, ge=0, description="standard deviation of an episode's odometry scale, ratio"
    )
    camera: CameraConfig = CameraConfig()


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


def load_robot_config(name_or_path: str | Path) -> RobotConfig:
    """Load a robot by its name here ("generic") or from a YAML file."""
    return load_named(RobotConfig, name_or_path, "robots")
