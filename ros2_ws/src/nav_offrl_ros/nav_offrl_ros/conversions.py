"""Times, poses, odometry and velocities between ROS messages and nav_offrl.runtime."""

import math
import struct

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Quaternion, Twist
from nav_msgs.msg import Odometry

from nav_offrl.runtime import Command, TimedOdometry

NANOSECONDS = 1_000_000_000
# A serialised message starts with 4 bytes of encapsulation; byte 1 tells the byte order.
_ENCAPSULATION = 4
# What follows the stamp (int32 s, uint32 ns) in a serialised image: frame name, then pixels.
PIXELS_OFFSET = _ENCAPSULATION + 8


def seconds(time: Time | Duration) -> float:
    """Return a ROS time or duration in seconds."""
    return float(time.sec + time.nanosec / NANOSECONDS)


def duration_message(value: float) -> Duration:
    """Return a non-negative number of seconds as a message."""
    whole = int(value)
    return Duration(sec=whole, nanosec=int((value - whole) * NANOSECONDS))


def stamp_message(value: float) -> Time:
    """Return a time in seconds as a message; a double keeps it to about a microsecond."""
    whole = math.floor(value)
    return Time(sec=whole, nanosec=int((value - whole) * NANOSECONDS))


def serialized_stamp(data: bytes) -> float:
    """Read header.stamp (s) of a serialised message whose first field is a header.

    A watchdog needs the stamp of an image and nothing else; this spares it the pixels.

    Raises:
        ValueError: the data are too short to hold a stamp.
    """
    if len(data) < PIXELS_OFFSET:
        raise ValueError(f"{len(data)} bytes are too few for a stamped message")
    order = "<" if data[1] & 1 else ">"
    whole, nanoseconds = struct.unpack_from(order + "iI", data, _ENCAPSULATION)
    return float(whole + nanoseconds / NANOSECONDS)


def yaw_of(rotation: Quaternion) -> float:
    """Return the heading (rad) of a rotation about the vertical."""
    return math.atan2(
        2.0 * (rotation.w * rotation.z + rotation.x * rotation.y),
        1.0 - 2.0 * (rotation.y**2 + rotation.z**2),
    )


def odometry_of(message: Odometry, arrival: float) -> TimedOdometry:
    """Return planar odometry: pose in the odometry frame, velocity in the robot's."""
    return TimedOdometry(
        x=message.pose.pose.position.x,
        y=message.pose.pose.position.y,
        yaw=yaw_of(message.pose.pose.orientation),
        linear=message.twist.twist.linear.x,
        angular=message.twist.twist.angular.z,
        stamp=seconds(message.header.stamp),
        arrival=arrival,
    )


def odometry_message(
    pose: tuple[float, float, float],
    velocity: tuple[float, float],
    stamp: Time,
    frames: tuple[str, str],
) -> Odometry:
    """Build planar odometry from (x m, y m, yaw rad) and (m/s, rad/s); frames are parent, child."""
    message = Odometry()
    message.header.stamp = stamp
    message.header.frame_id, message.child_frame_id = frames
    message.pose.pose.position.x, message.pose.pose.position.y = pose[:2]
    message.pose.pose.orientation.z = math.sin(pose[2] / 2)
    message.pose.pose.orientation.w = math.cos(pose[2] / 2)
    message.twist.twist.linear.x, message.twist.twist.angular.z = velocity
    return message


def twist_of(command: Command) -> Twist:
    """Return a command as a Twist."""
    message = Twist()
    message.linear.x, message.angular.z = float(command.linear), float(command.angular)
    return message


def command_of(message: Twist) -> Command:
    """Return the planar part of a Twist.

    Any other component that is not zero makes the command non-finite, so that the runtime refuses
    it: a robot that can't move sideways must not pretend that it did.
    """
    others = (message.linear.y, message.linear.z, message.angular.x, message.angular.y)
    if any(value != 0.0 for value in others):
        return Command(math.nan, math.nan)
    return Command(message.linear.x, message.angular.z)
