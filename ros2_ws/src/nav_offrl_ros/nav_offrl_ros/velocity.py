"""Velocity topics as Twist (Jazzy's default) or TwistStamped, chosen by one parameter."""

from collections.abc import Callable

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from nav_offrl.runtime import Command
from nav_offrl_ros.camera import LATEST_QOS
from nav_offrl_ros.conversions import command_of, seconds, twist_of

# Reliable out, best effort in: each fits any partner, and a command is never worth sending again.
COMMAND_QOS = QoSProfile(depth=1)


def velocity_publisher(node: Node, topic: str, stamped: bool, lifecycle: bool = False) -> Publisher:
    """Create a reliable, keep-last-1 publisher of velocities."""
    create = node.create_lifecycle_publisher if lifecycle else node.create_publisher
    return create(TwistStamped if stamped else Twist, topic, COMMAND_QOS)


def publish_velocity(node: Node, publisher: Publisher, command: Command) -> None:
    """Publish a command, stamped if the publisher's type is."""
    message = twist_of(command)
    if publisher.msg_type is TwistStamped:
        stamped = TwistStamped(twist=message)
        stamped.header.stamp = node.get_clock().now().to_msg()
        stamped.header.frame_id = "base_link"
        message = stamped
    publisher.publish(message)


def subscribe_velocity(
    node: Node, topic: str, stamped: bool, callback: Callable[[Command, float | None], None]
) -> None:
    """Call `callback` with each command and its stamp (s; None where the message has none)."""
    if stamped:
        node.create_subscription(
            TwistStamped,
            topic,
            lambda message: callback(command_of(message.twist), seconds(message.header.stamp)),
            LATEST_QOS,
        )
    else:
        node.create_subscription(
            Twist, topic, lambda message: callback(command_of(message), None), LATEST_QOS
        )
