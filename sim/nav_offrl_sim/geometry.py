"""Obstacles as seen from above, and the distance to the nearest of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Obstacle:
    """An upright box of half lengths, grown by `radius`; a disc has zero half lengths. Metres."""

    x: float
    y: float
    half_length: float
    half_width: float
    yaw: float = 0.0
    radius: float = 0.0
    height: float = 1.0

    def distance(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Distance of points to the outline, m; negative inside."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.x, y - self.y
        along = np.abs(cos * dx + sin * dy) - self.half_length
        across = np.abs(-sin * dx + cos * dy) - self.half_width
        outside = np.hypot(np.maximum(along, 0), np.maximum(across, 0))
        inside = np.minimum(np.maximum(along, across), 0)
        distance: FloatArray = outside + inside - self.radius
        return distance

    def outline(self) -> FloatArray:
        """Corners of the footprint, (4, 2) m; for a disc those of its bounding square."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=np.float64)
        corners *= [self.half_length + self.radius, self.half_width + self.radius]
        return corners @ np.array([[cos, sin], [-sin, cos]]) + [self.x, self.y]


class ClearanceMap:
    """Distance to the nearest obstacle or edge of the world, exact on a grid, bilinear between.

    Attributes:
        values: (rows, columns) m; node (i, j) lies at (x, y) = (j, i) * resolution.
    """

    def __init__(
        self, obstacles: Sequence[Obstacle], size: tuple[float, float], resolution: float
    ) -> None:
        self.resolution = resolution
        self.size = size
        columns, rows = (round(side / resolution) + 1 for side in size)
        self._x, self._y = np.meshgrid(
            np.arange(columns) * resolution, np.arange(rows) * resolution
        )
        edges = [self._x, size[0] - self._x, self._y, size[1] - self._y]
        self.values: FloatArray = np.minimum.reduce(edges)
        for obstacle in obstacles:
            self.add(obstacle)

    def add(self, obstacle: Obstacle) -> None:
        """Take one more obstacle into account."""
        np.minimum(self.values, obstacle.distance(self._x, self._y), out=self.values)

    def at(self, x: float, y: float) -> float:
        """Distance from a point to the nearest obstacle, m; negative inside or off the map."""
        rows, columns = self.values.shape
        u, v = x / self.resolution, y / self.resolution
        if not (0 <= u < columns - 1 and 0 <= v < rows - 1):
            return -1.0
        j, i = int(u), int(v)
        u, v = u - j, v - i
        values = self.values
        low = values[i, j] * (1 - u) + values[i, j + 1] * u
        high = values[i + 1, j] * (1 - u) + values[i + 1, j + 1] * u
        return float(low * (1 - v) + high * v)


def wrap_angle(angle: float) -> float:
    """The same angle in [-pi, pi), rad."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
