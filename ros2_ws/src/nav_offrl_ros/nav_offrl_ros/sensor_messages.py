"""What a robot's sensors say as ROS messages: camera calibration, inertial samples, scans."""

import array

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Imu, LaserScan

from nav_offrl_ros.conversions import odometry_message
from nav_offrl_sim.configuration import CameraConfig, ImuConfig, LidarConfig

UNKNOWN = 1e6  # variance of what a planar base does not measure
NONE = 1e-9  # variance of what it cannot do
FloatArray = NDArray[np.floating]


def camera_info_message(camera: CameraConfig, stamp: Time, frame: str) -> CameraInfo:
    """Calibration of an ideal pinhole camera.

    ROS counts pixels from the middle of the first one, so the middle of a picture of W pixels is at
    (W - 1) / 2.
    """
    fx, fy, _, _ = camera.intrinsics
    cx, cy = (camera.width - 1) / 2, (camera.height - 1) / 2
    message = CameraInfo(width=camera.width, height=camera.height)
    message.header.stamp, message.header.frame_id = stamp, frame
    message.distortion_model, message.d = "plumb_bob", [0.0] * 5
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def imu_message(sample: FloatArray, config: ImuConfig, stamp: Time, frame: str) -> Imu:
    """One sample (6,): gyro x, y, z rad/s, acceleration x, y, z m/s² with gravity in it."""
    message = Imu()
    message.header.stamp, message.header.frame_id = stamp, frame
    message.orientation_covariance[0] = -1.0  # "does not measure it"
    rate, acceleration = message.angular_velocity, message.linear_acceleration
    rate.x, rate.y, rate.z, acceleration.x, acceleration.y, acceleration.z = sample.tolist()
    message.angular_velocity_covariance[::4] = config.gyro_noise**2 + config.gyro_bias**2
    message.linear_acceleration_covariance[::4] = (
        config.acceleration_noise**2 + config.acceleration_bias**2
    )
    return message


def scan_message(ranges: FloatArray, config: LidarConfig, stamp: Time, frame: str) -> LaserScan:
    """A scan (rays,) m, `inf` without a return; all rays of a scan are of one moment."""
    message = LaserScan(
        angle_min=config.angle_min,
        angle_max=config.angle_max,
        angle_increment=(config.angle_max - config.angle_min) / (config.rays - 1),
        scan_time=1.0 / config.rate_hz,
        range_min=config.min_range,
        range_max=config.max_range,
    )
    message.header.stamp, message.header.frame_id = stamp, frame
    message.ranges = array.array("f", ranges.astype(np.float32).tobytes())
    return message


def measured_odometry_message(
    pose: tuple[float, float, float],
    velocity: tuple[float, float],
    covariances: tuple[FloatArray, float],
    stamp: Time,
) -> Odometry:
    """Odometry whose error is known: covariance (3, 3) of x, y, yaw and a velocity's variance."""
    message = odometry_message(pose, velocity, stamp, ("odom", "base_link"))
    planar, variance = covariances
    place, speed = np.diag([0.0, 0.0, *[UNKNOWN] * 3, 0.0]), np.diag([0.0, NONE, *[UNKNOWN] * 4])
    place[np.ix_((0, 1, 5), (0, 1, 5))] = planar
    speed[0, 0] = speed[5, 5] = variance
    message.pose.covariance, message.twist.covariance = place.ravel(), speed.ravel()
    return message
