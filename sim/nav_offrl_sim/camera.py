"""The robot's own camera: pictures from poses."""

import math

import numpy as np

from nav_offrl_sim.configuration import CameraConfig
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.people import PEOPLE
from nav_offrl_sim.renderer import AMBIENT, DIFFUSE, SUN, Renderer
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import World

MAX_PEDESTRIANS = PEOPLE


class RobotCamera:
    """A pinhole camera on a robot in a world, which can be changed for another at any time."""

    def __init__(self, world: World, config: CameraConfig) -> None:
        self._config = config
        self._renderer = Renderer(world.scene, config.width, config.height)

    def image(self, x: float, y: float, yaw: float) -> Image:
        """What a robot at (x, y) m, heading `yaw` rad sees, (height, width, 3) uint8 RGB."""
        config = self._config
        cos, sin = math.cos(yaw), math.sin(yaw)
        position = np.array(
            [
                x + config.forward * cos - config.left * sin,
                y + config.forward * sin + config.left * cos,
                config.up,
            ]
        )
        cos, sin = math.cos(yaw + config.yaw), math.sin(yaw + config.yaw)
        tilt_cos, tilt_sin = math.cos(config.pitch), math.sin(config.pitch)
        forward = np.array([cos * tilt_cos, sin * tilt_cos, -tilt_sin])
        right, up = np.array([sin, -cos, 0.0]), np.array([cos * tilt_sin, sin * tilt_sin, tilt_cos])
        axes = np.column_stack([right, up, -forward])
        return self._renderer.render(position, axes, config.vertical_fov)

    def set_pedestrians(self, poses: FloatArray) -> None:
        """Draw people at (P, 3) x m, y m, yaw rad from now on; see `Renderer.set_pedestrians`."""
        self._renderer.set_pedestrians(poses)

    def set_light(
        self,
        ambient: float = AMBIENT,
        diffuse: float = DIFFUSE,
        direction: tuple[float, float, float] = SUN,
        colour: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        """Light the world from now on; see `Renderer.set_light`."""
        self._renderer.set_light(ambient, diffuse, direction, colour)

    def reconfigure(self, config: CameraConfig) -> None:
        """Be another camera from now on; cheap, also when the picture's size changes."""
        self._config = config
        self._renderer.resize(config.width, config.height)

    def show(self, world: World) -> None:
        """Be in another world from now on; pedestrians and light go back to their defaults."""
        self._renderer.show(world.scene)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
