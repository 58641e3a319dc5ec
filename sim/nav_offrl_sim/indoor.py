"""Layout of indoor worlds: rooms by binary space partition, doors, furniture."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from nav_offrl_sim.furniture import DRAW_FURNITURE, pictures_on_wall
from nav_offrl_sim.geometry import FloatArray, Obstacle
from nav_offrl_sim.meshes import MeshBuilder
from nav_offrl_sim.scene import Placer, Scene, Surface
from nav_offrl_sim.textures import (
    PATTERNS,
    Colour,
    Image,
    Rng,
    distinct_colours,
    shade,
    speckled,
    wall_pattern,
)
from nav_offrl_sim.world_configuration import IndoorConfig, WorldConfig

DOOR_HEIGHT = 2.1
CORNER = 0.35  # a door keeps this far from a corner, m


@dataclass
class Room:
    """A rectangle between the wall centre lines, and the door openings in its four sides.

    Sides are numbered -y, +x, +y, -x; an opening is (from, to) along x or y, m.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    doors: list[list[tuple[float, float]]] = field(default_factory=lambda: [[] for _ in range(4)])


def layout_indoor(config: WorldConfig, layout: Rng, texture: Rng) -> Scene:
    """Build an indoor scene; `layout` places things, `texture` only paints them."""
    assert config.indoor is not None
    scene = Scene(config.size, ceiling=MeshBuilder())
    indoor = config.indoor
    rooms = _split(Room((0.0, 0.0), config.size), indoor.room_size, layout)
    doors = _connect(rooms, indoor, layout)
    colours = distinct_colours(texture, len(rooms), 0.42, 235)
    for i, room in enumerate(rooms):
        _floor(scene, room, shade(colours[(i + len(rooms) // 2) % len(rooms)], 0.75), texture)
        _walls(scene, room, indoor, colours[i], texture, config.texture_resolution)
    _wall_obstacles(scene, rooms, indoor)
    placer = Placer(scene)
    for room in rooms:
        _furnish(scene, placer, room, doors, indoor, layout, texture)
    _ceiling(scene, indoor.wall_height)
    _darken_edges(scene)
    return scene


def _split(room: Room, target: float, layout: Rng) -> list[Room]:
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
    first, second = Room(room.low, (high[0], high[1])), Room((low[0], low[1]), room.high)
    return _split(first, target, layout) + _split(second, target, layout)


def _connect(rooms: list[Room], config: IndoorConfig, layout: Rng) -> list[tuple[float, float]]:
    """Open doors along a random spanning tree of neighbours, and some more; their centres."""
    group = list(range(len(rooms)))
    centres = []
    shared = [
        (i, j, axis, span)
        for i in range(len(rooms))
        for j in range(len(rooms))
        for axis in (0, 1)
        if (span := _shared_wall(rooms[i], rooms[j], axis, config.door_width)) is not None
    ]
    for k in layout.permutation(len(shared)):
        i, j, axis, (low, high) = shared[int(k)]
        extra = float(layout.uniform()) < config.extra_doors
        start = float(layout.uniform(low, high - config.door_width))
        if group[i] == group[j] and not extra:
            continue
        group = [group[i] if label == group[j] else label for label in group]
        opening = (start, start + config.door_width)
        rooms[i].doors[1 if axis == 0 else 2].append(opening)
        rooms[j].doors[3 if axis == 0 else 0].append(opening)
        middle, wall = start + config.door_width / 2, rooms[i].high[axis]
        centres.append((wall, middle) if axis == 0 else (middle, wall))
    return centres


def _shared_wall(
    first: Room, second: Room, axis: int, door_width: float
) -> tuple[float, float] | None:
    """Where a door fits if `second` lies beyond `first` along `axis`."""
    if abs(first.high[axis] - second.low[axis]) > 1e-9:
        return None
    other = 1 - axis
    low = max(first.low[other], second.low[other]) + CORNER
    high = min(first.high[other], second.high[other]) - CORNER
    return (low, high) if high - low >= door_width else None


def _floor(scene: Scene, room: Room, colour: Colour, texture: Rng) -> None:
    (x0, y0), (x1, y1) = scene.pixels(np.array([room.low, room.high]))
    mask = scene.blank_mask()
    cv2.rectangle(mask, (int(x0), int(y0)), (int(x1), int(y1)), 255, -1)
    kind = int(texture.integers(4))
    picture: Image = np.zeros_like(scene.ground)
    tile = speckled(
        texture, int(y1 - y0) + 1, int(x1 - x0) + 1, colour, 0.25 if kind == 0 else 0.08
    )
    step = round((0.3, 0.6, 0.25, 0.8)[kind] * scene.scale)
    if kind == 1:
        rows, columns = np.indices(tile.shape[:2]) // step
        tile[(rows + columns) % 2 == 0] = np.asarray(shade(colour, 0.7), dtype=np.uint8)
    elif kind == 2:
        tile[::step] = np.asarray(shade(colour, 0.6), dtype=np.uint8)
    elif kind == 3:
        tile[:, ::step] = tile[::step] = 225
    picture[y0 : y1 + 1, x0 : x1 + 1] = tile[: picture.shape[0] - y0, : picture.shape[1] - x0]
    scene.pave(mask, Surface("floor", picture, (0.10, 0.03, 0.04, 0.03)[kind]))


def _walls(
    scene: Scene, room: Room, config: IndoorConfig, colour: Colour, texture: Rng, resolution: float
) -> None:
    pattern = PATTERNS[int(texture.integers(len(PATTERNS)))]
    inset = config.wall_thickness / 2
    (x0, y0), (x1, y1) = np.add(room.low, inset), np.subtract(room.high, inset)
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    jamb = scene.atlas.colour((240, 238, 230))
    for side in range(4):
        start, end = np.array(corners[side]), np.array(corners[(side + 1) % 4])
        length = float(np.linalg.norm(end - start))
        axis = side % 2
        openings = [
            tuple(sorted((abs(a - start[axis]), abs(b - start[axis])))) for a, b in room.doors[side]
        ]
        shape = round(config.wall_height * resolution), round(length * resolution)
        picture = wall_pattern(texture, *shape, colour, pattern)
        cv2.rectangle(picture, (0, shape[0] - 4), (shape[1], shape[0]), shade(colour, 0.45), -1)
        mirrored = [(length - b, length - a) for a, b in openings]
        pictures_on_wall(picture, texture, mirrored, resolution)
        uv = scene.atlas.add(picture)
        _wall_face(scene, start, end, openings, config, uv, jamb)


def _wall_face(
    scene: Scene,
    start: FloatArray,
    end: FloatArray,
    openings: list[tuple[float, ...]],
    config: IndoorConfig,
    uv: tuple[float, float, float, float],
    jamb: tuple[float, float, float, float],
) -> None:
    """One face seen from inside the room, with door openings cut out and jambs put in."""
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    inward = np.array([-along[1], along[0]])
    left, top, right, bottom = uv

    def piece(a: float, b: float, low: float, high: float) -> None:
        # Seen from inside, the face runs from its end on the left to its start on the right.
        columns = [right - (right - left) * place / length for place in (b, a)]
        rows = [bottom - (bottom - top) * z / config.wall_height for z in (low, high)]
        p, q = start + a * along, start + b * along
        corners = [[*q, low], [*p, low], [*p, high], [*q, high]]
        scene.mesh.quad(np.array(corners), (columns[0], rows[1], columns[1], rows[0]))

    edges = [0.0, *[edge for opening in sorted(openings) for edge in opening], length]
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        piece(a, b, 0.0, config.wall_height)
    depth = config.wall_thickness / 2
    for a, b in openings:
        piece(a, b, DOOR_HEIGHT, config.wall_height)
        for place, sign in ((a, 1), (b, -1)):
            inner, outer = start + place * along, start + place * along - depth * inward
            ends = (outer, inner) if sign > 0 else (inner, outer)
            scene.mesh.wall(tuple(ends[1]), tuple(ends[0]), (0, DOOR_HEIGHT), jamb)
        low, high = start + a * along, start + b * along
        lintel = [
            [*low, 0],
            [*high, 0],
            [*(high - depth * inward), 0],
            [*(low - depth * inward), 0],
        ]
        quad = np.array(lintel)[::-1]
        quad[:, 2] = DOOR_HEIGHT
        scene.mesh.quad(quad, jamb)


def _wall_obstacles(scene: Scene, rooms: list[Room], config: IndoorConfig) -> None:
    """Obstacles of every wall; a shared wall comes twice, once from either room."""
    half = config.wall_thickness / 2
    for room in rooms:
        (x0, y0), (x1, y1) = room.low, room.high
        for side, wall in enumerate((y0, x1, y1, x0)):
            axis = side % 2
            low, high = ((x0, x1), (y0, y1))[axis]
            edges = [
                low - half,
                *[e for door in sorted(room.doors[side]) for e in door],
                high + half,
            ]
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                middle, extent = (a + b) / 2, (b - a) / 2
                place = (middle, wall, extent, half) if axis == 0 else (wall, middle, half, extent)
                scene.obstacles.append(Obstacle(*place, height=config.wall_height))
                _wall_top(scene, scene.obstacles[-1])


def _wall_top(scene: Scene, wall: Obstacle) -> None:
    """The cut through a wall, seen only in pictures from above."""
    corners = np.column_stack([wall.outline()[[2, 3, 0, 1]], np.full(4, wall.height)])
    scene.mesh.quad(corners, scene.atlas.colour((70, 70, 75)))


def _furnish(
    scene: Scene,
    placer: Placer,
    room: Room,
    doors: list[tuple[float, float]],
    config: IndoorConfig,
    layout: Rng,
    texture: Rng,
) -> None:
    """Put furniture along the walls, away from doors, so that the middle stays passable."""
    kinds = list(DRAW_FURNITURE)
    for kind in layout.permutation(len(kinds))[: config.furniture_per_room]:
        draw, (length, depth, height) = DRAW_FURNITURE[kinds[int(kind)]]
        for _ in range(12):
            side, share = int(layout.integers(4)), float(layout.uniform(0.05, 0.95))
            axis = side % 2
            gap = config.wall_thickness / 2 + depth / 2 + 0.02
            centre = np.array(room.low) + share * np.subtract(room.high, room.low)
            centre[1 - axis] = (
                room.low[1 - axis] + gap if side in (0, 3) else room.high[1 - axis] - gap
            )
            far = all(np.hypot(*(centre - door)) > 0.75 + length / 2 for door in doors)
            yaw = (0.0, np.pi / 2, np.pi, -np.pi / 2)[side]
            piece = Obstacle(
                float(centre[0]), float(centre[1]), length / 2, depth / 2, yaw, height=height
            )
            inside = room.low[axis] + length / 2 < centre[axis] < room.high[axis] - length / 2
            if far and inside and _clear_of_furniture(scene, piece, config):
                placer.add(piece)
                draw(scene, piece, texture)
                break


def _clear_of_furniture(scene: Scene, piece: Obstacle, config: IndoorConfig) -> bool:
    """Whether no side wall and no other piece is closer than 2 cm, or in a way through."""
    cos, sin = np.cos(piece.yaw), np.sin(piece.yaw)
    along = np.linspace(-piece.half_length, piece.half_length, 9)
    reach = piece.half_length + 2.0
    others = [
        other
        for other in scene.obstacles
        if np.hypot(other.x - piece.x, other.y - piece.y)
        < reach + other.half_length + other.half_width
    ]
    # Stay clear of what is in front too: 1 m is enough for the robot to pass.
    for across, gap in ((0.0, 0.02), (piece.half_width + 0.5, 0.45)):
        x, y = piece.x + along * cos - across * sin, piece.y + along * sin + across * cos
        nearest = min(float(other.distance(x, y).min()) for other in others)
        if nearest < gap:
            return False
    return True


def _ceiling(scene: Scene, height: float) -> None:
    picture = np.full((64, 64, 3), 215, dtype=np.uint8)
    picture[:2] = picture[:, :2] = 165
    cv2.rectangle(picture, (20, 8), (43, 55), (255, 255, 245), -1)
    uv = scene.atlas.add(picture)
    assert scene.ceiling is not None
    columns, rows = (round(side / 2.0) for side in scene.size)
    dx, dy = scene.size[0] / columns, scene.size[1] / rows
    for i in range(columns):
        for j in range(rows):
            x, y = i * dx, j * dy
            corners = [
                [x, y, height],
                [x, y + dy, height],
                [x + dx, y + dy, height],
                [x + dx, y, height],
            ]
            scene.ceiling.quad(np.array(corners), uv)


def _darken_edges(scene: Scene) -> None:
    """Soft shade where things meet the floor, in place of ambient occlusion."""
    mask = scene.blank_mask()
    for obstacle in scene.obstacles:
        cv2.fillConvexPoly(mask, scene.pixels(obstacle.outline()), 255)
    scene.darken(mask, 0.6, 0.12)
