"""`nav-offrl materialize` makes the training tier with the preprocessing of the exported graph."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import zarr

from nav_offrl.cli.main import main
from nav_offrl.networks.preprocess import resize_frames
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter

INFO = StoreInfo(
    rate_hz=4.0,
    cameras={"front": CameraInfo(height=60, width=80)},
    fields=("time", "position", "yaw"),
)
STEPS = 5


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as status:
        main(arguments)
    return int(status.value.code or 0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (STEPS, 60, 80, 3), dtype=np.uint8)
    frames = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in noise]
    time = np.arange(STEPS) * 250_000_000
    fields = {"time": time, "position": np.zeros((STEPS, 2)), "yaw": np.zeros(STEPS)}
    with StoreWriter.create(tmp_path / "drives.zarr", INFO) as writer:
        writer.append(Episode("a", {"front": frames}, fields))
        return writer.finish()


def test_frames_are_those_that_the_exported_graph_sees(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("materialize", str(store), "--height", "32", "--width", "40") == 0
    assert "training tier: 5 frames of 32x40" in capsys.readouterr().out
    made = zarr.open_array(str(store / "derived" / "front_32x40" / "frames"), mode="r")
    seen = resize_frames(
        torch.from_numpy(Store.open(store).images("front", slice(0, STEPS))), 32, 40
    )
    np.testing.assert_array_equal(made[:STEPS], seen.numpy())


def test_a_camera_that_is_not_there_and_a_size_too_small_are_said(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("materialize", str(store), "--camera", "rear") == 2
    assert "front" in capsys.readouterr().err
    assert call("materialize", str(store), "--height", "8") == 2
    assert "height" in capsys.readouterr().err
    assert not (store / "derived").exists()
