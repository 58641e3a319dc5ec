"""A store, the LeRobot data set made of it, and how the tests read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import lerobot
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.lerobot.writer import write_lerobot

HEIGHT, WIDTH = 32, 48
NAMES = ("time", "position", "yaw", "velocity", "action", "collision", "imu", "gps", "reward")
INFO = StoreInfo(
    rate_hz=5.0,
    action_source="derived from pose",
    cameras={
        "front": CameraInfo(height=HEIGHT, width=WIDTH, horizontal_fov=1.5, frame="optical"),
        "rear": CameraInfo(height=15, width=17, coding="raw"),
    },
    fields={
        **{name: field_info(name) for name in NAMES},
        "lidar": field_info("lidar", shape=(3,), angle_min=-1.0, angle_max=1.0),
        "observation": field_info("observation", shape=(2,), axes=("x", "door")),
    },
)


def picture(step: int) -> NDArray[np.uint8]:
    """A smooth picture, so that codecs lose little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4 + step, y * 6, np.full_like(x, 10 * step)], -1).astype(np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.fixture
def decoded() -> Callable[..., NDArray[np.float64]]:
    """Return `decoded(frame)`: its pixels (H, W, 3) RGB."""

    def decode(frame: Any) -> NDArray[np.float64]:
        image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert image is not None
        return image.astype(np.float64)

    return decode


def episode(name: str, length: int, split: str) -> Episode:
    rng = np.random.default_rng(length)
    fields: dict[str, NDArray[Any]] = {
        name: rng.normal(size=(length, *described.shape)) for name, described in INFO.fields.items()
    }
    jitter = rng.integers(0, 10_000_000, length)
    fields["time"] = 1_700_000_000_123_456_789 + 200_000_000 * np.arange(length) + jitter
    fields["collision"] = rng.random(length) < 0.5
    fields["gps"][0] = np.nan
    fields["lidar"][0, 1] = np.inf
    images = {
        "front": [jpeg(picture(step)) for step in range(length)],
        "rear": [np.full((15, 17, 3), 9 * step, np.uint8) for step in range(length)],
    }
    return Episode(name, images, fields, split, session=f"session {name}", robot="husky")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store") / "log.zarr"
    with StoreWriter.create(path, INFO) as writer:
        writer.append(episode("a", 7, "train"))
        writer.append(episode("b", 5, "held_out"))
        writer.append(episode("c", 6, "train"))
        writer.finish()
    return Store.open(path)


@pytest.fixture(scope="module")
def film(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film") / "drives"
    write_lerobot(store, folder)
    return folder


@pytest.fixture
def read_all() -> Callable[..., tuple[Layout, list[Run]]]:
    """Return `read_all(path, config)`: the layout and the runs."""

    def read(path: Path, config: ImportConfig | None = None) -> tuple[Layout, list[Run]]:
        config = config or ImportConfig()
        sources, _ = lerobot.sources(path, config)
        layout = lerobot.layout(sources, config)
        return layout, [run for source in sources for run in lerobot.read(source, layout, config)]

    return read


@pytest.fixture
def check() -> Callable[..., None]:
    """Return `check(run, layout)`: what any run must fulfil, whatever was read."""

    def hold(run: Run, layout: Layout) -> None:
        assert run.time.dtype == np.int64
        assert (np.diff(run.time) > 0).all()
        for name, described in layout.fields.items():
            assert run.fields[name].shape == (len(run.time), *described.shape)
        for camera in layout.cameras:
            assert len(run.images[camera]) == len(run.time)

    return hold
