"""A driver that knows the map: shortest paths that keep their distance, followed by pursuit.

It also knows the robot: where commands that are on their way will take it, and how far it rolls
before it stands. No command is given from which it could not stop before the next obstacle.
"""

import math
from collections import deque

import numpy as np

from nav_offrl_sim.configuration import RobotConfig
from nav_offrl_sim.geodesic import CellGraph
from nav_offrl_sim.geometry import FloatArray, wrap_angle
from nav_offrl_sim.motion_model import MotionModel, State
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.world import FreeSpace, World

COMFORT = 0.35  # gap beyond the footprint that a path pays for when it gives it up, m
ARRIVED = 0.3  # m
LOOKAHEAD = (0.6, 2.5)  # least and greatest, m
SIGHT = 3.0  # it steers for points this far ahead where there is ample room on the way, m
SIGHT_GAP = 0.03  # beside the footprint on the straight line to where it steers, m
STOP_GAP = 0.015  # beside the footprint on the way until it stands, m
TURN_FIRST = 0.9  # a target farther aside is turned to on the spot, rad
JUMP = 0.5  # a pose this far from the last one begins another drive, m


class OracleDriver:
    """Commands towards a goal, from the true pose; for demonstrations and as an upper bound."""

    def __init__(self, world: World, robot: RobotConfig, space: FreeSpace | None = None) -> None:
        self._world, self._robot = world, robot
        self.space = space if space is not None else world.free_space(robot.footprint_radius)
        gap = self.space.clearance - robot.footprint_radius
        discomfort = np.clip(1 - gap / COMFORT, 0, 1)
        self._graph = CellGraph.build(self.space.free, self.space.cell, 1 + 3 * discomfort)
        self._goal: tuple[float, float] | None = None
        self._field: FloatArray = np.empty((0, 0))
        self._model = MotionModel(world, robot)
        reaction = robot.latency + robot.linear_lag + 3 * robot.control_period
        self._lookahead = min(max(robot.max_linear * reaction, LOOKAHEAD[0]), LOOKAHEAD[1])
        self.begin()

    def begin(self) -> None:
        """Forget the last drive: the robot stands, and no command is on its way."""
        whole = int(self._robot.latency / self._robot.control_period + 1e-9)
        self._sent = deque([(0.0, 0.0)] * (whole + 2), maxlen=whole + 2)
        self._wheels = (0.0, 0.0)
        self._last: Pose | None = None

    def sent(self, linear: float, angular: float) -> None:
        """Say that this (m/s, rad/s) was sent to the robot instead of the last command."""
        self._sent[-1] = (linear, angular)

    def command(self, pose: Pose, goal: Pose) -> tuple[float, float]:
        """Command (m/s, rad/s) at `pose` towards `goal`; turns to the goal's yaw on arrival.

        To be called once a control period; see `begin` and `sent`.
        """
        if (goal[0], goal[1]) != self._goal:
            self._goal = (goal[0], goal[1])
            self._field = self._graph.field(*self.space.cell_of(goal[0], goal[1]))
        self._observe(pose)
        effective = self._model.roll((pose, *self._wheels), self._model.pending(self._sent))[-1]
        linear, angular = self._wish(effective[0], goal)
        chosen = self._safe(effective, linear, angular)
        self._sent.append(chosen)
        return chosen

    def _observe(self, pose: Pose) -> None:
        """Know what the wheels do now, from the commands and whether the robot moved as they say.

        A robot that was held by something has wheels that stand.
        """
        if self._last is not None and math.dist(self._last[:2], pose[:2]) > JUMP + self._reach():
            self.begin()
        if self._last is not None:
            expected = self._model.roll((self._last, *self._wheels), self._model.latest(self._sent))
            predicted, linear, angular = expected[-1]
            missed = math.dist(predicted[:2], pose[:2])
            held = missed > 0.02 + 0.3 * math.dist(predicted[:2], self._last[:2])
            self._wheels = (0.0 if held else linear, angular)
        self._last = pose

    def _reach(self) -> float:
        return self._robot.max_linear * self._robot.control_period

    def _wish(self, pose: Pose, goal: Pose) -> tuple[float, float]:
        """What to command from `pose` if nothing could be in the way."""
        robot = self._robot
        remaining = math.hypot(goal[0] - pose[0], goal[1] - pose[1])
        if remaining < ARRIVED:
            return 0.0, self._turn(wrap_angle(goal[2] - pose[2]))
        points = self._ahead(pose, goal)
        x, y = self._target(pose, points)
        error = wrap_angle(math.atan2(y - pose[1], x - pose[0]) - pose[2])
        if abs(error) > TURN_FIRST:
            return 0.0, self._turn(error)
        linear = robot.max_linear * max(0.15, math.cos(error) ** 3)
        linear = min(linear, max(0.1, self._stopping_speed(remaining)), self._gentle(pose, points))
        return linear, self._turn(error)

    def _turn(self, error: float) -> float:
        """A yaw rate that ends a turn by `error` (rad) without swinging past it."""
        robot = self._robot
        soon = abs(error) / (1.25 * (robot.control_period + robot.angular_lag))
        rate = min(robot.max_angular, soon, math.sqrt(robot.angular_acceleration * abs(error)))
        return math.copysign(rate, error)

    def _stopping_speed(self, distance: float) -> float:
        """The speed from which the robot stands within `distance` (m)."""
        robot = self._robot
        reaction = robot.linear_lag + robot.control_period
        slowing = robot.linear_acceleration
        return slowing * (math.sqrt(reaction**2 + 2 * distance / slowing) - reaction)

    def _gentle(self, pose: Pose, points: list[tuple[float, float]]) -> float:
        """The speed (m/s) at which the ground ahead does not throw the robot over."""
        roughest = max(self._world.roughness(x, y) for x, y in [pose[:2], *points[::4]])
        return self._model.untipped_speed(roughest)

    def _ahead(self, pose: Pose, goal: Pose) -> list[tuple[float, float]]:
        """The beginning of the way to the goal, cell by cell."""
        cell = self.space.cell_of(pose[0], pose[1])
        points = [self.space.centre(*cell)]
        for _ in range(round(max(SIGHT, self._lookahead) / self.space.cell)):
            row, column = cell
            window = self._field[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            step = divmod(int(window.argmin()), window.shape[1])
            following = (max(row - 1, 0) + step[0], max(column - 1, 0) + step[1])
            if following == cell:
                break
            cell = following
            points.append(self.space.centre(*cell))
        if math.dist(goal[:2], points[-1]) < self.space.cell:
            points.append((goal[0], goal[1]))
        return points

    def _target(self, pose: Pose, points: list[tuple[float, float]]) -> tuple[float, float]:
        """The farthest point of the path's beginning that lies in a clear straight line.

        Far points straighten the path, which knows few directions, where there is ample room.
        """
        last = len(points) - 1
        near = min(last, round(self._lookahead / self.space.cell))
        for index in (last, (2 * last + near) // 3, (last + 2 * near) // 3):
            if index > near and self._clear(pose, *points[index], COMFORT):
                return points[index]
        for x, y in reversed(points[1 : near + 1]):
            if self._clear(pose, x, y, SIGHT_GAP):
                return x, y
        return points[min(1, last)]

    def _safe(self, state: State, linear: float, angular: float) -> tuple[float, float]:
        """The command with its speed cut down until the robot could stop in time behind it."""
        for speed in (linear, linear / 2, linear / 4, linear / 8, 0.0):
            if self._stops_in_time(state, (speed, angular)):
                return speed, angular
        # It is stopping already; turning on the spot never touches anything.
        return 0.0, angular if abs(state[1]) < 0.05 else 0.0

    def _stops_in_time(self, state: State, command: tuple[float, float]) -> bool:
        radius, at = self._robot.footprint_radius, self._world.clearance.at
        x, y, _ = state[0]
        least = radius + min(STOP_GAP, max(0.0, 0.6 * (at(x, y) - radius)))
        period = self._robot.control_period
        way = self._model.roll(state, [(command, period)])
        way += self._model.stop(way[-1])
        return all(at(pose[0], pose[1]) >= least for pose, _, _ in way)

    def _clear(self, pose: Pose, x: float, y: float, gap: float) -> bool:
        """Whether the footprint and a `gap` (m) beside it fit along the line to a point."""
        count = max(2, math.ceil(math.hypot(x - pose[0], y - pose[1]) / 0.1))
        least = self._robot.footprint_radius + gap
        at = self._world.clearance.at
        return all(
            at(pose[0] + (x - pose[0]) * s, pose[1] + (y - pose[1]) * s) >= least
            for s in (k / count for k in range(1, count + 1))
        )
