"""A store that holds every kind of field and camera, for the tests that read it from outside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.store import CameraInfo, Episode, StoreInfo, StoreWriter
from nav_offrl.store.schema import field_info

RAYS = 16


@pytest.fixture(scope="session")
def info_of_every_kind() -> StoreInfo:
    names = ("time", "position", "yaw", "action", "velocity", "collision", "bumpiness", "imu")
    fields = {name: field_info(name) for name in (*names, "intervention", "gps", "reward")}
    fields["lidar"] = field_info("lidar", shape=(RAYS,), angle_min=-1.5, angle_max=1.5)
    fields["observation"] = field_info("observation", shape=(3,))
    return StoreInfo(
        rate_hz=5.0,
        action_source="commanded",
        cameras={
            "front": CameraInfo(height=24, width=32, horizontal_fov=1.5),
            "rear": CameraInfo(height=4, width=6, coding="raw"),
        },
        fields=fields,
    )


@pytest.fixture(scope="session")
def make_drive() -> Callable[..., Episode]:
    return _drive


@pytest.fixture
def write_drives(info_of_every_kind: StoreInfo) -> Callable[[Path], list[Episode]]:
    """Write a store of two drives and return what went in."""

    def write(path: Path) -> list[Episode]:
        drives = [
            _drive("first", 7, seed=0, session="monday", robot="rover", licence="CC0-1.0"),
            _drive("second", 5, seed=1, split="held_out"),
        ]
        with StoreWriter.create(path, info_of_every_kind) as writer:
            writer.append_all(drives)
            writer.finish()
        return drives

    return write


def _drive(name: str, length: int, seed: int, **texts: Any) -> Episode:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 255, (length, 24, 32, 3), dtype=np.uint8)
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in noise]
    raw = rng.integers(0, 255, (length, 4, 6, 3), dtype=np.uint8)
    gps = rng.normal(size=(length, 3))
    gps[1] = np.nan  # no fix
    lidar = rng.uniform(0.1, 10.0, (length, RAYS))
    lidar[2, 3], lidar[2, 4] = np.inf, np.nan  # no return
    fields = {
        "time": np.arange(length, dtype=np.int64) * 200_000_000 + seed,
        "position": rng.normal(size=(length, 2)),
        "yaw": rng.normal(size=length),
        "action": rng.normal(size=(length, 2)),
        "velocity": rng.normal(size=(length, 2)),
        "collision": rng.random(length) < 0.5,
        "bumpiness": rng.random(length),
        "intervention": rng.random(length) < 0.5,
        "imu": rng.normal(size=(length, 6)),
        "gps": gps,
        "lidar": lidar,
        "observation": rng.normal(size=(length, 3)),
        "reward": rng.normal(size=length),
    }
    return Episode(name=name, images={"front": jpegs, "rear": raw}, fields=fields, **texts)
