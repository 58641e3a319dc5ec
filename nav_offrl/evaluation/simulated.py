"""The simulator as a place for rollouts: world, evaluation pairs, pilots by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.rollouts import (
    BundlePilot,
    Drive,
    Pilot,
    Pose,
    RandomPilot,
    drive_all,
)
from nav_offrl.runtime import Bundle, CameraContract, Command


class OraclePilot:
    """Drives by the true map and pose: the upper bound."""

    def __init__(self, env: Any) -> None:
        from nav_offrl_sim.oracle import OracleDriver

        self._driver: Any = OracleDriver(env.world, env.robot_config)

    def begin(self, goal_image: NDArray[np.uint8]) -> None:
        """The robot stands; the goal's pose comes with every step."""
        self._driver.begin()

    def command(self, observation: dict[str, Any], info: dict[str, Any]) -> Command | None:
        """Follow the shortest path."""
        return Command(*self._driver.command(tuple(info["pose"]), tuple(info["goal_pose"])))


class SimulatedWorld:
    """One generated world with a robot in it."""

    def __init__(self, world: str, world_seed: int) -> None:
        from nav_offrl_sim import EnvConfig, generate_world, load_world_config
        from nav_offrl_sim.environment import NavigationEnv

        self.config = EnvConfig(lidar=False)
        self.env: Any = NavigationEnv(
            self.config, world=generate_world(load_world_config(world), world_seed)
        )

    @property
    def camera(self) -> CameraContract:
        """The simulated camera, for checking a bundle against it."""
        camera = self.env.robot_config.camera
        return CameraContract(
            height=camera.height, width=camera.width, horizontal_fov=camera.horizontal_fov
        )

    @property
    def rate_hz(self) -> float:
        """Images and commands a simulated second."""
        return float(1.0 / self.env.robot_config.control_period)

    def pairs(self, count: int, seed: int) -> list[tuple[Pose, Pose]]:
        """Return fixed starts and goals; those of another seed are others.

        Raises:
            NavOffrlError: `count` is not positive, or the world is too small.
        """
        from nav_offrl_sim.tasks import evaluation_pairs

        if count < 1:
            raise NavOffrlError(f"{count} drives measure nothing", remedy="drive at least once")
        near, far = self.config.min_goal_distance, self.config.max_goal_distance
        radius = self.env.robot_config.footprint_radius
        return evaluation_pairs(self.env.world, count, seed, near, far, radius)

    def drive(self, name: str, pairs: Sequence[tuple[Pose, Pose]], bundle: Bundle) -> list[Drive]:
        """Drive all pairs as 'policy' (the bundle), 'random' or 'oracle', with progress."""
        space = self.env.action_space
        pilots: dict[str, Pilot] = {
            "policy": BundlePilot(bundle),
            "random": RandomPilot(space.low, space.high),
            "oracle": OraclePilot(self.env),
        }
        return drive_all(self.env, pilots[name], tqdm(pairs, desc=f"drive ({name})", unit="drive"))

    def top_down(self) -> tuple[NDArray[np.uint8], Any]:
        """Return the world from above and the map from metres to its pixels."""
        from nav_offrl_sim.top_down import render_top_down

        return render_top_down(self.env.world, pixels_per_metre=30.0)
