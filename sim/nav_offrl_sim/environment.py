"""The navigation task as a gymnasium environment: drive to where a photograph was taken."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.configuration import (
    CameraConfig,
    EnvConfig,
    RobotConfig,
    load_robot_config,
    load_world_config,
)
from nav_offrl_sim.geometry import FloatArray, wrap_angle
from nav_offrl_sim.lidar import Lidar
from nav_offrl_sim.pedestrians import Pedestrians
from nav_offrl_sim.photographer import Photographer
from nav_offrl_sim.randomisation import draw_appearance
from nav_offrl_sim.robot import Motion, Pose, Robot
from nav_offrl_sim.tasks import arrival_yaw, sample_task
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import World, generate_world
from nav_offrl_sim.world_pool import WorldPool

Observation = dict[str, Any]
STREAMS = ("robot", "lidar", "pedestrians", "appearance")  # random streams of one drive


class NavigationEnv(gymnasium.Env[Observation, Any]):
    """Reach the goal within `success_radius` before the time limit.

    Observation: `velocity` (2,) float32 measured in m/s and rad/s; by `images` `image` (H, W, 3)
    uint8 RGB of the robot's first camera and `image_<name>` of the others; by `goal` `goal_image`
    and `goal_pose` (3,) float32: x m, y m, yaw rad in the robot's frame, by its odometry.
    Action: (2,) float32 commanded in m/s and rad/s. Reward: 1 on arrival, else 0; other rewards
    are the business of whoever learns, from the events in `info`. A robot that has fallen over is
    truncated.

    `info` has the events (that of a reset also `geodesic_to_goal`, the shortest path in m) and,
    kept apart, what is true and what the robot senses:
    `truth` has pose (x m, y m, yaw rad), velocity (m/s, rad/s), clearance (m, from the footprint),
    terrain, roughness ((rad/s)/(m/s)), bumpiness (rad/s) and pedestrians (P, 3);
    `sensed` has odometry (x m, y m, yaw rad) and velocity and, by the robot's sensors, imu (6,)
    the mean since the step before, imu_samples (N, 6), bumpiness, lidar (rays,) m and lidar_time s.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self,
        config: EnvConfig | None = None,
        world_seed: int = 0,
        world: World | str | Path | None = None,
        robot: RobotConfig | str | Path | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """Build world and robot; `world` and `robot` override the config's, as do `settings`.

        Raises:
            NavOffrlError: there is no such world, robot or setting, or they do not go together.
        """
        values = (config if config is not None else EnvConfig()).model_dump() | settings
        self.config = parse_config(EnvConfig, values, "NavigationEnv")
        self.render_mode = render_mode
        if not isinstance(robot, RobotConfig):
            robot = load_robot_config(robot if robot is not None else self.config.robot)
        self.robot_config = robot
        if not isinstance(world, World):
            world_config = load_world_config(world if world is not None else self.config.world)
            world = generate_world(world_config, world_seed)
        self._photographer = Photographer(self.config, robot)
        self._worlds = WorldPool(world.config)
        self._enter(world)
        self.observation_space = self._observations()
        low = [-robot.max_reverse, -robot.max_angular]
        high = [robot.max_linear, robot.max_angular]
        self.action_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
        self._goal: Pose = (0.0, 0.0, 0.0)
        self._field: FloatArray = np.empty((0, 0))
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a drive.

        `options` may fix "start" and "goal" as (x m, y m, yaw rad), and change to the world of
        another "world_seed".

        Raises:
            NavOffrlError: a given pose is not free, or an option is unknown.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        entropy = int(self.np_random.integers(2**63))
        streams = {
            name: np.random.default_rng([entropy, index]) for index, name in enumerate(STREAMS)
        }
        appearance = draw_appearance(
            self.config.randomisation, self.robot_config.cameras, streams["appearance"]
        )
        self._change_world(options.pop("world_seed", self.world.seed), appearance.texture_seed)
        start, self._goal, self._field = self._task(options)
        self._robot.place(start, streams["robot"], appearance.latency)
        if self._lidar is not None:
            self._lidar.begin(streams["lidar"])
        self._pedestrians.begin(streams["pedestrians"], start)
        self._robot.set_bodies(self._pedestrians.discs)
        self._steps = 0
        self._photographer.begin(appearance, entropy, self._goal)
        self._look()
        info = self._info(Motion(False, 0.0), False)
        return self._observe(), info | {"geodesic_to_goal": self.geodesic_to_goal()}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive with a command for one control period.

        Raises:
            NavOffrlError: the action is not two finite numbers.
        """
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (2,) or not all(map(math.isfinite, command.tolist())):
            raise NavOffrlError(
                f"action {action!r} is not two finite numbers",
                where="NavigationEnv.step",
                remedy="give (linear velocity m/s, angular velocity rad/s)",
            )
        motion = self._robot.step(float(command[0]), float(command[1]))
        bumped = False
        if len(self._pedestrians.poses):
            x, y, _ = self._robot.pose
            disc = (x, y, self.robot_config.footprint_radius)
            bumped = self._pedestrians.step(self.robot_config.control_period, disc)
            self._robot.set_bodies(self._pedestrians.discs)
        self._steps += 1
        self._look()
        info = self._info(motion, bumped)
        late = info["time"] >= self.config.time_limit - 1e-9
        truncated = not info["success"] and (late or motion.flipped)
        return self._observe(), float(info["success"]), info["success"], truncated, info

    def image(self, camera: str | None = None) -> Image:
        """What a camera of the robot sees now, (H, W, 3) uint8 RGB; by default the first one.

        Raises:
            NavOffrlError: images are 'never' drawn, or the robot has no such camera.
        """
        return self._photographer.image(camera)

    def goal_image(self) -> Image:
        """What the robot's first camera sees at the goal, (H, W, 3) uint8 RGB."""
        return self._photographer.goal_image()

    def geodesic_to_goal(self) -> float:
        """Length of the shortest path from the robot to the goal, m; cheap near the goal."""
        cell = self.space.cell_of(*self._robot.pose[:2])
        if math.isinf(self._field[cell]):  # a drawn task's field ends at `max_goal_distance`
            self._field = self.space.distance_field(self._goal[0], self._goal[1])
        return float(self._field[cell])

    def scan(self) -> NDArray[np.float32]:
        """The latest scan of the robot's lidar, (rays,) m, `inf` without a return.

        Raises:
            NavOffrlError: the robot has no lidar.
        """
        if self._lidar is None:
            raise NavOffrlError("has no lidar", where=f"robot '{self.robot_config.name}'")
        return self._lidar.sense(self._time, self._robot.pose, self._pedestrians.discs)

    def render(self) -> Image:
        """What the robot's first camera sees now, (H, W, 3)."""
        return self.image()

    def close(self) -> None:
        """Free the renderer."""
        self._photographer.close()

    @property
    def cameras(self) -> Mapping[str, CameraConfig]:
        """The robot's cameras as they are on this drive: randomisation may have changed them."""
        return self._photographer.cameras

    @property
    def _time(self) -> float:
        return self._steps * self.robot_config.control_period

    def _enter(self, world: World) -> None:
        """Be in a world from now on."""
        robot = self.robot_config
        self.world = world
        self._texture_seed: int | None = None
        self.space = world.free_space(robot.footprint_radius)
        self._robot = Robot(world, robot)
        self._lidar = Lidar(world, robot.lidar) if robot.lidar is not None else None
        self._pedestrians = Pedestrians(world, self.space, self.config.pedestrians)
        self._photographer.enter(world)

    def _change_world(self, seed: Any, texture_seed: int | None) -> None:
        if seed == self.world.seed and texture_seed == self._texture_seed:
            return
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise NavOffrlError(f"{seed!r} is no whole number", where="option 'world_seed'")
        if texture_seed is None:
            world = self._worlds.world(int(seed))
        else:
            world = generate_world(self.world.config, int(seed), texture_seed)
        self._enter(world)
        self._texture_seed = texture_seed

    def _observations(self) -> spaces.Dict:
        parts: dict[str, spaces.Space[Any]] = {}
        if self.config.images == "always":
            pictures = {
                name: spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
                for name, camera in self.robot_config.cameras.items()
            }
            first = pictures.pop(self.robot_config.camera_name)
            parts["image"] = first
            parts |= {f"image_{name}": space for name, space in pictures.items()}
            if self.config.goal != "pose":
                parts["goal_image"] = first
        if self.config.goal != "image":
            parts["goal_pose"] = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        parts["velocity"] = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        return spaces.Dict(parts)

    def _task(self, options: dict[str, Any]) -> tuple[Pose, Pose, FloatArray]:
        given = {
            name: self._given_pose(name, options.pop(name, None)) for name in ("start", "goal")
        }
        if options:
            raise NavOffrlError(
                f"unknown options {sorted(options)}",
                where="NavigationEnv.reset",
                remedy="known options are 'start', 'goal' and 'world_seed'",
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

    def _look(self) -> None:
        self._photographer.look(self._steps, self._robot.pose, self._pedestrians.poses)

    def _observe(self) -> Observation:
        observation: Observation = {}
        if self.config.images == "always":
            first = self.robot_config.camera_name
            for name in self.robot_config.cameras:
                observation["image" if name == first else f"image_{name}"] = self.image(name)
            if self.config.goal != "pose":
                observation["goal_image"] = self.goal_image().copy()
        if self.config.goal != "image":
            goal = relative_pose(self._goal, self._robot.odometry)
            observation["goal_pose"] = np.array(goal, dtype=np.float32)
        observation["velocity"] = np.array(self._robot.measured, dtype=np.float32)
        return observation

    def _info(self, motion: Motion, bumped: bool) -> dict[str, Any]:
        x, y, _ = self._robot.pose
        distance = math.hypot(x - self._goal[0], y - self._goal[1])
        truth, sensed = self._truth(motion), self._sensed(motion)
        return {
            "pose": truth["pose"],
            "odometry": sensed["odometry"],
            "goal_pose": np.array(self._goal),
            "collision": motion.collision or bumped,
            "stuck": motion.stuck,
            "flipped": motion.flipped,
            "bumpiness": motion.bumpiness,
            "distance_to_goal": distance,
            "success": distance <= self.config.success_radius,
            "time": self._time,
            "truth": truth,
            "sensed": sensed,
        }

    def _truth(self, motion: Motion) -> dict[str, Any]:
        x, y, _ = self._robot.pose
        return {
            "pose": np.array(self._robot.pose),
            "velocity": np.array(self._robot.velocity),
            "clearance": self._robot.gap(x, y),
            "terrain": self.world.terrain(x, y),
            "roughness": self.world.roughness(x, y),
            "bumpiness": motion.true_bumpiness,
            "pedestrians": self._pedestrians.poses.copy(),
        }

    def _sensed(self, motion: Motion) -> dict[str, Any]:
        robot = self._robot
        sensed: dict[str, Any] = {
            "odometry": np.array(robot.odometry),
            "velocity": np.array(robot.measured),
        }
        if self.robot_config.imu is not None:
            sensed["imu"] = robot.imu.sum(axis=0) / len(robot.imu)
            sensed["imu_samples"] = robot.imu
            sensed["bumpiness"] = motion.bumpiness
        if self._lidar is not None and self.config.lidar:
            sensed["lidar"] = self.scan()
            sensed["lidar_time"] = self._lidar.time
        return sensed


def relative_pose(pose: Pose, frame: Pose) -> Pose:
    """`pose` as seen from `frame`, both in one frame: x ahead m, y to the left m, yaw rad."""
    dx, dy = pose[0] - frame[0], pose[1] - frame[1]
    cos, sin = math.cos(frame[2]), math.sin(frame[2])
    return cos * dx + sin * dy, cos * dy - sin * dx, wrap_angle(pose[2] - frame[2])
