"""The robot's camera as a topic, raw or compressed, and which of its images to use."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from nav_offrl_ros.parameters import declare_choice

# Sensor data (best effort), and only the latest: an old image is worth nothing to a controller.
LATEST_QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
RAW_TOPIC = "camera/image_raw"
COMPRESSED_TOPIC = "camera/image_raw/compressed"


def declare_transport(node: Node) -> str:
    """Declare the parameter that chooses between the two topics."""
    return declare_choice(
        node, "image_transport", ("compressed", "raw"), "which image topic to use"
    )


def subscribe_camera(
    node: Node, transport: str, callback: Callable[[Any], None], serialized: bool = False
) -> Subscription:
    """Subscribe to the camera; `serialized` hands over bytes instead of messages."""
    kind, topic = (Image, RAW_TOPIC) if transport == "raw" else (CompressedImage, COMPRESSED_TOPIC)
    return node.create_subscription(kind, topic, callback, LATEST_QOS, raw=serialized)


class ImageSampler:
    """Takes images at the policy's rate from a camera that may be faster.

    A policy trained on steps of 0.2 s must not see steps of 0.03 s: its predicted steps to the goal
    and its arrival test would lose their meaning.
    """

    JITTER = 0.1  # share of the period by which an image may be early

    def __init__(self, rate_hz: float) -> None:
        self._period = 1.0 / rate_hz
        self._due: float | None = None

    def takes(self, stamp: float) -> bool:
        """Whether to use the image with this stamp (s)."""
        if self._due is None or abs(stamp - self._due) > 2 * self._period:
            self._due = stamp  # the first image, the first after a pause, or a clock that jumped
        if stamp < self._due - self.JITTER * self._period:
            return False
        self._due += self._period
        return True
