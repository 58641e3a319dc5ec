"""Drives in a simulator: the robot's own navigator at the wheel, ground truth as the judge."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nav_offrl.runtime import (
    Bundle,
    Command,
    Navigator,
    NavigatorConfig,
    NavigatorInputs,
    Status,
    TimedImage,
    TimedOdometry,
)

Pose = tuple[float, float, float]
NO_IMAGE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)  # where an environment draws none


class Environment(Protocol):
    """What a rollout needs of a simulator: gymnasium's interface with poses in `info`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start a drive; `options` fix 'start' and 'goal' (x m, y m, yaw rad)."""

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Drive with (v m/s, omega rad/s) for one control period."""


class Pilot(Protocol):
    """Drives one episode after another."""

    def begin(self, goal_image: NDArray[np.uint8]) -> None:
        """Take (H, W, 3) as the goal of a new drive."""

    def command(self, observation: dict[str, Any], info: dict[str, Any]) -> Command | None:
        """Return the next command, or None when the pilot says that it has arrived."""


class BundlePilot:
    """The very navigator that runs on the robot, on simulated time."""

    def __init__(self, bundle: Bundle) -> None:
        # A simulated camera has no noise: a robot that stands still sees the same pixels.
        self._navigator = Navigator(bundle, NavigatorConfig(max_frozen_time=None))
        self._state = self._navigator.initial_state()

    def begin(self, goal_image: NDArray[np.uint8]) -> None:
        """Encode the goal once."""
        self._state = self._navigator.with_goal(self._navigator.initial_state(), goal_image)

    def command(self, observation: dict[str, Any], info: dict[str, Any]) -> Command | None:
        """Step the navigator at the simulator's time."""
        now = float(info["time"])
        x, y, yaw = (float(value) for value in info["odometry"][:3])
        linear, angular = (float(value) for value in observation["velocity"])
        inputs = NavigatorInputs(
            image=TimedImage(observation["image"], now, now),
            odometry=TimedOdometry(x, y, yaw, linear, angular, now, now),
            now=now,
        )
        self._state, command, diagnosis = self._navigator.step(self._state, inputs)
        return None if diagnosis.status is Status.ARRIVED else command


class RandomPilot:
    """A random walk correlated over about a second: what driving without a goal achieves."""

    def __init__(self, low: Sequence[float], high: Sequence[float], seed: int = 0) -> None:
        self._low, self._high = np.array(low), np.array(high)
        self._rng = np.random.default_rng(seed)
        self._noise = np.zeros(2)

    def begin(self, goal_image: NDArray[np.uint8]) -> None:
        """Forget the last drive."""
        self._noise = np.zeros(2)

    def command(self, observation: dict[str, Any], info: dict[str, Any]) -> Command | None:
        """Draw the next command of the walk; it never claims to have arrived."""
        self._noise = 0.8 * self._noise + 0.6 * self._rng.normal(size=2)
        unit = np.clip(0.5 + 0.5 * self._noise, 0, 1)
        linear, angular = self._low + unit * (self._high - self._low)
        return Command(float(linear), float(angular))


class StraightPilot:
    """Turns towards the goal's true position and drives straight at it, whatever is in between."""

    def __init__(self, max_linear: float, max_angular: float) -> None:
        self._linear, self._angular = max_linear, max_angular

    def begin(self, goal_image: NDArray[np.uint8]) -> None:
        """Nothing to remember: the goal's pose comes with every step."""

    def command(self, observation: dict[str, Any], info: dict[str, Any]) -> Command | None:
        """Turn on the spot until the goal is ahead, then drive; slower the less it is ahead."""
        x, y, yaw = (float(value) for value in info["pose"])
        bearing = math.atan2(info["goal_pose"][1] - y, info["goal_pose"][0] - x) - yaw
        bearing = math.remainder(bearing, 2 * math.pi)
        angular = min(max(2 * bearing, -self._angular), self._angular)
        return Command(self._linear * max(0.0, math.cos(bearing)) ** 2, angular)


@dataclass(frozen=True)
class Drive:
    """What happened on one drive; distances in metres, `path` (T, 3) true poses.

    Attributes:
        interventions: times that a person would have had to help: stuck, or fallen over.
        bumpiness: mean over the way driven, rad/s; standing still is smooth and counts nothing.
    """

    success: bool
    false_arrival: bool
    shortest: float
    driven: float
    closest: float
    collisions: int
    seconds: float
    path: NDArray[np.float64]
    goal: Pose
    interventions: int = 0
    bumpiness: float = 0.0

    @property
    def path_efficiency(self) -> float:
        """Success weighted by path length, SPL (Anderson et al. 2018), of this drive."""
        return self.shortest / max(self.shortest, self.driven) if self.success else 0.0


def drive(
    env: Environment,
    pilot: Pilot,
    start: Pose,
    goal: Pose,
    seed: int = 0,
    time_limit: float = math.inf,
) -> Drive:
    """Let `pilot` drive from `start` to `goal` until it arrives, claims to, or time is up.

    `time_limit` (s) ends a drive before the environment's own limit does.
    """
    observation, info = env.reset(seed=seed, options={"start": start, "goal": goal})
    pilot.begin(observation.get("goal_image", NO_IMAGE))
    shortest = float(info["geodesic_to_goal"])
    path, events, bumpiness = [np.array(info["pose"])], _Events(), 0.0
    closest, success, claimed, ended = float(info["distance_to_goal"]), False, False, False
    while not ended:
        command = pilot.command(observation, info)
        if command is None:
            claimed = True
            break
        observation, _, success, truncated, info = env.step((command.linear, command.angular))
        ended = success or truncated or info["time"] >= time_limit - 1e-9
        path.append(np.array(info["pose"]))
        closest = min(closest, float(info["distance_to_goal"]))
        bumpiness += float(info["bumpiness"]) * math.dist(path[-1][:2], path[-2][:2])
        events.see(info)
    poses = np.stack(path)
    driven = float(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1).sum())
    return Drive(
        success=bool(success),
        false_arrival=claimed and not success,
        shortest=shortest,
        driven=driven,
        closest=closest,
        collisions=events.collisions,
        seconds=float(info["time"]),
        path=poses,
        goal=goal,
        interventions=events.interventions,
        bumpiness=bumpiness / driven if driven > 0 else 0.0,
    )


class _Events:
    """Counts how often contacts and helplessness begin."""

    def __init__(self) -> None:
        self.collisions = self.interventions = 0
        self._touching = self._helpless = False

    def see(self, info: dict[str, Any]) -> None:
        touching = bool(info["collision"])
        helpless = bool(info.get("stuck", False) or info.get("flipped", False))
        self.collisions += touching and not self._touching
        self.interventions += helpless and not self._helpless
        self._touching, self._helpless = touching, helpless


def drive_all(env: Environment, pilot: Pilot, pairs: Iterable[tuple[Pose, Pose]]) -> list[Drive]:
    """Drive every (start, goal) pair; wrap `pairs` in a progress bar to see it move."""
    return [drive(env, pilot, start, goal, seed) for seed, (start, goal) in enumerate(pairs)]


def summarise(drives: Sequence[Drive]) -> dict[str, float]:
    """Return success with its 95 % interval, SPL, collisions per km and more."""
    count = len(drives)
    successes = sum(d.success for d in drives)
    low, high = wilson_interval(successes, count)
    metres = sum(d.driven for d in drives)
    return {
        "drives": count,
        "success": successes / count,
        "success_low": low,
        "success_high": high,
        "spl": sum(d.path_efficiency for d in drives) / count,
        "false_arrivals": sum(d.false_arrival for d in drives) / count,
        "closest_m": float(np.mean([d.closest for d in drives])),
        "collisions_per_km": 1000 * sum(d.collisions for d in drives) / max(metres, 1e-9),
        "driven_m": metres,
        "seconds": sum(d.seconds for d in drives),
    }


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927); honest for few drives."""
    z = 1.959964
    share, spread = successes / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)
