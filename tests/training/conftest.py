"""A tiny store of drives along a coloured corridor, and a configuration to match."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.schema import field_info
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)

INFO = StoreInfo(
    rate_hz=4.0,
    action_source="commanded",
    cameras={"front": CameraInfo(height=40, width=48, horizontal_fov=1.5)},
)
LENGTH = 24


def drive(name: str, tint: int, split: str, action: NDArray[np.float64] | None = None) -> Episode:
    """Drive half a metre a step past a bright bar, steering a little."""
    rng = np.random.default_rng(tint)
    frames = np.zeros((LENGTH, 40, 48, 3), np.uint8)
    frames[..., tint % 3] = 60 + 20 * tint
    for step in range(LENGTH):
        frames[step, :, step * 2 : step * 2 + 8] = 230
    steering = rng.uniform(-0.5, 0.5, LENGTH)
    commands = np.stack([np.full(LENGTH, 1.0) + steering / 4, steering], -1)
    fields = {
        "time": np.arange(LENGTH) * 250_000_000,
        "position": np.stack([np.arange(LENGTH) * 0.5, np.zeros(LENGTH)], -1),
        "yaw": np.zeros(LENGTH),
        "action": commands if action is None else action,
    }
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    return Episode(name=name, images={"front": jpegs}, fields=fields, split=split)


@pytest.fixture(scope="package")
def write_store() -> Callable[..., Store]:
    def write(path: Path, splits: tuple[str, ...], **changes: NDArray[np.float64]) -> Store:
        with StoreWriter.create(path, INFO) as writer:
            for number, split in enumerate(splits):
                writer.append(drive(f"drive_{number}", number, split, **changes))
            writer.finish()
        return Store.open(path)

    return write


@pytest.fixture(scope="package")
def write_states() -> Callable[..., Store]:
    """Write drives through an open plane, without a camera: 5 numbers a state, `actions` a step."""

    def write(path: Path, *, actions: int = 2) -> Store:
        fields = {
            "time": field_info("time"),
            "observation": field_info("observation", shape=(5,)),
            "action": field_info("action", shape=(actions,)),
        }
        info = StoreInfo(rate_hz=10.0, action_source="commanded", fields=fields)
        with StoreWriter.create(path, info) as writer:
            for number, split in enumerate(("train", "train", "held_out")):
                rng = np.random.default_rng(number)
                action = rng.uniform(-1, 1, (LENGTH, actions))
                place = 7 + action[:, :2].cumsum(0)
                still = np.full((LENGTH, 1), 3.0)
                state = np.hstack([place, 100 * place[:, :1], action[:, :1] / 50, still])
                fields_of = {"observation": state, "action": action}
                time = {"time": np.arange(LENGTH) * 100_000_000}
                writer.append(
                    Episode(name=f"{number}", images={}, fields=time | fields_of, split=split)
                )
            writer.finish()
        return Store.open(path)

    return write


@pytest.fixture
def append_drive() -> Callable[[Path], None]:
    def append(path: Path) -> None:
        StoreWriter.append_to(path).append(drive("late", 5, "train"))

    return append


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory, write_store: Callable[..., Store]) -> Store:
    """Three drives to learn from and one held out; do not change it."""
    path = tmp_path_factory.mktemp("data") / "log.zarr"
    return write_store(path, ("train", "train", "held_out", "train"))


@pytest.fixture(scope="package")
def config() -> TrainConfig:
    """12 steps of representation, 14 of IQL; a checkpoint every 5, metrics every 3."""
    return TrainConfig(
        seed=3,
        device="cpu",
        encoder=EncoderConfig(height=32, width=32, channels=(4, 8), latent_size=8),
        representation=GoalRepresentationConfig(
            steps=12, batch_size=8, horizon=16, hidden=(16,), contrastive_size=4
        ),
        method=IQLConfig(hidden=(16,)),
        steps=14,
        batch_size=16,
        log_every=3,
        checkpoint_every=5,
    )


@pytest.fixture
def train_briefly(config: TrainConfig, tmp_path: Path) -> Callable[..., dict[str, torch.Tensor]]:
    """Train a run of its own with changed settings, and return its weights."""

    def train(store: Store, **changes: object) -> dict[str, torch.Tensor]:
        path = tmp_path / "_".join(map(str, changes.values()))
        run = start_run(store, path, config.model_copy(update=changes))
        Trainer(store, run, progress=False).run()
        checkpoint = run.load()
        assert checkpoint is not None
        return checkpoint.weights

    return train
