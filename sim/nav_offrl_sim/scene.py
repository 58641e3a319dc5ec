"""A world while it is laid out, and what comes of it: arrays for the robot and for the camera."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_sim.geometry import ClearanceMap, FloatArray, Obstacle
from nav_offrl_sim.library import Library
from nav_offrl_sim.materials import paint_variants
from nav_offrl_sim.meshes import Atlas, Mesh, MeshBuilder
from nav_offrl_sim.textures import Image, Rng

GROUND_PIXELS = 640  # the longer side of the ground's picture has at most so many
CLEARANCE_RESOLUTION = 0.05  # m
ROUGHNESS_STEP = 0.005  # (rad/s)/(m/s)

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A world as laid out.

    Attributes:
        obstacles: all that stops the robot.
        ground: picture of the ground; pixel (row, column) is at (x, y) = (column, row) / scale.
        scale: pixels of the ground per m.
        terrain: of the same shape, indices into `kinds`.
        roughness_steps: of that shape, the gyro's rms per speed in `ROUGHNESS_STEP`s.
        mesh: everything that stands on the ground; its texture is `atlas`.
        ceiling: the ceiling of an indoor world, else of no triangles.
        sky: panorama of an outdoor world.
    """

    size: tuple[float, float]
    obstacles: tuple[Obstacle, ...]
    ground: Image
    scale: float
    kinds: tuple[str, ...]
    terrain: NDArray[np.uint8]
    roughness_steps: NDArray[np.uint8]
    mesh: Mesh
    ceiling: Mesh
    atlas: Image
    sky: Image | None

    @property
    def roughness(self) -> NDArray[np.float32]:
        """The gyro's rms per speed on every pixel of the ground, (rad/s)/(m/s)."""
        return self.roughness_steps * np.float32(ROUGHNESS_STEP)


@dataclass
class SceneBuilder:
    """Where layouts put things down.

    `layout`, `relief` and `paint` are random streams of their own, so that painting does not
    move things.
    """

    size: tuple[float, float]
    library: Library
    layout: Rng
    relief: Rng
    paint: Rng
    resolution: float
    obstacles: list[Obstacle] = field(default_factory=list)
    mesh: MeshBuilder = field(default_factory=MeshBuilder)
    ceiling: MeshBuilder = field(default_factory=MeshBuilder)
    atlas: Atlas = field(default_factory=Atlas)
    sky: Image | None = None
    paths: list[FloatArray] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scale = min(self.resolution, GROUND_PIXELS / max(self.size))
        width, height = (round(side * self.scale) for side in self.size)
        self.ground: Image = np.zeros((height, width, 3), dtype=np.uint8)
        self.terrain: Mask = np.zeros((height, width), dtype=np.uint8)
        self.roughness: Mask = np.zeros((height, width), dtype=np.uint8)
        self.shadows = self.blank_mask()
        self.clearance = ClearanceMap((), self.size, CLEARANCE_RESOLUTION)
        self._pictures: dict[str, FloatArray] = {}

    def pictures(self, material: str) -> FloatArray:
        """Where the pictures of a material are in the atlas, (variants, 4)."""
        if material not in self._pictures:
            painted = paint_variants(self.paint, self.library.materials[material])
            self._pictures[material] = np.array([self.atlas.add(picture) for picture in painted])
        return self._pictures[material]

    def picture(self, material: str) -> FloatArray:
        """One of them at random, (4,)."""
        among = self.pictures(material)
        chosen: FloatArray = among[int(self.paint.integers(len(among)))]
        return chosen

    def add(self, obstacle: Obstacle) -> None:
        """Put down something that stops the robot."""
        self.obstacles.append(obstacle)
        self.clearance.add(obstacle)

    def pixels(self, points: FloatArray) -> NDArray[np.int32]:
        """Ground pixels (N, 2) as column, row of points (N, 2) in m."""
        return np.rint(points * self.scale).astype(np.int32)

    def kinds_at(self, points: FloatArray) -> NDArray[np.uint8]:
        """Indices into `kinds` of the ground at points (..., 2) in m."""
        rows, columns = self.terrain.shape
        place = (points * self.scale).astype(np.int64)
        row, column = np.clip(place[..., 1], 0, rows - 1), np.clip(place[..., 0], 0, columns - 1)
        kinds: NDArray[np.uint8] = self.terrain[row, column]
        return kinds

    def blank_mask(self) -> Mask:
        """A mask of the ground's shape, all zero."""
        return np.zeros(self.terrain.shape, dtype=np.uint8)

    def lay(self, mask: Mask, kind: str, picture: Image, roughness: Mask | int) -> None:
        """Lay a kind of ground where `mask` is not zero."""
        if kind not in self.kinds:
            self.kinds.append(kind)
        cv2.copyTo(picture, mask, dst=self.ground)
        cv2.copyTo(np.full_like(mask, self.kinds.index(kind)), mask, dst=self.terrain)
        rough = roughness if isinstance(roughness, np.ndarray) else np.full_like(mask, roughness)
        cv2.copyTo(rough, mask, dst=self.roughness)

    def darken(self, mask: Mask, factor: float, blur: float) -> None:
        """Multiply the ground by `factor` where `mask` is set, with soft edges of `blur` m."""
        small = cv2.resize(mask, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(small, (0, 0), max(blur * self.scale / 2, 0.5))
        soft = cv2.resize(soft, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        weight = cv2.LUT(soft, (255 - (1 - factor) * np.arange(256)).astype(np.uint8))
        weights = cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB)
        self.ground = np.asarray(cv2.multiply(self.ground, weights, scale=1 / 255), np.uint8)

    def finished(self) -> Scene:
        """What was laid out."""
        atlas = self.atlas.finished()
        return Scene(
            self.size,
            tuple(self.obstacles),
            self.ground,
            self.scale,
            tuple(self.kinds),
            self.terrain,
            self.roughness,
            self.mesh.mesh(atlas),
            self.ceiling.mesh(atlas),
            atlas,
            self.sky,
        )


def roughness_between(
    low: float, high: float, share: NDArray[np.uint8] | float
) -> NDArray[np.uint8]:
    """Roughness between `low` and `high` (rad/s)/(m/s) at `share` (0 to 255) of the way."""
    values = low + (high - low) * np.asarray(share, dtype=np.float32) / 255
    return np.clip(np.rint(values / ROUGHNESS_STEP), 0, 255).astype(np.uint8)
