"""Diagnostics at 1 Hz on /diagnostics, where aggregators look for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
STEADY = Clock(clock_type=ClockType.STEADY_TIME)


def timer_clock(node: Node) -> Clock:
    """Clock of a timer that commands: the steady one, so that zeros go on when system time jumps.

    With simulated time its own: a simulation that waits for commands lets no time pass for others.
    """
    simulated = node.get_parameter("use_sim_time").value
    return node.get_clock() if simulated else STEADY


@dataclass(frozen=True)
class Report:
    """One line of health: level, what is the matter, and details."""

    level: bytes
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


class Diagnostics:
    """Publishes what `report()` says once a second, and at once when told to."""

    def __init__(self, node: Node, report: Callable[[], Report]) -> None:
        self._node = node
        self._report = report
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The steady clock: with a paused simulation clock a node must still tell how it is.
        self._timer = node.create_timer(1.0, self.publish, clock=STEADY)

    def publish(self) -> None:
        """Publish the present report."""
        report = self._report()
        status = DiagnosticStatus(
            level=report.level,
            name=self._node.get_fully_qualified_name().lstrip("/"),
            message=report.message,
            hardware_id=self._node.get_namespace().strip("/") or "robot",
            values=[KeyValue(key=key, value=str(value)) for key, value in report.values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
