"""A robot's sensor as a process of its own, so that tests can kill it: camera or odometry.

python sensor.py camera 20        # a noisy 24x32 picture at 20 Hz
python sensor.py odom 20
"""

import sys

import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import Image

HEIGHT, WIDTH = 24, 32


class Sensor(Node):
    def __init__(self, kind: str, rate_hz: float) -> None:
        super().__init__(f"test_{kind}")
        self.random = np.random.default_rng(0)
        if kind == "camera":
            self.publisher = self.create_publisher(Image, "camera/image_raw", 1)
            self.create_timer(1.0 / rate_hz, self.publish_image)
        else:
            self.publisher = self.create_publisher(Odometry, "odom", 1)
            self.create_timer(1.0 / rate_hz, self.publish_odometry)

    def publish_image(self) -> None:
        message = Image(height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding="rgb8")
        message.header.stamp = self.get_clock().now().to_msg()
        message.data = self.random.integers(100, 140, (HEIGHT, WIDTH, 3), np.uint8).tobytes()
        self.publisher.publish(message)

    def publish_odometry(self) -> None:
        message = Odometry()
        message.header.stamp = self.get_clock().now().to_msg()
        message.pose.pose.orientation.w = 1.0
        self.publisher.publish(message)


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(Sensor(sys.argv[1], float(sys.argv[2])))
