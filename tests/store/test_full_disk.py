"""A disk that fills up: a clear error, nothing committed lost, work goes on when there is room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, Recorder, Store, StoreInfo, StoreWriter

INFO = StoreInfo(
    rate_hz=30.0,
    action_source="commanded",
    cameras={"front": CameraInfo(height=100, width=100)},
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system of 6 MiB")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)


def frame(index: int) -> bytes:
    return b"\xff\xd8" + np.random.default_rng(index).bytes(20_000)


def fields(length: int) -> dict[str, np.ndarray]:
    return {
        "time": np.arange(length) * 33_000_000,
        "position": np.zeros((length, 2)),
        "yaw": np.zeros(length),
        "action": np.zeros((length, 2)),
    }


def test_recorder_stops_with_the_reason_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    path = small_disk / "live.zarr"
    recorder = Recorder(path, INFO, flush_period=0.01)
    recorder.begin("a")
    with pytest.raises(NavOffrlError, match="No space left on device"):
        for index in range(2_000):
            recorder.record(
                {name: values[index] for name, values in fields(2_000).items()},
                {"front": frame(index)},
            )
            if index % 20 == 19:
                recorder.flush()
    committed = recorder.status.committed
    with pytest.raises(NavOffrlError, match=f"{committed} steps are safe"):
        recorder.close()
    store = Store.open(path)
    assert store.steps == committed > 100 and not store.episodes.complete[0]
    store.verify(0)
    enlarge(small_disk)
    with Recorder(path, INFO) as recorder:
        recorder.begin("b")
        for index in range(10):
            recorder.record(
                {name: values[index] for name, values in fields(10).items()},
                {"front": frame(index)},
            )
        recorder.end()
    store = Store.open(path)
    assert store.episodes.length.tolist() == [committed, 10]
    for episode in range(2):
        store.verify(episode)


def test_writer_keeps_whole_episodes_and_can_be_continued(small_disk: Path) -> None:
    path = small_disk / "log.zarr"
    writer = StoreWriter.create(path, INFO)

    def episode(index: int) -> Episode:
        return Episode(
            name=f"drive_{index}",
            images={"front": [frame(100 * index + i) for i in range(40)]},
            fields=fields(40),
        )

    with pytest.raises(NavOffrlError, match="No space left on device"):
        for index in range(100):
            writer.append(episode(index))
    kept = len(writer.names)
    writer.close()
    assert kept > 2
    with pytest.raises(NavOffrlError, match="unfinished"):
        Store.open(path)
    enlarge(small_disk)
    writer = StoreWriter.create(path, INFO)
    assert len(writer.names) == kept
    writer.append(episode(kept))
    store = Store.open(writer.finish())
    assert len(store.episodes) == kept + 1
    for row in range(kept + 1):
        store.verify(row)
