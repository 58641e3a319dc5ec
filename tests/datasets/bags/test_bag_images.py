"""Frames and calibrations of cameras in bags, written by rosbags in the test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.importing.run import Layout, Run

SECOND = 10**9
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
GREY = np.full((4, 6, 1), 90, np.uint8)
ALPHA = np.full((4, 6, 1), 7, np.uint8)
Write = Callable[..., Path]
Drive = Callable[..., list[tuple[str, str, int, dict[str, Any]]]]
ImportBag = Callable[..., tuple[Layout, list[Run]]]
ImportOne = Callable[..., tuple[Layout, Run]]


def image_rows(encoding: str, data: bytes, step: int, seconds: float = 1.0) -> list[Any]:
    rows = []
    for index in range(round(4 * seconds)):
        time = (400 + index) * SECOND // 4
        size = {"height": 4, "width": 6, "step": step, "encoding": encoding}
        image = size | {"stamp": time, "data": np.frombuffer(data, np.uint8)}
        rows.append(("/camera/image_raw", "sensor_msgs/msg/Image", time, image))
        pose = {"stamp": time, "pose.pose.orientation.w": 1.0}
        rows.append(("/odom", "nav_msgs/msg/Odometry", time, pose))
    return rows


def padded(pixels: np.ndarray, step: int) -> bytes:
    rows = pixels.reshape(4, -1)
    return np.pad(rows, ((0, 0), (0, step - rows.shape[1])), constant_values=255).tobytes()


@pytest.mark.parametrize("container", ["ros1", "mcap"])
@pytest.mark.parametrize(
    ("encoding", "data", "step", "expected"),
    [
        ("rgb8", padded(PIXELS, 18), 18, PIXELS),
        ("rgb8", padded(PIXELS, 23), 23, PIXELS),
        ("bgr8", padded(PIXELS[..., ::-1], 18), 18, PIXELS),
        ("8UC3", padded(PIXELS[..., ::-1], 18), 18, PIXELS),
        ("rgba8", padded(np.concatenate([PIXELS, ALPHA], axis=2), 24), 24, PIXELS),
        ("bgra8", padded(np.concatenate([PIXELS[..., ::-1], ALPHA], axis=2), 30), 30, PIXELS),
        ("mono8", padded(GREY, 8), 8, np.repeat(GREY, 3, axis=2)),
    ],
)
def test_raw_images_of_every_encoding_are_encoded_once(
    container: str,
    encoding: str,
    data: bytes,
    step: int,
    expected: np.ndarray,
    write_bag: Write,
    import_one: ImportOne,
) -> None:
    layout, run = import_one(write_bag(container, image_rows(encoding, data, step)))
    assert layout.cameras["front"].coding == "jpeg"
    frame = run.images["front"][0]
    assert isinstance(frame, bytes)
    decoded = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decoded.astype(int) - expected).mean() < 6
    assert "encoded to JPEG here, once" in "\n".join(run.facts)


@pytest.mark.parametrize(
    ("encoding", "data", "step", "why"),
    [
        ("16UC1", b"\0" * 48, 12, "encoding '16UC1' is depth or 16 bit"),
        ("bayer_rggb8", b"\0" * 24, 6, "encoding 'bayer_rggb8'; known are rgb8"),
        ("rgb8", b"\0" * 71, 18, "holds 71 bytes"),
        ("rgb8", b"\0" * 72, 17, "step 17"),
        ("rgb8", b"", 4_000_000_000, "holds 0 bytes"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused_with_the_reason(
    encoding: str,
    data: bytes,
    step: int,
    why: str,
    write_bag: Write,
    import_bag: ImportBag,
    import_one: ImportOne,
) -> None:
    path = write_bag("mcap", image_rows(encoding, data, step))
    with pytest.raises(NavOffrlError, match=why):
        import_bag(path)
    _, run = import_one(path, without=("front",))
    assert (len(run.time), run.images) == (4, {})


def compressed_rows(frames: list[tuple[str, bytes]]) -> list[Any]:
    rows = []
    for index, (format, data) in enumerate(frames):
        time = (400 + index) * SECOND // 4
        image = {"stamp": time, "format": format, "data": np.frombuffer(data, np.uint8)}
        rows.append(("/camera/compressed", "sensor_msgs/msg/CompressedImage", time, image))
        pose = {"stamp": time, "pose.pose.orientation.w": 1.0}
        rows.append(("/odom", "nav_msgs/msg/Odometry", time, pose))
    return rows


def test_jpegs_stay_as_they_are_and_others_are_converted_or_faulty(
    write_bag: Write, jpeg: bytes, import_one: ImportOne
) -> None:
    png = cv2.imencode(".png", np.full((24, 32, 3), 80, np.uint8))[1].tobytes()
    depth = cv2.imencode(".png", np.full((24, 32), 8000, np.uint16))[1].tobytes()
    frames = [
        ("rgb8; jpeg compressed bgr8", jpeg),
        ("png", png),
        ("16UC1; png compressed", depth),
        ("16UC1; compressedDepth", b"\0" * 12 + depth),
        ("png", png[:-20]),
        ("jpeg", jpeg),
    ]
    _, run = import_one(write_bag("sqlite3", compressed_rows(frames)))
    assert run.images["front"][0] == run.images["front"][5] == jpeg
    assert run.images["front"][1][:2] == b"\xff\xd8"
    assert run.faults == {
        2: "camera 'front': PNG is depth or 16 bit, no picture",
        3: "camera 'front': compressed image of format '16UC1; compressedDepth' is no JPEG or PNG",
        4: "camera 'front': PNG is corrupt",
    }


@pytest.mark.parametrize("container", ["ros1", "mcap"])
def test_calibration_comes_from_camera_info(
    container: str, write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    capital = container == "ros1"
    matrix = np.array([16.0, 0, 15.5, 0, 17.0, 11.5, 0, 0, 1])
    info = {
        "height": 24,
        "width": 32,
        "distortion_model": "plumb_bob",
        "K" if capital else "k": matrix,
        "D" if capital else "d": np.array([0.1, -0.2, 0, 0, 0]),
    }
    row = ("/camera/camera_info", "sensor_msgs/msg/CameraInfo", 100 * SECOND, info)
    camera = import_bag(write_bag(container, [*drive(0.9, jpeg), row]))[0].cameras["front"]
    assert camera.intrinsics == (16.0, 17.0, 15.5, 11.5)
    assert (camera.distortion_model, camera.distortion) == ("plumb_bob", (0.1, -0.2, 0, 0, 0))
    assert camera.horizontal_fov == pytest.approx(np.pi / 2)  # 2 atan(16 / 16)
