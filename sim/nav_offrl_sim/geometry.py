"""Obstacles as seen from above, and the distance to the nearest of them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
REACH = 3.0  # distances are told up to this, m


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
        dx, dy = x - self.x, y - self.y
        if self.half_length == 0 and self.half_width == 0:
            return np.asarray(np.hypot(dx, dy) - self.radius)
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        along = np.abs(cos * dx + sin * dy) - self.half_length
        across = np.abs(-sin * dx + cos * dy) - self.half_width
        outside = np.hypot(np.maximum(along, 0), np.maximum(across, 0))
        inside = np.minimum(np.maximum(along, across), 0)
        return np.asarray(outside + inside - self.radius)

    def outline(self) -> FloatArray:
        """Corners of the footprint, (4, 2) m; for a disc those of its bounding square."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=np.float64)
        corners *= [self.half_length + self.radius, self.half_width + self.radius]
        return corners @ np.array([[cos, sin], [-sin, cos]]) + [self.x, self.y]


class ClearanceMap:
    """Distance to the nearest obstacle or edge of the world, exact on a grid, bilinear between.

    Distances above `REACH` are told as `REACH`.

    Attributes:
        values: (rows, columns) m; node (i, j) lies at (x, y) = (j, i) * resolution.
    """

    def __init__(
        self, obstacles: Iterable[Obstacle], size: tuple[float, float], resolution: float
    ) -> None:
        columns, rows = (round(side / resolution) + 1 for side in size)
        across = np.arange(columns) * resolution
        along = np.arange(rows) * resolution
        across = np.minimum(across, size[0] - across)
        along = np.minimum(along, size[1] - along)
        edges = np.minimum(np.minimum(across[None, :], along[:, None]), REACH)
        self.resolution = resolution
        self.size = size
        self.values: NDArray[np.float32] = edges.astype(np.float32)
        for obstacle in obstacles:
            self.add(obstacle)

    @classmethod
    def of_values(
        cls, values: NDArray[np.float32], size: tuple[float, float], resolution: float
    ) -> "ClearanceMap":
        """A map whose distances are known."""
        made = cls.__new__(cls)
        made.resolution, made.size, made.values = resolution, size, values
        return made

    def add(self, obstacle: Obstacle) -> None:
        """Take one more obstacle into account."""
        corners = obstacle.outline()
        first = np.floor((corners.min(axis=0) - REACH) / self.resolution).astype(int)
        last = np.ceil((corners.max(axis=0) + REACH) / self.resolution).astype(int) + 1
        first = np.maximum(first, 0)
        window = self.values[first[1] : last[1], first[0] : last[0]]
        rows, columns = window.shape
        x = (first[0] + np.arange(columns))[None, :] * self.resolution
        y = (first[1] + np.arange(rows))[:, None] * self.resolution
        np.minimum(window, obstacle.distance(x, y), out=window, casting="same_kind")

    def at(self, x: float, y: float) -> float:
        """Distance from a point to the nearest obstacle, m; negative inside or off the map."""
        rows, columns = self.values.shape
        u, v = x / self.resolution, y / self.resolution
        if not (0 <= u < columns - 1 and 0 <= v < rows - 1):
            return -1.0
        j, i = int(u), int(v)
        u, v = u - j, v - i
        values = self.values
        low = values.item(i, j) * (1 - u) + values.item(i, j + 1) * u
        high = values.item(i + 1, j) * (1 - u) + values.item(i + 1, j + 1) * u
        return low * (1 - v) + high * v

    def at_points(self, points: FloatArray) -> FloatArray:
        """The same for points (..., 2) m at once, (...)."""
        rows, columns = self.values.shape
        nodes = np.asarray(points, dtype=np.float64) / self.resolution
        u, v = nodes[..., 0], nodes[..., 1]
        off = ~((u >= 0) & (u < columns - 1) & (v >= 0) & (v < rows - 1))
        j = np.clip(u, 0, columns - 2).astype(np.int64)
        i = np.clip(v, 0, rows - 2).astype(np.int64)
        u, v = u - j, v - i
        flat, first = self.values.ravel(), i * columns + j
        low = flat[first] * (1 - u) + flat[first + 1] * u
        high = flat[first + columns] * (1 - u) + flat[first + columns + 1] * u
        return np.where(off, -1.0, low * (1 - v) + high * v)

    def on_grid(self, cell: float, rows: int, columns: int) -> FloatArray:
        """Distance at the centres of cells of side `cell` m, (rows, columns)."""
        values = self.values.astype(np.float64)
        for axis, count in ((0, rows), (1, columns)):
            place = (np.arange(count) + 0.5) * cell / self.resolution
            node = np.minimum(place.astype(np.int64), values.shape[axis] - 2)
            share = (place - node).reshape((-1, 1) if axis == 0 else (1, -1))
            values = values.take(node, axis) * (1 - share) + values.take(node + 1, axis) * share
        return values


def wrap_angle(angle: float) -> float:
    """The same angle in [-pi, pi), rad."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
