"""Recording of drives in the simulator into a log store, as a robot's own logs would be.

Every episode has a random stream of its own, so that the store depends on the seed alone and not
on the number of workers.
"""

import math
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, StoreInfo, StoreWriter
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl.suites import refuse_suite_worlds
from nav_offrl_sim.configuration import (
    CameraConfig,
    EnvConfig,
    RobotConfig,
    WorldConfig,
    load_robot_config,
    load_world_config,
)
from nav_offrl_sim.recording import CollectConfig, EpisodePlan, Recorder
from nav_offrl_sim.rendering import ensure_rendering
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.tasks import random_pose
from nav_offrl_sim.world import FreeSpace
from nav_offrl_sim.world_pool import WorldPool

__all__ = ["CollectConfig", "EpisodePlan", "Recorder", "collect", "plan_episodes"]

FIELDS = ("time", "position", "yaw", "velocity", "action", "collision", "bumpiness")
CANDIDATES = 16  # starts drawn per episode, of which the one farthest from the others is taken


def plan_episodes(
    spaces: Mapping[int, FreeSpace], steps: int, seed: int, config: CollectConfig
) -> list[EpisodePlan]:
    """Draw lengths that add up to `steps`, drivers, splits, and starts spread over the worlds.

    `spaces` maps the seed of each world to its free space.
    """
    rng = np.random.default_rng([seed, 7])
    lengths: list[int] = []
    while (missing := steps - sum(lengths)) > 0:
        length = int(rng.integers(config.min_length, config.max_length + 1))
        lengths.append(missing if missing < length + 20 else length)
    count = len(lengths)
    worlds = [list(spaces)[index * len(spaces) // count] for index in range(count)]
    teleoperated = rng.permutation(count) < round(config.oracle_share * count)
    aim = config.held_out_share * count
    held = rng.permutation(count) < (max(1, round(aim)) if aim > 0 and count > 1 else 0)
    starts = _spread_starts(spaces, worlds, rng)
    seeds = rng.integers(2**62, size=count)
    mixed = ["teleoperation" if first else "badgr" for first in teleoperated]
    policies = mixed if config.policy == "mixed" else [config.policy] * count
    return [
        EpisodePlan(i, int(seeds[i]), worlds[i], lengths[i], starts[i], policies[i], bool(held[i]))
        for i in range(count)
    ]


def _spread_starts(
    spaces: Mapping[int, FreeSpace], worlds: Sequence[int], rng: np.random.Generator
) -> list[Pose]:
    starts: dict[int, list[Pose]] = {seed: [] for seed in spaces}
    for seed in worlds:
        candidates = [random_pose(spaces[seed], rng) for _ in range(CANDIDATES)]
        there = [start[:2] for start in starts[seed]]
        gaps = [min((math.dist(c[:2], s) for s in there), default=0.0) for c in candidates]
        starts[seed].append(candidates[int(np.argmax(gaps))])
    following = {seed: iter(there) for seed, there in starts.items()}
    return [next(following[seed]) for seed in worlds]


def collect(
    env_config: EnvConfig,
    world_seeds: int | Sequence[int],
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
        NavOffrlError: the store exists, an argument is out of range, a suite holds one of the
            worlds, or nothing can render.
    """
    world_seeds = [world_seeds] if isinstance(world_seeds, int) else list(world_seeds)
    if steps < 20 or workers < 1 or not world_seeds:
        raise NavOffrlError(
            f"steps is {steps}, workers is {workers}, {len(world_seeds)} worlds",
            where="collect",
            remedy="give at least 20 steps, 1 worker and 1 world",
        )
    config = config if config is not None else CollectConfig()
    world, robot = load_world_config(env_config.world), load_robot_config(env_config.robot)
    refuse_suite_worlds(((world.name, number) for number in world_seeds), "collect")
    if not env_config.lidar:
        robot = robot.model_copy(update={"lidar": None})  # it is not recorded
    info = _store_info(world, robot, _settings(env_config, world_seeds, seed, steps, config))
    with StoreWriter.create(path, info) as writer:
        pool = WorldPool(world)
        spaces = {n: pool.world(n).free_space(robot.footprint_radius) for n in world_seeds}
        plans = plan_episodes(spaces, steps, seed, config)
        todo = [plan for plan in plans if plan.name not in writer.names]
        done = sum(plan.length for plan in plans) - sum(plan.length for plan in todo)
        bar = tqdm(total=steps, initial=done, unit="step", disable=not progress, desc="collect")
        with bar, _recorded(todo, env_config, config, workers) as recorded:
            for plan, episodes in zip(todo, recorded, strict=True):
                writer.append_all(episodes)
                bar.update(plan.length)
        return writer.finish()


def _settings(
    env: EnvConfig, world_seeds: Sequence[int], seed: int, steps: int, config: CollectConfig
) -> str:
    """All that the drives depend on but world and robot, which have their own place."""
    chances = f"{env.pedestrians.model_dump_json()}, {env.randomisation.model_dump_json()}"
    worlds = ", ".join(map(str, world_seeds))
    return f"worlds {worlds}; seed {seed}; {steps} steps; {config.model_dump_json()}, {chances}"


def _store_info(world: WorldConfig, robot: RobotConfig, settings: str) -> StoreInfo:
    return StoreInfo(
        rate_hz=1.0 / robot.control_period,
        action_source="commanded",
        cameras={name: _calibration(camera) for name, camera in robot.cameras.items()},
        fields=_fields(robot),
        # The notes tell stores of other settings apart when an interrupted one is continued.
        notes=f"simulated: {world.name}, {robot.name}; {settings}",
        provenance={"world": world.model_dump_json(), "robot": robot.model_dump_json()},
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
def _recorded(
    plans: list[EpisodePlan], env: EnvConfig, config: CollectConfig, workers: int
) -> Iterator[Iterator[list[Episode]]]:
    """Episodes in the order of their plans, recorded here or by processes of their own."""
    if not plans:
        yield iter(())
        return
    first = plans[0].world_seed
    if workers == 1 or len(plans) < 2:
        recorder = Recorder(env, first, config)
        try:
            yield (recorder.record(plan) for plan in plans)
        finally:
            recorder.close()
        return
    ensure_rendering()  # once here, so that the workers need not look for a back end
    executor = ProcessPoolExecutor(
        min(workers, len(plans)),
        multiprocessing.get_context("spawn"),
        _start_worker,
        (env, first, config),
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


def _record(plan: EpisodePlan) -> list[Episode]:
    assert _worker is not None
    return _worker.record(plan)
