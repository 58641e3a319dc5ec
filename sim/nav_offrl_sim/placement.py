"""Finding room for objects, and building them there."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_sim.geometry import FloatArray, Obstacle
from nav_offrl_sim.library import PartConfig, PrefabConfig
from nav_offrl_sim.prefabs import PrefabShape, placed_triangles, prefab_shape
from nav_offrl_sim.scene import SceneBuilder
from nav_offrl_sim.world_configuration import ObjectsConfig, RowsConfig

CANDIDATES = 64  # places tried for each object
SUN = np.array([0.55, 0.35])  # ground shift of a shadow per metre of height
DISTINCT = frozenset({"facade", "poster", "label", "window"})  # patterns not shown twice on one

Mask = NDArray[np.bool_]
Fits = Callable[[SceneBuilder, ObjectsConfig, "Wanted", FloatArray], Mask]


@dataclass(frozen=True)
class Room:
    """A rectangle between the centre lines of walls, m, and the middles of its doors."""

    low: tuple[float, float]
    high: tuple[float, float]
    doors: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Wanted:
    """An object that wants a place: half extents of its footprint, a disc's radius, scales."""

    half: tuple[float, float]
    radius: float
    height: float
    scales: FloatArray

    def obstacle(self, pose: FloatArray) -> Obstacle:
        """Its footprint at (x m, y m, yaw rad)."""
        x, y, yaw = (float(value) for value in pose)
        return Obstacle(x, y, *self.half, yaw, self.radius, self.height)


def put_objects(
    scene: SceneBuilder, objects: ObjectsConfig, rooms: tuple[Room, ...] = (), wall: float = 0.0
) -> None:
    """Find places for the objects, as many as there is room for, and build them."""
    prefab = scene.library.prefabs[objects.prefab]
    placed: list[tuple[FloatArray, Wanted]] = []

    def try_to_place(wanted: Wanted, poses: FloatArray, fits: Fits) -> None:
        good = np.flatnonzero(fits(scene, objects, wanted, poses))
        if len(good) == 0:
            return
        pose = poses[good[0]]
        placed.append((pose, wanted))
        if not prefab.passable:
            scene.add(wanted.obstacle(pose))

    if objects.place == "walls":
        for room in rooms:
            for _ in range(_draw_count(scene, objects)):
                wanted = _wanted(scene, objects, prefab)
                poses = _along_walls(scene, room, wanted, wall)
                try_to_place(wanted, poses, _fits_at_wall)
    elif objects.place == "rows":
        assert objects.rows is not None
        for pose in _row_places(scene, objects.rows):
            try_to_place(_wanted(scene, objects, prefab), pose[None], _fits)
    else:
        for _ in range(_draw_count(scene, objects)):
            wanted = _wanted(scene, objects, prefab)
            poses = _anywhere(scene, objects, wanted)
            try_to_place(wanted, poses, _fits)
    _build(scene, prefab, placed)


def _draw_count(scene: SceneBuilder, objects: ObjectsConfig) -> int:
    low, high = objects.counts
    return int(scene.layout.integers(low, high + 1))


def _wanted(scene: SceneBuilder, objects: ObjectsConfig, prefab: PrefabConfig) -> Wanted:
    outline = prefab.outline()
    extent = [2 * outline.radius or outline.length, 2 * outline.radius or outline.width]
    scales = np.full(3, scene.layout.uniform(*objects.scale))
    own = (*extent, prefab.height)
    for axis, span in enumerate((objects.length, objects.width, objects.height)):
        if span is not None:
            scales[axis] = scene.layout.uniform(*span) / own[axis]
    if outline.radius > 0:
        return Wanted((0.0, 0.0), outline.radius * max(scales[:2]), own[2] * scales[2], scales)
    half = (outline.length * scales[0] / 2, outline.width * scales[1] / 2)
    return Wanted((float(half[0]), float(half[1])), 0.0, float(own[2] * scales[2]), scales)


def _headings(scene: SceneBuilder, objects: ObjectsConfig, count: int) -> FloatArray:
    if objects.heading == "fixed":
        return np.zeros(count)
    if objects.heading == "square":
        return scene.layout.integers(4, size=count).astype(np.float64) * (math.pi / 2)
    return scene.layout.uniform(-math.pi, math.pi, count)


def _anywhere(scene: SceneBuilder, objects: ObjectsConfig, wanted: Wanted) -> FloatArray:
    """Poses all over the world, or beside its paths, (N, 3)."""
    rng = scene.layout
    yaw = _headings(scene, objects, CANDIDATES)
    if objects.place == "anywhere" or not scene.paths:
        return np.column_stack([rng.uniform(0, scene.size, (CANDIDATES, 2)), yaw])
    poses = np.empty((CANDIDATES, 3))
    for i in range(CANDIDATES):
        line = scene.paths[int(rng.integers(len(scene.paths)))]
        k = int(rng.integers(len(line) - 1))
        along = (line[k + 1] - line[k]) / max(1e-9, float(np.hypot(*(line[k + 1] - line[k]))))
        side = float(rng.choice([-1.0, 1.0]))
        normal = side * np.array([-along[1], along[0]])
        away = wanted.half[1] + wanted.radius + float(rng.uniform(0.9, 1.6))
        middle = line[k] + rng.uniform() * (line[k + 1] - line[k])
        poses[i, :2] = middle + away * normal
        poses[i, 2] = math.atan2(-normal[1], -normal[0]) - math.pi / 2  # the front faces the path
    return poses


def _row_places(scene: SceneBuilder, rows: RowsConfig) -> Iterator[FloatArray]:
    axes = []
    for axis in (0, 1):
        places, at, k = [], rows.margin[axis], 0
        while at <= scene.size[axis] - rows.margin[axis]:
            places.append(at)
            k += 1
            at += rows.spacing[axis] + (rows.aisle[axis] if k % rows.block[axis] == 0 else 0.0)
        spare = scene.size[axis] - rows.margin[axis] - places[-1]
        axes.append(np.array(places) + spare / 2)
    for y in axes[1]:
        for x in axes[0]:
            left_out = scene.layout.uniform() < rows.left_out
            shift = scene.layout.uniform(-rows.jitter, rows.jitter, 2)
            if not left_out:
                yield np.array([x + shift[0], y + shift[1], 0.0])


def _along_walls(scene: SceneBuilder, room: Room, wanted: Wanted, wall: float) -> FloatArray:
    """Poses with the back to a wall of the room, (N, 3)."""
    rng, low, high = scene.layout, np.array(room.low), np.array(room.high)
    side = rng.integers(4, size=CANDIDATES)
    axis = side % 2
    poses = np.empty((CANDIDATES, 3))
    poses[:, :2] = low + rng.uniform(0.05, 0.95, CANDIDATES)[:, None] * (high - low)
    inset = wall / 2 + wanted.half[1] + wanted.radius + 0.02
    across = np.where(np.isin(side, (0, 3)), low[1 - axis] + inset, high[1 - axis] - inset)
    poses[np.arange(CANDIDATES), 1 - axis] = across
    poses[:, 2] = np.array([0.0, math.pi / 2, math.pi, -math.pi / 2])[side]
    for door in room.doors:
        near = np.hypot(*(poses[:, :2] - door).T) < 0.75 + wanted.half[0] + wanted.radius
        poses = poses[~near]
    return poses


def _local(poses: FloatArray, along: FloatArray, across: FloatArray) -> FloatArray:
    """Points in each object's own axes, (N, P, 2) m in the world."""
    cos, sin = np.cos(poses[:, 2:]), np.sin(poses[:, 2:])
    return np.stack(
        [
            poses[:, :1] + along * cos - across * sin,
            poses[:, 1:2] + along * sin + across * cos,
        ],
        axis=-1,
    )


def _perimeter(wanted: Wanted) -> tuple[FloatArray, FloatArray]:
    """Points around a footprint and in its middle, at most 0.4 m apart."""
    if wanted.radius > 0:
        angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
        around = wanted.radius * np.stack([np.cos(angles), np.sin(angles)])
        return np.append(around[0], 0.0), np.append(around[1], 0.0)
    counts = [max(2, math.ceil(2 * half / 0.4) + 1) for half in wanted.half]
    along = np.linspace(-wanted.half[0], wanted.half[0], counts[0])
    across = np.linspace(-wanted.half[1], wanted.half[1], counts[1])
    grid = np.meshgrid(along, across)
    return grid[0].ravel(), grid[1].ravel()


def _fits(scene: SceneBuilder, objects: ObjectsConfig, wanted: Wanted, poses: FloatArray) -> Mask:
    """Whether the gap around and the ground underfoot are as wanted, (N,)."""
    points = _local(poses, *_perimeter(wanted))
    good = scene.clearance.at_points(points).min(axis=1) >= objects.gap - 0.02
    if objects.only_on or objects.never_on:
        kinds = scene.kinds_at(points)
        allowed = [kind for kind in objects.only_on or scene.kinds if kind not in objects.never_on]
        numbers = [scene.kinds.index(kind) for kind in allowed if kind in scene.kinds]
        good &= np.isin(kinds, numbers).all(axis=1)
    result: Mask = good
    return result


def _fits_at_wall(
    scene: SceneBuilder, objects: ObjectsConfig, wanted: Wanted, poses: FloatArray
) -> Mask:
    """Whether it neither touches its neighbours nor narrows the way in front of it, (N,)."""
    reach = wanted.half[0] + wanted.radius
    deep = wanted.half[1] + wanted.radius
    along = np.linspace(-reach, reach, 9)
    middle = scene.clearance.at_points(_local(poses, along, np.zeros(9)))
    ahead = scene.clearance.at_points(_local(poses, along, np.full(9, deep + objects.gap / 2)))
    good = (middle.min(axis=1) >= deep + 0.01) & (ahead.min(axis=1) >= 0.45 * objects.gap)
    result: Mask = good
    return result


def _build(
    scene: SceneBuilder, prefab: PrefabConfig, placed: list[tuple[FloatArray, Wanted]]
) -> None:
    """Add the triangles of the placed objects, their markings and their shadows."""
    if not placed:
        return
    patterns = {name: scene.library.materials[name].pattern for name in scene.library.materials}
    shape = prefab_shape(prefab, frozenset(n for n, p in patterns.items() if p in DISTINCT))
    poses = np.array([pose for pose, _ in placed])
    scales = np.array([wanted.scales for _, wanted in placed])
    if len(shape.vertices):
        rects = _rects(scene, shape, len(placed))
        corners, texture = placed_triangles(shape, poses, scales, rects)
        scene.mesh.triangles(corners, texture)
        if scene.sky is not None:
            _cast_shadows(scene, shape, corners.reshape(len(placed), -1, 3, 3))
    for part in prefab.parts:
        if part.shape == "marking":
            _paint_markings(scene, part, poses, scales)


def _rects(scene: SceneBuilder, shape: PrefabShape, count: int) -> FloatArray:
    """A picture for every slot of every object, (count, slots, 4)."""
    rects = np.empty((count, len(shape.pictures), 4))
    first: dict[str, NDArray[np.int64]] = {}
    for slot, material in enumerate(shape.pictures):
        pictures = scene.pictures(material)
        if material not in first:
            first[material] = scene.paint.integers(len(pictures), size=count)
        # Faces of one object show pictures that follow one another, so that they differ.
        again = shape.pictures[:slot].count(material)
        rects[:, slot] = pictures[(first[material] + again) % len(pictures)]
    return rects


def _cast_shadows(scene: SceneBuilder, shape: PrefabShape, corners: FloatArray) -> None:
    """Shade the ground under and beside each part, away from the sun."""
    mask = scene.shadows
    for number in np.unique(shape.parts):
        part = corners[:, shape.parts == number].reshape(len(corners), -1, 3)
        ground = part[..., :2] + SUN * np.minimum(part[..., 2:], 4.0)
        for points in ground:
            hull = cv2.convexHull(scene.pixels(points))
            cv2.fillConvexPoly(mask, hull, 255)


def _paint_markings(
    scene: SceneBuilder, part: PartConfig, poses: FloatArray, scales: FloatArray
) -> None:
    pictures = scene.pictures(part.material)
    half = np.array(part.size[:2]) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + part.at[:2]
    for pose, scale in zip(poses, scales, strict=True):
        colour = scene.atlas.colour_at(pictures[int(scene.paint.integers(len(pictures)))])
        points = _local(pose[None], *(corners * scale[:2]).T)[0]
        if part.outline > 0:
            width = max(1, round(part.outline * scene.scale))
            cv2.polylines(scene.ground, [scene.pixels(points)], True, colour, width)
        else:
            cv2.fillConvexPoly(scene.ground, scene.pixels(points), colour)
