"""Recording of drives in the simulator into a log store, as a robot's own logs would be.

Two drivers share the work. One drives to random goals along shortest paths with a disturbed hand;
the other is BADGR's time-correlated random walk (Kahn et al. 2021, section IV-A), which collides,
turns away and goes on. Every episode has a random stream of its own, so that the store depends on
the seed alone and not on the number of workers.
"""

import math
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import Field, model_validator
from tqdm import tqdm

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, StoreInfo, StoreWriter
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_sim.configuration import (
    CameraConfig,
    EnvConfig,
    RobotConfig,
    load_robot_config,
    load_world_config,
)
from nav_offrl_sim.lidar import Lidar
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.rendering import ensure_rendering
from nav_offrl_sim.robot import Pose, Robot
from nav_offrl_sim.tasks import random_pose, sample_goal
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world import FreeSpace, World, generate_world

FIELDS = ("time", "position", "yaw", "velocity", "action", "collision", "bumpiness")
CANDIDATES = 16  # starts drawn per episode, of which the one farthest from the others is taken


class CollectConfig(Config):
    """How drives are recorded."""

    oracle_share: float = Field(0.6, ge=0, le=1, description="share of goal-directed episodes")
    held_out_share: float = Field(0.15, ge=0, lt=1, description="share of held-out episodes")
    min_length: int = Field(150, ge=10, description="shortest episode, steps")
    max_length: int = Field(200, ge=10, description="longest episode, steps")
    goal_distance: tuple[float, float] = Field((3.0, 12.0), description="path to a goal, m")
    linear_noise: float = Field(0.2, ge=0, description="standard deviation on commands, m/s")
    angular_noise: float = Field(0.4, ge=0, description="standard deviation on commands, rad/s")
    noise_time: float = Field(1.0, gt=0, description="correlation time of the noise, s")
    jpeg_quality: int = Field(92, ge=50, le=100, description="quality of the JPEG frames")

    @model_validator(mode="after")
    def _ordered(self) -> "CollectConfig":
        if self.max_length < self.min_length:
            raise ValueError("max_length must not be below min_length")
        return self


@dataclass(frozen=True)
class EpisodePlan:
    """What one episode will be, drawn before any is recorded."""

    index: int
    seed: int
    length: int
    start: Pose
    oracle: bool
    held_out: bool


class Correlated:
    """Ornstein-Uhlenbeck noise of unit variance, sampled every `period` s."""

    def __init__(self, rng: np.random.Generator, period: float, time_constant: float) -> None:
        self._rng = rng
        self._keep = math.exp(-period / time_constant)
        self._value = rng.normal(size=2)

    def __call__(self) -> tuple[float, float]:
        """The next pair of values."""
        fresh = self._rng.normal(size=2) * math.sqrt(1 - self._keep**2)
        self._value = self._keep * self._value + fresh
        return float(self._value[0]), float(self._value[1])


class NoisyOracle:
    """Drives to one random goal after another with a disturbed hand."""

    def __init__(self, oracle: OracleDriver, config: CollectConfig, robot: RobotConfig) -> None:
        self._oracle, self._config, self._robot = oracle, config, robot

    def begin(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        self._rng = rng
        self._noise = Correlated(rng, self._robot.control_period, self._config.noise_time)
        self._goal: Pose | None = None
        self._calm = 0

    def command(self, pose: Pose, collided: bool) -> tuple[float, float]:
        """Command (m/s, rad/s); undisturbed for two seconds after a collision."""
        if self._goal is None or math.dist(pose[:2], self._goal[:2]) < 0.6:
            self._goal = sample_goal(
                self._oracle.space, self._rng, pose, *self._config.goal_distance
            )
        linear, angular = self._oracle.command(pose, self._goal)
        first, second = self._noise()
        self._calm = round(2.0 / self._robot.control_period) if collided else self._calm - 1
        if self._calm > 0:
            return linear, angular
        # Where the oracle turns on the spot it must not be pushed into what it turns away from.
        first = first if linear > 0 else 0.0
        return linear + self._config.linear_noise * first, (
            angular + self._config.angular_noise * second
        )


class RandomWalk:
    """Time-correlated random commands; turns away for a random while after a collision."""

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot

    def begin(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        self._rng = rng
        self._noise = Correlated(rng, self._robot.control_period, 2.0)
        self._turning, self._side = 0, 1.0

    def command(self, pose: Pose, collided: bool) -> tuple[float, float]:
        """Command (m/s, rad/s)."""
        robot = self._robot
        first, second = self._noise()
        if collided and self._turning <= 0:
            seconds = self._rng.uniform(1.0, 2.6) / robot.max_angular
            self._turning = round(float(seconds) / robot.control_period) + 1
            self._side = float(self._rng.choice([-1.0, 1.0]))
        self._turning -= 1
        if self._turning >= 0:
            return 0.0, self._side * robot.max_angular
        return robot.max_linear * (0.65 + 0.3 * first), robot.max_angular * 0.5 * second


class Recorder:
    """A world, a robot, its sensors and the two drivers; records planned episodes."""

    def __init__(self, env: EnvConfig, world_seed: int, config: CollectConfig) -> None:
        from nav_offrl_sim.camera_rig import CameraRig

        self._config = config
        self.robot_config = load_robot_config(env.robot)
        self.world = generate_world(load_world_config(env.world), world_seed)
        self.space = self.world.free_space(self.robot_config.footprint_radius)
        oracle = OracleDriver(self.world, self.robot_config, self.space)
        self._oracle = NoisyOracle(oracle, config, self.robot_config)
        self._walk = RandomWalk(self.robot_config)
        self._robot = Robot(self.world, self.robot_config)
        self._rig = CameraRig(self.world, self.robot_config.cameras)
        lidar = self.robot_config.lidar
        self._lidar = Lidar(self.world, lidar) if lidar is not None else None

    def record(self, plan: EpisodePlan) -> Episode:
        """Drive one episode; row t holds what was seen at t and what the command at t led to.

        It ends before its planned length when the robot falls over.
        """
        driving, moving, scanning = (np.random.default_rng([plan.seed, k]) for k in range(3))
        robot, driver = self._robot, self._oracle if plan.oracle else self._walk
        robot.place(plan.start, moving)
        if self._lidar is not None:
            self._lidar.begin(scanning)
        driver.begin(driving)
        frames: dict[str, list[bytes]] = {name: [] for name in self.robot_config.cameras}
        rows: list[dict[str, Any]] = []
        collided = flipped = False
        while len(rows) < plan.length and not (flipped and len(rows) > 1):
            for name, image in self._rig.images(robot.pose).items():
                frames[name].append(self._jpeg(image))
            row = self._seen(len(rows))
            row["action"] = self._clamped(driver.command(robot.pose, collided))
            motion = robot.step(*row["action"])
            collided, flipped = motion.collision, motion.flipped
            row["collision"] = collided or motion.stuck or flipped
            row["bumpiness"] = motion.bumpiness
            rows.append(row)
        world = f"{self.world.config.name} {self.world.seed}"
        return Episode(
            name=f"episode_{plan.index:05d}",
            images=frames,
            fields={name: np.array([row[name] for row in rows]) for name in rows[0]},
            split="held_out" if plan.held_out else "train",
            source=f"simulated, world {world}, {'oracle' if plan.oracle else 'random walk'}",
            robot=self.robot_config.name,
            licence="CC0-1.0",
        )

    def close(self) -> None:
        """Free the renderer."""
        self._rig.close()

    def _clamped(self, command: tuple[float, float]) -> tuple[float, float]:
        robot = self.robot_config
        return (
            min(max(command[0], -robot.max_reverse), robot.max_linear),
            min(max(command[1], -robot.max_angular), robot.max_angular),
        )

    def _seen(self, step: int) -> dict[str, Any]:
        """What the robot's sensors say at a step; NaN before the first reading of the IMU."""
        robot = self._robot
        period = round(self.robot_config.control_period * 1e9)
        seen: dict[str, Any] = {
            "time": step * period,
            "position": robot.odometry[:2],
            "yaw": robot.odometry[2],
            "velocity": robot.measured,
        }
        if self.robot_config.imu is not None:
            seen["imu"] = robot.imu.mean(axis=0)
        if self._lidar is not None:
            seen["lidar"] = self._lidar.sense(step * period * 1e-9, robot.pose)
        return seen

    def _jpeg(self, image: Image) -> bytes:
        options = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        assert done
        return encoded.tobytes()


def plan_episodes(
    space: FreeSpace, steps: int, seed: int, config: CollectConfig
) -> list[EpisodePlan]:
    """Draw lengths that add up to `steps`, drivers, splits, and starts spread over the space."""
    rng = np.random.default_rng([seed, 7])
    lengths: list[int] = []
    while (missing := steps - sum(lengths)) > 0:
        length = int(rng.integers(config.min_length, config.max_length + 1))
        lengths.append(missing if missing < length + 20 else length)
    count = len(lengths)
    oracle = rng.permutation(count) < round(config.oracle_share * count)
    aim = config.held_out_share * count
    held = rng.permutation(count) < (max(1, round(aim)) if aim > 0 and count > 1 else 0)
    starts: list[Pose] = []
    for _ in range(count):
        candidates = [random_pose(space, rng) for _ in range(CANDIDATES)]
        gaps = [min((math.dist(c[:2], s[:2]) for s in starts), default=0.0) for c in candidates]
        starts.append(candidates[int(np.argmax(gaps))])
    seeds = rng.integers(2**62, size=count)
    return [
        EpisodePlan(i, int(seeds[i]), lengths[i], starts[i], bool(oracle[i]), bool(held[i]))
        for i in range(count)
    ]


def collect(
    env_config: EnvConfig,
    world_seed: int,
    path: Path,
    steps: int,
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
    config: CollectConfig | None = None,
) -> Path:
    """Record `steps` steps into a new store at `path` and return it.

    The store depends on every argument but `workers`. Interrupted, the same call goes on where
    it stopped.

    Raises:
        NavOffrlError: the store exists, an argument is out of range, or nothing can render.
    """
    if steps < 20 or workers < 1:
        raise NavOffrlError(
            f"steps is {steps} and workers is {workers}",
            where="collect",
            remedy="give at least 20 steps and 1 worker",
        )
    config = config if config is not None else CollectConfig()
    world_config, robot = load_world_config(env_config.world), load_robot_config(env_config.robot)
    world = generate_world(world_config, world_seed)
    space = world.free_space(robot.footprint_radius)
    plans = plan_episodes(space, steps, seed, config)
    info = _store_info(world, robot, seed, steps, config)
    with StoreWriter.create(path, info) as writer:
        todo = [plan for plan in plans if f"episode_{plan.index:05d}" not in writer.names]
        done = steps - sum(plan.length for plan in todo)
        bar = tqdm(total=steps, initial=done, unit="step", disable=not progress, desc="collect")
        with bar, _episodes(todo, env_config, world_seed, config, workers) as episodes:
            for episode in episodes:
                writer.append(episode)
                bar.update(episode.length)
        return writer.finish()


def _store_info(
    world: World, robot: RobotConfig, seed: int, steps: int, config: CollectConfig
) -> StoreInfo:
    return StoreInfo(
        rate_hz=1.0 / robot.control_period,
        action_source="commanded",
        cameras={name: _calibration(camera) for name, camera in robot.cameras.items()},
        fields=_fields(robot),
        # The notes tell stores of other settings apart when an interrupted one is continued.
        notes=f"simulated: world {world.config.name}, world seed {world.seed}, seed {seed}, "
        f"{steps} steps, {config.model_dump_json()}",
        provenance={
            "world": world.config.model_dump_json(),
            "robot": robot.model_dump_json(),
        },
    )


def _calibration(camera: CameraConfig) -> CameraInfo:
    return CameraInfo(
        height=camera.height,
        width=camera.width,
        horizontal_fov=camera.horizontal_fov,
        intrinsics=camera.intrinsics,
        mounting=camera.mounting,
    )


def _fields(robot: RobotConfig) -> dict[str, FieldInfo]:
    """The fields that this robot's sensors fill; bearings are in the robot's axes."""
    fields = {name: field_info(name) for name in FIELDS}
    if robot.imu is not None:
        fields["imu"] = field_info("imu", frame="base_link", rate_hz=robot.imu.rate_hz)
    if (lidar := robot.lidar) is not None:
        fields["lidar"] = field_info(
            "lidar",
            shape=(lidar.rays,),
            frame="base_link",
            rate_hz=min(lidar.rate_hz, 1 / robot.control_period),
            angle_min=lidar.angle_min + lidar.yaw,
            angle_max=lidar.angle_max + lidar.yaw,
        )
    return fields


@contextmanager
def _episodes(
    plans: list[EpisodePlan],
    env: EnvConfig,
    world_seed: int,
    config: CollectConfig,
    workers: int,
) -> Iterator[Iterator[Episode]]:
    """Episodes in the order of their plans, recorded here or by processes of their own."""
    if workers == 1 or len(plans) < 2:
        recorder = Recorder(env, world_seed, config) if plans else None
        try:
            yield (recorder.record(plan) for plan in plans) if recorder else iter(())
        finally:
            if recorder:
                recorder.close()
        return
    ensure_rendering()  # once here, so that the workers need not look for a back end
    executor = ProcessPoolExecutor(
        min(workers, len(plans)),
        multiprocessing.get_context("spawn"),
        _start_worker,
        (env, world_seed, config),
    )
    try:
        yield executor.map(_record, plans)
    except BrokenProcessPool as error:
        raise NavOffrlError(
            "a worker process died", where="collect", remedy="run it again with fewer workers"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


_worker: Recorder | None = None


def _start_worker(env: EnvConfig, world_seed: int, config: CollectConfig) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker = Recorder(env, world_seed, config)


def _record(plan: EpisodePlan) -> Episode:
    assert _worker is not None
    return _worker.record(plan)
