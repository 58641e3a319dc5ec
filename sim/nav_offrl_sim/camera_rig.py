"""The cameras of a robot: one renderer that takes the place of each of them in turn."""

from collections.abc import Mapping
from typing import Any

from nav_offrl_sim.camera import RobotCamera
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.robot_configuration import CameraConfig
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import World


class CameraRig:
    """Pictures of a robot's cameras by their name."""

    def __init__(self, world: World, cameras: Mapping[str, CameraConfig]) -> None:
        self.configure(cameras)
        self._camera = RobotCamera(world, next(iter(self._cameras.values())))

    def configure(self, cameras: Mapping[str, CameraConfig]) -> None:
        """Have these cameras from now on."""
        self._cameras = dict(cameras)

    def image(self, name: str, pose: Pose) -> Image:
        """What a robot's camera sees from a pose of the robot, (height, width, 3) uint8 RGB."""
        self._camera.reconfigure(self._cameras[name])
        return self._camera.image(*pose)

    def images(self, pose: Pose) -> dict[str, Image]:
        """What all cameras see from a pose of the robot."""
        return {name: self.image(name, pose) for name in self._cameras}

    def set_pedestrians(self, poses: FloatArray) -> None:
        """Draw people at (P, 3) x m, y m, yaw rad from now on."""
        self._camera.set_pedestrians(poses)

    def set_light(self, light: Mapping[str, Any]) -> None:
        """Light the world by these arguments of `RobotCamera.set_light`; by none as it was."""
        self._camera.set_light(**light)

    def show(self, world: World) -> None:
        """Be in another world from now on."""
        self._camera.show(world)

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()
