"""The last process before the wheels: command in, safe command out, zero on every fault.

It runs by itself so that it survives the navigator's death, and knows no network.
"""

import sys
import zlib

from nav_msgs.msg import Odometry
from rclpy.node import Node
from std_srvs.srv import SetBool

from nav_offrl.runtime import (
    Cause,
    Command,
    SafetyConfig,
    SafetyDiagnosis,
    SafetyGate,
    SafetyInputs,
    TimedCommand,
    TimedImageHeader,
    TimedOdometry,
)
from nav_offrl_ros.camera import LATEST_QOS, declare_transport, subscribe_camera
from nav_offrl_ros.conversions import PIXELS_OFFSET, odometry_of, seconds, serialized_stamp
from nav_offrl_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Report, timer_clock
from nav_offrl_ros.parameters import declare, declare_config
from nav_offrl_ros.run import run_node
from nav_offrl_ros.velocity import publish_velocity, subscribe_velocity, velocity_publisher

# Not faults: the ordinary life of a robot that waits or starts.
QUIET = (Cause.NO_COMMAND, Cause.RECOVERING, Cause.CLAMPED, Cause.ACCELERATION)


class SafetyGateNode(Node):
    """`cmd_vel_nav` -> `cmd_vel` at a fixed rate through nav_offrl.runtime.SafetyGate."""

    def __init__(self) -> None:
        super().__init__("safety_gate")
        self._gate = SafetyGate(declare_config(self, SafetyConfig))
        self._state = self._gate.initial_state()
        rate = declare(self, "rate_hz", 20.0, "least rate of cmd_vel (Hz)", 5.0, 200.0)
        stamped = declare(
            self, "enable_stamped_cmd_vel", False, "TwistStamped instead of Twist, in and out"
        )
        self._command: TimedCommand | None = None
        self._image: TimedImageHeader | None = None
        self._odometry: TimedOdometry | None = None
        self._pressed = False
        self._diagnosis: SafetyDiagnosis | None = None
        self._output = velocity_publisher(self, "cmd_vel", stamped)
        subscribe_velocity(self, "cmd_vel_nav", stamped, self._on_command)
        subscribe_camera(self, declare_transport(self), self._on_image, serialized=True)
        self.create_subscription(Odometry, "odom", self._on_odometry, LATEST_QOS)
        self.create_service(SetBool, "emergency_stop", self._on_emergency_stop)
        self._diagnostics = Diagnostics(self, self._report)
        self._timer = self.create_timer(1.0 / rate, self._tick, clock=timer_clock(self))

    def _now(self) -> float:
        return seconds(self.get_clock().now().to_msg())

    def _on_command(self, command: Command, stamp: float | None) -> None:
        arrival = self._now()
        self._command = TimedCommand(command, arrival if stamp is None else stamp, arrival)
        # At once: waiting for the timer would add up to one period to the robot's reaction.
        self._timer.reset()
        self._tick()

    def _on_image(self, data: bytes) -> None:
        # Everything behind the stamp: the frame's name, which is constant, and the pixels.
        digest = zlib.crc32(memoryview(data)[PIXELS_OFFSET:])
        self._image = TimedImageHeader(serialized_stamp(data), self._now(), digest)

    def _on_odometry(self, message: Odometry) -> None:
        self._odometry = odometry_of(message, self._now())

    def _on_emergency_stop(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        """Press and latch (true), or deliberately release (false)."""
        self._pressed = request.data
        if not request.data:
            self._state = self._gate.release(self._state)
        self._tick()
        response.success = True
        response.message = "stopped and latched" if request.data else "released"
        self.get_logger().warning(f"emergency stop: {response.message}")
        self._diagnostics.publish()
        return response

    def _tick(self) -> None:
        inputs = SafetyInputs(self._command, self._image, self._odometry, self._pressed)
        before = self._diagnosis
        self._state, command, self._diagnosis = self._gate.step(self._state, inputs, self._now())
        publish_velocity(self, self._output, command)
        if before is None or before.cause != self._diagnosis.cause:
            self._tell()

    def _tell(self) -> None:
        """Report a change at once: it may be the only trace of a short stop."""
        diagnosis = self._diagnosis
        if diagnosis is None or not diagnosis.stopped or diagnosis.cause in QUIET:
            return
        self.get_logger().warning(f"stopped: {diagnosis.reason}")
        self._diagnostics.publish()

    def _report(self) -> Report:
        diagnosis = self._diagnosis
        if diagnosis is None:
            return Report(WARN, "starting")
        values = {f"interventions.{cause.value}": n for cause, n in diagnosis.interventions.items()}
        if not diagnosis.stopped:
            return Report(OK, diagnosis.reason or "passing commands", values)
        level = WARN if diagnosis.cause in QUIET else ERROR
        return Report(level, f"stopped: {diagnosis.reason}", values)


def main() -> None:
    """Entry point."""
    sys.exit(run_node(SafetyGateNode))
