"""The navigator: camera and odometry in, velocity towards a goal photo out.

A lifecycle node. on_configure loads and checks the bundle and fails with the reason when it does
not fit this robot; nothing moves before on_activate and without a goal.
"""

import sys

from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import (
    Bundle,
    CameraContract,
    Command,
    Diagnosis,
    Navigator,
    NavigatorConfig,
    NavigatorInputs,
    SessionConfig,
    Status,
    TimedImage,
    TimedOdometry,
    load_bundle,
)
from nav_offrl.runtime.bundle import check_camera
from nav_offrl_ros.camera import LATEST_QOS, ImageSampler, declare_transport, subscribe_camera
from nav_offrl_ros.conversions import odometry_of, seconds
from nav_offrl_ros.diagnostics import ERROR, OK, STEADY, WARN, Diagnostics, Report, timer_clock
from nav_offrl_ros.goals import GoalServer
from nav_offrl_ros.images import UInt8Array, decode
from nav_offrl_ros.parameters import declare, declare_config
from nav_offrl_ros.run import run_node
from nav_offrl_ros.velocity import publish_velocity, velocity_publisher


class NavigatorNode(LifecycleNode):
    """ROS around nav_offrl.runtime.Navigator; one thread, so nothing needs a lock."""

    def __init__(self) -> None:
        super().__init__("navigator")
        self._declare_parameters()
        self._bundle: Bundle | None = None
        self._navigator: Navigator | None = None
        self._sampler = ImageSampler(1.0)
        self._image: TimedImage | None = None
        self._odometry: TimedOdometry | None = None
        self._diagnosis: Diagnosis | None = None
        self._fault = ""
        self._active = False
        self._output: Publisher | None = None
        self._timer: Timer | None = None
        subscribe_camera(self, declare_transport(self), self._on_image)
        self.create_subscription(Odometry, "odom", self._on_odometry, LATEST_QOS)
        self._goals = GoalServer(self, self._accepts, self._take_goal, self._drop_goal)
        self._diagnostics = Diagnostics(self, self._report)
        if declare(self, "autostart", False, "configure and activate without being asked"):
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=STEADY)

    def _declare_parameters(self) -> None:
        self._path = declare(self, "bundle", "", "folder that 'nav-offrl export' wrote")
        size = (0, 16384)
        self._height = declare(self, "camera_height", 0, "pixels; 0: not checked", *size)
        self._width = declare(self, "camera_width", 0, "pixels; 0: not checked", *size)
        self._fov = declare(
            self, "camera_horizontal_fov", 0.0, "field of view (rad); 0: not checked", 0.0, 6.3
        )
        self._rate = declare(self, "rate_hz", 20.0, "rate of cmd_vel_nav (Hz)", 5.0, 200.0)
        self._stamped = declare(
            self, "enable_stamped_cmd_vel", False, "publish TwistStamped instead of Twist"
        )
        self._config = declare_config(self, NavigatorConfig)
        self._session = declare_config(self, SessionConfig)

    # Lifecycle ---------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and check the bundle."""
        del state
        try:
            self._bundle = self._load()
        except NavOffrlError as error:
            self._fault = str(error)
            self.get_logger().error(f"not configured: {self._fault}")
            self._diagnostics.publish()
            return TransitionCallbackReturn.FAILURE
        self._fault = ""
        self._navigator = Navigator(self._bundle, self._config)
        self._state = self._navigator.initial_state()
        self._sampler = ImageSampler(self._bundle.contract.rate_hz)
        self._image = None
        self._output = velocity_publisher(self, "cmd_vel_nav", self._stamped, lifecycle=True)
        self._timer = self.create_timer(1.0 / self._rate, self._tick, clock=timer_clock(self))
        self.get_logger().info(
            f"bundle {self._bundle.identity[:12]} ({self._bundle.contract.method}, "
            f"{self._bundle.contract.rate_hz:g} Hz) on {self._bundle.provider}"
        )
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> Bundle:
        if not self._path:
            raise NavOffrlError("parameter 'bundle' is empty", remedy="give a bundle's folder")
        bundle = load_bundle(self._path, session=self._session)
        if self._height or self._width or self._fov:
            taken = bundle.contract.camera
            camera = CameraContract(
                height=self._height or taken.height,
                width=self._width or taken.width,
                horizontal_fov=self._fov or None,
            )
            check_camera(taken, camera, self._path)
        return bundle

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let commands out."""
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and end a drive that is under way."""
        self._halt("the navigator was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the bundle."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self._halt("the navigator was shut down")
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop after an unexpected error in a transition; back to unconfigured."""
        self._halt("a transition failed")
        self._release()
        return super().on_error(state)

    def _halt(self, reason: str) -> None:
        self._goals.deactivated(reason)
        if self._active:
            self._publish(Command.STOP)
        self._active = False

    def _release(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
        if self._output is not None:
            self.destroy_lifecycle_publisher(self._output)
        self._timer = self._output = self._navigator = self._bundle = self._diagnosis = None

    def _start_by_itself(self) -> None:
        self._autostart.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Inputs ------------------------------------------------------------------------------------

    def _now(self) -> float:
        return seconds(self.get_clock().now().to_msg())

    def _on_odometry(self, message: Odometry) -> None:
        self._odometry = odometry_of(message, self._now())

    def _on_image(self, message: Image | CompressedImage) -> None:
        stamp = seconds(message.header.stamp)
        if self._navigator is None or not self._sampler.takes(stamp):
            return
        try:
            self._image = TimedImage(decode(message), stamp, self._now())
        except ValueError as error:
            # The image before it grows old and stops the robot.
            self.get_logger().error(f"image not used: {error}", throttle_duration_sec=1.0)
            return
        self._tick()

    # Goals -------------------------------------------------------------------------------------

    def _accepts(self) -> bool:
        return self._active

    def _take_goal(self, pixels: UInt8Array) -> None:
        assert self._navigator is not None
        self._state = self._navigator.with_goal(self._state, pixels)

    def _drop_goal(self) -> None:
        if self._navigator is not None:
            self._state = self._navigator.without_goal(self._state)

    # Driving -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Step at the fixed rate and at once on a new image; always publishes."""
        if not self._active or self._navigator is None:
            return
        inputs = NavigatorInputs(self._image, self._odometry, self._now())
        try:
            self._state, command, self._diagnosis = self._navigator.step(self._state, inputs)
        except Exception as error:  # whatever it is, the robot stops and the client hears of it
            self.get_logger().error(f"step failed: {error!r}")
            self._publish(Command.STOP)
            self._goals.failed(repr(error))
            return
        self._publish(command)
        self._goals.follow(self._diagnosis, command, self._image)

    def _publish(self, command: Command) -> None:
        if self._output is not None:
            publish_velocity(self, self._output, command)

    def _report(self) -> Report:
        if self._fault:
            return Report(ERROR, self._fault)
        if self._bundle is None:
            return Report(WARN, "no bundle is loaded")
        values: dict[str, object] = {
            "bundle": self._bundle.identity,
            "provider": self._bundle.provider,
        }
        if not self._active or self._diagnosis is None:
            return Report(WARN, "not active", values)
        values |= {
            "steps_to_goal": self._diagnosis.steps_to_goal,
            "image_age_s": self._diagnosis.image_age,
            "inference_ms": 1000 * self._goals.inference_time,
        }
        level = ERROR if self._diagnosis.status is Status.STOPPED else OK
        return Report(level, f"{self._diagnosis.status.value}: {self._diagnosis.reason}", values)


def main() -> None:
    """Entry point."""
    sys.exit(run_node(NavigatorNode))
