"""A simulated robot's sensors as the topics that a real one has; what it lacks is not advertised.

`ground_truth` and `collision` are for measuring only; no node that drives may listen to them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, LaserScan
from std_msgs.msg import Bool

from nav_offrl_ros.conversions import odometry_message
from nav_offrl_ros.images import compressed_message, raw_message
from nav_offrl_ros.pacer import Rate
from nav_offrl_ros.sensor_messages import (
    FloatArray,
    camera_info_message,
    imu_message,
    measured_odometry_message,
    scan_message,
)
from nav_offrl_ros.wheel_odometry import Pose, WheelOdometry
from nav_offrl_sim.configuration import ImuConfig, LidarConfig, RobotConfig
from nav_offrl_sim.environment import NavigationEnv

ODOMETRY_QOS = QoSProfile(depth=10)
Info = dict[str, Any]
StampOf = Callable[[float], Time]


def camera_namespace(robot: RobotConfig, name: str) -> str:
    """Where a camera's topics are: the first one's under `camera`, as on a robot with one."""
    return "camera" if name == robot.camera_name else f"camera_{name}"


@dataclass(frozen=True)
class _CameraTopics:
    frame: str
    raw: Publisher
    compressed: Publisher
    calibration: Publisher


class RobotTopics:
    """Publishes what a robot senses, each sensor at its rate."""

    def __init__(
        self, node: Node, environment: NavigationEnv, camera_rate_hz: float, odometry_rate_hz: float
    ) -> None:
        self._environment = environment
        self._robot = robot = environment.robot_config
        self._camera_rate, self._odometry_rate = Rate(camera_rate_hz), Rate(odometry_rate_hz)
        self._cameras = {name: self._open_camera(node, name) for name in robot.cameras}
        self._odometry = node.create_publisher(Odometry, "odom", ODOMETRY_QOS)
        self._truth = node.create_publisher(Odometry, "ground_truth", ODOMETRY_QOS)
        self._collision = node.create_publisher(Bool, "collision", ODOMETRY_QOS)
        if robot.imu is not None:
            self._imu = node.create_publisher(Imu, "imu", qos_profile_sensor_data)
        if robot.lidar is not None:
            self._scan = node.create_publisher(LaserScan, "scan", qos_profile_sensor_data)
        self._wheels = WheelOdometry(
            robot.odometry_scale_error, robot.velocity_noise, robot.control_period
        )
        self._odometry_at = self._scanned_at = 0.0
        self._collided = False

    def place(self, info: Info) -> None:
        """The robot was put somewhere; `info` is what the environment's reset returned."""
        self._wheels.place(_triple(info["odometry"]))
        self._scanned_at = 0.0
        self._collided = False

    def publish(self, info: Info, now: float, stamp_of: StampOf) -> None:
        """Publish what is due at `now` (s) after a step; `stamp_of` turns times into stamps."""
        self._collided |= bool(info["collision"])
        if self._robot.imu is not None:
            self._publish_imu(info["sensed"]["imu_samples"], self._robot.imu, now, stamp_of)
        if self._odometry_rate.due(now):
            self._publish_odometry(info, now, stamp_of(now))
        if self._robot.lidar is not None:
            self._publish_scan(info["sensed"], self._robot.lidar, stamp_of(now))
        if self._camera_rate.due(now):
            for name in self._cameras:
                self._publish_camera(name, stamp_of(now))

    def _open_camera(self, node: Node, name: str) -> _CameraTopics:
        topic = camera_namespace(self._robot, name)
        kinds = {"image_raw": Image, "image_raw/compressed": CompressedImage}
        raw, compressed, calibration = (
            node.create_publisher(kind, f"{topic}/{part}", qos_profile_sensor_data)
            for part, kind in {**kinds, "camera_info": CameraInfo}.items()
        )
        return _CameraTopics(f"{topic}_optical_frame", raw, compressed, calibration)

    def _publish_imu(
        self, samples: FloatArray, config: ImuConfig, now: float, stamp_of: StampOf
    ) -> None:
        if not self._imu.get_subscription_count():
            return
        spacing = self._robot.control_period / len(samples)
        for number, sample in enumerate(samples):
            taken = now - (len(samples) - number - 0.5) * spacing
            message = imu_message(sample, config, stamp_of(taken), "imu_link")
            self._imu.publish(message)

    def _publish_scan(self, sensed: Info, config: LidarConfig, stamp: Time) -> None:
        if sensed["lidar_time"] != self._scanned_at:
            self._scanned_at = sensed["lidar_time"]
            self._scan.publish(scan_message(sensed["lidar"], config, stamp, "lidar_link"))

    def _publish_odometry(self, info: Info, now: float, stamp: Time) -> None:
        linear, angular = map(float, info["sensed"]["velocity"])
        self._wheels.update(_triple(info["odometry"]), now - self._odometry_at)
        self._odometry_at = now
        covariances = (self._wheels.covariance(), self._robot.velocity_noise**2)
        self._odometry.publish(
            measured_odometry_message(self._wheels.pose, (linear, angular), covariances, stamp)
        )
        speed, turning = map(float, info["truth"]["velocity"])
        pose = _triple(info["truth"]["pose"])
        self._truth.publish(odometry_message(pose, (speed, turning), stamp, ("world", "base_link")))
        self._collision.publish(Bool(data=self._collided))
        self._collided = False

    def _publish_camera(self, name: str, stamp: Time) -> None:
        """Publish a picture; without anyone who listens it is not even drawn."""
        topics = self._cameras[name]
        raw, compressed = (
            publisher.get_subscription_count() for publisher in (topics.raw, topics.compressed)
        )
        if raw or compressed:
            pixels = self._environment.image(name)
        if raw:
            topics.raw.publish(raw_message(pixels, stamp, topics.frame))
        if compressed:
            topics.compressed.publish(compressed_message(pixels, stamp, topics.frame, "jpeg"))
        camera = self._environment.cameras[name]
        topics.calibration.publish(camera_info_message(camera, stamp, topics.frame))


def _triple(values: FloatArray) -> Pose:
    x, y, yaw = map(float, values)
    return x, y, yaw
