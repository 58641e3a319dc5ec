"""Who drives when a log is recorded: random walks of the papers, and a person at the stick.

Each takes the environment's `info` at a step and gives a command (m/s, rad/s) within the robot's
limits, or None when a person has to come and put the robot somewhere else.
"""

import math
from collections import deque
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.robot_configuration import RobotConfig
from nav_offrl_sim.tasks import sample_goal

Command = tuple[float, float]

WALK_TIME = 2.0  # correlation time of a walk's commands, s
RECOVERY_TURN = (1.0, 2.6)  # how far a robot turns away from what it met, rad
BACKING_UP = 1.0  # s
AHEAD = 0.6  # what lies within this bearing is ahead, rad
BRAKING_GAP = 0.3  # left in front of the robot when it turns away in time, m
CIRCLE, PATIENCE = 1.5, 40.0  # a robot that stays in a circle (m) for so long (s) is carried off


class TeleoperationConfig(Config):
    """How a person steers who knows the way but has an unsteady hand."""

    linear_noise: float = Field(0.2, ge=0, description="standard deviation on commands, m/s")
    angular_noise: float = Field(0.4, ge=0, description="standard deviation on commands, rad/s")
    noise_time: float = Field(1.0, gt=0, description="correlation time of the noise, s")
    goal_distance: tuple[float, float] = Field((3.0, 12.0), description="path to a goal, m")


class Collector(Protocol):
    """Drives one episode after another."""

    def begin(self, rng: np.random.Generator) -> None:
        """Start an episode; the robot stands."""

    def command(self, info: dict[str, Any]) -> Command | None:
        """The next command (m/s, rad/s); None: the robot must be put somewhere else."""


class Correlated:
    """Ornstein-Uhlenbeck noise of unit variance, sampled every `period` s."""

    def __init__(self, rng: np.random.Generator, period: float, time_constant: float) -> None:
        self._rng = rng
        self._keep = math.exp(-period / time_constant)
        self._value = rng.normal(size=2)

    def __call__(self) -> Command:
        """The next pair of values."""
        fresh = self._rng.normal(size=2) * math.sqrt(1 - self._keep**2)
        self._value = self._keep * self._value + fresh
        return float(self._value[0]), float(self._value[1])


class Teleoperator:
    """Drives to one random goal after another with a disturbed hand."""

    def __init__(
        self, oracle: OracleDriver, robot: RobotConfig, config: TeleoperationConfig
    ) -> None:
        self._oracle, self._robot, self._config = oracle, robot, config

    def begin(self, rng: np.random.Generator) -> None:
        """Choose a goal at the first command."""
        self._rng = rng
        self._oracle.begin()
        self._noise = Correlated(rng, self._robot.control_period, self._config.noise_time)
        self._goal: Pose | None = None
        self._calm = 0

    def command(self, info: dict[str, Any]) -> Command | None:
        """Steer towards the goal; undisturbed for two seconds after a collision."""
        x, y, yaw = (float(value) for value in info["pose"])
        if self._goal is None or math.dist((x, y), self._goal[:2]) < 0.6:
            distance = self._config.goal_distance
            self._goal = sample_goal(self._oracle.space, self._rng, (x, y, yaw), *distance)
        linear, angular = self._oracle.command((x, y, yaw), self._goal)
        first, second = self._noise()
        collided = bool(info["collision"])
        self._calm = round(2.0 / self._robot.control_period) if collided else self._calm - 1
        if self._calm <= 0:
            # Where the oracle turns on the spot it must not be pushed into what it turns from.
            linear += self._config.linear_noise * first if linear > 0 else 0.0
            angular += self._config.angular_noise * second
            linear = min(max(linear, 0.0), self._robot.max_linear)
            angular = min(max(angular, -self._robot.max_angular), self._robot.max_angular)
            self._oracle.sent(linear, angular)
        return linear, angular


class BadgrWalk:
    """BADGR's time-correlated random walk (Kahn et al. 2021, section IV-A).

    When it touches something or is stuck it backs up, where it can, turns away and goes on.
    """

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot

    def begin(self, rng: np.random.Generator) -> None:
        """Start at a random point of the walk."""
        self._rng = rng
        self._noise = Correlated(rng, self._robot.control_period, WALK_TIME)
        self._recovery: deque[Command] = deque()

    def command(self, info: dict[str, Any]) -> Command | None:
        """Go on walking, or on recovering."""
        first, second = self._noise()
        if not self._recovery and self._should_recover(info):
            self._recovery.extend(self._recover())
        if self._recovery:
            return self._recovery.popleft()
        robot = self._robot
        linear = robot.max_linear * min(max(0.65 + 0.3 * first, 0.0), 1.0)
        return linear, robot.max_angular * min(max(0.5 * second, -1.0), 1.0)

    def _should_recover(self, info: dict[str, Any]) -> bool:
        return bool(info["collision"] or info["stuck"])

    def _recover(self) -> list[Command]:
        robot = self._robot
        side = float(self._rng.choice([-1.0, 1.0])) * robot.max_angular
        turning = float(self._rng.uniform(*RECOVERY_TURN)) / robot.max_angular
        back: list[Command] = []
        if robot.max_reverse > 0:
            back = [(-0.5 * robot.max_reverse, 0.0)] * round(BACKING_UP / robot.control_period)
        return [*back, *[(0.0, side)] * (round(turning / robot.control_period) + 1)]


class ReconWalk(BadgrWalk):
    """RECON's random walk with recovery and resets (Shah et al. 2021).

    It turns away from what its lidar, if it has one, sees close ahead, tall grass included. A
    robot that cannot get out of a place is carried to another.
    """

    def __init__(self, robot: RobotConfig) -> None:
        super().__init__(robot)
        lidar = robot.lidar
        self._ahead = np.zeros(0, bool)
        if lidar is not None:
            bearings = np.linspace(lidar.angle_min, lidar.angle_max, lidar.rays) + lidar.yaw
            self._ahead = np.cos(bearings) > math.cos(AHEAD)

    def begin(self, rng: np.random.Generator) -> None:
        """Forget where the robot was."""
        super().begin(rng)
        self._trail: deque[Pose] = deque(maxlen=round(PATIENCE / self._robot.control_period))

    def command(self, info: dict[str, Any]) -> Command | None:
        """Go on walking or recovering; ask for help where that has led nowhere."""
        x, y, yaw = (float(value) for value in info["pose"])
        self._trail.append((x, y, yaw))
        if len(self._trail) == self._trail.maxlen:
            places = np.array(self._trail)[:, :2]
            if np.ptp(places, axis=0).max() < CIRCLE:
                return None
        return super().command(info)

    def _should_recover(self, info: dict[str, Any]) -> bool:
        return super()._should_recover(info) or self._is_blocked(info["sensed"])

    def _is_blocked(self, sensed: dict[str, Any]) -> bool:
        if "lidar" not in sensed:
            return False
        robot, speed = self._robot, max(0.0, float(sensed["velocity"][0]))
        reaction = robot.latency + robot.linear_lag + robot.control_period
        stopping = speed**2 / (2 * robot.linear_acceleration) + speed * reaction
        # A return is measured from the lidar, which lies inside the footprint.
        near = robot.footprint_radius + BRAKING_GAP + stopping
        return bool((np.asarray(sensed["lidar"])[self._ahead] < near).any())
