"""Static scenery gathered into one textured mesh, because every further geom costs a draw call."""

import itertools
import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.textures import Colour, Image

FloatArray = NDArray[np.float64]
UvRect = tuple[float, float, float, float]  # left, top, right, bottom in [0, 1]
_PADDING = 3  # border pixels repeated around each picture, so that mip levels do not bleed


class Atlas:
    """Many pictures in one square texture, packed on shelves in the order they come."""

    def __init__(self, side: int = 2048) -> None:
        self.image: Image = np.full((side, side, 3), 128, dtype=np.uint8)
        self._side = side
        self._left = self._top = self._shelf = 0
        self._colours: dict[tuple[int, int, int], UvRect] = {}

    def add(self, picture: Image) -> UvRect:
        """Place a picture and return its texture coordinates.

        Raises:
            NavOffrlError: the atlas is full; the world asks for too many or too large textures.
        """
        height, width = picture.shape[0] + 2 * _PADDING, picture.shape[1] + 2 * _PADDING
        if self._left + width > self._side:
            self._left, self._top, self._shelf = 0, self._top + self._shelf, 0
        if self._top + height > self._side or width > self._side:
            raise NavOffrlError(
                "the world's textures do not fit one atlas",
                where="texture_resolution",
                remedy="lower texture_resolution or make the world smaller",
            )
        left, top = self._left, self._top
        self.image[top : top + height, left : left + width] = cv2.copyMakeBorder(
            picture, _PADDING, _PADDING, _PADDING, _PADDING, cv2.BORDER_REPLICATE
        )
        self._left += width
        self._shelf = max(self._shelf, height)
        x0, y0, side = left + _PADDING, top + _PADDING, self._side
        x1, y1 = x0 + picture.shape[1], y0 + picture.shape[0]
        return x0 / side, y0 / side, x1 / side, y1 / side

    def colour(self, colour: Colour) -> UvRect:
        """Texture coordinates of a plain colour."""
        key = (int(colour[0]), int(colour[1]), int(colour[2]))
        if key not in self._colours:
            swatch = np.empty((8, 8, 3), dtype=np.uint8)
            swatch[:] = key
            self._colours[key] = self.add(swatch)
        return self._colours[key]


@dataclass
class MeshBuilder:
    """Quads with flat normals and texture coordinates."""

    _vertices: list[FloatArray] = field(default_factory=list)
    _texture: list[FloatArray] = field(default_factory=list)
    _normals: list[FloatArray] = field(default_factory=list)

    def quad(self, corners: FloatArray, uv: UvRect) -> None:
        """Add corners (4, 3): lower left, lower right, upper right, upper left from outside."""
        left, top, right, bottom = uv
        # The diagonals give the normal of a quad that degenerates to a triangle too.
        normal = np.cross(corners[2] - corners[0], corners[3] - corners[1])
        normal = normal / np.linalg.norm(normal)
        self._vertices.append(corners)
        self._texture.append(np.array([[left, bottom], [right, bottom], [right, top], [left, top]]))
        self._normals.append(np.tile(normal, (4, 1)))

    def wall(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        z: tuple[float, float],
        uv: UvRect,
    ) -> None:
        """An upright quad whose outside lies to the right of start -> end."""
        (x0, y0), (x1, y1), (low, high) = start, end, z
        corners = [[x0, y0, low], [x1, y1, low], [x1, y1, high], [x0, y0, high]]
        self.quad(np.array(corners, dtype=np.float64), uv)

    def box(
        self,
        centre: tuple[float, float],
        half: tuple[float, float],
        z: tuple[float, float],
        sides: UvRect | list[UvRect],
        top: UvRect,
        yaw: float = 0.0,
        open_below: bool = True,
    ) -> None:
        """An upright box; `sides` is one picture for all four or one each (-y, +x, +y, -x)."""
        cos, sin = math.cos(yaw), math.sin(yaw)
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
        floor = signs * half @ np.array([[cos, sin], [-sin, cos]]) + centre
        pictures = sides if isinstance(sides, list) else [sides] * 4
        for i, uv in enumerate(pictures):
            start, end = floor[i], floor[(i + 1) % 4]
            self.wall((start[0], start[1]), (end[0], end[1]), z, uv)
        self.quad(np.column_stack([floor, np.full(4, z[1])]), top)
        if not open_below:
            self.quad(np.column_stack([floor[::-1], np.full(4, z[0])]), top)

    def frustum(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        z: tuple[float, float],
        uv: UvRect,
        sides: int = 8,
    ) -> None:
        """An upright truncated cone; equal radii make a cylinder, a zero radius a cone."""
        angles = np.linspace(0, 2 * math.pi, sides + 1)
        ring = np.column_stack([np.cos(angles), np.sin(angles)])
        left, top, right, bottom = uv
        for i in range(sides):
            corners = np.empty((4, 3))
            corners[:2, :2] = ring[i : i + 2] * radii[0] + centre
            corners[2:, :2] = ring[i : i + 2][::-1] * radii[1] + centre
            corners[:2, 2], corners[2:, 2] = z
            width = (right - left) / sides
            self.quad(corners, (left + i * width, top, left + (i + 1) * width, bottom))

    def disc_below(self, centre: tuple[float, float], radius: float, z: float, uv: UvRect) -> None:
        """A horizontal disc seen from below, such as the underside of a tree's branches."""
        self.frustum(centre, (0.02, radius), (z - 1e-3, z), uv)

    def ball(self, centre: tuple[float, float, float], radius: float, uv: UvRect) -> None:
        """A coarse ball."""
        x, y, z = centre
        levels = np.linspace(-math.pi / 2, math.pi / 2, 5)
        for low, high in itertools.pairwise(levels):
            radii = (radius * math.cos(low), radius * math.cos(high))
            heights = (z + radius * math.sin(low), z + radius * math.sin(high))
            self.frustum((x, y), radii, heights, uv, sides=7)

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int32]]:
        """Vertices (V, 3), normals (V, 3), texture coordinates (V, 2), triangles (F, 3)."""
        count = len(self._vertices)
        base = 4 * np.arange(count, dtype=np.int32)[:, None, None]
        faces = (base + np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)).reshape(-1, 3)
        vertices = np.concatenate(self._vertices)
        return vertices, np.concatenate(self._normals), np.concatenate(self._texture), faces
