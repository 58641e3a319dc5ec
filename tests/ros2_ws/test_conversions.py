"""Messages to the runtime's records and back, and which images are used. No process is started."""

import math
import time
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("built_environment")

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.fixture
def stamp() -> Any:
    from builtin_interfaces.msg import Time

    return Time(sec=1_800_000_000, nanosec=123_456_789)


def raw(stamp: Any, encoding: str, pixels: np.ndarray, padding: int = 0) -> Any:
    from sensor_msgs.msg import Image

    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=height, width=width, encoding=encoding, step=padded.shape[1])
    message.header.stamp = stamp
    message.data = padded.tobytes()
    return message


@pytest.mark.parametrize("padding", [0, 5])
def test_raw_images_of_all_encodings_become_rgb(stamp: Any, padding: int) -> None:
    from nav_offrl_ros.images import decode

    alpha = np.full((4, 6, 1), 9, np.uint8)
    in_memory = {
        "rgb8": PIXELS,
        "bgr8": PIXELS[..., ::-1],
        "rgba8": np.concatenate([PIXELS, alpha], axis=2),
        "bgra8": np.concatenate([PIXELS[..., ::-1], alpha], axis=2),
    }
    for encoding, pixels in in_memory.items():
        decoded = decode(raw(stamp, encoding, pixels, padding))
        np.testing.assert_array_equal(decoded, PIXELS, err_msg=encoding)
    grey = decode(raw(stamp, "mono8", PIXELS[..., :1], padding))
    np.testing.assert_array_equal(grey, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_images_survive_the_way_through_messages(stamp: Any) -> None:
    from nav_offrl_ros.images import compressed_message, decode, raw_message

    np.testing.assert_array_equal(decode(raw_message(PIXELS, stamp, "camera")), PIXELS)
    np.testing.assert_array_equal(
        decode(compressed_message(PIXELS, stamp, "camera", "png")), PIXELS
    )


def test_pictures_that_are_none_are_refused(stamp: Any) -> None:
    from nav_offrl_ros.images import decode, encoded_message

    with pytest.raises(ValueError, match="16UC1"):
        decode(raw(stamp, "16UC1", PIXELS))
    short = raw(stamp, "rgb8", PIXELS)
    short.height = 5
    with pytest.raises(ValueError, match="6x5"):
        decode(short)
    for data in (b"", b"\xff\xd8 half a jpeg"):
        with pytest.raises(ValueError, match="no picture"):
            decode(encoded_message(data, stamp, "camera", "jpeg"))


def test_the_stamp_is_read_without_deserialising(stamp: Any) -> None:
    from rclpy.serialization import serialize_message

    from nav_offrl_ros.conversions import serialized_stamp
    from nav_offrl_ros.images import compressed_message, raw_message

    for message in (
        raw_message(PIXELS, stamp, "camera"),
        compressed_message(PIXELS, stamp, "camera", "jpeg"),
    ):
        data = serialize_message(message)
        assert serialized_stamp(data) == pytest.approx(1_800_000_000.123456789, abs=1e-6)
    with pytest.raises(ValueError, match="too few"):
        serialized_stamp(b"\0\1\0\0")


def test_poses_times_and_velocities_survive(stamp: Any) -> None:
    from nav_offrl_ros.conversions import (
        duration_message,
        odometry_message,
        odometry_of,
        seconds,
        stamp_message,
    )

    for yaw in (-3.1, -0.5, 0.0, 2.0):
        message = odometry_message((1.0, -2.0, yaw), (0.4, -0.3), stamp, ("odom", "base_link"))
        odometry = odometry_of(message, arrival=5.0)
        assert odometry.yaw == pytest.approx(yaw)
        assert (odometry.x, odometry.y) == (1.0, -2.0)
        assert (odometry.linear, odometry.angular) == (0.4, -0.3)
        assert (odometry.stamp, odometry.arrival) == (seconds(stamp), 5.0)
    now = time.time()
    assert seconds(stamp_message(now)) == pytest.approx(now, abs=1e-6)
    assert seconds(duration_message(2.75)) == 2.75


def test_what_a_differential_drive_cannot_do_is_no_command() -> None:
    from geometry_msgs.msg import Twist

    from nav_offrl_ros.conversions import command_of

    message = Twist()
    message.linear.x, message.angular.z = 0.3, -0.2
    assert (command_of(message).linear, command_of(message).angular) == (0.3, -0.2)
    message.linear.y = 0.1
    assert math.isnan(command_of(message).linear)


@pytest.mark.parametrize(("camera_hz", "policy_hz"), [(30, 5), (20, 5), (10, 10), (25, 10)])
def test_images_are_used_at_the_policys_rate(camera_hz: float, policy_hz: float) -> None:
    from nav_offrl_ros.camera import ImageSampler

    random = np.random.default_rng(0)
    stamps = 100.0 + np.arange(20 * camera_hz) / camera_hz
    stamps += random.uniform(0, 0.05 / policy_hz, len(stamps))
    sampler = ImageSampler(policy_hz)
    used = [stamp for stamp in stamps if sampler.takes(stamp)]
    assert len(used) == pytest.approx(20 * policy_hz, rel=0.02)


def test_a_camera_that_pauses_or_whose_clock_jumps_is_used_at_once_again() -> None:
    from nav_offrl_ros.camera import ImageSampler

    sampler = ImageSampler(5.0)
    assert sampler.takes(100.0)
    assert not sampler.takes(100.05)
    assert sampler.takes(130.0)
    assert not sampler.takes(130.05)
    assert sampler.takes(20.0)
    assert not sampler.takes(20.05)
