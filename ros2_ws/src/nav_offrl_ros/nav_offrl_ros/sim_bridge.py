"""The simulator as a robot in real time: camera, odometry and a base that obeys cmd_vel.

Like a real base it stops by itself when commands stop coming. `ground_truth` and `collision` are
for measuring only; no node that drives may listen to them.
"""

import math
import sys
import time

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from nav_offrl_msgs.srv import ResetSimulation
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import Command
from nav_offrl_ros.camera import COMPRESSED_TOPIC, RAW_TOPIC
from nav_offrl_ros.conversions import odometry_message
from nav_offrl_ros.diagnostics import OK, STEADY, WARN, Diagnostics, Report
from nav_offrl_ros.images import UInt8Array, compressed_message, raw_message
from nav_offrl_ros.parameters import declare
from nav_offrl_ros.run import run_node
from nav_offrl_ros.velocity import subscribe_velocity
from nav_offrl_sim import EnvConfig, load_robot_config
from nav_offrl_sim.environment import NavigationEnv

CAMERA_FRAME = "camera_optical_frame"
DRAWN = [math.nan] * 3  # ROS has no empty pose


class SimBridgeNode(Node):
    """NavigationEnv, stepped by a timer."""

    def __init__(self) -> None:
        super().__init__("sim_bridge")
        self._environment = self._make_environment()
        self._camera_period = 1.0 / declare(
            self, "camera_rate_hz", 20.0, "images (Hz), at most rate_hz", 1.0, 100.0
        )
        self._timeout = declare(
            self,
            "command_timeout",
            0.3,
            "stand still without commands for this long (s)",
            0.05,
            5.0,
        )
        self._noise = declare(
            self,
            "camera_noise",
            1.0,
            "standard deviation of the pixels' noise (grey levels); without any, the pictures of a "
            "resting robot are identical and taken for a frozen camera",
            0.0,
            50.0,
        )
        self._random = np.random.default_rng()
        self._command = Command.STOP
        self._commanded_at = -math.inf
        self._next_image = 0.0
        self._late = 0
        self._reset(
            list(declare(self, "start", DRAWN, "x (m), y (m), yaw (rad); NaN: drawn")),
            list(declare(self, "goal", DRAWN, "x (m), y (m), yaw (rad); NaN: drawn")),
        )
        self._open_topics()

    def _make_environment(self) -> NavigationEnv:
        world = declare(self, "world", "campus", "name of a shipped world, or a YAML file")
        robot = declare(self, "robot", "generic", "name of a shipped robot, or a YAML file")
        self._world_seed = declare(self, "world_seed", 0, "which world of its kind", 0, 2**31 - 1)
        self._period = 1.0 / declare(self, "rate_hz", 20.0, "physics and odometry (Hz)", 5.0, 100.0)
        config = load_robot_config(robot).model_copy(update={"control_period": self._period})
        return NavigationEnv(
            EnvConfig(world=world, robot=robot), world_seed=self._world_seed, robot=config
        )

    def _open_topics(self) -> None:
        stamped = declare(self, "enable_stamped_cmd_vel", False, "cmd_vel is TwistStamped")
        self._raw = self.create_publisher(Image, RAW_TOPIC, 1)
        self._compressed = self.create_publisher(CompressedImage, COMPRESSED_TOPIC, 1)
        self._odometry = self.create_publisher(Odometry, "odom", 1)
        self._truth = self.create_publisher(Odometry, "ground_truth", 1)
        self._collision = self.create_publisher(Bool, "collision", 1)
        subscribe_velocity(self, "cmd_vel", stamped, self._on_command)
        self.create_service(ResetSimulation, "reset_simulation", self._on_reset)
        self._diagnostics = Diagnostics(self, self._report)
        self.create_timer(self._period, self._step, clock=STEADY)

    def _on_command(self, command: Command, stamp: float | None) -> None:
        del stamp
        self._command = command if command.is_finite() else Command.STOP
        self._commanded_at = time.monotonic()

    def _on_reset(
        self, request: ResetSimulation.Request, response: ResetSimulation.Response
    ) -> ResetSimulation.Response:
        try:
            distance, goal_image = self._reset(list(request.start), list(request.goal))
        except NavOffrlError as error:
            response.message = str(error)
            return response
        stamp = self.get_clock().now().to_msg()
        response.success = True
        response.goal_image = compressed_message(goal_image, stamp, CAMERA_FRAME, "png")
        response.geodesic_distance = distance
        response.success_radius = self._environment.config.success_radius
        return response

    def _reset(self, start: list[float], goal: list[float]) -> tuple[float, UInt8Array]:
        """Place the robot; return the shortest path (m) to the goal and the goal's picture."""
        poses = {"start": tuple(map(float, start)), "goal": tuple(map(float, goal))}
        options = {name: pose for name, pose in poses.items() if not math.isnan(pose[0])}
        observation, info = self._environment.reset(seed=self._world_seed, options=options)
        self._command, self._commanded_at = Command.STOP, -math.inf
        distance = info["geodesic_to_goal"]
        return distance if math.isfinite(distance) else math.nan, observation["goal_image"]

    def _step(self) -> None:
        started = time.monotonic()
        alive = started - self._commanded_at <= self._timeout
        command = self._command if alive else Command.STOP
        observation, _, _, _, info = self._environment.step((command.linear, command.angular))
        stamp = self.get_clock().now().to_msg()
        linear, angular = map(float, observation["velocity"])
        for frame, key, publisher in (
            ("odom", "odometry", self._odometry),
            ("world", "pose", self._truth),
        ):
            x, y, yaw = map(float, info[key])
            frames = (frame, "base_link")
            publisher.publish(odometry_message((x, y, yaw), (linear, angular), stamp, frames))
        self._collision.publish(Bool(data=bool(info["collision"])))
        self._publish_image_when_due(observation["image"], stamp, started)
        self._late += time.monotonic() - started > self._period

    def _publish_image_when_due(self, pixels: UInt8Array, stamp: Time, now: float) -> None:
        if now < self._next_image - self._period / 2:
            return
        # A grid, not "now + period": steps that come late must not lower the mean rate.
        self._next_image = max(self._next_image + self._camera_period, now)
        noise = self._random.normal(0.0, self._noise, pixels.shape)
        noisy = np.clip(pixels + noise, 0, 255).round().astype(np.uint8)
        if self._raw.get_subscription_count():
            self._raw.publish(raw_message(noisy, stamp, CAMERA_FRAME))
        if self._compressed.get_subscription_count():
            self._compressed.publish(compressed_message(noisy, stamp, CAMERA_FRAME, "jpeg"))

    def _report(self) -> Report:
        late, self._late = self._late, 0
        values = {"late_steps": late}
        if late:
            return Report(WARN, "slower than real time: the machine is too busy", values)
        return Report(OK, "running", values)


def main() -> None:
    """Entry point."""
    sys.exit(run_node(SimBridgeNode))
