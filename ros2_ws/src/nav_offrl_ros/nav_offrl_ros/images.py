"""ROS image messages to and from HWC uint8 RGB arrays."""

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

UInt8Array = NDArray[np.uint8]

# Encoding -> (channels in memory, how to reach RGB).
_CONVERSIONS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


def decode(message: Image | CompressedImage) -> UInt8Array:
    """Return the picture as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the encoding is unknown, or the data do not make up a picture.
    """
    if isinstance(message, CompressedImage):
        return _decode_compressed(message)
    return _decode_raw(message)


def _decode_compressed(message: CompressedImage) -> UInt8Array:
    data = np.frombuffer(message.data, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise ValueError(f"{data.size} bytes of '{message.format}' are no picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_raw(message: Image) -> UInt8Array:
    if message.encoding not in _CONVERSIONS:
        raise ValueError(
            f"image encoding '{message.encoding}' is not one of {', '.join(_CONVERSIONS)}"
        )
    channels, conversion = _CONVERSIONS[message.encoding]
    row = message.width * channels
    data = np.frombuffer(message.data, np.uint8)
    if row == 0 or message.step < row or data.size != message.step * message.height:
        raise ValueError(
            f"{data.size} bytes with step {message.step} are not "
            f"{message.width}x{message.height} pixels of {message.encoding}"
        )
    # A row may be padded at its end.
    pixels = data.reshape(message.height, message.step)[:, :row]
    picture = pixels.reshape(message.height, message.width, channels)
    if conversion is None:
        return np.ascontiguousarray(picture)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), conversion), np.uint8)


def raw_message(pixels: UInt8Array, stamp: Time, frame: str) -> Image:
    """Wrap (H, W, 3) uint8 RGB pixels as an rgb8 message."""
    message = Image()
    message.header.stamp = stamp
    message.header.frame_id = frame
    message.height, message.width = pixels.shape[:2]
    message.encoding = "rgb8"
    message.step = message.width * 3
    # bytes: assigning a numpy array or a list is converted element by element, tens of ms.
    message.data = pixels.tobytes()
    return message


def compressed_message(pixels: UInt8Array, stamp: Time, frame: str, kind: str) -> CompressedImage:
    """Compress (H, W, 3) uint8 RGB pixels; `kind` is "jpeg" or "png"."""
    suffix = {"jpeg": ".jpg", "png": ".png"}[kind]
    done, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"cannot encode pixels of shape {pixels.shape} as {kind}")
    return encoded_message(data.tobytes(), stamp, frame, kind)


def encoded_message(data: bytes, stamp: Time, frame: str, kind: str) -> CompressedImage:
    """Wrap bytes that are compressed already."""
    message = CompressedImage()
    message.header.stamp = stamp
    message.header.frame_id = frame
    message.format = kind
    message.data = data
    return message
