"""The safety gate as a process: nothing in, zero out; any input dies, the robot stops in time."""

import time
from pathlib import Path
from typing import Any

import pytest


class GateTest:
    """A running gate with living sensors, and what it says."""

    def __init__(self, ros: Any) -> None:
        from geometry_msgs.msg import Twist

        self.ros = ros
        parameters = {"image_transport": "raw", "recovery_time": 0.1}
        ros.start("safety_gate", parameters, [ros.share("config/navigation.yaml")])
        self.heard = ros.probe.record(Twist, "cmd_vel")
        self.commands = ros.probe.node.create_publisher(Twist, "cmd_vel_nav", 1)
        self.message = Twist()
        self.message.linear.x = 0.4

    def drive(self) -> Any:
        """Send the command at 20 Hz from the test's own process; wait until it passes."""
        timer = self.ros.probe.node.create_timer(0.05, lambda: self.commands.publish(self.message))
        self.wait_until_moving()
        return timer

    def wait_until_moving(self) -> None:
        self.ros.wait_for(lambda: self.heard and not is_zero(self.heard[-1][1]))

    def time_to_zero(self, since: float) -> float:
        def zeros() -> list[float]:
            return [t for t, message in list(self.heard) if t > since and is_zero(message)]

        self.ros.wait_for(zeros, 5.0)
        return zeros()[0] - since

    def stays_at_zero(self, seconds: float = 0.5) -> bool:
        """Zeros keep coming and nothing else does."""
        start = len(self.heard)
        time.sleep(seconds)
        later = [message for _, message in self.heard[start:]]
        return len(later) > 10 * seconds and all(map(is_zero, later))


def is_zero(message: Any) -> bool:
    return message.linear.x == 0.0 and message.angular.z == 0.0


@pytest.fixture
def gate(ros: Any) -> GateTest:
    return GateTest(ros)


def test_publishes_zero_at_its_rate_while_nothing_comes_in(gate: GateTest) -> None:
    gate.ros.wait_for(lambda: gate.heard)
    start, before = time.monotonic(), len(gate.heard)
    time.sleep(1.0)
    rate = (len(gate.heard) - before) / (time.monotonic() - start)
    assert all(is_zero(message) for _, message in gate.heard)
    assert 15 < rate < 25


def test_commands_without_sensors_do_not_pass(gate: GateTest) -> None:
    gate.ros.wait_for(lambda: gate.heard)
    gate.ros.probe.node.create_timer(0.05, lambda: gate.commands.publish(gate.message))
    gate.ros.wait_for(lambda: gate.commands.get_subscription_count() == 1)
    assert gate.stays_at_zero(1.0)


@pytest.mark.parametrize("victim", ["camera", "odom"])
def test_death_of_a_sensor_stops_the_robot_in_time(
    gate: GateTest, victim: str, record_property: Any
) -> None:
    sensors = {kind: gate.ros.sensor(kind) for kind in ("camera", "odom")}
    gate.drive()
    assert gate.heard[-1][1].linear.x <= 0.4
    sensors[victim].kill()
    elapsed = gate.time_to_zero(time.monotonic())
    record_property("stop_time_s", elapsed)
    print(f"STOP {victim}: {elapsed * 1000:.0f} ms")
    assert elapsed < gate.ros.stop_limit()
    assert gate.stays_at_zero()


def test_death_of_the_commander_stops_the_robot_in_time(gate: GateTest) -> None:
    for kind in ("camera", "odom"):
        gate.ros.sensor(kind)
    gate.drive().cancel()
    elapsed = gate.time_to_zero(time.monotonic())
    print(f"STOP commander: {elapsed * 1000:.0f} ms")
    assert elapsed < gate.ros.stop_limit()


def test_emergency_stop_latches_until_it_is_released(gate: GateTest) -> None:
    from std_srvs.srv import SetBool

    for kind in ("camera", "odom"):
        gate.ros.sensor(kind)
    gate.drive()
    pressed = time.monotonic()
    assert gate.ros.probe.call(SetBool, "emergency_stop", SetBool.Request(data=True)).success
    assert gate.time_to_zero(pressed) < gate.ros.stop_limit()
    assert gate.stays_at_zero(1.0)
    assert gate.ros.probe.call(SetBool, "emergency_stop", SetBool.Request(data=False)).success
    gate.wait_until_moving()


def test_nonsense_commands_stop_the_robot(gate: GateTest) -> None:
    for kind in ("camera", "odom"):
        gate.ros.sensor(kind)
    gate.drive()
    gate.message.linear.y = 0.1  # a differential drive can't
    gate.time_to_zero(time.monotonic())
    assert gate.stays_at_zero()
    gate.message.linear.y, gate.message.linear.x = 0.0, float("nan")
    assert gate.stays_at_zero()


def test_stamped_velocities_in_and_out(ros: Any) -> None:
    from geometry_msgs.msg import TwistStamped

    parameters = {"image_transport": "raw", "recovery_time": 0.1, "enable_stamped_cmd_vel": True}
    ros.start("safety_gate", parameters, [ros.share("config/navigation.yaml")])
    heard = ros.probe.record(TwistStamped, "cmd_vel")
    publisher = ros.probe.node.create_publisher(TwistStamped, "cmd_vel_nav", 1)
    message = TwistStamped()
    message.twist.linear.x = 0.4
    age = [0.0]

    def publish() -> None:
        now = ros.probe.node.get_clock().now().nanoseconds - int(age[0] * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(message)

    for kind in ("camera", "odom"):
        ros.sensor(kind)
    ros.probe.node.create_timer(0.05, publish)
    ros.wait_for(lambda: heard and heard[-1][1].twist.linear.x > 0.2)
    assert heard[-1][1].header.frame_id == "base_link"
    age[0] = 1.0  # commands keep coming, but they were made long ago
    ros.wait_for(lambda: heard[-1][1].twist.linear.x == 0.0, 5.0)


def test_tells_on_diagnostics_why_it_stopped(gate: GateTest) -> None:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    reports = gate.ros.probe.record(DiagnosticArray, "/diagnostics")
    sensors = {kind: gate.ros.sensor(kind) for kind in ("camera", "odom")}
    gate.drive()
    sensors["odom"].kill()

    def told() -> bool:
        statuses = [array.status[0] for _, array in reports]
        return any(
            status.name == "safety_gate"
            and status.level == DiagnosticStatus.ERROR
            and "odometry" in status.message
            for status in statuses
        )

    gate.ros.wait_for(told, 5.0)


def test_limits_that_exclude_standing_still_are_refused(ros: Any, tmp_path: Path) -> None:
    process = ros.start("safety_gate", {"linear_limits": [0.2, 1.0]})
    assert process.wait(20) == 2
    assert "linear_limits" in ros.log("safety_gate")
    process = ros.start("safety_gate", {"max_command_age": 60.0})
    assert process.wait(20) == 2
    assert "max_command_age" in ros.log("safety_gate")
