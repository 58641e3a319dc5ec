"""A point robot with hand-checkable physics, and tiny stores whose pictures tell the place."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trained_policy import TrainedPolicy, load_policy
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)

Pose = tuple[float, float, float]
LENGTH = 30
TINY = TrainConfig(
    device="cpu",
    encoder=EncoderConfig(height=32, width=32, channels=(4, 8), latent_size=8),
    representation=GoalRepresentationConfig(
        steps=10, batch_size=8, horizon=16, hidden=(16,), contrastive_size=4
    ),
    method=IQLConfig(hidden=(16,)),
    steps=5,
    batch_size=16,
)


class PointRobot:
    """Turns, then drives straight, each step; a wall across x stops it.

    Its picture is a colour: red never changes, green and blue fall with the distance to the goal
    less `picture_offset` (m), so a policy may think that it is nearer than it is.
    """

    def __init__(
        self,
        period: float = 1.0,
        success_radius: float = 0.5,
        time_limit: float = 100.0,
        wall: float = math.inf,
        picture_offset: float = 0.0,
    ) -> None:
        self.period, self.success_radius, self.time_limit = period, success_radius, time_limit
        self.wall, self.picture_offset = wall, picture_offset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        assert options is not None
        self.x, self.y, self.yaw = options["start"]
        self.goal, self.steps, self.command = options["goal"], 0, (0.0, 0.0)
        return self._observation(), self._info(False)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.command = (float(action[0]), float(action[1]))
        self.steps += 1
        self.yaw += self.command[1] * self.period
        self.x += self.command[0] * self.period * math.cos(self.yaw)
        self.y += self.command[0] * self.period * math.sin(self.yaw)
        touches, self.x = self.x > self.wall, min(self.x, self.wall)
        info = self._info(touches)
        truncated = not info["success"] and info["time"] >= self.time_limit
        return self._observation(), float(info["success"]), info["success"], truncated, info

    def _distance(self) -> float:
        return math.hypot(self.x - self.goal[0], self.y - self.goal[1])

    def _observation(self) -> dict[str, Any]:
        return {
            "image": picture(max(0.0, self._distance() - self.picture_offset)),
            "goal_image": picture(0.0),
            "velocity": np.array(self.command, np.float32),
        }

    def _info(self, touches: bool) -> dict[str, Any]:
        pose = np.array([self.x, self.y, self.yaw])
        return {
            "pose": pose,
            "odometry": pose,
            "goal_pose": np.array(self.goal),
            "collision": touches,
            "bumpiness": 0.0,
            "distance_to_goal": self._distance(),
            "geodesic_to_goal": self._distance(),
            "success": self._distance() <= self.success_radius,
            "time": self.steps * self.period,
        }


def picture(metres: float) -> NDArray[np.uint8]:
    level = max(0, round(250 - 50 * metres))
    return np.full((24, 32, 3), (100, level, level), np.uint8)


@pytest.fixture
def point_robot() -> type[PointRobot]:
    return PointRobot


def corridor(number: int, own_frame: bool) -> Episode:
    """Drive half a metre a step past a bright bar; where the bar is, steering depends on."""
    place = np.arange(LENGTH)
    frames = np.full((LENGTH, 40, 64, 3), 30 + number, np.uint8)
    for step in place:
        frames[step, :, step * 2 : step * 2 + 4] = 230
    position = np.stack([place * 0.5, np.zeros(LENGTH)], -1)
    if own_frame:  # each episode's odometry starts anew, somewhere else, turned, and backwards
        angle, start = 2.0 * number, np.random.default_rng(number).uniform(-40, 40, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        position = position @ turn.T + start
    fields = {
        "time": place * 250_000_000,
        "position": position,
        "yaw": np.zeros(LENGTH),
        "action": np.stack([np.full(LENGTH, 0.8), np.sin(place / 3) / 2], -1),
    }
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    split = "held_out" if number == 1 else "train"
    return Episode(name=f"drive_{number}", images={"front": jpegs}, fields=fields, split=split)


@pytest.fixture(scope="package")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    info = StoreInfo(
        rate_hz=4.0,
        action_source="commanded",
        cameras={"front": CameraInfo(height=40, width=64, horizontal_fov=1.5)},
    )

    def make(numbers: tuple[int, ...], own_frame: bool = False) -> Store:
        path = tmp_path_factory.mktemp("data") / "log.zarr"
        with StoreWriter.create(path, info) as writer:
            for number in numbers:
                writer.append(corridor(number, own_frame))
            writer.finish()
        return Store.open(path)

    return make


@pytest.fixture(scope="package")
def run(make_store: Callable[..., Store], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on drives 0, 1 (held out) and 2, in one odometry frame."""
    store = make_store((0, 1, 2))
    path = tmp_path_factory.mktemp("runs") / "tiny"
    Trainer(store, start_run(store, path, TINY), progress=False).run()
    return path


@pytest.fixture
def policy(run: Path) -> TrainedPolicy:
    return load_policy(run)


@pytest.fixture(scope="package")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A run of a few steps on drives of the simulator's generic robot; always the same one."""
    from nav_offrl_sim import EnvConfig
    from nav_offrl_sim.collection import CollectConfig, collect

    folder = tmp_path_factory.mktemp("simulated")

    def make() -> Path:
        if (folder / "run").exists():
            return folder / "run"
        drives = CollectConfig(min_length=40, max_length=40, held_out_share=0.25)
        env = EnvConfig(world="courtyard", lidar=False)
        collect(env, 0, folder / "log.zarr", 160, progress=False, config=drives)
        store = Store.open(folder / "log.zarr")
        Trainer(store, start_run(store, folder / "run", TINY), progress=False).run()
        return folder / "run"

    return make
