"""Sends a list of drives to the navigator and records what happens; for `nav-offrl drive`.

    drive_client PLAN.json

The plan is {"replay": bool, "drives": [...], "timeout": s, "folder": path}; a drive is {"start",
"goal"} (x, y, yaw) in the simulator or {"episode", "first", "last"} of a replayed store. The record
goes to <folder>/record.json, pictures beside it; the last line of stdout tells how far it is.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from nav_offrl_msgs.action import NavigateToImage
from nav_offrl_msgs.srv import ReplayEpisode, ResetSimulation
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from nav_offrl.errors import NavOffrlError
from nav_offrl_ros.camera import COMPRESSED_TOPIC, LATEST_QOS
from nav_offrl_ros.conversions import duration_message, seconds, yaw_of
from nav_offrl_ros.run import run_node

PATIENCE = 30.0  # s for a node to appear and answer
ATTEMPTS = 3  # within that time
# Nothing that was sent may be missing from the record.
RECORD_QOS = QoSProfile(depth=1000)
Drive = dict[str, Any]


class DriveClient(Node):
    """Brings the navigator up, sends goals, records topics."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__("drive_client")
        self._plan = plan
        self._folder = Path(plan["folder"])
        self._rows: dict[str, list[list[float]]] = {}
        self._problems: dict[str, str] = {}
        self._last_image: CompressedImage | None = None
        self._forget()
        self._listen()
        self._action = ActionClient(self, NavigateToImage, "navigate_to_image")

    def _forget(self) -> None:
        names = ("truth", "navigator_commands", "gate_commands", "feedback", "recorded", "touches")
        self._rows = {name: [] for name in names}

    def _listen(self) -> None:
        def keep(kind: type, topic: str, row: str, values: Callable[[Any], list[float]]) -> None:
            self.create_subscription(
                kind,
                topic,
                lambda message: self._rows[row].append([self._now(), *values(message)]),
                RECORD_QOS,
            )

        keep(Twist, "cmd_vel_nav", "navigator_commands", lambda m: [m.linear.x, m.angular.z])
        keep(Twist, "cmd_vel", "gate_commands", lambda m: [m.linear.x, m.angular.z])
        if self._plan["replay"]:
            keep(TwistStamped, "replay/action", "recorded", _recorded_row)
        else:
            keep(Odometry, "ground_truth", "truth", _truth_row)
            keep(Bool, "collision", "touches", lambda m: [float(m.data)])
        self.create_subscription(CompressedImage, COMPRESSED_TOPIC, self._on_image, LATEST_QOS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _now(self) -> float:
        return seconds(self.get_clock().now().to_msg())

    def _on_image(self, message: CompressedImage) -> None:
        self._last_image = message

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.level == DiagnosticStatus.ERROR:
                self._problems[status.name.rpartition("/")[2]] = status.message

    # Waiting -----------------------------------------------------------------------------------

    def _until(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        if not self._holds_within(condition, timeout):
            raise NavOffrlError(f"waited {timeout:g} s in vain for {what}")

    def _holds_within(self, condition: Callable[[], object], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            rclpy.spin_once(self, timeout_sec=0.05)
        return True

    def _call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service; ask again when no answer comes.

        On a busy machine an answer is lost when the server has not discovered this client yet. So
        whatever is called here must bear being called twice.
        """
        client = self.create_client(kind, service)
        self._until(client.service_is_ready, f"service '{service}'")
        answers: list[Any] = []
        for _ in range(ATTEMPTS):
            client.call_async(request).add_done_callback(lambda f: answers.append(f.result()))
            if self._holds_within(lambda: answers, PATIENCE / ATTEMPTS):
                break
        self.destroy_client(client)
        if not answers:
            raise NavOffrlError(f"waited {PATIENCE:g} s in vain for an answer of '{service}'")
        return answers[0]

    # Driving -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring up, do all drives, write the record; the record is written drive by drive."""
        self._bring_up()
        drives = []
        for index, drive in enumerate(self._plan["drives"]):
            self._forget()
            record = self._replay(drive) if self._plan["replay"] else self._simulate(drive)
            self._save_picture(f"last_image_{index}.jpg", self._last_image)
            drives.append({**drive, **record, **self._rows})
            (self._folder / "record.json").write_text(json.dumps(drives))

    def _bring_up(self) -> None:
        for name, transition, state in (
            ("configure", Transition.TRANSITION_CONFIGURE, "inactive"),
            ("activate", Transition.TRANSITION_ACTIVATE, "active"),
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            changed = self._call(ChangeState, "navigator/change_state", request).success
            # Asked twice, it refuses the second time; what counts is where it is.
            if not changed and self._navigator_state() != state:
                raise NavOffrlError(self._problems.get("navigator", f"navigator: {name} failed"))
        self._until(lambda: self._rows["navigator_commands"], "commands of the navigator")
        self._until(lambda: self._rows["gate_commands"], "commands of the safety gate")
        self._until(self._action.server_is_ready, "action 'navigate_to_image'")

    def _navigator_state(self) -> str:
        answer = self._call(GetState, "navigator/get_state", GetState.Request())
        return str(answer.current_state.label)

    def _simulate(self, drive: Drive) -> Drive:
        request = ResetSimulation.Request(start=drive["start"], goal=drive["goal"])
        reset = self._call(ResetSimulation, "reset_simulation", request)
        if not reset.success:
            raise NavOffrlError(reset.message)
        # Only what is seen at the new place counts.
        since = self._now()
        self._until(lambda: self._image_stamp() > since, "an image after the reset")
        self._rows["truth"].clear()
        self._until(lambda: self._rows["truth"], "the true pose")
        self._save_picture(f"goal_image_{self._number(drive)}.png", reset.goal_image)
        result = self._navigate(drive, reset.goal_image, lambda: False)
        # The robot needs its braking distance; what counts is where it stands.
        self._until(self._stands, "the robot to stand still", 5.0)
        return {
            **result,
            "geodesic_distance": reset.geodesic_distance,
            "success_radius": reset.success_radius,
        }

    def _replay(self, drive: Drive) -> Drive:
        request = ReplayEpisode.Request(
            episode=drive["episode"], first=drive["first"], last=drive["last"]
        )
        piece = self._call(ReplayEpisode, "replay/load", request)
        if not piece.success:
            raise NavOffrlError(piece.message)
        self._save_picture(f"goal_image_{self._number(drive)}.png", piece.goal_image)

        def is_over() -> bool:
            return len(self._rows["recorded"]) >= piece.steps

        def play() -> None:
            if not self._call(Trigger, "replay/play", Trigger.Request()).success:
                raise NavOffrlError("the replay did not start")

        result = self._navigate(drive, piece.goal_image, is_over, play)
        return {**result, "steps": piece.steps, "rate_hz": piece.rate_hz}

    def _navigate(
        self,
        drive: Drive,
        goal_image: CompressedImage,
        is_over: Callable[[], bool],
        then: Callable[[], None] = lambda: None,
    ) -> Drive:
        goal = NavigateToImage.Goal(
            goal_image=goal_image, timeout=duration_message(self._plan["timeout"])
        )
        sent = self._action.send_goal_async(goal, self._on_feedback)
        self._until(sent.done, "the navigator to take the goal")
        handle = sent.result()
        if not handle.accepted:
            raise NavOffrlError("the navigator refused the goal")
        end = handle.get_result_async()
        goal_time = self._now()
        then()
        deadline = time.monotonic() + self._plan["timeout"] + PATIENCE
        while not end.done() and not is_over() and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.05)
            self._tell(drive)
        if not end.done():
            handle.cancel_goal_async()
        self._until(end.done, "the result of the drive")
        result = end.result().result
        return {
            "goal_time": goal_time,
            "error_code": result.error_code,
            "error_msg": result.error_msg,
            "arrived": result.arrived,
            "navigation_time": seconds(result.navigation_time),
        }

    def _on_feedback(self, message: Any) -> None:
        feedback = message.feedback
        if feedback.reason:
            return
        command = feedback.command
        stamp = seconds(feedback.image_stamp)
        values = [stamp, command.linear.x, command.angular.z, feedback.steps_to_goal]
        self._rows["feedback"].append([self._now(), *values])

    def _image_stamp(self) -> float:
        return seconds(self._last_image.header.stamp) if self._last_image is not None else 0.0

    def _stands(self) -> bool:
        last = self._rows["truth"][-1]
        return abs(last[4]) < 0.05 and self._rows["gate_commands"][-1][1:] == [0.0, 0.0]

    def _number(self, drive: Drive) -> int:
        return int(self._plan["drives"].index(drive))

    def _save_picture(self, name: str, message: CompressedImage | None) -> None:
        if message is not None:
            (self._folder / name).write_bytes(bytes(message.data))

    def _tell(self, drive: Drive) -> None:
        """Write where the drive is, now and then."""
        now = time.monotonic()
        if now < getattr(self, "_next_word", 0.0):
            return
        self._next_word = now + 0.5
        steps = self._rows["feedback"][-1][4] if self._rows["feedback"] else float("nan")
        print(json.dumps({"drive": self._number(drive), "steps_to_goal": steps}), flush=True)


def _truth_row(message: Odometry) -> list[float]:
    place, speed = message.pose.pose, message.twist.twist
    return [place.position.x, place.position.y, yaw_of(place.orientation), speed.linear.x]


def _recorded_row(message: TwistStamped) -> list[float]:
    return [seconds(message.header.stamp), message.twist.linear.x, message.twist.angular.z]


def main() -> None:
    """Entry point."""
    plan = json.loads(Path(remove_ros_args(sys.argv)[1]).read_text())
    sys.exit(run_node(lambda: DriveClient(plan), DriveClient.run))
