"""The navigation task as a gymnasium environment: drive to where a photograph was taken."""

import math
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.camera import RobotCamera
from nav_offrl_sim.configuration import (
    EnvConfig,
    RobotConfig,
    load_robot_config,
    load_world_config,
)
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.robot import Motion, Pose, Robot
from nav_offrl_sim.tasks import arrival_yaw, sample_task
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import World, generate_world

Observation = dict[str, Any]


class NavigationEnv(gymnasium.Env[Observation, Any]):
    """Reach the place of `goal_image` within `success_radius` before the time limit.

    Observation: `image` and `goal_image` (H, W, 3) uint8 RGB, `velocity` (2,) float32 measured in
    m/s and rad/s. Action: (2,) float32 commanded in m/s and rad/s. Reward: 1 on arrival, else 0.
    `info` keeps the true pose apart from the odometry that a robot would have.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self,
        config: EnvConfig | None = None,
        world_seed: int = 0,
        world: World | str | Path | None = None,
        robot: RobotConfig | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Build world, robot and camera; `world` (name, file or World) overrides the config's."""
        self.config = config if config is not None else EnvConfig()
        self.render_mode = render_mode
        self.robot_config = robot if robot is not None else load_robot_config(self.config.robot)
        if not isinstance(world, World):
            world_config = load_world_config(world if world is not None else self.config.world)
            world = generate_world(world_config, world_seed)
        self.world = world
        self.space = world.free_space(self.robot_config.footprint_radius)
        self._robot = Robot(world, self.robot_config)
        self._camera = RobotCamera(world, self.robot_config.camera)
        camera = self.robot_config.camera
        picture = spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "image": picture,
                "goal_image": picture,
                "velocity": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            }
        )
        limits = np.array([self.robot_config.max_linear, self.robot_config.max_angular])
        low = np.array([0.0, -limits[1]])
        self.action_space = spaces.Box(low.astype(np.float32), limits.astype(np.float32))
        self._goal: Pose = (0.0, 0.0, 0.0)
        self._field: FloatArray = np.empty((0, 0))
        self._image: Image = np.zeros(picture.shape, dtype=np.uint8)
        self._goal_image = self._image
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a drive; `options` may fix "start" and "goal" as (x m, y m, yaw rad).

        Raises:
            NavOffrlError: a given pose is not free, or an option is unknown.
        """
        super().reset(seed=seed)
        start, self._goal, self._field = self._task(dict(options or {}))
        self._robot.place(start, np.random.default_rng(int(self.np_random.integers(2**63))))
        self._steps = 0
        self._goal_image = self._camera.image(*self._goal)
        return self._observe(), self._info(Motion(False, 0.0))

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive with a command for one control period.

        Raises:
            NavOffrlError: the action is not two finite numbers.
        """
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (2,) or not np.isfinite(command).all():
            raise NavOffrlError(
                f"action {action!r} is not two finite numbers",
                where="NavigationEnv.step",
                remedy="give (linear velocity m/s, angular velocity rad/s)",
            )
        motion = self._robot.step(float(command[0]), float(command[1]))
        self._steps += 1
        info = self._info(motion)
        truncated = not info["success"] and info["time"] >= self.config.time_limit - 1e-9
        return self._observe(), float(info["success"]), info["success"], truncated, info

    def render(self) -> Image:
        """The robot's latest camera picture, (H, W, 3)."""
        return self._image

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()

    def _task(self, options: dict[str, Any]) -> tuple[Pose, Pose, FloatArray]:
        given = {
            name: self._given_pose(name, options.pop(name, None)) for name in ("start", "goal")
        }
        if options:
            raise NavOffrlError(
                f"unknown options {sorted(options)}",
                where="NavigationEnv.reset",
                remedy="known options are 'start' and 'goal'",
            )
        near, far = self.config.min_goal_distance, self.config.max_goal_distance
        start, goal = given["start"], given["goal"]
        if start is None and goal is None:
            return sample_task(self.space, self.np_random, near, far)
        # The graph has no direction, so one end's field serves to draw the other.
        fixed = goal if goal is not None else start
        assert fixed is not None
        field = self.space.distance_field(fixed[0], fixed[1])
        if start is None or goal is None:
            drawn = self._draw_within(field, near, far)
            start, goal = (drawn, fixed) if start is None else (fixed, drawn)
            field = self.space.distance_field(goal[0], goal[1])
            if given["goal"] is None:
                goal = (goal[0], goal[1], arrival_yaw(self.space, field, start))
        return start, goal, field

    def _draw_within(self, field: FloatArray, near: float, far: float) -> Pose:
        cells = np.argwhere((field >= near) & (field <= far))
        if len(cells) == 0:
            raise NavOffrlError(
                f"nothing free lies {near} to {far} m from the given pose",
                where="NavigationEnv.reset",
                remedy="give both start and goal, or change the goal distances",
            )
        x, y = self.space.centre(*cells[int(self.np_random.integers(len(cells)))])
        return x, y, float(self.np_random.uniform(-math.pi, math.pi))

    def _given_pose(self, name: str, value: Any) -> Pose | None:
        if value is None:
            return None
        pose = np.asarray(value, dtype=np.float64)
        radius = self.robot_config.footprint_radius
        if (
            pose.shape != (3,)
            or not np.isfinite(pose).all()
            or self.world.clearance.at(pose[0], pose[1]) < radius
        ):
            raise NavOffrlError(
                f"{value!r} is not a free pose (x m, y m, yaw rad)",
                where=f"NavigationEnv.reset, option '{name}'",
                remedy="choose a place farther from obstacles, inside the world",
            )
        return float(pose[0]), float(pose[1]), float(pose[2])

    def _observe(self) -> Observation:
        self._image = self._camera.image(*self._robot.pose)
        velocity = np.array(self._robot.measured, dtype=np.float32)
        return {"image": self._image, "goal_image": self._goal_image.copy(), "velocity": velocity}

    def _info(self, motion: Motion) -> dict[str, Any]:
        x, y, _ = self._robot.pose
        distance = math.hypot(x - self._goal[0], y - self._goal[1])
        return {
            "pose": np.array(self._robot.pose),
            "odometry": np.array(self._robot.odometry),
            "goal_pose": np.array(self._goal),
            "collision": motion.collision,
            "bumpiness": motion.bumpiness,
            "distance_to_goal": distance,
            "geodesic_to_goal": float(self._field[self.space.cell_of(x, y)]),
            "success": distance <= self.config.success_radius,
            "time": self._steps * self.robot_config.control_period,
        }
