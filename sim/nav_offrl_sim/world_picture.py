"""A picture of a family of worlds: one of them from above, and what a robot sees in it.

Example:
  python -m nav_offrl_sim.world_picture --world campus --output docs/images/sim_campus.jpg
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nav_offrl_sim.camera import RobotCamera
from nav_offrl_sim.configuration import CameraConfig, load_world_config
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.textures import Image
from nav_offrl_sim.top_down import render_top_down
from nav_offrl_sim.world import World, generate_world

SIDE = 384  # height of the picture, pixels
VIEWS = 4
CANDIDATES = 7  # poses drawn for each view; the one with most to see is taken
FOOTPRINT = 0.25  # m


@dataclass
class Args:
    """Draw a world from above and as a robot sees it."""

    world: str = "campus"
    """Name of a world or path of its YAML file."""
    world_seed: int = 0
    """Which world of that family."""
    output: Path = Path("world.jpg")
    """Picture to write."""


def draw_world(world: World, seed: int = 0) -> Image:
    """The world from above and four views of a robot's camera, (384, W, 3) uint8 RGB."""
    above, _ = render_top_down(world, SIDE / world.size[1])
    camera = RobotCamera(world, CameraConfig(width=SIDE * 2 // 3, height=SIDE // 2))
    rng = np.random.default_rng(seed)
    views = [_view(world, camera, rng) for _ in range(VIEWS)]
    camera.close()
    columns = [np.vstack(views[k : k + 2]) for k in range(0, VIEWS, 2)]
    return np.hstack([above, *columns])


def _view(world: World, camera: RobotCamera, rng: np.random.Generator) -> Image:
    """The picture with most edges among random ones with room ahead."""
    space = world.free_space(FOOTPRINT)
    pictures = []
    for _ in range(CANDIDATES):
        x, y = space.centre(*space.cells[int(rng.integers(len(space.cells)))])
        pose: Pose = (x, y, float(rng.uniform(-math.pi, math.pi)))
        ahead = [(x + d * math.cos(pose[2]), y + d * math.sin(pose[2])) for d in (0.7, 1.4, 2.0)]
        if min(world.clearance.at(*point) for point in ahead) > 0.1:
            pictures.append(camera.image(*pose))
    edges = [float(np.abs(cv2.Laplacian(picture, cv2.CV_32F)).mean()) for picture in pictures]
    return pictures[int(np.argmax(edges))]


def main(args: Args) -> None:
    """Write the picture."""
    picture = draw_world(generate_world(load_world_config(args.world), args.world_seed))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    cv2.imwrite(str(args.output), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Args, description=__doc__))
