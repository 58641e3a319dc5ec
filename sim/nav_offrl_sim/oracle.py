"""A driver that knows the map: shortest paths that keep their distance, followed by pursuit."""

import math

import numpy as np

from nav_offrl_sim.configuration import RobotConfig
from nav_offrl_sim.geodesic import CellGraph
from nav_offrl_sim.geometry import FloatArray, wrap_angle
from nav_offrl_sim.robot import Pose, arc
from nav_offrl_sim.world import FreeSpace, World

LOOKAHEAD = 0.8  # m
COMFORT = 0.35  # gap beyond the footprint that a path pays for when it gives it up, m
ARRIVED = 0.3  # m


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

    def command(self, pose: Pose, goal: Pose) -> tuple[float, float]:
        """Command (m/s, rad/s) at `pose` towards `goal`; turns to the goal's yaw on arrival."""
        if (goal[0], goal[1]) != self._goal:
            self._goal = (goal[0], goal[1])
            self._field = self._graph.field(*self.space.cell_of(goal[0], goal[1]))
        robot = self._robot
        remaining = math.hypot(goal[0] - pose[0], goal[1] - pose[1])
        if remaining < ARRIVED:
            return 0.0, _clip(2 * wrap_angle(goal[2] - pose[2]), robot.max_angular)
        x, y = self._target(pose, goal)
        error = wrap_angle(math.atan2(y - pose[1], x - pose[0]) - pose[2])
        if abs(error) > 0.9:
            return 0.0, math.copysign(robot.max_angular, error)
        slow = max(0.15, math.cos(error) ** 3) * min(1.0, 0.3 + remaining)
        angular = _clip(2.5 * error, robot.max_angular)
        return self._safe_speed(pose, robot.max_linear * slow, angular), angular

    def _descend(self, pose: Pose, length: float) -> list[tuple[float, float]]:
        cell = self.space.cell_of(pose[0], pose[1])
        points = [self.space.centre(*cell)]
        for _ in range(round(length / self.space.cell)):
            row, column = cell
            window = self._field[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            step = np.unravel_index(int(np.argmin(window)), window.shape)
            following = (max(row - 1, 0) + int(step[0]), max(column - 1, 0) + int(step[1]))
            if following == cell:
                break
            cell = following
            points.append(self.space.centre(*cell))
        return points

    def _target(self, pose: Pose, goal: Pose) -> tuple[float, float]:
        """The farthest point of the path's beginning that lies in a clear straight line."""
        points = self._descend(pose, LOOKAHEAD)
        if math.hypot(goal[0] - points[-1][0], goal[1] - points[-1][1]) < self.space.cell:
            points.append((goal[0], goal[1]))
        for x, y in reversed(points[1:]):
            if self._clear(pose, x, y):
                return x, y
        return points[min(1, len(points) - 1)]

    def _safe_speed(self, pose: Pose, linear: float, angular: float) -> float:
        """The speed, halved until the next two control periods stay clear; or zero."""
        least = self._robot.footprint_radius + 0.01
        horizon = 2 * self._robot.control_period
        for speed in (linear, linear / 2, linear / 4):
            ahead = (arc(pose, speed, angular, share * horizon) for share in (0.5, 1.0))
            if all(self._world.clearance.at(x, y) >= least for x, y, _ in ahead):
                return speed
        return 0.0

    def _clear(self, pose: Pose, x: float, y: float) -> bool:
        count = max(2, math.ceil(math.hypot(x - pose[0], y - pose[1]) / 0.1))
        least = self._robot.footprint_radius + 0.02
        return all(
            self._world.clearance.at(pose[0] + (x - pose[0]) * s, pose[1] + (y - pose[1]) * s)
            >= least
            for s in (k / count for k in range(1, count + 1))
        )


def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
