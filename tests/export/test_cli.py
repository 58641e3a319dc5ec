"""`nav-offrl export` on a real, briefly trained run."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.cli.export import Args, run
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.runtime import load_bundle
from nav_offrl.store.reader import Store
from nav_offrl.store.schema import CameraInfo, Episode, StoreInfo
from nav_offrl.store.writer import StoreWriter
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trainer import Trainer, start_run
from nav_offrl_export import fit_camera

LENGTH, HEIGHT, WIDTH = 40, 48, 64


def drive_along_a_wall(seed: int) -> Episode:
    """A straight drive with a turn; the picture slides over a noise texture."""
    random = np.random.default_rng(seed)
    wall = cv2.resize(random.integers(0, 256, (6, 40, 3), dtype=np.uint8), (400, HEIGHT))
    frames = [wall[:, 5 * k : 5 * k + WIDTH] for k in range(LENGTH)]
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    time = np.arange(LENGTH)
    fields = {
        "time": (time * 250_000_000).astype(np.int64),
        "position": np.stack([0.1 * time, np.zeros(LENGTH)], axis=1).astype(np.float32),
        "yaw": np.zeros(LENGTH, np.float32),
        "action": np.stack([np.full(LENGTH, 0.4), np.sin(time / 5)], axis=1).astype(np.float32),
    }
    split = "held_out" if seed == 0 else "train"
    return Episode(name=f"drive_{seed}", images={"front": jpegs}, fields=fields, split=split)


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    info = StoreInfo(
        rate_hz=4.0,
        action_source="commanded",
        cameras={"front": CameraInfo(height=HEIGHT, width=WIDTH, horizontal_fov=1.5)},
        fields=("time", "position", "yaw", "action"),
        frame="odom",
        notes="made by a test",
    )
    with StoreWriter.create(folder / "drives.zarr", info) as writer:
        for seed in range(4):
            writer.append(drive_along_a_wall(seed))
        writer.finish()
    config = TrainConfig(
        device="cpu",
        encoder=EncoderConfig(height=32, width=32, channels=(8, 8), latent_size=16),
        representation=GoalRepresentationConfig(steps=3, batch_size=8, hidden=(16,)),
        steps=3,
        batch_size=16,
        checkpoint_every=3,
    )
    store = Store.open(folder / "drives.zarr")
    Trainer(store, start_run(store, folder / "run", config)).run()
    return folder / "run"


def test_run_becomes_a_bundle_for_a_camera_of_another_size(trained_run, tmp_path, capsys):
    run(Args(trained_run, tmp_path / "bundle", camera_height=96, camera_width=128))
    bundle = load_bundle(tmp_path / "bundle", rate_hz=4.0)
    contract = bundle.contract
    assert (contract.camera.height, contract.camera.width) == (96, 128)
    assert contract.camera.horizontal_fov == 1.5
    assert bundle.encode(np.zeros((1, 96, 128, 3), np.uint8)).shape == (1, 16)
    assert contract.provenance["store_fingerprint"]
    out = capsys.readouterr().out
    assert "encoder" in out and "ms p99" in out


def test_size_of_the_drives_is_the_default():
    images = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    fields = {"camera": {"height": HEIGHT, "width": WIDTH}}
    assert fit_camera(fields, images, None, None)[0] == fields
    larger, resized = fit_camera(fields, images, 2 * HEIGHT, 2 * WIDTH)
    assert larger["camera"] == {"height": 2 * HEIGHT, "width": 2 * WIDTH}
    assert resized.shape == (2, 2 * HEIGHT, 2 * WIDTH, 3)


def test_squeezed_camera_is_refused(trained_run, tmp_path):
    with pytest.raises(NavOffrlError, match="aspect ratio"):
        run(Args(trained_run, tmp_path / "bundle", camera_height=96))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(NavOffrlError, match="no run folder"):
        run(Args(tmp_path, tmp_path / "bundle"))
