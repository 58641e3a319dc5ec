"""A generated world: what stops the robot, where it can go, and what its camera sees."""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.geodesic import CellGraph, largest_component
from nav_offrl_sim.geometry import ClearanceMap, FloatArray
from nav_offrl_sim.ground import grow_grass, lidar_clearance
from nav_offrl_sim.indoor import layout_indoor
from nav_offrl_sim.outdoor import layout_outdoor
from nav_offrl_sim.scene import ROUGHNESS_STEP, Scene, SceneBuilder
from nav_offrl_sim.world_configuration import WorldConfig

MARGIN = 0.05  # start and goal cells keep this far beyond the footprint, m
LARGEST_FOOTPRINT = 0.35  # worlds are connected for robots up to this radius, m
CONNECTED = 0.98  # share of the places such a robot fits in that must hang together
ATTEMPTS = 20


class Stream(IntEnum):
    """Streams of random numbers that a world has, so that one use does not shift another."""

    LAYOUT = 0
    TERRAIN = 1
    TEXTURES = 2


@dataclass(frozen=True)
class World:
    """A world as generated from a config and a seed.

    Attributes:
        clearance: distance to the nearest thing that stops the robot, anywhere, m.
        geometric_clearance: the same for what a lidar sees, which adds tall grass, m.
    """

    config: WorldConfig
    seed: int
    scene: Scene
    clearance: ClearanceMap
    geometric_clearance: ClearanceMap

    @property
    def size(self) -> tuple[float, float]:
        """Extent along x and y, m."""
        return self.config.size

    def roughness(self, x: float, y: float) -> float:
        """The gyro's rms per speed on the ground at a point, (rad/s)/(m/s)."""
        return ROUGHNESS_STEP * self.scene.roughness_steps.item(*self._ground_pixel(x, y))

    def terrain(self, x: float, y: float) -> str:
        """The true kind of ground at a point: "path", "grass", "tall_grass", "floor" and others."""
        return self.scene.kinds[self.scene.terrain.item(*self._ground_pixel(x, y))]

    def _ground_pixel(self, x: float, y: float) -> tuple[int, int]:
        rows, columns = self.scene.terrain.shape
        row = min(max(int(y * self.scene.scale), 0), rows - 1)
        return row, min(max(int(x * self.scene.scale), 0), columns - 1)

    def free_space(self, footprint_radius: float) -> "FreeSpace":
        """Where a round robot can stand and drive to.

        Raises:
            NavOffrlError: the robot finds no connected free space that is worth the name.
        """
        return FreeSpace.build(self, footprint_radius)


@dataclass(frozen=True)
class FreeSpace:
    """The cells whose centre a robot can occupy, all of them connected.

    Attributes:
        free: (rows, columns); cell (i, j) has its centre at (x, y) = (j + 0.5, i + 0.5) * cell.
        clearance: distance of each centre to the nearest obstacle, m.
    """

    cell: float
    footprint_radius: float
    free: NDArray[np.bool_]
    clearance: FloatArray

    @staticmethod
    def build(world: World, footprint_radius: float) -> "FreeSpace":
        """Find the largest connected part of the space that the footprint fits into."""
        cell = world.config.grid
        columns, rows = (round(side / cell) for side in world.size)
        clearance = world.clearance.on_grid(cell, rows, columns)
        fits = clearance >= footprint_radius + MARGIN
        free = largest_component(fits)
        if free.mean() < 0.2 or free.sum() < 0.8 * fits.sum():
            raise NavOffrlError(
                f"only {free.mean():.0%} of the world is connected free space for a robot of "
                f"radius {footprint_radius} m",
                where=f"world '{world.config.name}', seed {world.seed}",
                remedy="widen passages and doors, or take another seed",
            )
        return FreeSpace(cell, footprint_radius, free, clearance)

    @cached_property
    def graph(self) -> CellGraph:
        """The free cells joined with their true lengths."""
        return CellGraph.build(self.free, self.cell)

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Row and column of every free cell, (N, 2)."""
        return np.argwhere(self.free)

    @cached_property
    def _nearest(self) -> NDArray[np.int32]:
        indices: NDArray[np.int32] = ndimage.distance_transform_edt(
            ~self.free, return_distances=False, return_indices=True
        )
        return indices

    def cell_of(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the free cell nearest to a point."""
        row = min(max(int(y / self.cell), 0), self.free.shape[0] - 1)
        column = min(max(int(x / self.cell), 0), self.free.shape[1] - 1)
        if self.free[row, column]:
            return row, column
        return int(self._nearest[0, row, column]), int(self._nearest[1, row, column])

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """Centre of a cell, m."""
        return (column + 0.5) * self.cell, (row + 0.5) * self.cell

    def distance_field(self, x: float, y: float, limit: float = math.inf) -> FloatArray:
        """Length of the shortest path from every cell to a point, m; inf where not free.

        Cells whose path is longer than `limit` (m) are not looked for and inf as well.
        """
        row, column = self.cell_of(x, y)
        # A path is at least as long as it reaches: what is within the limit is in this window.
        reach = math.floor(min(limit, math.hypot(*self.free.shape) * self.cell) / self.cell) + 1
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = slice(top, row + reach + 1), slice(left, column + reach + 1)
        near = self.free[window]
        if "graph" in vars(self) or near.size > self.free.size / 2:
            return self.graph.field(row, column, limit)
        field = np.full(self.free.shape, np.inf)
        field[window] = CellGraph.build(near, self.cell).field(row - top, column - left, limit)
        return field


def generate_world(config: WorldConfig, seed: int, texture_seed: int | None = None) -> World:
    """Generate the world number `seed` of a family; the same arguments give the same world.

    `texture_seed` paints it as that world is painted; nothing moves by it.
    A layout that leaves free places apart from one another is thrown away and drawn again.

    Raises:
        NavOffrlError: the seed is negative, textures do not fit, or no layout is connected.
    """
    if seed < 0:
        raise NavOffrlError(f"seed {seed} is negative", where="seed", remedy="give one >= 0")
    for attempt in range(ATTEMPTS):
        world = _lay_out(config, seed, seed if texture_seed is None else texture_seed, attempt)
        fits = world.clearance.values[::2, ::2] >= LARGEST_FOOTPRINT + MARGIN
        if largest_component(fits).sum() > CONNECTED * fits.sum():
            return world
    raise NavOffrlError(
        f"{ATTEMPTS} layouts in a row are not connected for a robot of radius "
        f"{LARGEST_FOOTPRINT} m",
        where=f"world '{config.name}', seed {seed}",
        remedy="widen gaps and doors, or ask for fewer objects",
    )


def _lay_out(config: WorldConfig, seed: int, texture_seed: int, attempt: int) -> World:
    seeds = (seed, seed, texture_seed)
    layout, relief, paint = (
        np.random.default_rng(np.random.SeedSequence([number, stream, attempt]))
        for number, stream in zip(
            seeds, (Stream.LAYOUT, Stream.TERRAIN, Stream.TEXTURES), strict=True
        )
    )
    builder = SceneBuilder(
        config.size, config.library(), layout, relief, paint, config.texture_resolution
    )
    (layout_outdoor if config.outdoor is not None else layout_indoor)(builder, config)
    grow_grass(builder, config.ground)
    seen = lidar_clearance(builder, config.ground)
    return World(config, seed, builder.finished(), builder.clearance, seen)
