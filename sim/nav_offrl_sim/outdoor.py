"""Layout of outdoor worlds: ground, paths, walls around them and the sky."""

import numpy as np

from nav_offrl_sim.geometry import Obstacle
from nav_offrl_sim.ground import lay_ground, lay_paths
from nav_offrl_sim.placement import put_objects
from nav_offrl_sim.scene import SceneBuilder
from nav_offrl_sim.textures import panorama
from nav_offrl_sim.world_configuration import BorderConfig, WorldConfig

BORDER = 0.4  # thickness of the walls around, m


def layout_outdoor(scene: SceneBuilder, config: WorldConfig) -> None:
    """Lay out an outdoor world."""
    assert config.outdoor is not None
    scene.sky = panorama(scene.paint, 128, 512, config.outdoor.sky_clouds)
    lay_ground(scene, config.ground)
    if config.outdoor.paths is not None:
        lay_paths(scene, config.outdoor.paths)
    if config.outdoor.border is not None:
        _put_border(scene, config.outdoor.border)
    _surroundings(scene)
    for objects in config.objects:
        put_objects(scene, objects)
    scene.darken(scene.shadows, 0.6, 0.05)


def _put_border(scene: SceneBuilder, border: BorderConfig) -> None:
    (sx, sy), half = scene.size, BORDER / 2
    sides = (
        ((half, 2 * half), (sx - half, 2 * half), (sx / 2, half), (sx / 2, half)),
        ((sx - 2 * half, half), (sx - 2 * half, sy - half), (sx - half, sy / 2), (half, sy / 2)),
        ((sx - half, sy - 2 * half), (half, sy - 2 * half), (sx / 2, sy - half), (sx / 2, half)),
        ((2 * half, sy - half), (2 * half, half), (half, sy / 2), (half, sy / 2)),
    )
    for i, (start, end, centre, extent) in enumerate(sides):
        height = float(scene.layout.uniform(*border.height))
        scene.add(Obstacle(*centre, *extent, height=height))
        # Walls are seen from within only; their faces run from the right to the left.
        _tiled_wall(scene, end, start, height, border, border.materials[i % len(border.materials)])
        _top(scene, centre, extent, height)


def _tiled_wall(
    scene: SceneBuilder,
    start: tuple[float, float],
    end: tuple[float, float],
    height: float,
    border: BorderConfig,
    material: str,
) -> None:
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    pieces = max(1, round(length / border.tile))
    points = np.linspace(start, end, pieces + 1)
    low = np.column_stack([points, np.zeros(pieces + 1)])
    high = np.column_stack([points, np.full(pieces + 1, height)])
    quads = np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1)
    pictures = scene.pictures(material)
    scene.mesh.quads(quads, pictures[scene.paint.integers(len(pictures), size=pieces)])
    along = (np.array(end) - start) / length
    outward = np.array([along[1], -along[0]])
    count = round(border.posters * length)
    for k in range(count):
        width, tall = scene.paint.uniform(0.6, 1.6), scene.paint.uniform(0.5, 0.8) * height
        place = (k + scene.paint.uniform(0.3, 0.7)) * length / count
        middle = start + along * place + 0.02 * outward
        left, right = middle - along * width / 2, middle + along * width / 2
        base = 0.15 * height
        scene.mesh.wall(
            (left[0], left[1]), (right[0], right[1]), (base, base + tall), scene.picture("poster")
        )


def _top(
    scene: SceneBuilder, centre: tuple[float, float], extent: tuple[float, float], height: float
) -> None:
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = np.column_stack([signs * extent + centre, np.full(4, height)])
    scene.mesh.quads(corners, scene.atlas.colour((90, 95, 85)))


def _surroundings(scene: SceneBuilder) -> None:
    """Ground beyond the edges, so that the world does not end in the sky."""
    (sx, sy), far = scene.size, 60.0
    colour = scene.atlas.colour(tuple(scene.ground.reshape(-1, 3).mean(axis=0)))
    xs, ys = (-far, 0.0, sx, sx + far), (-far, 0.0, sy, sy + far)
    quads = [
        [[xs[i], ys[j], 0], [xs[i + 1], ys[j], 0], [xs[i + 1], ys[j + 1], 0], [xs[i], ys[j + 1], 0]]
        for i in range(3)
        for j in range(3)
        if (i, j) != (1, 1)
    ]
    scene.mesh.quads(np.array(quads), colour)
