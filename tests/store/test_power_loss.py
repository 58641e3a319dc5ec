"""Power cuts at random moments: of what was not synced, any part may be lost, and any may survive.

The disk after a cut is rebuilt from the program's own fsync calls: a file holds what it held when
it was last synced (or, by chance, what it holds now), a folder names what it named then.
"""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nav_offrl.store import CameraInfo, Recorder, Store, StoreInfo
from nav_offrl.store.schema import field_info

INFO = StoreInfo(
    rate_hz=30.0,
    action_source="commanded",
    cameras={"front": CameraInfo(height=4, width=4)},
    fields={name: field_info(name) for name in ("time", "position", "yaw", "action")},
)


class Disk:
    """Notes what is durable below `root`, by watching fsync and fdatasync."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.content: dict[int, bytes] = {}  # of files, by inode
        self.entries: dict[int, dict[str, tuple[int, bool]]] = {}  # of folders, by inode
        self.syncs = 0
        self.after_sync: Any = lambda: None
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._watch(getattr(os, name)))

    def _watch(self, original: Any) -> Any:
        def sync(descriptor: int) -> None:
            original(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if self.root in (path, *path.parents):
                status = os.fstat(descriptor)
                if stat.S_ISDIR(status.st_mode):
                    self.entries[status.st_ino] = {
                        entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)
                    }
                else:
                    self.content[status.st_ino] = path.read_bytes()
                self.syncs += 1
                self.after_sync()

        return sync

    def cut(self, image: Path, rng: np.random.Generator) -> None:
        """Write to `image` what the disk may hold after a power cut now."""
        self._rebuild(self.root.stat().st_ino, self.root, image, rng)

    def _rebuild(self, inode: int, now: Path, image: Path, rng: np.random.Generator) -> None:
        image.mkdir()
        for name, (child, is_folder) in self.entries.get(inode, {}).items():
            if is_folder:
                self._rebuild(child, now / name, image / name, rng)
                continue
            content = self.content.get(child, b"")
            same = (now / name).is_file() and (now / name).stat().st_ino == child
            if same and rng.random() < 0.5:
                content = (now / name).read_bytes()  # the kernel had written it back by itself
            (image / name).write_bytes(content)


def record(path: Path, steps: int, disk: Disk, check: Any) -> None:
    jpeg = b"\xff\xd8 pixels"
    recorder = Recorder(path, INFO, flush_period=0.002)
    disk.after_sync = lambda: check(recorder.status.committed)
    recorder.begin("a")
    for index in range(steps):
        fields = {
            "time": index,
            "position": (index, -index),
            "yaw": 0.1,
            "action": (index, 1.0),
        }
        recorder.record(fields, {"front": jpeg + bytes([index % 256]) * (index % 50)})
        if index % 10 == 9:
            recorder.flush()
    recorder.end()
    recorder.close()


def test_committed_steps_survive_power_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(1)
    disk = Disk(tmp_path, monkeypatch)
    outcomes: list[tuple[int, int]] = []
    faults: list[str] = []

    def check(committed: int) -> None:
        if rng.random() > 0.5:
            return
        image = tmp_path_factory.mktemp("after_cut") / "disk"
        disk.cut(image, rng)
        try:
            store = Store.open(image / "live.zarr")
            store.verify(0)
            if store.steps < committed:
                faults.append(f"{store.steps} steps of {committed} after sync {disk.syncs}")
            outcomes.append((committed, store.steps))
        except Exception as error:
            if committed:
                faults.append(f"after sync {disk.syncs}: {error}")

    record(tmp_path / "live.zarr", 300, disk, check)
    assert not faults, faults[:3]
    assert len(outcomes) > 50 and max(committed for committed, _ in outcomes) > 250


def test_the_watch_finds_a_commit_before_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The test above can fail: without the sync of the data it does."""
    from nav_offrl.store.appender import Appender

    original = Appender.sync
    monkeypatch.setattr(
        Appender, "sync", lambda self, committed=False: original(self, True) if committed else None
    )
    rng = np.random.default_rng(1)
    disk = Disk(tmp_path, monkeypatch)
    damaged = 0

    def check(committed: int) -> None:
        nonlocal damaged
        image = tmp_path_factory.mktemp("after_cut") / "disk"
        disk.cut(image, rng)
        try:
            Store.open(image / "live.zarr").verify(0)
        except Exception:
            damaged += committed > 0

    record(tmp_path / "live.zarr", 30, disk, check)
    assert damaged
