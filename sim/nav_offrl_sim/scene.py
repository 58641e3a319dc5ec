"""What a layout produces: obstacles for the robot, scenery and ground for the camera."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_sim.geometry import ClearanceMap, Obstacle
from nav_offrl_sim.meshes import Atlas, MeshBuilder
from nav_offrl_sim.textures import Image

GROUND_PIXELS = 1024


@dataclass(frozen=True)
class Surface:
    """A kind of ground: how it looks, and the gyro's rms per speed on it, (rad/s)/(m/s)."""

    kind: str
    picture: Image
    roughness: float


@dataclass
class Scene:
    """A world while it is laid out.

    Attributes:
        ground: picture of the ground; pixel (column, row) lies at (x, y) = (column, row) / scale.
        roughness: same shape as the ground's first two axes, (rad/s)/(m/s).
        terrain: of that shape, indices into `kinds`.
    """

    size: tuple[float, float]
    obstacles: list[Obstacle] = field(default_factory=list)
    mesh: MeshBuilder = field(default_factory=MeshBuilder)
    ceiling: MeshBuilder | None = None
    atlas: Atlas = field(default_factory=Atlas)
    sky: Image | None = None

    def __post_init__(self) -> None:
        self.scale = GROUND_PIXELS / max(self.size)
        width, height = (round(side * self.scale) for side in self.size)
        self.ground: Image = np.zeros((height, width, 3), dtype=np.uint8)
        self.roughness: NDArray[np.float32] = np.zeros((height, width), dtype=np.float32)
        self.terrain: NDArray[np.uint8] = np.zeros((height, width), dtype=np.uint8)
        self.kinds: list[str] = []

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """Ground pixels (N, 2) as column, row of points (N, 2) in m."""
        return np.rint(points * self.scale).astype(np.int32)

    def pave(self, mask: NDArray[np.uint8], surface: Surface) -> None:
        """Lay a surface where `mask` is not zero."""
        where = mask > 0
        self.ground[where] = surface.picture[where]
        self.roughness[where] = surface.roughness
        if surface.kind not in self.kinds:
            self.kinds.append(surface.kind)
        self.terrain[where] = self.kinds.index(surface.kind)

    def blank_mask(self) -> NDArray[np.uint8]:
        """A mask of the ground's shape, all zero."""
        return np.zeros(self.roughness.shape, dtype=np.uint8)

    def darken(self, mask: NDArray[np.uint8], factor: float, blur: float) -> None:
        """Multiply the ground by `factor` where `mask` is set, with soft edges of `blur` m."""
        sigma = blur * self.scale
        small = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(small, (0, 0), max(sigma / 4, 0.5))
        soft = cv2.resize(soft, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        weight = 255 - (soft.astype(np.uint16) * round(256 * (1 - factor)) // 256)
        weight_image = cv2.cvtColor(weight.astype(np.uint8), cv2.COLOR_GRAY2RGB)
        self.ground = np.asarray(cv2.multiply(self.ground, weight_image, scale=1 / 255), np.uint8)


class Placer:
    """Finds room for obstacles so that a gap stays around each of them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.clearance = ClearanceMap(scene.obstacles, scene.size, 0.2)

    def add(self, obstacle: Obstacle) -> None:
        """Put an obstacle down without asking."""
        self._scene.obstacles.append(obstacle)
        self.clearance.add(obstacle)

    def try_add(self, obstacle: Obstacle, gap: float) -> bool:
        """Put an obstacle down where `gap` (m) stays free around it; say whether it was."""
        corners = obstacle.outline()
        low, high = corners.min(axis=0) - 0.2, corners.max(axis=0) + 0.2
        resolution = self.clearance.resolution
        first = np.maximum(np.floor(low / resolution), 0).astype(int)
        last = np.ceil(high / resolution).astype(int) + 1
        window = self.clearance.values[first[1] : last[1], first[0] : last[0]]
        if window.size == 0:
            return False
        rows, columns = np.indices(window.shape)
        x = (columns + first[0]) * resolution
        y = (rows + first[1]) * resolution
        covered = window[obstacle.distance(x, y) <= resolution]
        if covered.size == 0 or float(covered.min()) < gap - resolution:
            return False
        self.add(obstacle)
        return True
