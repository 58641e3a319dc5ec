"""Static transforms of bags say where the cameras are mounted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nav_offrl.store import CameraInfo
from nav_offrl_datasets.bags.transforms import mounting_of
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import bag

Fields = dict[str, Any]
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # x right, y down, z ahead, as every camera driver has it
DOWN = (0.0, np.sin(0.1), 0.0, np.cos(0.1))  # 0.2 rad about y: the nose goes down (REP-103)
CAMERA = "camera_optical_frame"
SECOND = 10**9


@pytest.fixture
def camera_of(
    write_bag: Callable[..., Path],
    drive: Callable[..., list[Any]],
    jpeg: bytes,
    build: Callable[..., Any],
) -> Callable[..., tuple[CameraInfo, str]]:
    """Return a function: the camera, and what is said of it, of a bag with these transforms.

    Each is (parent, child, place, quaternion); each is a message of its own.
    """

    def read(container: str, image_frame: str, transforms: list[Any]) -> tuple[CameraInfo, str]:
        rows = drive(0.9, jpeg)
        for row in rows:
            if "image" in row[0]:
                row[3]["header.frame_id"] = image_frame
        for number, (parent, child, place, turn) in enumerate(transforms):
            values: Fields = {"header.frame_id": parent, "child_frame_id": child}
            values |= dict(zip(_names("translation", "xyz"), place, strict=True))
            values |= dict(zip(_names("rotation", "xyzw"), turn, strict=True))
            stamped = build(container, "geometry_msgs/msg/TransformStamped", values)
            kind, when = "tf2_msgs/msg/TFMessage", 100 * SECOND + number
            rows.append(("/tf_static", kind, when, {"transforms": [stamped]}))
        config = ImportConfig()
        sources, _ = bag.sources(write_bag(container, rows), config)
        layout = bag.layout(sources, config)
        list(bag.read(sources[0], layout, config))
        return layout.cameras["front"], "; ".join(layout.notes)

    return read


def _names(part: str, axes: str) -> list[str]:
    return [f"transform.{part}.{axis}" for axis in axes]


@pytest.mark.parametrize("container", ["ros1", "sqlite3", "mcap"])
def test_a_camera_that_looks_ahead_and_down(container: str, camera_of: Any) -> None:
    camera, notes = camera_of(
        container,
        CAMERA,
        [
            ("camera_link", CAMERA, (0.0, 0.02, 0.0), OPTICAL),
            ("mast", "camera_link", (0.0, 0.0, 0.5), DOWN),
            ("base_link", "mast", (0.2, 0.0, 0.1), (0.0, 0.0, 0.0, 1.0)),
            ("base_footprint", "base_link", (0.0, 0.0, 9.0), (0.0, 0.0, 0.0, 1.0)),
        ],
    )
    assert camera.mounting == pytest.approx((0.2, 0.02, 0.6, 0.0, 0.2, 0.0), abs=1e-6)
    assert camera.frame == CAMERA
    assert "mounting of front is by /tf_static" in notes


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [("head", CAMERA, (0, 0, 1), OPTICAL)],  # a joint moves the head
        [("base_link", CAMERA, (0, 0, np.nan), OPTICAL)],
        [("base_link", CAMERA, (0, 0, 1), (0, 0, 0, 0))],
        [("a", CAMERA, (0, 0, 1), OPTICAL), (CAMERA, "a", (0, 0, 1), OPTICAL)],
    ],
    ids=["none", "no way to the base", "not finite", "no rotation", "a circle"],
)
def test_where_it_cannot_be_told_nothing_is_said(transforms: list[Any], camera_of: Any) -> None:
    camera, notes = camera_of("mcap", CAMERA, transforms)
    assert camera.mounting is None
    assert "mounting" not in notes


def test_a_frame_that_looks_along_x_is_not_turned() -> None:
    to_the_left = np.eye(4)
    to_the_left[:2, :2] = [[0.0, -1.0], [1.0, 0.0]]
    to_the_left[:3, 3] = [0.0, 0.3, 0.4]
    transforms = {"left_camera": ("robot1/base_link", to_the_left)}
    expected = (0.0, 0.3, 0.4, 0.0, 0.0, pytest.approx(np.pi / 2, abs=1e-6))
    assert mounting_of("/left_camera", transforms) == expected
