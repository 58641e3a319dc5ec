"""Layout of indoor worlds: rooms by binary space partition, corridors, doors, ceilings."""

import itertools
from dataclasses import dataclass, field

import cv2
import numpy as np

from nav_offrl_sim.geometry import FloatArray, Obstacle
from nav_offrl_sim.ground import lay_ground
from nav_offrl_sim.materials import paint_area
from nav_offrl_sim.placement import Room, put_objects
from nav_offrl_sim.scene import SceneBuilder, roughness_between
from nav_offrl_sim.textures import Rng
from nav_offrl_sim.world_configuration import IndoorConfig, WorldConfig

DOOR_HEIGHT = 2.1
CORNER = 0.35  # a door keeps this far from a corner, m
WALL_TILE = 2.5  # a wall's picture repeats after about this length, m
Span = tuple[float, float]


@dataclass
class _Walls:
    """A room while doors are cut; sides are -y, +x, +y, -x, openings (from, to) in m."""

    low: tuple[float, float]
    high: tuple[float, float]
    corridor: bool = False
    doors: list[list[Span]] = field(default_factory=lambda: [[] for _ in range(4)])

    def corners(self, inset: float) -> FloatArray:
        """The four corners, anticlockwise from the low one, moved inwards by `inset` m."""
        (x0, y0), (x1, y1) = np.add(self.low, inset), np.subtract(self.high, inset)
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def layout_indoor(scene: SceneBuilder, config: WorldConfig) -> None:
    """Lay out an indoor world."""
    assert config.indoor is not None
    indoor = config.indoor
    rooms = _partition(config.size, indoor, scene.layout)
    centres = _connect(rooms, indoor, scene.layout)
    for room in rooms:
        _lay_floor(scene, room, indoor)
        _build_walls(scene, room, indoor)
    for room in rooms:
        _add_wall_obstacles(scene, room, indoor)
    lay_ground(scene, config.ground)
    _build_ceiling(scene, indoor.wall_height)
    places = tuple(Room(room.low, room.high, tuple(centres)) for room in rooms if not room.corridor)
    for objects in config.objects:
        put_objects(scene, objects, places, indoor.wall_thickness)
    _darken_edges(scene)


def _partition(size: tuple[float, float], config: IndoorConfig, layout: Rng) -> list[_Walls]:
    """Corridors along x with one across between them, and rooms in what is left."""
    width, height = size
    blocks, rooms = [], []
    middles = (np.arange(config.corridors) + 0.5) / max(1, config.corridors) * height
    middles += layout.uniform(-0.04, 0.04, config.corridors) * height
    edges = [0.0]
    for middle in middles:
        low, high = middle - config.corridor_width / 2, middle + config.corridor_width / 2
        rooms.append(_Walls((0.0, float(low)), (width, float(high)), corridor=True))
        edges += [float(low), float(high)]
    edges.append(height)
    crossing = float(layout.uniform(0.35, 0.65)) * width
    for number, (low, high) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        if 0 < number < config.corridors:
            left, right = crossing - config.corridor_width / 2, crossing + config.corridor_width / 2
            rooms.append(_Walls((left, low), (right, high), corridor=True))
            blocks += [_Walls((0.0, low), (left, high)), _Walls((right, low), (width, high))]
        else:
            blocks.append(_Walls((0.0, low), (width, high)))
    return rooms + [room for block in blocks for room in _split(block, config.room_size, layout)]


def _split(room: _Walls, target: float, layout: Rng) -> list[_Walls]:
    extent = np.subtract(room.high, room.low)
    axis = int(np.argmax(extent))
    if extent[axis] < 1.75 * target:
        return [room]
    least = 0.85 * target
    cut = float(layout.uniform(room.low[axis] + least, room.high[axis] - least))
    if extent[axis] < 2.4 * target:
        middle = (room.low[axis] + room.high[axis]) / 2
        cut = middle + 0.3 * (cut - middle)
    high, low = list(room.high), list(room.low)
    high[axis] = low[axis] = cut
    first, second = _Walls(room.low, (high[0], high[1])), _Walls((low[0], low[1]), room.high)
    return _split(first, target, layout) + _split(second, target, layout)


def _connect(rooms: list[_Walls], config: IndoorConfig, layout: Rng) -> list[tuple[float, float]]:
    """Open doors along a random tree of neighbours, corridors first, and some more; the middles."""
    group = list(range(len(rooms)))
    centres = []
    shared = [
        (i, j, axis, span)
        for i in range(len(rooms))
        for j in range(len(rooms))
        for axis in (0, 1)
        if (span := _shared_wall(rooms[i], rooms[j], axis, config.door_width)) is not None
    ]
    order = [shared[int(k)] for k in layout.permutation(len(shared))]
    order.sort(key=lambda wall: -(rooms[wall[0]].corridor + rooms[wall[1]].corridor))
    for i, j, axis, (low, high) in order:
        extra = float(layout.uniform()) < config.extra_doors
        start = float(layout.uniform(low, high - config.door_width))
        if group[i] == group[j] and not extra:
            continue
        joined, other = group[i], group[j]
        group = [joined if label == other else label for label in group]
        opening = (start, start + config.door_width)
        rooms[i].doors[1 if axis == 0 else 2].append(opening)
        rooms[j].doors[3 if axis == 0 else 0].append(opening)
        middle, wall = start + config.door_width / 2, rooms[i].high[axis]
        centres.append((wall, middle) if axis == 0 else (middle, wall))
    return centres


def _shared_wall(first: _Walls, second: _Walls, axis: int, door_width: float) -> Span | None:
    """Where a door fits if `second` lies beyond `first` along `axis`."""
    if abs(first.high[axis] - second.low[axis]) > 1e-9:
        return None
    other = 1 - axis
    low = max(first.low[other], second.low[other]) + CORNER
    high = min(first.high[other], second.high[other]) - CORNER
    return (low, high) if high - low >= door_width else None


def _lay_floor(scene: SceneBuilder, room: _Walls, config: IndoorConfig) -> None:
    (x0, y0), (x1, y1) = scene.pixels(np.array([room.low, room.high]))
    material = scene.library.materials[config.floors[int(scene.paint.integers(len(config.floors)))]]
    part = paint_area(scene.paint, material, int(y1 - y0), int(x1 - x0))
    picture, mask = np.zeros_like(scene.ground), scene.blank_mask()
    picture[y0:y1, x0:x1], mask[y0:y1, x0:x1] = part, 255
    share = float(scene.relief.uniform(0, 255))
    rough = int(roughness_between(*config.floor_roughness, share))
    scene.lay(mask, config.floor_kind, picture, rough)


def _build_walls(scene: SceneBuilder, room: _Walls, config: IndoorConfig) -> None:
    material = config.walls[int(scene.paint.integers(len(config.walls)))]
    wall, frame = scene.picture(material), scene.picture("door_frame")
    corners = room.corners(config.wall_thickness / 2)
    for side in range(4):
        if not any(room.doors):  # a single hall would look the same all around
            wall = scene.picture(material)
        start, end = corners[side], corners[(side + 1) % 4]
        axis = side % 2
        openings = sorted(
            tuple(sorted((abs(a - start[axis]), abs(b - start[axis])))) for a, b in room.doors[side]
        )
        _wall_face(scene, start, end, openings, config, wall)
        for opening in openings:
            _door_frame(scene, start, end, opening, config, frame)
        _hang_pictures(scene, start, end, openings, config)


def _wall_face(
    scene: SceneBuilder,
    start: FloatArray,
    end: FloatArray,
    openings: list[tuple[float, ...]],
    config: IndoorConfig,
    rect: FloatArray,
) -> None:
    """One face seen from inside the room, with door openings cut out."""
    length = float(np.hypot(*(end - start)))
    along, height = (end - start) / length, config.wall_height
    edges = [0.0, *itertools.chain(*openings), length]
    quads, rects = [], []
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        count = max(1, round((b - a) / WALL_TILE))
        for left, right in itertools.pairwise(np.linspace(a, b, count + 1)):
            quads.append((left, right, 0.0, height))
            # A narrow piece shows as much of the picture as it is wide.
            share = min(1.0, (right - left) / WALL_TILE)
            rects.append([rect[0], rect[1], rect[0] + share * (rect[2] - rect[0]), rect[3]])
    for a, b in openings:
        quads.append((a, b, DOOR_HEIGHT, height))
        below = rect[1] + (rect[3] - rect[1]) * (1 - DOOR_HEIGHT / height)
        rects.append([rect[0], rect[1], rect[0] + (rect[2] - rect[0]) / 2, below])
    corners = [
        # Seen from inside, the face runs from its end on the left to its start on the right.
        [[*(start + b * along), low], [*(start + a * along), low],
         [*(start + a * along), high], [*(start + b * along), high]]
        for a, b, low, high in quads
    ]  # fmt: skip
    scene.mesh.quads(np.array(corners), np.array(rects))


def _door_frame(
    scene: SceneBuilder,
    start: FloatArray,
    end: FloatArray,
    opening: tuple[float, ...],
    config: IndoorConfig,
    rect: FloatArray,
) -> None:
    """Jambs and lintel through half the wall, and boards around the opening in the room."""
    along = (end - start) / float(np.hypot(*(end - start)))
    inward = np.array([-along[1], along[0]])
    outside, board = -inward * config.wall_thickness / 2, inward * 0.015
    a, b = (start + place * along for place in opening)
    for first, last in ((a + outside, a), (b, b + outside)):
        scene.mesh.wall((first[0], first[1]), (last[0], last[1]), (0.0, DOOR_HEIGHT), rect)
    lintel = np.array([[*b, 0], [*a, 0], [*(a + outside), 0], [*(b + outside), 0]])
    lintel[:, 2] = DOOR_HEIGHT
    scene.mesh.quads(lintel[::-1], rect)
    for low, high in ((a - 0.09 * along, a), (b, b + 0.09 * along)):
        left, right = high + board, low + board
        scene.mesh.wall((left[0], left[1]), (right[0], right[1]), (0.0, DOOR_HEIGHT + 0.09), rect)
    left, right = b + board, a + board
    scene.mesh.wall(
        (left[0], left[1]), (right[0], right[1]), (DOOR_HEIGHT, DOOR_HEIGHT + 0.09), rect
    )
    left, right = a - 0.15 * along + board, a - 0.5 * along + board  # a sign beside the door
    sign = scene.picture("label")
    scene.mesh.wall((left[0], left[1]), (right[0], right[1]), (0.75, 1.05), sign)


def _hang_pictures(
    scene: SceneBuilder,
    start: FloatArray,
    end: FloatArray,
    openings: list[tuple[float, ...]],
    config: IndoorConfig,
) -> None:
    """Posters and windows, not over doors nor over one another."""
    length = float(np.hypot(*(end - start)))
    along, rng = (end - start) / length, scene.paint
    inward = np.array([-along[1], along[0]]) * 0.02
    taken = [(a - 0.2, b + 0.2) for a, b in openings]
    for _ in range(rng.poisson(config.posters * length)):
        width, height = rng.uniform(0.15, 0.45, 2) * config.wall_height
        left, base = rng.uniform(0.05, max(0.06, length - width - 0.05)), rng.uniform(0.5, 1.1)
        if left + width > length or any(left < b and left + width > a for a, b in taken):
            continue
        taken.append((left - 0.1, left + width + 0.1))
        high, low = start + (left + width) * along + inward, start + left * along + inward
        picture = scene.picture("window" if rng.uniform() < 0.25 else "poster")
        scene.mesh.wall((high[0], high[1]), (low[0], low[1]), (base, base + height), picture)


def _add_wall_obstacles(scene: SceneBuilder, room: _Walls, config: IndoorConfig) -> None:
    """Obstacles of every wall; a shared wall comes with the room below or left of it only."""
    half = config.wall_thickness / 2
    (x0, y0), (x1, y1) = room.low, room.high
    for side, wall in enumerate((y0, x1, y1, x0)):
        axis = side % 2
        if side in (0, 3) and wall > 1e-9:
            continue
        low, high = ((x0, x1), (y0, y1))[axis]
        doors = itertools.chain(*sorted(room.doors[side]))
        edges = [low - half, *doors, high + half]
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            middle, extent = (a + b) / 2, (b - a) / 2
            place = (middle, wall, extent, half) if axis == 0 else (wall, middle, half, extent)
            obstacle = Obstacle(*place, height=config.wall_height)
            scene.add(obstacle)
            # The cut through a wall is seen only from above, without the ceiling.
            corners = obstacle.outline()[[2, 3, 0, 1]]
            top = np.column_stack([corners, np.full(4, config.wall_height)])
            scene.mesh.quads(top, scene.atlas.colour((70, 70, 75)))


def _build_ceiling(scene: SceneBuilder, height: float) -> None:
    columns, rows = (max(1, round(side / 2.0)) for side in scene.size)
    x, y = np.linspace(0, scene.size[0], columns + 1), np.linspace(0, scene.size[1], rows + 1)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    points = np.concatenate([grid, np.full((*grid.shape[:2], 1), height)], axis=-1)
    quads = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2)
    scene.ceiling.quads(quads.reshape(-1, 4, 3), scene.picture("ceiling"))


def _darken_edges(scene: SceneBuilder) -> None:
    """Soft shade where things meet the floor, in place of ambient occlusion."""
    mask = scene.blank_mask()
    for obstacle in scene.obstacles:
        cv2.fillConvexPoly(mask, scene.pixels(obstacle.outline()), 255)
    scene.darken(mask, 0.6, 0.12)
