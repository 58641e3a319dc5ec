"""Layout of outdoor worlds: buildings, paths, trees and the smaller things between them."""

import math

import cv2
import numpy as np

from nav_offrl_sim.geometry import FloatArray, Obstacle
from nav_offrl_sim.scene import Placer, Scene, Surface
from nav_offrl_sim.textures import (
    PATTERNS,
    Colour,
    Image,
    Rng,
    distinct_colours,
    facade,
    noise,
    panorama,
    paste,
    poster,
    shade,
    speckled,
    wall_pattern,
)
from nav_offrl_sim.world_configuration import OutdoorConfig, WorldConfig

BOUNDARY = 0.4  # thickness of the boundary walls, m
TREE_HEIGHT = 3.0  # nothing else is exactly as high
SUN = np.array([0.55, 0.35])  # ground shift of a shadow per metre of height


def layout_outdoor(config: WorldConfig, layout: Rng, texture: Rng) -> Scene:
    """Build an outdoor scene; `layout` places things, `texture` only paints them."""
    assert config.outdoor is not None
    scene = Scene(config.size)
    placer = Placer(scene)
    _pave_ground(scene, layout, texture)
    _boundary(scene, placer, texture, config.texture_resolution)
    _buildings(scene, placer, config, layout, texture)
    _furnish(scene, placer, config.outdoor, layout, texture)
    _cast_shadows(scene)
    scene.sky = panorama(texture, 192, 768)
    return scene


def _pave_ground(scene: Scene, layout: Rng, texture: Rng) -> None:
    height, width = scene.roughness.shape
    grass = speckled(texture, height, width, (92, 135, 62), 0.35)
    dry = noise(texture, height, width, 160) > 0.25
    grass[dry] = speckled(texture, height, width, (150, 146, 80), 0.3)[dry]
    whole = scene.blank_mask() + 255
    scene.pave(whole, Surface("grass", grass, 0.35))
    gravel = speckled(texture, height, width, (168, 150, 128), 0.45)
    mask = scene.blank_mask()
    for _ in range(3):
        centre = (round(layout.uniform(0.1, 0.9) * width), round(layout.uniform(0.1, 0.9) * height))
        axes = tuple(round(layout.uniform(1.5, 3.0) * scene.scale) for _ in range(2))
        cv2.ellipse(mask, centre, axes, layout.uniform(0, 180), 0, 360, 255, -1)
    scene.pave(mask, Surface("gravel", gravel, 0.55))
    _plazas(scene, layout, texture)
    _paths(scene, layout, texture)


def _plazas(scene: Scene, layout: Rng, texture: Rng) -> None:
    height, width = scene.roughness.shape
    for colour in distinct_colours(texture, 3, 0.45, 200):
        picture = speckled(texture, height, width, colour, 0.08)
        tile = round(float(texture.uniform(0.4, 0.8)) * scene.scale)
        rows, columns = np.indices((height, width)) // tile
        picture[(rows + columns) % 2 == 0] = np.asarray(shade(colour, 0.72), dtype=np.uint8)
        mask = scene.blank_mask()
        centre = layout.uniform(0.2, 0.8, 2) * scene.size
        extent = layout.uniform(3.0, 6.0, 2)
        box = (centre * scene.scale, extent * scene.scale, layout.uniform(0, 90))
        corners = cv2.boxPoints((tuple(box[0]), tuple(box[1]), box[2]))
        cv2.fillConvexPoly(mask, corners.astype(np.int32), 255)
        scene.pave(mask, Surface("plaza", picture, 0.12))


def _paths(scene: Scene, layout: Rng, texture: Rng) -> None:
    height, width = scene.roughness.shape
    picture = speckled(texture, height, width, (172, 168, 160), 0.10)
    joint = round(1.2 * scene.scale)
    picture[::joint] = picture[:, ::joint] = 120
    mask = scene.blank_mask()
    sx, sy = scene.size
    inset = 2.2
    ring = [[inset, inset], [sx - inset, inset], [sx - inset, sy - inset], [inset, sy - inset]]
    corners = np.array(ring) + layout.uniform(-0.6, 0.6, (4, 2))
    centre = np.array([sx, sy]) / 2 + layout.uniform(-2, 2, 2)
    thickness = round(1.5 * scene.scale)
    cv2.polylines(mask, [scene.pixels(corners)], True, 255, thickness)
    for i in range(4):
        middle = (corners[i] + corners[(i + 1) % 4]) / 2
        first, last = scene.pixels(np.array([centre, middle]))
        cv2.line(mask, first.tolist(), last.tolist(), 255, thickness)
    scene.pave(mask, Surface("path", picture, 0.05))


def _boundary(scene: Scene, placer: Placer, texture: Rng, resolution: float) -> None:
    sx, sy = scene.size
    half = BOUNDARY / 2
    spans = [
        ((sx / 2, half), (sx / 2, half)),
        ((sx - half, sy / 2), (half, sy / 2)),
        ((sx / 2, sy - half), (sx / 2, half)),
        ((half, sy / 2), (half, sy / 2)),
    ]
    colours = [(70, 105, 50), (165, 90, 70), (150, 120, 85), (190, 190, 205)]
    patterns = ("plaster", "brick", "planks", "panels")
    heights = (1.5, 1.9, 1.6, 2.1)
    for i, (centre, extent) in enumerate(spans):
        length = 2 * max(extent)
        shape = round(heights[i] * resolution), round(length * resolution)
        amount = 0.5 if i == 0 else 0.1
        picture = speckled(texture, *shape, colours[i], amount)
        if i:
            picture = wall_pattern(texture, *shape, colours[i], patterns[i])
        _decorate(picture, texture, shape[1] // round(3.0 * resolution))
        uv = scene.atlas.add(picture)
        top = scene.atlas.colour(shade(colours[i], 0.9))
        scene.mesh.box(centre, extent, (0, heights[i]), uv, top)
        placer.add(Obstacle(*centre, *extent, height=heights[i]))


def _decorate(picture: Image, texture: Rng, count: int) -> None:
    """Banners and posters along a boundary wall, each different."""
    height, width = picture.shape[:2]
    for i in range(count):
        size = int(texture.uniform(0.5, 0.8) * height), int(texture.uniform(0.5, 1.6) * height)
        left = int((i + texture.uniform(0.1, 0.6)) * width / count)
        paste(picture, poster(texture, *size), left, int(0.15 * height))


def _buildings(
    scene: Scene, placer: Placer, config: WorldConfig, layout: Rng, texture: Rng
) -> None:
    assert config.outdoor is not None
    count, resolution = config.outdoor.buildings, config.texture_resolution
    colours = distinct_colours(texture, count, 0.5, 225)
    accents = distinct_colours(texture, count, 0.8, 190)
    patterns = texture.permutation(np.resize(np.array(PATTERNS), count))
    for i in range(count):
        half = layout.uniform(1.4, 2.4, 2)
        height = float(layout.uniform(2.8, 4.2))
        yaw = float(layout.choice([0.0, 0.0, layout.uniform(-0.5, 0.5)]))
        placed = _place(placer, layout, half, height, yaw, config.outdoor.passage + 0.5)
        if placed is None:
            continue
        sides = []
        rows = round(height * resolution)
        for side in range(4):
            columns = round(2 * half[side % 2] * resolution)
            pattern = str(patterns[i])
            picture = facade(texture, rows, columns, colours[i], pattern, accents[i])
            sides.append(scene.atlas.add(picture))
        roof = scene.atlas.colour(shade(accents[i], 0.8))
        centre = (placed.x, placed.y)
        scene.mesh.box(centre, (half[0], half[1]), (0, height), sides, roof, yaw)


def _place(
    placer: Placer,
    layout: Rng,
    half: FloatArray,
    height: float,
    yaw: float,
    gap: float,
    radius: float = 0.0,
) -> Obstacle | None:
    """Try random places for a footprint; None when sixty of them were taken."""
    for _ in range(60):
        x, y = layout.uniform(0.5, np.array(placer.clearance.size) - 0.5)
        obstacle = Obstacle(x, y, half[0], half[1], yaw, radius, height)
        if placer.try_add(obstacle, gap):
            return obstacle
    return None


def _furnish(
    scene: Scene, placer: Placer, config: OutdoorConfig, layout: Rng, texture: Rng
) -> None:
    paints = distinct_colours(texture, 24, 0.75, 215)
    kinds = [
        (_car, config.cars),
        (_bench, config.benches),
        (_sign, config.signs),
        (_tree, config.trees),
        (_small, config.small_objects),
    ]
    for draw, count in kinds:
        for _ in range(count):
            paint = paints[int(texture.integers(len(paints)))]
            draw(scene, placer, config.passage, paint, layout, texture)


def _car(
    scene: Scene, placer: Placer, gap: float, paint: Colour, layout: Rng, texture: Rng
) -> None:
    yaw = float(layout.uniform(-math.pi, math.pi))
    car = _place(placer, layout, np.array([1.5, 0.7]), 1.2, yaw, gap)
    if car is None:
        return
    body, glass = scene.atlas.colour(paint), scene.atlas.colour((60, 75, 90))
    dark = scene.atlas.colour((35, 35, 38))
    centre = (car.x, car.y)
    scene.mesh.box(centre, (1.3, 0.62), (0, 0.22), dark, dark, yaw)
    scene.mesh.box(centre, (1.5, 0.7), (0.22, 0.72), body, body, yaw, open_below=False)
    scene.mesh.box(centre, (0.8, 0.62), (0.72, 1.2), glass, body, yaw)


def _bench(
    scene: Scene, placer: Placer, gap: float, paint: Colour, layout: Rng, texture: Rng
) -> None:
    yaw = float(layout.uniform(-math.pi, math.pi))
    bench = _place(placer, layout, np.array([0.75, 0.25]), 0.85, yaw, gap)
    if bench is None:
        return
    wood = scene.atlas.colour(paint)
    iron = scene.atlas.colour((50, 50, 52))
    centre = np.array([bench.x, bench.y])
    along, across = (
        np.array([math.cos(yaw), math.sin(yaw)]),
        np.array([-math.sin(yaw), math.cos(yaw)]),
    )
    scene.mesh.box(_pair(centre), (0.75, 0.25), (0.38, 0.45), wood, wood, yaw, open_below=False)
    scene.mesh.box(_pair(centre + 0.22 * across), (0.75, 0.03), (0.5, 0.85), wood, wood, yaw)
    for offset in (-0.6, 0.6):
        scene.mesh.box(_pair(centre + offset * along), (0.04, 0.22), (0, 0.38), iron, iron, yaw)


def _pair(point: FloatArray) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _sign(
    scene: Scene, placer: Placer, gap: float, paint: Colour, layout: Rng, texture: Rng
) -> None:
    yaw = float(layout.uniform(-math.pi, math.pi))
    sign = _place(placer, layout, np.array([0.5, 0.06]), 1.4, yaw, gap)
    if sign is None:
        return
    edge = scene.atlas.colour(paint)
    front, back = (scene.atlas.add(poster(texture, 56, 60)) for _ in range(2))
    centre = (sign.x, sign.y)
    scene.mesh.box(
        centre, (0.5, 0.06), (0.3, 1.3), [front, edge, back, edge], edge, yaw, open_below=False
    )
    scene.mesh.box(centre, (0.06, 0.05), (0, 0.3), edge, edge, yaw)


def _tree(
    scene: Scene, placer: Placer, gap: float, paint: Colour, layout: Rng, texture: Rng
) -> None:
    radius = float(layout.uniform(0.12, 0.22))
    tree = _place(placer, layout, np.zeros(2), TREE_HEIGHT, 0.0, gap, radius)
    if tree is None:
        return
    leaves = [(60, 110, 45), (95, 140, 50), (40, 90, 60), (200, 130, 45), (215, 130, 160)]
    leaf = leaves[int(texture.integers(len(leaves)))]
    bark = [(95, 70, 50), (70, 55, 45), (215, 212, 200)][int(texture.integers(3))]
    crown = scene.atlas.add(speckled(texture, 32, 48, leaf, 0.45))
    trunk = scene.atlas.add(speckled(texture, 32, 16, bark, 0.5))
    centre, top = (tree.x, tree.y), float(layout.uniform(1.1, 1.7))
    scene.mesh.frustum(centre, (radius, 0.7 * radius), (0, top + 0.3), trunk)
    if texture.uniform() < 0.35:
        for level in range(3):
            low = top - 0.4 + 0.65 * level
            scene.mesh.disc_below(centre, 1.0 - 0.25 * level, low, crown)
            scene.mesh.frustum(centre, (1.0 - 0.25 * level, 0.1), (low, low + 1.0), crown)
        return
    scene.mesh.ball((tree.x, tree.y, top + 0.8), 0.95, crown)
    shift = texture.uniform(-0.5, 0.5, 2)
    scene.mesh.ball((tree.x + shift[0], tree.y + shift[1], top + 1.4), 0.7, crown)


def _small(
    scene: Scene, placer: Placer, gap: float, paint: Colour, layout: Rng, texture: Rng
) -> None:
    kind = int(texture.integers(3))
    colour, dark = scene.atlas.colour(paint), scene.atlas.colour(shade(paint, 0.5))
    thing = _place(placer, layout, np.zeros(2), 0.8, 0.0, gap, 0.3)
    if thing is None:
        return
    centre = (thing.x, thing.y)
    if kind == 0:
        scene.mesh.frustum(centre, (0.26, 0.3), (0, 0.75), colour)
        scene.mesh.frustum(centre, (0.3, 0.05), (0.75, 0.9), dark)
    elif kind == 1:
        plant = scene.atlas.add(speckled(texture, 24, 32, (70, 130, 60), 0.5))
        scene.mesh.box(centre, (0.21, 0.21), (0, 0.45), colour, dark)
        scene.mesh.ball((thing.x, thing.y, 0.62), 0.28, plant)
    else:
        scene.mesh.frustum(centre, (0.3, 0.3), (0, 0.5), colour)
        scene.mesh.frustum(centre, (0.3, 0.3), (0.5, 0.65), scene.atlas.colour((240, 240, 240)))
        scene.mesh.frustum(centre, (0.3, 0.02), (0.65, 0.95), colour)


def _cast_shadows(scene: Scene) -> None:
    mask = scene.blank_mask()
    for obstacle in scene.obstacles:
        base = obstacle.outline()
        tip = base + SUN * min(obstacle.height, 3.0)
        hull = cv2.convexHull(scene.pixels(np.concatenate([base, tip])))
        cv2.fillConvexPoly(mask, hull, 255)
        if obstacle.height == TREE_HEIGHT:
            crown = scene.pixels(np.array([[obstacle.x, obstacle.y]]) + SUN * 0.7 * TREE_HEIGHT)
            cv2.circle(mask, crown[0].tolist(), round(0.9 * scene.scale), 255, -1)
    scene.darken(mask, 0.6, 0.05)
