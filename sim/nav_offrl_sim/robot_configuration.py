"""What a robot is: footprint, limits, faults and sensors; `robots/*.yaml` are instances.

Axes of the robot: x forward, y left, z up (REP-103). Angles in rad, counter-clockwise positive.
"""

import math
from pathlib import Path

from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl_sim.world_configuration import load_named


class CameraConfig(Config):
    """A pinhole camera fixed on the robot; square pixels, the principal point in the middle."""

    width: int = Field(128, ge=16, le=1280, description="pixels")
    height: int = Field(96, ge=16, le=960, description="pixels")
    horizontal_fov: float = Field(
        math.radians(100), gt=0.1, lt=2.8, description="horizontal field of view, rad"
    )
    forward: float = Field(0.15, description="lens ahead of the robot's centre, m")
    left: float = Field(0.0, description="lens to the left of the robot's centre, m")
    up: float = Field(0.5, gt=0, description="lens above the ground, m")
    yaw: float = Field(0.0, description="where it looks, to the left positive, rad")
    pitch: float = Field(0.0, description="rotation about y, downwards positive, rad")

    @property
    def vertical_fov(self) -> float:
        """Vertical field of view for square pixels, rad."""
        half = math.tan(self.horizontal_fov / 2) * self.height / self.width
        return 2 * math.atan(half)

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        focal = self.width / 2 / math.tan(self.horizontal_fov / 2)
        return focal, focal, self.width / 2, self.height / 2

    @property
    def mounting(self) -> tuple[float, float, float, float, float, float]:
        """x, y, z m and roll, pitch, yaw rad on the robot."""
        return self.forward, self.left, self.up, 0.0, self.pitch, self.yaw


class LidarConfig(Config):
    """A 2-D lidar; it sees everything upright at any height, tall grass too."""

    rays: int = Field(360, ge=2, le=4096, description="rays of one scan")
    angle_min: float = Field(-math.pi, ge=-math.pi, description="bearing of the first ray, rad")
    angle_max: float = Field(math.pi, le=math.pi, description="bearing of the last ray, rad")
    min_range: float = Field(0.15, ge=0, description="nearer things give no return, m")
    max_range: float = Field(12.0, gt=0, le=100, description="farther things give no return, m")
    noise: float = Field(0.01, ge=0, description="standard deviation of a range, m")
    rate_hz: float = Field(10.0, gt=0, description="scans a second, at most one a control period")
    forward: float = Field(0.0, description="ahead of the robot's centre, m")
    left: float = Field(0.0, description="to the left of the robot's centre, m")
    up: float = Field(0.3, gt=0, description="above the ground, m; for the mounting only")
    yaw: float = Field(0.0, description="direction of bearing zero on the robot, rad")

    @model_validator(mode="after")
    def _ordered(self) -> "LidarConfig":
        if self.angle_max <= self.angle_min:
            raise ValueError("angle_max must exceed angle_min")
        if self.max_range <= self.min_range:
            raise ValueError("max_range must exceed min_range")
        return self


class ImuConfig(Config):
    """A gyroscope and an accelerometer in the robot's axes; gravity is in the accelerometer."""

    rate_hz: float = Field(100.0, ge=1, le=1000, description="samples a second")
    gyro_noise: float = Field(0.005, ge=0, description="standard deviation of a sample, rad/s")
    gyro_bias: float = Field(
        0.002, ge=0, description="standard deviation of a drive's constant error, rad/s"
    )
    acceleration_noise: float = Field(
        0.05, ge=0, description="standard deviation of a sample, m/s²"
    )
    acceleration_bias: float = Field(
        0.05, ge=0, description="standard deviation of a drive's constant error, m/s²"
    )


class SlipConfig(Config):
    """What the wheels lose on one kind of ground; their odometry does not notice."""

    linear: float = Field(0.0, ge=0, lt=1, description="lost share of the speed")
    angular: float = Field(0.0, ge=0, lt=1, description="lost share of the yaw rate")


class TippingConfig(Config):
    """When a robot falls over: a rigid body that tips over its wheels on one side."""

    half_track: float = Field(gt=0, description="from the middle to a wheel, m")
    mass_height: float = Field(gt=0, description="centre of mass above the ground, m")


class RobotConfig(Config):
    """A differential-drive or skid-steer robot with a round footprint."""

    name: str = Field(description="name of the robot")
    footprint_radius: float = Field(
        0.25, gt=0, description="of the smallest disc round the robot's outline, m"
    )
    max_linear: float = Field(1.0, gt=0, description="highest forward speed, m/s")
    max_reverse: float = Field(0.0, ge=0, description="highest backward speed, m/s; 0: no reverse")
    max_angular: float = Field(1.2, gt=0, description="highest yaw rate, rad/s")
    linear_acceleration: float = Field(1.5, gt=0, description="m/s²")
    angular_acceleration: float = Field(4.0, gt=0, description="rad/s²")
    linear_lag: float = Field(0.12, ge=0, description="time constant of the drive, s")
    angular_lag: float = Field(0.08, ge=0, description="time constant of turning, s")
    control_period: float = Field(0.2, gt=0, description="time between two commands, s")
    latency: float = Field(0.0, ge=0, le=2, description="from a command to its effect, s")
    velocity_noise: float = Field(
        0.01, ge=0, description="standard deviation of measured velocity, m/s and rad/s"
    )
    odometry_scale_error: float = Field(
        0.005, ge=0, description="standard deviation of an episode's odometry scale, ratio"
    )
    slip: dict[str, SlipConfig] = Field(
        default_factory=dict, description="by kind of ground; none where the kind is not named"
    )
    tipping: TippingConfig | None = Field(None, description="null: the robot never falls over")
    stuck_time: float = Field(
        2.0, gt=0, description="told to drive but not moving for this long is stuck, s"
    )
    cameras: dict[str, CameraConfig] = Field(
        default_factory=lambda: {"front": CameraConfig()},
        description="by name; the first is the one that policies see",
    )
    lidar: LidarConfig | None = None
    imu: ImuConfig | None = None

    @model_validator(mode="after")
    def _has_a_camera(self) -> "RobotConfig":
        if not self.cameras:
            raise ValueError("give at least one camera")
        return self

    @property
    def camera_name(self) -> str:
        """Name of the camera that policies see."""
        return next(iter(self.cameras))

    @property
    def camera(self) -> CameraConfig:
        """The camera that policies see."""
        return self.cameras[self.camera_name]


def load_robot_config(name_or_path: str | Path) -> RobotConfig:
    """Load a robot by its name here ("generic") or from a YAML file.

    Raises:
        NavOffrlError: there is no such name and no such file, or a field does not fit.
    """
    return load_named(RobotConfig, name_or_path, "robots")
