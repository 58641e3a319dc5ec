"""A 2-D lidar: rays cast over the distance to the nearest thing that it sees."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_sim.geometry import ClearanceMap, FloatArray
from nav_offrl_sim.robot import Disc, Pose
from nav_offrl_sim.robot_configuration import LidarConfig
from nav_offrl_sim.world import World

SPACING = 0.025  # of the samples along a ray, m: a chord this short of a corner may be missed
STRIDE = 14  # so many samples are skipped together where nothing is near
STRETCH = STRIDE * SPACING  # m
OFFSETS = (np.arange(-STRIDE // 2, STRIDE // 2 + 1) * SPACING).astype(np.float32)  # from middle, m
SLACK = 0.02  # by which a clearance between the map's nodes may be too large, m
PARALLEL = 1e-9  # the slope of a ray that never meets an edge
ONE_ROW = 32_000  # points a look-up: of more rows OpenCV would wake its threads

Singles = NDArray[np.float32]


class RayCaster:
    """Looks along straight lines for the first thing of a clearance map.

    The clearance is sampled along each ray; where it turns negative its root is interpolated.
    """

    def __init__(self, clearance: ClearanceMap, margin: float = 0.0) -> None:
        """Stop where less than `margin` m are left to the first thing."""
        self._clearance, self._margin = clearance, margin
        self._values = clearance.values - np.float32(margin)
        self._scale = 1 / clearance.resolution

    def cast(self, origin: tuple[float, float], bearings: FloatArray, reach: float) -> FloatArray:
        """Ranges (N,) m from `origin` m along `bearings` (N,) rad; `inf` beyond `reach` m.

        The edge of the world is a wall.
        """
        single = bearings.astype(np.float32)
        rays = np.stack([np.cos(single), np.sin(single)])
        ranges = _to_edge(self._clearance.size, origin, rays)
        room = max(0.0, self._clearance.at(*origin) - self._margin)
        limits = np.minimum(ranges, reach)
        begins = np.arange(room // STRETCH, limits.max(initial=0.0) / STRETCH, dtype=np.float32)
        begins *= np.float32(STRETCH)
        if len(begins):
            # Nothing is nearer than the clearance, so that most stretches need no closer look.
            middles = begins + np.float32(STRETCH / 2)
            gaps = self._gaps(origin, rays, middles[:, None])
            near = (gaps <= STRETCH / 2 + SLACK) & (begins[:, None] < limits.astype(np.float32))
            near[1:] &= ~np.logical_or.accumulate(gaps[:-1] <= 0)
            place, ray = np.divmod(np.flatnonzero(near), len(bearings))
            self._look_closer(origin, rays, (ray, middles[place]), ranges)
        ranges[ranges > reach] = np.inf
        return ranges

    def _look_closer(
        self,
        origin: tuple[float, float],
        rays: Singles,
        stretches: tuple[NDArray[np.intp], Singles],
        ranges: FloatArray,
    ) -> None:
        """Shorten `ranges` to the first thing within stretches: (S,) rays and (S,) middles, m.

        The stretches of a ray follow one another outwards.
        """
        ray, middles = stretches
        gaps = self._gaps(origin, rays.take(ray, axis=1), middles + OFFSETS[:, None])
        inside = gaps <= 0
        hit = np.flatnonzero(inside.any(axis=0))[::-1]  # the nearest of a ray is written last
        first = inside.take(hit, axis=1).argmax(axis=0)
        last = np.maximum(first - 1, 0)
        before, after = gaps[last, hit], gaps[first, hit]
        # 0 at the last sample outside, 1 at the first one inside.
        share = np.divide(before, before - after, where=before > 0, out=np.zeros_like(before))
        found = middles[hit] + OFFSETS[last] + share * SPACING
        ranges[ray[hit]] = np.minimum(ranges[ray[hit]], found)

    def _gaps(self, origin: tuple[float, float], rays: Singles, ways: Singles) -> Singles:
        """Clearance at (K, N) or (K, 1) m along (2, N) rays, (K, N)."""
        scaled = ways * np.float32(self._scale)
        columns, rows = rays[0] * scaled, rays[1] * scaled
        columns += np.float32(origin[0] * self._scale)
        rows += np.float32(origin[1] * self._scale)
        gaps = np.empty(columns.shape, np.float32)
        for part in range(0, gaps.size, ONE_ROW):
            at = slice(part, part + ONE_ROW)
            places = columns.reshape(1, -1)[:, at], rows.reshape(1, -1)[:, at]
            gaps.reshape(1, -1)[:, at] = cv2.remap(
                self._values, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        return gaps


def _to_edge(size: tuple[float, float], origin: tuple[float, float], rays: Singles) -> FloatArray:
    """Way along each of (2, N) rays to the edge of the world, (N,) m."""
    half = np.array(size)[:, None] / 2
    place = np.array(origin)[:, None] - half
    slopes = 1 / np.copysign(np.maximum(np.abs(rays), PARALLEL), rays)
    ways: FloatArray = (half * np.abs(slopes) - place * slopes).min(axis=0)
    return ways


def cast_at_discs(
    discs: Sequence[Disc], origin: tuple[float, float], bearings: FloatArray
) -> FloatArray:
    """Exact ranges (N,) m from `origin` m along `bearings` (N,) rad to discs; `inf` past them."""
    dx, dy, radius = (np.array(discs, np.float64).reshape(-1, 3) - (*origin, 0.0)).T[:, :, None]
    cos, sin = np.cos(bearings), np.sin(bearings)
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    half_chord = radius**2 - across**2
    hit = (half_chord > 0) & (along > 0)
    ranges = np.where(hit, along - np.sqrt(np.maximum(half_chord, 0.0)), np.inf)
    nearest: FloatArray = ranges.min(axis=0, initial=np.inf)
    return nearest


class Lidar:
    """The scanner of a robot in a world.

    Attributes:
        ranges: the latest scan (rays,) m, `inf` without a return.
        time: when it was taken, s.
    """

    def __init__(self, world: World, config: LidarConfig) -> None:
        self.config = config
        self._caster = RayCaster(world.geometric_clearance)
        self._bearings = np.linspace(config.angle_min, config.angle_max, config.rays) + config.yaw
        self.begin(np.random.default_rng(0))

    def begin(self, rng: np.random.Generator) -> None:
        """Start a drive; `rng` draws the noise."""
        self._rng = rng
        self.ranges = np.full(self.config.rays, np.inf, dtype=np.float32)
        self.time = -math.inf
        self._due = 0.0

    def sense(self, time: float, pose: Pose, bodies: Sequence[Disc] = ()) -> NDArray[np.float32]:
        """The latest scan at `time` s; a new one when the next is due.

        Scans are due on a grid from 0 s on, so that their mean rate does not depend on how often
        this is called; what a pause left out is not made up for.
        """
        if time >= self._due - 1e-6:
            self.ranges, self.time = self.scan(pose, self._rng, bodies), time
            self._due += 1 / self.config.rate_hz
            if self._due <= time + 1e-6:
                self._due = time + 1 / self.config.rate_hz
        return self.ranges

    def scan(
        self, pose: Pose, rng: np.random.Generator | None = None, bodies: Sequence[Disc] = ()
    ) -> NDArray[np.float32]:
        """Ranges (rays,) m at a robot's pose, `inf` without a return; without noise if no `rng`."""
        config, (x, y, yaw) = self.config, pose
        cos, sin = math.cos(yaw), math.sin(yaw)
        origin = (
            x + cos * config.forward - sin * config.left,
            y + sin * config.forward + cos * config.left,
        )
        bearings = self._bearings + yaw
        ranges = self._caster.cast(origin, bearings, config.max_range)
        if bodies:
            np.minimum(ranges, cast_at_discs(bodies, origin, bearings), out=ranges)
        if rng is not None:
            ranges += rng.normal(0.0, config.noise, len(ranges))
        ranges[(ranges < config.min_range) | (ranges > config.max_range)] = np.inf
        return ranges.astype(np.float32)
