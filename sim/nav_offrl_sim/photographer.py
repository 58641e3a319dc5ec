"""Pictures of one drive, drawn when asked for: each once, by a renderer made for the first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.configuration import EnvConfig
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.randomisation import Appearance
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.robot_configuration import CameraConfig, RobotConfig
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import World

if TYPE_CHECKING:
    from nav_offrl_sim.camera_rig import CameraRig

NOBODY = np.zeros((0, 3))


class Photographer:
    """Takes a robot's pictures; what a picture shows does not depend on which were taken before."""

    def __init__(self, config: EnvConfig, robot: RobotConfig) -> None:
        self._config, self._robot = config, robot
        self._rig: CameraRig | None = None
        self._appearance = Appearance(robot.cameras)
        self._lit = False
        self._taken: dict[str, Image] = {}
        self._goal_taken: Image | None = None

    @property
    def cameras(self) -> Mapping[str, CameraConfig]:
        """The cameras of this drive."""
        return self._appearance.cameras

    def enter(self, world: World) -> None:
        """Be in a world from now on."""
        self._world = world
        if self._rig is not None:
            self._rig.show(world)
            self._lit = False

    def begin(self, appearance: Appearance, seed: int, goal: Pose) -> None:
        """Start a drive; `seed` draws the pixels' noise."""
        self._appearance, self._seed, self._goal = appearance, seed, goal
        self._goal_taken = None
        if self._rig is not None:
            self._dress()

    def look(self, step: int, pose: Pose, pedestrians: FloatArray) -> None:
        """Be at a pose from now on, with people around."""
        self._step, self._pose, self._people = step, pose, pedestrians
        self._taken = {}

    def image(self, camera: str | None = None) -> Image:
        """What a camera sees now, (H, W, 3) uint8 RGB; by default the robot's first.

        Raises:
            NavOffrlError: images are 'never' drawn, or the robot has no such camera.
        """
        name = camera if camera is not None else self._robot.camera_name
        if name not in self._robot.cameras:
            raise NavOffrlError(
                f"has no camera '{name}'",
                where=f"robot '{self._robot.name}'",
                remedy=f"it has {', '.join(self._robot.cameras)}",
            )
        if name not in self._taken:
            index = list(self._robot.cameras).index(name)
            self._taken[name] = self._take(name, self._pose, self._people, (index, self._step + 1))
        return self._taken[name]

    def goal_image(self) -> Image:
        """What the first camera sees at the goal, with nobody around, (H, W, 3) uint8 RGB."""
        if self._goal_taken is None:
            self._goal_taken = self._take(self._robot.camera_name, self._goal, NOBODY, (0, 0))
        return self._goal_taken

    def close(self) -> None:
        """Free the renderer."""
        if self._rig is not None:
            self._rig.close()

    def _take(self, name: str, pose: Pose, people: FloatArray, number: tuple[int, int]) -> Image:
        if self._rig is None:
            self._rig = self._build()
        if self._config.pedestrians.count:
            self._rig.set_pedestrians(people)
        image = self._rig.image(name, pose)
        if self._appearance.noise == 0.0:
            return self._appearance.develop(image)
        return self._appearance.develop(image, np.random.default_rng([self._seed, 99, *number]))

    def _build(self) -> "CameraRig":
        if self._config.images == "never":
            raise NavOffrlError(
                "the environment was made without pictures",
                where="images: never",
                remedy="make it with images: lazy or always",
            )
        from nav_offrl_sim.camera_rig import CameraRig

        self._rig = CameraRig(self._world, self._appearance.cameras)
        self._dress()
        return self._rig

    def _dress(self) -> None:
        """Give the renderer this drive's cameras and light."""
        assert self._rig is not None
        self._rig.configure(self._appearance.cameras)
        if self._appearance.light or self._lit:
            self._rig.set_light(self._appearance.light)
            self._lit = bool(self._appearance.light)
