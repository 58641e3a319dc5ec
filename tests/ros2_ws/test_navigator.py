"""The navigator as a process: lifecycle, refusals, goals, and what its death does."""

import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

GOAL_ELSEWHERE = np.full((24, 32, 3), 250, np.uint8)
GOAL_HERE = np.full((24, 32, 3), 120, np.uint8)  # the test camera's mean colour


class Robot:
    """Camera, odometry, navigator and gate in processes of their own."""

    def __init__(self, ros: Any, folder: Path, **parameters: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import Twist

        self.ros = ros
        files = [ros.share("config/navigation.yaml")]
        settings = {"image_transport": "raw", "bundle": str(folder), **parameters}
        self.navigator = ros.start("navigator", settings, files)
        ros.start("safety_gate", {"image_transport": "raw", "recovery_time": 0.1}, files)
        self.sensors = {kind: ros.sensor(kind) for kind in ("camera", "odom")}
        self.wanted = ros.probe.record(Twist, "cmd_vel_nav")
        self.driven = ros.probe.record(Twist, "cmd_vel")
        self.reports = ros.probe.record(DiagnosticArray, "/diagnostics")

    def change(self, transition: int) -> bool:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self.ros.probe.call(ChangeState, "navigator/change_state", request)
        aim = {
            Transition.TRANSITION_CONFIGURE: "inactive",
            Transition.TRANSITION_ACTIVATE: "active",
            Transition.TRANSITION_DEACTIVATE: "inactive",
            Transition.TRANSITION_CLEANUP: "unconfigured",
        }[transition]
        # Asked twice, it refuses the second time; what counts is where it is.
        return bool(answer.success) or self.state() == aim

    def bring_up(self) -> None:
        from lifecycle_msgs.msg import Transition

        assert self.change(Transition.TRANSITION_CONFIGURE), self.ros.log("navigator")
        assert self.change(Transition.TRANSITION_ACTIVATE)
        self.ros.wait_for(lambda: self.wanted and self.driven)

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        answer = self.ros.probe.call(GetState, "navigator/get_state", GetState.Request())
        return str(answer.current_state.label)

    def send(self, pixels: np.ndarray, timeout: float = 30.0, data: bytes | None = None) -> Any:
        """Send a goal; return its handle and the list that its feedback fills."""
        from nav_offrl_msgs.action import NavigateToImage
        from rclpy.action import ActionClient

        client = ActionClient(self.ros.probe.node, NavigateToImage, "navigate_to_image")
        assert client.wait_for_server(10)
        goal = NavigateToImage.Goal()
        goal.goal_image.format = "png"
        goal.goal_image.data = cv2.imencode(".png", pixels)[1].tobytes() if data is None else data
        goal.timeout.sec = int(timeout)
        feedback: list[Any] = []
        future = client.send_goal_async(goal, lambda message: feedback.append(message.feedback))
        return self.ros.probe.result(future), feedback

    def end(self, handle: Any, timeout: float = 15.0) -> Any:
        return self.ros.probe.result(handle.get_result_async(), timeout).result

    def wait_until_driving(self) -> None:
        self.ros.wait_for(lambda: self.driven and self.driven[-1][1].linear.x > 0.1)

    def time_to_zero(self, since: float) -> float:
        def zeros() -> list[float]:
            return [t for t, m in list(self.driven) if t > since and m.linear.x == 0.0]

        self.ros.wait_for(zeros, 5.0)
        return zeros()[0] - since

    def says(self, words: str) -> bool:
        return any(words in array.status[0].message for _, array in list(self.reports))


def test_nothing_moves_before_a_goal_and_lifecycle_can_be_walked(ros: Any, bundle: Path) -> None:
    from lifecycle_msgs.msg import Transition

    robot = Robot(ros, bundle)
    assert robot.state() == "unconfigured"
    robot.bring_up()
    ros.wait_for(lambda: len(robot.wanted) > 10)
    assert all(message.linear.x == 0.0 for _, message in robot.wanted)
    handle, _ = robot.send(GOAL_ELSEWHERE)
    robot.wait_until_driving()
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.end(handle).error_code == 701
    assert robot.time_to_zero(time.monotonic()) < ros.stop_limit()
    assert not robot.send(GOAL_ELSEWHERE)[0].accepted
    assert robot.change(Transition.TRANSITION_CLEANUP)
    robot.bring_up()
    assert robot.send(GOAL_ELSEWHERE)[0].accepted
    robot.wait_until_driving()


def test_drives_with_feedback_until_it_is_canceled(ros: Any, bundle: Path) -> None:
    from action_msgs.msg import GoalStatus

    robot = Robot(ros, bundle)
    robot.bring_up()
    handle, feedback = robot.send(GOAL_ELSEWHERE)
    robot.wait_until_driving()
    ros.wait_for(lambda: len([f for f in feedback if not f.reason]) > 5)
    told = [f for f in feedback if not f.reason]
    assert all(0.0 <= f.image_age < 0.5 for f in told)
    assert all(f.steps_to_goal > 50 for f in told)
    # The policy's rate is 10 Hz, the camera's 20 Hz: every second image is used.
    stamps = [f.image_stamp.sec + f.image_stamp.nanosec / 1e9 for f in told]
    assert np.median(np.diff(sorted(set(stamps)))) == pytest.approx(0.1, abs=0.03)
    ros.probe.result(handle.cancel_goal_async())
    ended = ros.probe.result(handle.get_result_async())
    assert ended.status == GoalStatus.STATUS_CANCELED
    assert ended.result.error_code == 706
    robot.time_to_zero(time.monotonic())


def test_says_arrived_at_the_goal_and_stops(ros: Any, bundle: Path) -> None:
    robot = Robot(ros, bundle)
    robot.bring_up()
    result = robot.end(robot.send(GOAL_HERE)[0])
    assert (result.arrived, result.error_code) == (True, 0)
    ros.wait_for(lambda: robot.wanted[-1][1].linear.x == 0.0)


def test_goals_that_fail_say_why(ros: Any, bundle: Path) -> None:
    robot = Robot(ros, bundle, fault_timeout=0.5)
    robot.bring_up()
    result = robot.end(robot.send(GOAL_HERE, data=b"no picture")[0])
    assert result.error_code == 702 and "no picture" in result.error_msg
    result = robot.end(robot.send(np.zeros((48, 64, 3), np.uint8))[0])
    assert result.error_code == 702 and "(48, 64, 3)" in result.error_msg
    first, _ = robot.send(GOAL_ELSEWHERE)
    second, _ = robot.send(GOAL_ELSEWHERE, timeout=1.0)
    assert robot.end(first).error_code == 705
    assert robot.end(second).error_code == 703
    robot.sensors["camera"].kill()
    result = robot.end(robot.send(GOAL_ELSEWHERE)[0])
    assert result.error_code == 704 and "image" in result.error_msg


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_navigator_that_is_gone_stops_the_robot_in_time(
    ros: Any, bundle: Path, how: signal.Signals
) -> None:
    robot = Robot(ros, bundle)
    robot.bring_up()
    robot.send(GOAL_ELSEWHERE)
    robot.wait_until_driving()
    robot.navigator.send_signal(how)
    elapsed = robot.time_to_zero(time.monotonic())
    print(f"STOP navigator {how.name}: {elapsed * 1000:.0f} ms")
    assert elapsed < ros.stop_limit()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"camera_height": 48}, "camera.height"),
        ({"camera_horizontal_fov": 1.0, "camera_width": 33}, "camera.width"),
        ({"bundle": "/nonexistent"}, "bundle.json"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(
    ros: Any, bundle: Path, parameters: dict[str, Any], reason: str
) -> None:
    from lifecycle_msgs.msg import Transition

    robot = Robot(ros, bundle, **parameters)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.state() == "unconfigured"
    ros.wait_for(lambda: reason in ros.log("navigator"))
    ros.wait_for(lambda: robot.says(reason))


def test_a_bundle_that_was_tampered_with_is_refused(ros: Any, bundle: Path) -> None:
    from lifecycle_msgs.msg import Transition

    graph = bundle / "policy.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    robot = Robot(ros, bundle)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    ros.wait_for(lambda: robot.says("sha256"))
