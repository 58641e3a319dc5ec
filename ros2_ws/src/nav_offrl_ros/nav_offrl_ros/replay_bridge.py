"""A recorded drive as a robot: its images and odometry at its rate, and the recorded action.

`replay/action` carries the stamp of the image that it belongs to, so that a listener can compare
what the navigator commands with what the driver did. The robot of the recording can't be moved.
"""

import sys

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from nav_offrl_msgs.srv import ReplayEpisode
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import Command
from nav_offrl.store import Store
from nav_offrl_ros.camera import COMPRESSED_TOPIC
from nav_offrl_ros.conversions import odometry_message, seconds, stamp_message, twist_of
from nav_offrl_ros.diagnostics import OK, STEADY, Diagnostics, Report
from nav_offrl_ros.images import encoded_message
from nav_offrl_ros.parameters import declare
from nav_offrl_ros.run import run_node

FRAME = "camera_optical_frame"


class ReplayBridgeNode(Node):
    """Plays pieces of a store's episodes."""

    def __init__(self) -> None:
        super().__init__("replay_bridge")
        self._store = Store.open(declare(self, "store", "", "log store to replay"))
        self._camera = declare(self, "camera", "front", "camera of the store")
        self._steps = range(0)
        self._jpegs: list[bytes] = []
        self._index = 0
        self._begin = 0.0
        self._timer: Timer | None = None
        self._images = self.create_publisher(CompressedImage, COMPRESSED_TOPIC, 1)
        self._odometry = self.create_publisher(Odometry, "odom", 1)
        self._actions = self.create_publisher(TwistStamped, "replay/action", QoSProfile(depth=10))
        self.create_service(ReplayEpisode, "replay/load", self._on_load)
        self.create_service(Trigger, "replay/play", self._on_play)
        self._diagnostics = Diagnostics(self, self._report)

    def _on_load(
        self, request: ReplayEpisode.Request, response: ReplayEpisode.Response
    ) -> ReplayEpisode.Response:
        try:
            self._steps = self._piece(request.episode, request.first, request.last)
            piece = slice(self._steps.start, self._steps.stop)
            self._jpegs = self._store.jpegs(self._camera, piece)
        except NavOffrlError as error:
            response.message = str(error)
            return response
        stamp = self.get_clock().now().to_msg()
        response.success = True
        response.goal_image = encoded_message(self._jpegs[-1], stamp, FRAME, "jpeg")
        response.steps, response.rate_hz = len(self._steps), self._store.info.rate_hz
        return response

    def _piece(self, name: str, first: int, last: int) -> range:
        if name not in self._store.episodes.name:
            raise NavOffrlError(f"holds no episode '{name}'", where=self._store.path)
        steps = self._store.steps_of(self._store.episodes.name.index(name))
        length = steps.stop - steps.start
        end = length if last < 0 else last + 1
        if not 0 <= first < end <= length:
            raise NavOffrlError(
                f"steps {first} to {last} are not inside episode '{name}' of {length} steps",
                where=self._store.path,
            )
        return range(steps.start + first, steps.start + end)

    def _on_play(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        if not self._steps:
            response.message = "load an episode first"
            return response
        self._stop()
        self._index, self._begin = 0, seconds(self.get_clock().now().to_msg())
        self._timer = self.create_timer(1.0 / self._store.info.rate_hz, self._publish, clock=STEADY)
        self._publish()
        response.success = True
        return response

    def _publish(self) -> None:
        if self._index >= len(self._steps):
            self._stop()
            return
        step = self._steps[self._index]
        # The recording's own grid: the timer's jitter is not part of what the robot saw.
        stamp = stamp_message(self._begin + self._index / self._store.info.rate_hz)
        action = self._store.field("action")[step]
        moving = "velocity" if "velocity" in self._store.info.fields else "action"
        velocity = self._store.field(moving)[step]
        x, y = self._store.field("position")[step]
        pose = (float(x), float(y), float(self._store.field("yaw")[step]))
        speeds = (float(velocity[0]), float(velocity[1]))
        message = TwistStamped(twist=twist_of(Command(float(action[0]), float(action[1]))))
        message.header.stamp, message.header.frame_id = stamp, "base_link"
        self._actions.publish(message)
        self._odometry.publish(odometry_message(pose, speeds, stamp, ("odom", "base_link")))
        self._images.publish(encoded_message(self._jpegs[self._index], stamp, FRAME, "jpeg"))
        self._index += 1

    def _stop(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
        self._timer = None

    def _report(self) -> Report:
        return Report(OK, f"step {self._index} of {len(self._steps)}")


def main() -> None:
    """Entry point."""
    sys.exit(run_node(ReplayBridgeNode))
