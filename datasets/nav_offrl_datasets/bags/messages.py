"""ROS messages, already deserialised, to plain numbers and JPEG frames.

Field names and units are those of the common interfaces (sensor_msgs, nav_msgs, geometry_msgs,
std_msgs; REP-103), which ROS 1 Noetic and every ROS 2 share.
"""

import math
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl.store import CameraInfo
from nav_offrl_datasets.readers.jpeg import encode_jpeg
from nav_offrl_datasets.readers.png import decode_png, is_png

SECOND = 1_000_000_000  # ns
NAN = math.nan
ODOMETRY = "nav_msgs/msg/Odometry"
POSES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")
IMAGES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
LASER_SCAN = "sensor_msgs/msg/LaserScan"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

# Channels of the 8-bit encodings of sensor_msgs/image_encodings.hpp, and how OpenCV gets RGB.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
}
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
JPEG = b"\xff\xd8"
PIXELS_PER_BYTE = (
    1032  # of a PNG at most, by its compression (RFC 1951); more is a header that lies
)
PINHOLE_MODELS = ("", "plumb_bob", "rational_polynomial")


class UnusableError(Exception):
    """A message that holds no usable value; says why."""


def stamp_of(raw: bytes | memoryview, ros1: bool) -> int:
    """Return the header's time, ns, of a serialised message that begins with a std_msgs/Header.

    ROS 1: seq, secs, nsecs, little-endian. ROS 2: four bytes of CDR encapsulation, of which the
    second tells the byte order, then sec, nanosec.

    Raises:
        UnusableError: the message is too short.
    """
    try:
        if ros1:
            seconds, nanoseconds = struct.unpack_from("<II", raw, 4)
        else:
            seconds, nanoseconds = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    except (struct.error, IndexError) as error:
        raise UnusableError("is too short for a header") from error
    return int(seconds) * SECOND + int(nanoseconds)


def yaw_of(quaternion: Any) -> float:
    """Return the heading, rad counter-clockwise from x, of an orientation; NaN if it is none."""
    x, y, z, w = quaternion.x, quaternion.y, quaternion.z, quaternion.w
    norm = x * x + y * y + z * z + w * w
    if not 0.5 < norm < 2.0:  # all zero where a driver does not fill it in
        return NAN
    return math.atan2(2.0 * (w * z + x * y), w * w + x * x - y * y - z * z)


def odometry(message: Any) -> tuple[float, ...]:
    """Return x, y m, yaw rad, v m/s, omega rad/s of a nav_msgs/Odometry."""
    pose, twist = message.pose.pose, message.twist.twist
    return (*_planar(pose), twist.linear.x, twist.angular.z)


def pose_stamped(message: Any) -> tuple[float, ...]:
    """Return x, y, yaw of a pose with a header, and NaN for the velocities that it lacks."""
    pose = message.pose.pose if hasattr(message.pose, "covariance") else message.pose
    return (*_planar(pose), NAN, NAN)


def _planar(pose: Any) -> tuple[float, float, float]:
    return pose.position.x, pose.position.y, yaw_of(pose.orientation)


def twist(message: Any) -> tuple[float, ...]:
    """Return v m/s, omega rad/s of a Twist or TwistStamped."""
    inner = message.twist if hasattr(message, "twist") else message
    return inner.linear.x, inner.angular.z


def imu(message: Any) -> tuple[float, ...]:
    """Return gyro rad/s and acceleration m/s^2; NaN where the driver says that it has none.

    It says so by -1 as the first element of the covariance (sensor_msgs/Imu).
    """
    gyro, acceleration = message.angular_velocity, message.linear_acceleration
    turn = (gyro.x, gyro.y, gyro.z)
    force = (acceleration.x, acceleration.y, acceleration.z)
    has_gyro = message.angular_velocity_covariance[0] != -1.0
    has_acceleration = message.linear_acceleration_covariance[0] != -1.0
    return (*(turn if has_gyro else (NAN,) * 3), *(force if has_acceleration else (NAN,) * 3))


def fix(message: Any) -> tuple[float, ...]:
    """Return latitude, longitude deg, altitude m; NaN without a fix (negative status)."""
    if message.status.status < 0:
        return (NAN,) * 3
    return message.latitude, message.longitude, message.altitude


def flag(message: Any) -> tuple[float, ...]:
    """Return a std_msgs/Bool as 0 or 1."""
    return (float(bool(message.data)),)


# What each role of a recipe may be, in order of preference, and how it is read.
ROWS: dict[str, dict[str, Callable[[Any], tuple[float, ...]]]] = {
    "odometry": {ODOMETRY: odometry} | dict.fromkeys(POSES, pose_stamped),
    "command": {"geometry_msgs/msg/Twist": twist, "geometry_msgs/msg/TwistStamped": twist},
    "imu": {"sensor_msgs/msg/Imu": imu},
    "gps": {"sensor_msgs/msg/NavSatFix": fix},
    "collision": {"std_msgs/msg/Bool": flag},
    "intervention": {"std_msgs/msg/Bool": flag},
}
COLUMNS = {"odometry": 5, "command": 2, "imu": 6, "gps": 3, "collision": 1, "intervention": 1}
TYPES: dict[str, tuple[str, ...]] = {role: tuple(types) for role, types in ROWS.items()} | {
    "camera": IMAGES,
    "camera info": (CAMERA_INFO,),
    "lidar": (LASER_SCAN,),
    "static transforms": (TRANSFORMS,),
}
WITHOUT_HEADER = ("geometry_msgs/msg/Twist", "std_msgs/msg/Bool")


def ranges(message: Any, rays: int) -> NDArray[np.float32]:
    """Return the ranges (rays,) m of a scan; NaN where they are outside what the sensor can tell.

    Raises:
        UnusableError: the scan has another number of rays.
    """
    found = np.asarray(message.ranges, np.float32)
    if len(found) != rays:
        raise UnusableError(f"scan has {len(found)} rays, the first one {rays}")
    with np.errstate(invalid="ignore"):
        outside = np.isfinite(found) & (
            (found < message.range_min) | (found > message.range_max) | (found <= 0)
        )
    return np.where(outside, np.float32(np.nan), found)


def is_compressed(message: Any) -> bool:
    """Tell a CompressedImage from an Image."""
    return hasattr(message, "format")


def frame_of(message: Any) -> bytes:
    """Return a frame as JPEG: as it came if it is one, else encoded once.

    Raises:
        UnusableError: the message holds no picture of 8 bits a channel.
    """
    if not is_compressed(message):
        return encode_jpeg(raw_image(message))
    data = bytes(message.data)
    if data.startswith(JPEG):
        return data
    if is_png(data):
        return encode_jpeg(_png(data))
    raise UnusableError(f"compressed image of format '{_text(message.format)}' is no JPEG or PNG")


def raw_image(message: Any) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) uint8 RGB of a sensor_msgs/Image.

    Raises:
        UnusableError: the encoding is not of 8-bit pictures, or the sizes do not fit the data.
    """
    encoding, height, width = message.encoding, int(message.height), int(message.width)
    if encoding in DEPTH_ENCODINGS:
        raise UnusableError(f"image of encoding '{encoding}' is depth or 16 bit, no picture")
    if encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise UnusableError(f"image of encoding '{_text(encoding)}'; known are {known}")
    channels, conversion = ENCODINGS[encoding]
    step, data = int(message.step), np.asarray(message.data, np.uint8)
    if height < 1 or width < 1 or step < width * channels or len(data) < step * height:
        raise UnusableError(
            f"image of {width}x{height} '{_text(encoding)}', step {step}, holds {len(data)} bytes"
        )
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    pixels = np.ascontiguousarray(rows.reshape(height, width, channels))
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def _png(data: bytes) -> NDArray[np.uint8]:
    if data[24:25] == b"\x10":  # bit depth (PNG specification, 11.2.2)
        raise UnusableError("PNG is depth or 16 bit, no picture")
    image = decode_png(data)
    if image is None:
        raise UnusableError("PNG is corrupt")
    return image


def camera_info(message: Any, height: int, width: int) -> CameraInfo:
    """Return the calibration of a camera whose frames are `height` x `width`, from a CameraInfo.

    Intrinsics are left out where they are of another size, or zero: not calibrated. The field of
    view follows from them where the lens is a pinhole's.
    """
    matrix = [float(value) for value in _either(message, "k")]
    fx, fy, cx, cy = matrix[0], matrix[4], matrix[2], matrix[5]
    fits = (int(message.height), int(message.width)) == (height, width)
    if not fits or not all(map(math.isfinite, (fx, fy, cx, cy))) or fx <= 0 or fy <= 0:
        return CameraInfo(height=height, width=width)
    distortion = tuple(float(value) for value in _either(message, "d"))
    model = _text(message.distortion_model)
    return CameraInfo(
        height=height,
        width=width,
        intrinsics=(fx, fy, cx, cy),
        distortion_model=model,
        distortion=distortion if all(map(math.isfinite, distortion)) else (),
        horizontal_fov=2.0 * math.atan(width / (2.0 * fx)) if model in PINHOLE_MODELS else None,
    )


def _either(message: Any, name: str) -> Any:
    """Return a field that ROS 1 spells in capitals."""
    return getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())


def _text(value: str) -> str:
    """Return a string of a message cut short and without what a terminal might obey."""
    return "".join(letter for letter in value if letter.isprintable())[:60]
