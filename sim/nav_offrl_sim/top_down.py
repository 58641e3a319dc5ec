"""Worlds seen from above, for figures of drives."""

import math
from dataclasses import dataclass

import numpy as np

from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.renderer import Renderer
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import World

HEIGHT = 500.0  # of the camera, m: so high that walls hardly lean


@dataclass(frozen=True)
class WorldToPixel:
    """Where points of the ground lie in the picture.

    Attributes:
        scale: pixels per m.
        rows: height of the picture, pixels; y points up in it.
    """

    scale: float
    rows: int

    def __call__(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) in m as (column, row) in pixels, (..., 2)."""
        points = np.asarray(points, dtype=np.float64)
        pixels: FloatArray = np.stack(
            [points[..., 0] * self.scale, self.rows - points[..., 1] * self.scale], axis=-1
        )
        return pixels


def render_top_down(world: World, pixels_per_metre: float = 40.0) -> tuple[Image, WorldToPixel]:
    """The world from above without its ceiling, (rows, columns, 3) uint8, and the transform."""
    width, height = (round(side * pixels_per_metre) for side in world.size)
    renderer = Renderer(world.scene, width, height)
    x, y = world.size
    vertical_fov = 2 * math.atan(y / 2 / HEIGHT)
    position = np.array([x / 2, y / 2, HEIGHT])
    image = renderer.render(position, np.eye(3), vertical_fov, ceiling=False)
    renderer.close()
    return image, WorldToPixel(pixels_per_metre, height)
