"""`nav-offrl convert` and back through `nav-offrl import`."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nav_offrl.cli.main import main
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter

INFO = StoreInfo(
    rate_hz=4.0,
    action_source="commanded",
    cameras={"front": CameraInfo(height=16, width=24)},
    fields=("time", "position", "yaw", "action"),
)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as status:
        main(arguments)
    return int(status.value.code or 0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "drives.zarr"
    length = 12
    with StoreWriter.create(path, INFO) as writer:
        for name, split in (("a", "train"), ("b", "held_out")):
            shade = [np.full((16, 24, 3), 10 * step, np.uint8) for step in range(length)]
            along = 0.1 * np.arange(length)
            fields = {
                "time": np.arange(length) * 250_000_000,
                "position": np.stack([along, np.zeros(length)], 1),
                "yaw": np.zeros(length),
                "action": np.stack([0.4 + along, -along], 1),
            }
            frames = [cv2.imencode(".jpg", image)[1].tobytes() for image in shade]
            writer.append(Episode(name, {"front": frames}, fields, split, session=name))
        writer.finish()
    return path


def test_there_and_back(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, back = tmp_path / "lerobot", tmp_path / "back.zarr"
    assert call("convert", str(store), "-o", str(folder), "--images") == 0
    assert "LeRobot v3.0, 2 episodes, 24 frames" in capsys.readouterr().out
    assert call("import", str(folder), "-o", str(back)) == 0
    first, second = Store.open(store), Store.open(back)
    assert second.episodes.name == first.episodes.name
    assert second.episodes.split.tolist() == first.episodes.split.tolist()
    assert second.info.action_source == "commanded"
    for name in ("time", "position", "yaw", "action"):
        np.testing.assert_array_equal(second.field(name), first.field(name), err_msg=name)
    whole = slice(0, 24)
    assert second.jpegs("front", whole) == first.jpegs("front", whole)


def test_errors_are_one_line(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("convert", str(store), "-o", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert "exists already" in error
    assert error.count("\n") == 1
    assert call("convert", str(tmp_path / "none.zarr"), "-o", str(tmp_path / "x")) == 2
    assert not (tmp_path / "x").exists()
