"""What the recorder acknowledged is in the store, whenever it is killed; others read meanwhile."""

import mmap
import multiprocessing
import os
import signal
import struct
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Recorder, Store, StoreInfo, StoreWriter
from nav_offrl.store.schema import field_info

INFO = StoreInfo(
    rate_hz=30.0,
    action_source="commanded",
    cameras={
        "front": CameraInfo(height=24, width=32),
        "down": CameraInfo(height=4, width=4, coding="raw"),
    },
    fields={name: field_info(name) for name in ("time", "position", "yaw", "action", "gps")}
    | {"lidar": field_info("lidar", shape=(16,))},
)
JPEGS = [
    cv2.imencode(".jpg", np.full((24, 32, 3), shade, np.uint8))[1].tobytes()
    for shade in range(0, 250, 10)
]


def step(index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    fields = {
        "time": 1_000 + index * 33_000_000,
        "position": (0.1 * index, -0.1 * index),
        "yaw": 0.01 * index,
        "action": (1.0, 0.5),
        "gps": (np.nan, np.nan, np.nan),
        "lidar": np.full(16, np.inf),
    }
    images = {
        "front": JPEGS[index % len(JPEGS)],
        "down": np.full((4, 4, 3), index % 256, np.uint8),
    }
    return fields, images


def test_episodes_are_read_back_and_marked_complete(tmp_path: Path) -> None:
    with Recorder(tmp_path / "live.zarr", INFO, flush_period=0.02) as recorder:
        for name, length in (("a", 40), ("b", 7)):
            recorder.begin(name, session="monday", robot="jackal")
            for index in range(length):
                recorder.record(*step(index))
            recorder.end()
    store = Store.open(tmp_path / "live.zarr")
    assert store.episodes.name == ["a", "b"] and store.episodes.session == ["monday"] * 2
    assert store.episodes.length.tolist() == [40, 7] and store.episodes.complete.all()
    np.testing.assert_allclose(store.field("position")[40:, 0], 0.1 * np.arange(7), rtol=1e-6)
    assert store.jpegs("front", slice(38, 42)) == [JPEGS[i % len(JPEGS)] for i in (38, 39, 0, 1)]
    assert store.images("down", slice(40, 47))[:, 0, 0, 0].tolist() == list(range(7))
    for episode in range(2):
        store.verify(episode)


def test_readers_see_the_episode_in_flight(tmp_path: Path) -> None:
    with Recorder(tmp_path / "live.zarr", INFO, flush_period=0.02) as recorder:
        recorder.begin("a")
        seen = []
        for index in range(90):
            recorder.record(*step(index))
            if index % 30 == 29:
                recorder.flush()
                store = Store.open(tmp_path / "live.zarr")
                store.verify(0)
                assert not store.episodes.complete[0]
                seen.append(store.steps)
        assert seen == [30, 60, 90]
    assert not Store.open(tmp_path / "live.zarr").episodes.complete[0]  # nobody ended it


def test_recording_goes_on_behind_an_unfinished_episode(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Recorder(tmp_path / "live.zarr", INFO) as recorder:
            recorder.begin(name)
            for index in range(5):
                recorder.record(*step(index))
            if name == "b":
                recorder.end()
    store = Store.open(tmp_path / "live.zarr")
    assert store.episodes.complete.tolist() == [False, True]
    assert store.episodes.start.tolist() == [0, 5]


def test_a_step_that_does_not_fit_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    with Recorder(tmp_path / "live.zarr", INFO) as recorder:
        with pytest.raises(NavOffrlError, match="no episode"):
            recorder.record(*step(0))
        recorder.begin("a")
        recorder.record(*step(0))
        fields, images = step(1)
        with pytest.raises(NavOffrlError, match="'yaw' is not finite"):
            recorder.record(fields | {"yaw": np.nan}, images)
        with pytest.raises(NavOffrlError, match="no JPEG"):
            recorder.record(fields, images | {"front": b"\0\0\0"})
        with pytest.raises(NavOffrlError, match="does not follow"):
            recorder.record(*step(0))
        recorder.record(fields, images)
        with pytest.raises(NavOffrlError, match="being recorded already"):
            recorder.begin("b")
        recorder.end()
        with pytest.raises(NavOffrlError, match="is in already"):
            recorder.begin("a")
    assert Store.open(tmp_path / "live.zarr").steps == 2


def test_one_writer_at_a_time_and_the_same_fields(tmp_path: Path) -> None:
    with Recorder(tmp_path / "live.zarr", INFO):
        with pytest.raises(NavOffrlError, match="written by another process"):
            Recorder(tmp_path / "live.zarr", INFO)
        with pytest.raises(NavOffrlError, match="written by another process"):
            StoreWriter.append_to(tmp_path / "live.zarr")
    with pytest.raises(NavOffrlError, match="rate_hz"):
        Recorder(tmp_path / "live.zarr", INFO.model_copy(update={"rate_hz": 10.0}))
    Recorder(tmp_path / "live.zarr", INFO).close()


def record_until_killed(path: Path, shared: mmap.mmap, name: str) -> None:
    """Record as fast as it goes; `shared` says how many steps are committed."""
    recorder = Recorder(path, INFO, flush_period=0.01)
    recorder.begin(name)
    shared[8] = 1
    for index in range(1_000_000):
        recorder.record(*step(index))
        shared[:8] = struct.pack("<q", recorder.status.committed)
        time.sleep(0.0005)


def test_killed_at_200_random_moments_nothing_committed_is_lost(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "live.zarr"
    Recorder(path, INFO).close()
    promised = []
    fork = multiprocessing.get_context("fork")
    for number in range(200):
        shared = mmap.mmap(-1, 16)
        child = fork.Process(target=record_until_killed, args=(path, shared, f"drive_{number}"))
        child.start()
        assert child.pid is not None
        while not shared[8] and child.is_alive():  # a busy machine must not use up the time
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        if committed := struct.unpack("<q", shared[:8])[0]:
            promised.append((f"drive_{number}", committed))
        if not promised:
            continue
        store = Store.open(path)  # at once, with no repair
        kept = dict(zip(store.episodes.name, store.episodes.length.tolist(), strict=True))
        assert kept[promised[-1][0]] >= promised[-1][1]
    store = Store.open(path)
    kept = dict(zip(store.episodes.name, store.episodes.length.tolist(), strict=True))
    assert len(promised) > 20 and all(kept[name] >= count for name, count in promised)
    assert not store.episodes.complete.any()
    for episode in range(len(store.episodes)):
        store.verify(episode)
        position = store.field("position")[store.steps_of(episode), 0]
        np.testing.assert_allclose(position, 0.1 * np.arange(len(position)), rtol=1e-5)
