"""What goes into and comes out of the runtime: plain frozen records with times in seconds."""

import math
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Command:
    """Velocity command: `linear` m/s forward, `angular` rad/s counter-clockwise."""

    linear: float
    angular: float

    STOP: ClassVar["Command"]

    def is_finite(self) -> bool:
        """Neither part is NaN or infinite."""
        return math.isfinite(self.linear) and math.isfinite(self.angular)


Command.STOP = Command(0.0, 0.0)


@dataclass(frozen=True)
class TimedCommand:
    """A command, when its sender stamped it and when it arrived here (s, the robot's clock)."""

    command: Command
    stamp: float
    arrival: float


@dataclass(frozen=True)
class TimedOdometry:
    """Pose (m, rad, odometry frame) and measured velocity (m/s, rad/s), with times in s."""

    x: float
    y: float
    yaw: float
    linear: float
    angular: float
    stamp: float
    arrival: float

    def is_finite(self) -> bool:
        """No part of the pose or of the velocity is NaN or infinite."""
        return all(map(math.isfinite, (self.x, self.y, self.yaw, self.linear, self.angular)))


@dataclass(frozen=True)
class TimedImageHeader:
    """When an image was taken and arrived (s) and a digest of its pixels.

    Enough for a watcher that judges whether the camera lives; None leaves the frozen-image
    check out.
    """

    stamp: float
    arrival: float
    digest: int | None = None


@dataclass(frozen=True, eq=False)
class TimedImage:
    """An (H, W, 3) uint8 RGB image, when it was taken and when it arrived (s)."""

    pixels: Pixels
    stamp: float
    arrival: float

    def header(self) -> TimedImageHeader:
        """Times and digest without the pixels; reads every pixel once."""
        return TimedImageHeader(self.stamp, self.arrival, image_digest(self.pixels))


def image_digest(pixels: Pixels) -> int:
    """Checksum of the pixels; two frames of a living camera never share it, sensors are noisy."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


class Status(Enum):
    """What the navigator is doing."""

    IDLE = "idle"
    DRIVING = "driving"
    ARRIVED = "arrived"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Diagnosis:
    """Why the navigator commands what it commands.

    `steps_to_goal` is the last prediction in steps of the bundle's rate; `image_age` is in s by
    the image's stamp; `inference_time` is what this step's graphs took in s, 0 if none ran.
    """

    status: Status
    reason: str
    steps_to_goal: float | None
    image_age: float | None
    inference_time: float
