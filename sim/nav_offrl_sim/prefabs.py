"""Objects built from their prefabs: many at a time, each with its own size and pictures."""

import math
from dataclasses import dataclass

import numpy as np

from nav_offrl_sim.library import PartConfig, PrefabConfig
from nav_offrl_sim.meshes import FloatArray

IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class PrefabShape:
    """A prefab's triangles about the origin.

    Attributes:
        vertices: (F, 3, 3) m.
        texture: (F, 3, 2) in [0, 1], u to the right and v downwards on the picture.
        slots: (F,) which of `pictures` is on the triangle.
        pictures: names of materials; one that must not repeat occurs once per face.
        parts: (F,) the part that the triangle belongs to.
    """

    vertices: FloatArray
    texture: FloatArray
    slots: IntArray
    pictures: tuple[str, ...]
    parts: IntArray


def prefab_shape(prefab: PrefabConfig, distinct: frozenset[str]) -> PrefabShape:
    """Triangulate a prefab; materials in `distinct` get a slot for every face that shows them."""
    pictures: list[str] = []
    vertices, texture, slots, parts = [], [], [], []
    for number, part in enumerate(prefab.parts):
        if part.shape == "marking":
            continue
        for material, corners, uv in _faces(part):
            if material in distinct or material not in pictures:
                pictures.append(material)
                slot = len(pictures) - 1
            else:
                slot = pictures.index(material)
            vertices.append(corners)
            texture.append(uv)
            slots += [slot] * len(corners)
            parts += [number] * len(corners)
    return PrefabShape(
        np.concatenate([np.empty((0, 3, 3)), *vertices]),
        np.concatenate([np.empty((0, 3, 2)), *texture]),
        np.array(slots, dtype=np.int64),
        tuple(pictures),
        np.array(parts, dtype=np.int64),
    )


_Face = tuple[str, FloatArray, FloatArray]


def _faces(part: PartConfig) -> list[_Face]:
    """Material, triangles (F, 3, 3) and texture (F, 3, 2) of each face of a part, in place."""
    make = {"box": _box, "cylinder": _cylinder, "ball": _ball}[part.shape]
    faces = make(part)
    turn = _turn(part.turn) @ _pitch(part.pitch)
    middle = np.array(part.size) * [0, 0, 0.5]
    return [
        (material, (corners - middle) @ turn.T + middle + part.at, uv)
        for material, corners, uv in faces
    ]


def _turn(angle: float) -> FloatArray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _pitch(angle: float) -> FloatArray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


_SQUARE = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=np.float64)


def _split(quads: FloatArray) -> FloatArray:
    """Quads (N, 4, D) as triangles (2 N, 3, D)."""
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3, quads.shape[-1])


def _box(part: PartConfig) -> list[_Face]:
    half_x, half_y, height = part.size[0] / 2, part.size[1] / 2, part.size[2]
    low = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [half_x, half_y, 0]
    high = low + np.array([0, 0, height])
    sides = {0: part.back, 2: part.front}
    faces = []
    for side in range(4):
        after = (side + 1) % 4
        quad = np.array([[low[side], low[after], high[after], high[side]]])
        faces.append((sides.get(side) or part.material, _split(quad), _split(_SQUARE[None])))
    faces.append((part.above or part.material, _split(high[None]), _split(_SQUARE[None])))
    if part.at[2] > 0 or part.pitch:
        faces.append((part.material, _split(low[None, ::-1]), _split(_SQUARE[None])))
    return faces


def _cylinder(part: PartConfig) -> list[_Face]:
    half_x, half_y, height = part.size[0] / 2, part.size[1] / 2, part.size[2]
    sides = 6 if max(half_x, half_y) < 0.25 else 8
    rings = _rings(sides, [(1.0, 0.0), (part.top, 1.0)]) * [half_x, half_y, height]
    u = np.linspace(0, 1, sides + 1)
    faces = [(part.material, *_strip(rings, u, np.array([1.0, 0.0])))]
    caps = [(rings[1], 1)] if part.top > 0.1 else []
    caps += [(rings[0], -1)] if part.at[2] > 0 or part.pitch else []
    for ring, direction in caps:
        around = ring[:-1] if direction > 0 else ring[:-1][::-1]
        corners = np.stack([np.tile(around[:1], (sides - 2, 1)), around[1:-1], around[2:]], axis=1)
        flat = corners[..., :2] / (2 * np.abs(ring[:, :2]).max(axis=0)) + 0.5
        faces.append((part.above or part.material, corners, flat))
    return faces


def _ball(part: PartConfig) -> list[_Face]:
    levels = np.linspace(-math.pi / 2, math.pi / 2, 5)
    rings = _rings(7, [(math.cos(a), 0.5 + 0.5 * math.sin(a)) for a in levels])
    rings = rings * [part.size[0] / 2, part.size[1] / 2, part.size[2]]
    return [(part.material, *_strip(rings, np.linspace(0, 1, 8), np.linspace(1, 0, 5)))]


def _rings(sides: int, levels: list[tuple[float, float]]) -> FloatArray:
    """Rings of the given radii and heights, (levels, sides + 1, 3), the last point the first."""
    angles = np.linspace(0, 2 * math.pi, sides + 1)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.stack(
        [np.column_stack([radius * circle, np.full(sides + 1, z)]) for radius, z in levels]
    )


def _strip(rings: FloatArray, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The surface between successive rings, without triangles of no area."""
    grid_u, grid_v = np.meshgrid(u, v)
    points = np.concatenate([rings, grid_u[..., None], grid_v[..., None]], axis=-1)
    low, high = points[:-1], points[1:]
    quads = np.stack([low[:, :-1], low[:, 1:], high[:, 1:], high[:, :-1]], axis=2)
    triangles = _split(quads.reshape(-1, 4, 5))
    corners = triangles[..., :3]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    kept = triangles[area > 1e-9]
    return kept[..., :3], kept[..., 3:]


def placed_triangles(
    shape: PrefabShape, poses: FloatArray, scales: FloatArray, rects: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Triangles (N * F, 3, 3) and texture (N * F, 3, 2) of N objects.

    Args:
        shape: the prefab's.
        poses: (N, 3) x m, y m, yaw rad.
        scales: (N, 3) along the prefab's axes.
        rects: (N, slots, 4) the picture in each slot as `Atlas.add` returns it.
    """
    count, faces = len(poses), len(shape.vertices)
    local = shape.vertices[None] * scales[:, None, None, :]
    cos, sin = np.cos(poses[:, 2])[:, None, None], np.sin(poses[:, 2])[:, None, None]
    corners = np.empty((count, faces, 3, 3))
    corners[..., 0] = cos * local[..., 0] - sin * local[..., 1] + poses[:, 0, None, None]
    corners[..., 1] = sin * local[..., 0] + cos * local[..., 1] + poses[:, 1, None, None]
    corners[..., 2] = local[..., 2]
    rect = rects[:, shape.slots][:, :, None, :]
    texture = rect[..., :2] + shape.texture[None] * (rect[..., 2:] - rect[..., :2])
    return corners.reshape(-1, 3, 3), texture.reshape(-1, 3, 2)
