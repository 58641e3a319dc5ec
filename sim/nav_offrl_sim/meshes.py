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
Single = NDArray[np.float32]
ATLAS_SIDE = 1024
CHUNK = 6.0  # side of a chunk, m
MAX_ATLAS_HEIGHT = 4096
_PADDING = 3  # border pixels repeated around each picture, so that mip levels do not bleed


@dataclass(frozen=True)
class Mesh:
    """Textured triangles, anticlockwise seen from outside, sorted into chunks of neighbours.

    A camera need not draw the chunks that are out of its view, nor details that are far away.

    Attributes:
        vertices: (F, 3, 3) corners of each triangle, m.
        normals: (F, 3) of length 1.
        texture: (F, 3, 2) texture coordinates of the corners in [0, 1]; row 0 of a picture is 0.
        first: (K + 1,) int32, the first triangle of each chunk, and how many there are.
        boxes: (K, 6) middle and half sides of the box around each chunk, m.
        reach: (K,) m, how far a chunk is seen.
    """

    vertices: Single
    normals: Single
    texture: Single
    first: NDArray[np.int32]
    boxes: Single
    reach: Single

    @classmethod
    def chunked(
        cls, vertices: Single, normals: Single, texture: Single, reach: Single | None = None
    ) -> "Mesh":
        """Sort triangles into square chunks; those larger than a chunk get one of their own.

        `reach` (F,) m is how far each triangle is seen; by default everywhere.
        """
        if reach is None:
            reach = np.full(len(vertices), np.inf, dtype=np.float32)
        cells = np.floor(vertices[..., :2].mean(axis=1) / CHUNK).astype(np.int64)
        low = cells.min(axis=0, initial=0)
        across = int(cells[:, 0].max(initial=0) - low[0]) + 1
        chunk = (cells[:, 1] - low[1]) * across + cells[:, 0] - low[0] + 1
        chunk[np.ptp(vertices, axis=1).max(axis=1, initial=0) > CHUNK] = 0
        order = np.lexsort((reach, chunk))
        chunk, reach = chunk[order], reach[order]
        changes = (np.diff(chunk) != 0) | (reach[1:] != reach[:-1])
        first = np.flatnonzero(np.append(len(order) > 0, changes))
        ends = np.append(first, len(order)).astype(np.int32)
        vertices, texture = vertices[order], texture[order]
        boxes = np.empty((len(first), 6), dtype=np.float32)
        for box, (start, end) in zip(boxes, itertools.pairwise(ends), strict=True):
            points = vertices[start:end].reshape(-1, 3)
            low, high = points.min(axis=0), points.max(axis=0)
            box[:3], box[3:] = (low + high) / 2, (high - low) / 2
        return cls(vertices, normals[order], texture, ends, boxes, reach[first])

    def __len__(self) -> int:
        return len(self.vertices)


class Atlas:
    """Many pictures in one texture, packed on shelves in the order they come."""

    def __init__(self) -> None:
        self._image: Image = np.full((ATLAS_SIDE, ATLAS_SIDE, 3), 128, dtype=np.uint8)
        self._left = self._top = self._shelf = 0
        self._colours: dict[tuple[int, int, int], FloatArray] = {}

    def add(self, picture: Image) -> FloatArray:
        """Place a picture and return its left, top, right and bottom edge, pixels.

        Raises:
            NavOffrlError: the atlas is full; the world asks for too many or too large pictures.
        """
        height, width = picture.shape[0] + 2 * _PADDING, picture.shape[1] + 2 * _PADDING
        if self._left + width > ATLAS_SIDE:
            self._left, self._top, self._shelf = 0, self._top + self._shelf, 0
        while self._top + height > len(self._image) and len(self._image) < MAX_ATLAS_HEIGHT:
            self._image = np.concatenate([self._image, np.full_like(self._image, 128)])
        if self._top + height > len(self._image):
            raise NavOffrlError(
                "the world's textures do not fit one atlas",
                where="materials",
                remedy="lower 'variants' or 'pixels' of some materials",
            )
        left, top = self._left, self._top
        self._image[top : top + height, left : left + width] = cv2.copyMakeBorder(
            picture, _PADDING, _PADDING, _PADDING, _PADDING, cv2.BORDER_REPLICATE
        )
        self._left += width
        self._shelf = max(self._shelf, height)
        x, y = left + _PADDING, top + _PADDING
        return np.array([x, y, x + picture.shape[1], y + picture.shape[0]], dtype=np.float64)

    def colour(self, colour: Colour) -> FloatArray:
        """Where a plain colour is, as `add` tells it."""
        key = (int(colour[0]), int(colour[1]), int(colour[2]))
        if key not in self._colours:
            swatch = np.empty((4, 4, 3), dtype=np.uint8)
            swatch[:] = key
            self._colours[key] = self.add(swatch)
        return self._colours[key]

    def colour_at(self, rect: FloatArray) -> Colour:
        """Mean colour of a picture."""
        left, top, right, bottom = rect.astype(int)
        red, green, blue = self._image[top:bottom, left:right].mean(axis=(0, 1))
        return float(red), float(green), float(blue)

    def finished(self) -> Image:
        """The texture, no higher than needed but a multiple of 256 pixels."""
        height = 256 * math.ceil((self._top + self._shelf) / 256)
        return self._image[: max(height, 256)]


@dataclass
class MeshBuilder:
    """Collects triangles; texture coordinates are in pixels until the atlas is finished."""

    _vertices: list[FloatArray] = field(default_factory=list)
    _texture: list[FloatArray] = field(default_factory=list)
    _upright: list[int] = field(default_factory=list)
    _reach: list[Single] = field(default_factory=list)

    def triangles(
        self,
        vertices: FloatArray,
        texture: FloatArray,
        upright: bool = False,
        reach: float = math.inf,
    ) -> None:
        """Add corners (F, 3, 3) and texture coordinates (F, 3, 2).

        `upright` lights them from above whichever way they face, as grass is; details are not
        drawn farther away than `reach` m.
        """
        self._reach.append(np.full(len(vertices), reach, dtype=np.float32))
        self._vertices.append(vertices)
        self._texture.append(texture)
        self._upright.append(len(vertices) if upright else 0)

    def quads(self, corners: FloatArray, rects: FloatArray) -> None:
        """Add corners (N, 4, 3): lower left, lower right, upper right, upper left from outside.

        `rects` (N, 4) or (4,) are the pictures on them as `Atlas.add` returns them.
        """
        corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 3)
        rects = np.broadcast_to(rects, (len(corners), 4))
        texture = rects[:, [[0, 3], [2, 3], [2, 1], [0, 1]]]
        order = [0, 1, 2, 0, 2, 3]
        self.triangles(corners[:, order].reshape(-1, 3, 3), texture[:, order].reshape(-1, 3, 2))

    def wall(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        z: tuple[float, float],
        rect: FloatArray,
    ) -> None:
        """An upright quad whose outside lies to the right of start -> end."""
        (x0, y0), (x1, y1), (low, high) = start, end, z
        self.quads(np.array([[x0, y0, low], [x1, y1, low], [x1, y1, high], [x0, y0, high]]), rect)

    def mesh(self, atlas: Image) -> Mesh:
        """What was added, for the finished atlas."""
        vertices = np.concatenate([np.empty((0, 3, 3)), *self._vertices]).astype(np.float32)
        texture = np.concatenate([np.empty((0, 3, 2)), *self._texture])
        texture = (texture / [atlas.shape[1], atlas.shape[0]]).astype(np.float32)
        normals = np.cross(vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0])
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        normals /= np.maximum(lengths, 1e-12)
        start = 0
        for added, upright in zip(self._vertices, self._upright, strict=True):
            normals[start : start + upright] = 0, 0, 1
            start += len(added)
        reach = np.concatenate([np.empty(0, np.float32), *self._reach])
        return Mesh.chunked(vertices, normals.astype(np.float32), texture, reach)


def sky_dome(centre: tuple[float, float], radius: float) -> Mesh:
    """A dome seen from inside, from -10° to 90° of elevation, under a panorama."""
    azimuths = np.linspace(0, 2 * math.pi, 25)
    elevations = np.radians(np.linspace(-10, 89.5, 8))
    azimuth, elevation = np.meshgrid(azimuths, elevations)
    points = radius * np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    ) + [*centre, 0.0]
    uv = np.stack([azimuth / (2 * math.pi), 1 - (np.degrees(elevation) + 10) / 100], axis=-1)
    grid = np.concatenate([points, uv], axis=-1)
    lower_right, lower_left = grid[:-1, :-1], grid[:-1, 1:]
    upper_right, upper_left = grid[1:, :-1], grid[1:, 1:]
    quads = np.stack([lower_left, lower_right, upper_right, upper_left], axis=2).reshape(-1, 4, 5)
    triangles = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3, 5).astype(np.float32)
    # Turned away from the sun, so that the panorama is as bright as it is painted.
    normals = np.tile(np.array([0, 0, -1], dtype=np.float32), (len(triangles), 1))
    return Mesh.chunked(triangles[..., :3].copy(), normals, triangles[..., 3:].copy())
