"""Small stores whose figures can be computed by hand."""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="session")
def drive_straight() -> Callable[..., Episode]:
    """Return an episode of `length` steps: at 10 Hz, 0.5 m/s and 0.25 rad/s, one noisy camera.

    `changes` replaces fields, or leaves one out (None); `texts` are the episode's own.
    """

    def make(
        name: str, length: int = 11, changes: dict[str, Any] | None = None, **texts: Any
    ) -> Episode:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        yaw = 0.025 * np.arange(length)
        steps = 0.05 * np.column_stack([np.cos(yaw + 0.0125), np.sin(yaw + 0.0125)])
        fields: dict[str, Any] = {
            "time": np.arange(length, dtype=np.int64) * 100_000_000,
            "position": np.cumsum(steps, axis=0) - steps[0],
            "yaw": yaw,
            "action": np.array([0.5, 0.25]) + rng.uniform(-0.01, 0.01, (length, 2)),
        }
        fields = {k: v for k, v in (fields | (changes or {})).items() if v is not None}
        noise = rng.integers(0, 255, (length, HEIGHT, WIDTH, 3), dtype=np.uint8)
        frames = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in noise]
        images = texts.pop("images", {"front": frames})
        return Episode(name=name, images=images, fields=fields, **texts)

    return make


@pytest.fixture(scope="session")
def write_store() -> Callable[..., Store]:
    """Write episodes to a store whose info is made from the first of them, but for `values`."""

    def write(path: Path, episodes: Iterable[Episode], **values: Any) -> Store:
        episodes = list(episodes)
        cameras = {name: CameraInfo(height=HEIGHT, width=WIDTH) for name in episodes[0].images}
        known: dict[str, Any] = {
            "rate_hz": 10.0,
            "action_source": "commanded" if "action" in episodes[0].fields else "",
            "cameras": cameras,
            "fields": tuple(episodes[0].fields),
        }
        with StoreWriter.create(path, StoreInfo(**(known | values))) as writer:
            writer.append_all(episodes)
            writer.finish()
        return Store.open(path)

    return write
