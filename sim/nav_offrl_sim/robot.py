"""Motion of a differential-drive robot: acceleration limits, lag, exact arcs, contact stop."""

import math
from dataclasses import dataclass

import numpy as np

from nav_offrl_sim.configuration import RobotConfig
from nav_offrl_sim.geometry import wrap_angle
from nav_offrl_sim.world import World

SUBSTEPS = 10  # at 1 m/s and 0.2 s the robot moves 2 cm between two contact checks
GYRO_FLOOR = 0.01  # rms of a gyro at rest, rad/s

Pose = tuple[float, float, float]  # x m, y m, yaw rad


def arc(pose: Pose, linear: float, angular: float, duration: float) -> Pose:
    """Pose after driving at constant velocities (m/s, rad/s) for `duration` s; exact."""
    x, y, yaw = pose
    turn = angular * duration
    # The chord of an arc of length s and angle t is s * sin(t/2) / (t/2), along yaw + t/2.
    chord = linear * duration * (math.sin(turn / 2) / (turn / 2) if abs(turn) > 1e-9 else 1.0)
    heading = yaw + turn / 2
    return x + chord * math.cos(heading), y + chord * math.sin(heading), wrap_angle(yaw + turn)


@dataclass(frozen=True)
class Motion:
    """What happened during one control period.

    Attributes:
        collision: the robot touched something.
        bumpiness: rms of the gyro's x and y, rad/s.
    """

    collision: bool
    bumpiness: float


class Robot:
    """True state and sensed odometry of a robot in a world."""

    def __init__(self, world: World, config: RobotConfig) -> None:
        self.config = config
        self._world = world
        self.place((0.0, 0.0, 0.0), np.random.default_rng(0))

    def place(self, pose: Pose, rng: np.random.Generator) -> None:
        """Put the robot down at rest, its odometry right; `rng` drives the sensor noise."""
        self.pose = pose
        self.odometry = pose
        self.linear = self.angular = 0.0
        self.measured = (0.0, 0.0)
        self._rng = rng
        self._scale = 1 + rng.normal(0, self.config.odometry_scale_error, 2)

    def step(self, linear: float, angular: float) -> Motion:
        """Obey a command (m/s, rad/s), clamped to the limits, for one control period."""
        config = self.config
        linear = min(max(linear, 0.0), config.max_linear)
        angular = min(max(angular, -config.max_angular), config.max_angular)
        duration = config.control_period / SUBSTEPS
        collision, gyro, start = False, 0.0, self.pose
        travelled = turned = 0.0
        for _ in range(SUBSTEPS):
            self.linear = _approach(
                self.linear, linear, config.linear_lag, config.linear_acceleration, duration
            )
            self.angular = _approach(
                self.angular, angular, config.angular_lag, config.angular_acceleration, duration
            )
            collision |= self._advance(duration)
            travelled += self.linear * duration
            turned += self.angular * duration
            gyro += (self.linear * self._world.roughness(self.pose[0], self.pose[1])) ** 2
        self._sense(start, travelled, turned)
        rms = math.sqrt(gyro / SUBSTEPS + GYRO_FLOOR**2)
        return Motion(collision, rms * math.exp(self._rng.normal(0, 0.1)))

    def _advance(self, duration: float) -> bool:
        """Move along the arc; stop at the last free place before a contact and say so."""
        target = arc(self.pose, self.linear, self.angular, duration)
        radius = self.config.footprint_radius
        clearance = self._world.clearance
        if clearance.at(target[0], target[1]) >= radius:
            self.pose = target
            return False
        free, touching = 0.0, 1.0
        for _ in range(6):
            middle = (free + touching) / 2
            x, y, _ = arc(self.pose, self.linear, self.angular, middle * duration)
            free, touching = (middle, touching) if clearance.at(x, y) >= radius else (free, middle)
        x, y, _ = arc(self.pose, self.linear, self.angular, free * duration)
        # A round footprint can always turn on the spot, so only the translation ends here.
        self.pose = (x, y, target[2])
        self.linear = 0.0
        return True

    def _sense(self, start: Pose, travelled: float, turned: float) -> None:
        """Integrate odometry from the true motion with a scale error and white noise."""
        noise = self._rng.normal(0, self.config.velocity_noise, 2)
        period = self.config.control_period
        moving = min(1.0, abs(travelled) + abs(turned))
        forward = math.hypot(self.pose[0] - start[0], self.pose[1] - start[1])
        linear = float(forward / period * self._scale[0] + noise[0] * moving)
        angular = float(turned / period * self._scale[1] + noise[1] * moving)
        self.odometry = arc(self.odometry, linear, angular, period)
        instant = self._rng.normal(0, self.config.velocity_noise, 2)
        self.measured = (float(self.linear + instant[0]), float(self.angular + instant[1]))


def _approach(
    value: float, target: float, lag: float, acceleration: float, duration: float
) -> float:
    """First-order lag towards `target`, with a limited rate of change."""
    share = 1.0 - math.exp(-duration / lag) if lag > 0 else 1.0
    change = (target - value) * share
    limit = acceleration * duration
    return value + min(max(change, -limit), limit)
