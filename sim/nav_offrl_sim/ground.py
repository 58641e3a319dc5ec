"""The ground of a world: layers of it, paths, and the grass that stands on some."""

import math

import cv2
import numpy as np

from nav_offrl_sim.geometry import ClearanceMap, FloatArray
from nav_offrl_sim.materials import paint_area
from nav_offrl_sim.scene import CLEARANCE_RESOLUTION, Mask, SceneBuilder, roughness_between
from nav_offrl_sim.textures import Rng, noise
from nav_offrl_sim.world_configuration import GroundConfig, PathsConfig

GRASS_REACH = 8.0  # beyond which blades are thinned, m
GRASS_THINNED = 3  # to one in so many
RING_INSET = 2.2  # from the edges to the middle of a ring path, m


def lay_ground(scene: SceneBuilder, layers: tuple[GroundConfig, ...]) -> None:
    """Paint the layers one over another."""
    for layer in layers:
        mask = scene.blank_mask()
        if layer.patches is None:
            mask[:] = 255
        for _ in range(layer.patches or 0):
            _add_patch(scene, mask, layer)
        _lay(scene, mask, layer.kind, layer.material, layer.roughness)


def lay_paths(scene: SceneBuilder, paths: PathsConfig) -> None:
    """Paint paths over the ground and remember where they are."""
    lines = {"ring": _ring, "winding": _winding, "streets": _streets}[paths.pattern]
    scene.paths = lines(scene, paths.count)
    mask = scene.blank_mask()
    thickness = max(1, round(paths.width * scene.scale))
    for line in scene.paths:
        cv2.polylines(mask, [scene.pixels(line)], False, 255, thickness)
    _lay(scene, mask, paths.kind, paths.material, paths.roughness)


def _lay(
    scene: SceneBuilder, mask: Mask, kind: str, material: str, roughness: tuple[float, float]
) -> None:
    picture = paint_area(scene.paint, scene.library.materials[material], *mask.shape)
    low, high = roughness
    share = noise(scene.relief, mask.shape[0], mask.shape[1], 64)
    if high - low > 0.1:  # what shakes more is seen: rough places are darker and mottled
        fine = noise(scene.paint, mask.shape[0], mask.shape[1], 4)
        table = np.linspace(255, 150, 256).astype(np.uint8)
        weight = np.where(share > fine, table[share], np.uint8(255))
        weights = cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB)
        picture = np.asarray(cv2.multiply(picture, weights, scale=1 / 255), dtype=np.uint8)
    scene.lay(mask, kind, picture, roughness_between(low, high, share))


def _add_patch(scene: SceneBuilder, mask: Mask, layer: GroundConfig) -> None:
    rng = scene.layout
    centre = rng.uniform(0.08, 0.92, 2) * scene.size
    extent = rng.uniform(*layer.patch_size, 2)
    turn = float(rng.uniform(0, math.pi))
    if layer.patch_shape == "box":
        outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * extent / 2
    else:
        angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        radius = np.ones(24)
        for k in (2, 3, 5):
            radius += rng.uniform(0.05, 0.2) * np.sin(k * angles + rng.uniform(0, 2 * math.pi))
        circle = np.column_stack([np.cos(angles), np.sin(angles)])
        outline = circle * radius[:, None] * extent / 2
    cos, sin = math.cos(turn), math.sin(turn)
    points = outline @ np.array([[cos, sin], [-sin, cos]]) + centre
    cv2.fillPoly(mask, [scene.pixels(points)], 255)


def _ring(scene: SceneBuilder, count: int) -> list[FloatArray]:
    """A ring near the edges, and spokes from the middle to it."""
    (sx, sy), near, rng = scene.size, RING_INSET, scene.layout
    corners = np.array([[near, near], [sx - near, near], [sx - near, sy - near], [near, sy - near]])
    corners += rng.uniform(-0.6, 0.6, (4, 2))
    middle = np.array([sx, sy]) / 2 + rng.uniform(-0.08, 0.08, 2) * scene.size
    lines = [np.concatenate([corners, corners[:1]])]
    for k in range(count):
        side, share = k % 4, float(rng.uniform(0.3, 0.7))
        end = corners[side] + share * (corners[(side + 1) % 4] - corners[side])
        lines.append(np.stack([middle, end]))
    return lines


def _winding(scene: SceneBuilder, count: int) -> list[FloatArray]:
    """Smooth curves from side to side, every other one across."""
    lines, rng = [], scene.layout
    for k in range(count):
        along = np.linspace(0.05, 0.95, 6)
        across = 0.15 + 0.7 * (k // 2 + rng.uniform(0.2, 0.8)) / math.ceil(count / 2)
        swing = np.clip(across + rng.uniform(-0.15, 0.15, 6), 0.06, 0.94)
        points = np.column_stack([along, swing] if k % 2 == 0 else [swing, along])
        for _ in range(3):  # Chaikin's corner cutting
            cut = [0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]]
            inner = np.stack(cut, axis=1).reshape(-1, 2)
            points = np.concatenate([points[:1], inner, points[-1:]])
        lines.append(points * scene.size)
    return lines


def _streets(scene: SceneBuilder, count: int) -> list[FloatArray]:
    """Straight lines across, evenly spaced."""
    lines = []
    for k in range(count):
        for axis in (0, 1):
            place = (k + 0.5 + float(scene.layout.uniform(-0.1, 0.1))) / count
            line = np.array([[place, 0.0], [place, 1.0]])
            lines.append((line if axis == 0 else line[:, ::-1]) * scene.size)
    return lines


def grow_grass(scene: SceneBuilder, layers: tuple[GroundConfig, ...]) -> None:
    """Put blades where a layer with grass still is the ground, but not into obstacles."""
    for layer in layers:
        if layer.blades is None or layer.kind not in scene.kinds:
            continue
        rows, columns = np.nonzero(scene.terrain == scene.kinds.index(layer.kind))
        count = round(layer.blades.density * len(rows) / scene.scale**2)
        if count == 0:
            continue
        rng = scene.layout
        chosen = rng.integers(len(rows), size=count)
        places = (np.column_stack([columns, rows])[chosen] + rng.uniform(0, 1, (count, 2))) / (
            scene.scale
        )
        places = places[scene.clearance.at_points(places) > 0.02]
        heights = rng.uniform(*layer.blades.height, len(places))
        rects = scene.pictures(layer.blades.material)
        corners, texture = _blades(rng, places, heights, layer.blades.width, rects)
        # Most blades are narrower than a pixel from afar, but would cost as much as all else.
        far = np.arange(len(corners)) % GRASS_THINNED == 0
        scene.mesh.triangles(corners[far], texture[far], upright=True)
        scene.mesh.triangles(corners[~far], texture[~far], upright=True, reach=GRASS_REACH)


def _blades(
    rng: Rng, places: FloatArray, heights: FloatArray, width: float, rects: FloatArray
) -> tuple[FloatArray, FloatArray]:
    count = len(places)
    yaw = rng.uniform(0, 2 * math.pi, count)
    across = np.column_stack([np.cos(yaw), np.sin(yaw)]) * width / 2
    lean = rng.normal(0, 0.12, (count, 2)) * heights[:, None]
    corners = np.zeros((count, 3, 3))
    corners[:, 0, :2], corners[:, 1, :2] = places - across, places + across
    corners[:, 2, :2], corners[:, 2, 2] = places + lean, heights
    rect = rects[rng.integers(len(rects), size=count)]
    texture = np.stack([rect[:, [0, 3]], rect[:, [2, 3]], rect[:, [0, 1]]], axis=1)
    return corners, texture


def lidar_clearance(scene: SceneBuilder, layers: tuple[GroundConfig, ...]) -> ClearanceMap:
    """Distance to what a lidar sees: obstacles and the ground that is `seen_by_lidar`, m."""
    seen = [scene.kinds.index(g.kind) for g in layers if g.seen_by_lidar and g.kind in scene.kinds]
    grass = np.isin(scene.terrain, seen).astype(np.uint8)
    if not grass.any():
        return scene.clearance
    outside = cv2.distanceTransform(1 - grass, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(grass, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = (outside - inside) / np.float32(scene.scale)
    rows, columns = scene.clearance.values.shape
    step = CLEARANCE_RESOLUTION * scene.scale
    x, y = (np.arange(n, dtype=np.float32) * step - 0.5 for n in (columns, rows))
    columns_at, rows_at = np.meshgrid(x, y)
    at_nodes = cv2.remap(
        distance, columns_at, rows_at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    values = np.minimum(scene.clearance.values, at_nodes)
    return ClearanceMap.of_values(values, scene.size, CLEARANCE_RESOLUTION)
