"""Odometry as a base publishes it: from zero on, without jumps, and how wrong it may be."""

import math

import numpy as np
from numpy.typing import NDArray

Pose = tuple[float, float, float]
FloatArray = NDArray[np.float64]


class WheelOdometry:
    """Continues a pose by the motion of another frame's poses and propagates its error.

    First order: each increment of way and turn is wrong by a factor that stays the same, of
    standard deviation `scale_error`, and by noise of the velocities of standard deviation
    `velocity_noise` (m/s and rad/s) that is drawn anew every `noise_period` s. Slip is not in it:
    wheels cannot feel it.

    Attributes:
        pose: x m, y m, yaw rad in the odometry frame.
    """

    def __init__(self, scale_error: float, velocity_noise: float, noise_period: float) -> None:
        self.pose: Pose = (0.0, 0.0, 0.0)
        self._scale_error, self._velocity_noise = scale_error, velocity_noise
        self._noise_period = noise_period
        self._last: Pose = self.pose
        self._noise: FloatArray = np.zeros((3, 3))
        self._by_scale: FloatArray = np.zeros((3, 2))

    def place(self, pose: Pose) -> None:
        """The robot was lifted to a place whose pose reads so; its wheels did not turn."""
        self._last = pose

    def update(self, pose: Pose, duration: float) -> None:
        """The robot drove to a pose within `duration` s."""
        x, y, yaw = self._last
        dx, dy = pose[0] - x, pose[1] - y
        turn = math.remainder(pose[2] - yaw, math.tau)
        self._last = pose
        # The same motion, seen from the odometry frame.
        cos, sin = math.cos(self.pose[2] - yaw), math.sin(self.pose[2] - yaw)
        dx, dy = cos * dx - sin * dy, sin * dx + cos * dy
        heading = self.pose[2] + turn / 2
        way = dx * math.cos(heading) + dy * math.sin(heading)
        self._propagate((dx, dy), heading, (way, turn), duration)
        new_yaw = math.remainder(self.pose[2] + turn, math.tau)
        self.pose = (self.pose[0] + dx, self.pose[1] + dy, new_yaw)

    def covariance(self) -> FloatArray:
        """Of x m, y m, yaw rad, (3, 3)."""
        return self._noise + self._scale_error**2 * self._by_scale @ self._by_scale.T

    def _propagate(
        self,
        moved: tuple[float, float],
        heading: float,
        increments: tuple[float, float],
        duration: float,
    ) -> None:
        way, turn = increments
        if way == 0.0 and turn == 0.0:  # wheels that stand add nothing
            return
        carried = np.array([[1.0, 0.0, -moved[1]], [0.0, 1.0, moved[0]], [0.0, 0.0, 1.0]])
        cos, sin = math.cos(heading), math.sin(heading)
        gain = np.array([[cos, -way * sin / 2], [sin, way * cos / 2], [0.0, 1.0]])
        variance = self._velocity_noise**2 * self._noise_period * duration
        self._noise = carried @ self._noise @ carried.T + variance * gain @ gain.T
        self._by_scale = carried @ self._by_scale + gain @ np.diag(increments)
