"""People who walk about: they keep off walls, and stand still before the robot or bump into it."""

import math

import numpy as np

from nav_offrl_sim.configuration import PedestriansConfig
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.lidar import RayCaster
from nav_offrl_sim.robot import Disc, Pose
from nav_offrl_sim.world import FreeSpace, World

RADIUS = 0.25  # of a person, m
ELBOW_ROOM = 0.15  # that people leave between themselves and walls, m
BEARINGS = 12  # ways looked along for the next waypoint
LONGEST_LEG = 12.0  # m
SHORTEST_LEG = 0.5  # m
PATIENCE = 3.0  # waiting before the robot until another way is taken, s
START_DISTANCE = 2.0  # between a person and the robot at the start, if there is room, m


class Pedestrians:
    """The people of one world. They walk through each other, but neither through walls nor robot.

    There is nobody until a drive begins.

    Attributes:
        poses: (P, 3) x m, y m, heading rad.
    """

    def __init__(self, world: World, space: FreeSpace, config: PedestriansConfig) -> None:
        self._config = config
        self._sight = RayCaster(world.clearance, RADIUS + ELBOW_ROOM)
        roomy = space.free & (space.clearance > RADIUS + ELBOW_ROOM)
        self._places = np.argwhere(roomy if roomy.any() else space.free)
        self._space = space
        self.poses: FloatArray = np.zeros((0, 3))

    @property
    def discs(self) -> tuple[Disc, ...]:
        """Where they are, as things that stop a robot and return a lidar's light."""
        return tuple((x, y, RADIUS) for x, y in self.poses[:, :2].tolist())

    def begin(self, rng: np.random.Generator, robot: Pose) -> None:
        """Stand somewhere away from the robot and choose a way to go; `rng` is theirs alone."""
        self._rng = rng
        count = self._config.count
        self.poses = np.zeros((count, 3))
        self._targets: FloatArray = np.zeros((count, 2))
        self._speeds = rng.uniform(self._config.min_speed, self._config.max_speed, count)
        self._waited = np.zeros(count)
        for person in range(count):
            self.poses[person, :2] = self._start(robot)
            self._choose(person)

    def step(self, duration: float, robot: Disc) -> bool:
        """Walk for `duration` s; say whether someone walked into the robot."""
        touched = [self._walk(person, duration, robot) for person in range(len(self.poses))]
        return any(touched)

    def _start(self, robot: Pose) -> tuple[float, float]:
        drawn = self._places[self._rng.integers(len(self._places), size=20)]
        places = [self._space.centre(int(row), int(column)) for row, column in drawn]
        far = (place for place in places if math.dist(place, robot[:2]) >= START_DISTANCE)
        return next(far, max(places, key=lambda place: math.dist(place, robot[:2])))

    def _choose(self, person: int) -> None:
        """Look about and take one of the ways, a long one rather than a short one."""
        x, y, _ = self.poses[person]
        bearings = self._rng.uniform(-math.pi, math.pi, BEARINGS)
        shares = self._rng.random(2)
        lengths = np.minimum(self._sight.cast((x, y), bearings, LONGEST_LEG), LONGEST_LEG)
        weights = np.cumsum(lengths**2)
        taken = min(int(np.searchsorted(weights, shares[0] * weights[-1])), BEARINGS - 1)
        length = lengths[taken] * (0.5 + 0.5 * shares[1])
        self._waited[person] = 0.0
        self.poses[person, 2] = bearings[taken]
        heading = np.array([math.cos(bearings[taken]), math.sin(bearings[taken])])
        self._targets[person] = self.poses[person, :2]
        if length >= SHORTEST_LEG:
            self._targets[person] += length * heading

    def _walk(self, person: int, duration: float, robot: Disc) -> bool:
        x, y, _ = self.poses[person].tolist()
        dx, dy = (self._targets[person] - (x, y)).tolist()
        left = math.hypot(dx, dy)
        way = min(float(self._speeds[person]) * duration, left)
        if way < 1e-6:
            self._choose(person)
            return False
        heading = dx / left, dy / left
        keep = robot[2] + RADIUS + (self._config.stop_distance if self._config.stops else 0.0)
        free = way_to_disc((x, y), heading, (robot[0], robot[1], keep))
        done = min(way, free)
        self.poses[person, :2] = x + heading[0] * done, y + heading[1] * done
        if done == way:
            self._waited[person] = 0.0
            return False
        self._waited[person] += duration
        if self._waited[person] > PATIENCE:
            self._choose(person)
        return not self._config.stops


def way_to_disc(origin: tuple[float, float], heading: tuple[float, float], disc: Disc) -> float:
    """Way from `origin` along a unit vector to a disc, m: 0 inside it and going in, inf past it."""
    dx, dy = disc[0] - origin[0], disc[1] - origin[1]
    along = dx * heading[0] + dy * heading[1]
    across = dy * heading[0] - dx * heading[1]
    if along <= 0 or abs(across) >= disc[2]:
        return math.inf
    return max(0.0, along - math.sqrt(disc[2] ** 2 - across**2))
