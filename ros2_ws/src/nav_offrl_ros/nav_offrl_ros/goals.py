"""The navigate_to_image action: takes a goal photo, follows the drive, answers how it ended.

One goal at a time; a newer one takes over.
"""

import math
from collections.abc import Callable

from nav_offrl_msgs.action import NavigateToImage
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import Command, Diagnosis, Status, TimedImage
from nav_offrl_ros.conversions import duration_message, seconds, stamp_message, twist_of
from nav_offrl_ros.diagnostics import timer_clock
from nav_offrl_ros.images import UInt8Array, decode
from nav_offrl_ros.parameters import declare

Result = NavigateToImage.Result


class GoalServer:
    """Serves the action for a navigator that steps by itself and tells what it did."""

    def __init__(
        self,
        node: Node,
        accepts: Callable[[], bool],
        take_goal: Callable[[UInt8Array], None],
        drop_goal: Callable[[], None],
    ) -> None:
        self._node = node
        self._accepts, self._take_goal, self._drop_goal = accepts, take_goal, drop_goal
        self._goal_timeout = declare(
            node, "goal_timeout", 120.0, "give up a goal after this time (s)", 1.0, 36000.0
        )
        self._fault_timeout = declare(
            node,
            "fault_timeout",
            10.0,
            "give up after standing for a fault this long (s)",
            0.1,
            3600.0,
        )
        # System time may be set while a robot drives.
        self._clock = timer_clock(node)
        self._handle: ServerGoalHandle | None = None
        # Goal id -> its end; a goal may end before its execution starts.
        self._ends: dict[bytes, Future] = {}
        self._started = self._healthy = 0.0
        self._limit = self._goal_timeout
        self.inference_time = 0.0
        self._server = ActionServer(
            node,
            NavigateToImage,
            "navigate_to_image",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )

    def _on_goal(self, request: NavigateToImage.Goal) -> GoalResponse:
        del request
        if self._accepts():
            return GoalResponse.ACCEPT
        self._node.get_logger().warning("goal rejected: the navigator is not active")
        return GoalResponse.REJECT

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        self._finish(Result.PREEMPTED, "a newer goal took over")
        self._handle = handle
        self._ends[bytes(handle.goal_id.uuid)] = Future()
        self._started = self._healthy = self._seconds()
        self._limit = seconds(handle.request.timeout) or self._goal_timeout
        handle.execute()
        try:
            self._take_goal(decode(handle.request.goal_image))
        except (NavOffrlError, ValueError) as error:
            self._finish(Result.INVALID_GOAL_IMAGE, f"goal image: {error}")

    async def _execute(self, handle: ServerGoalHandle) -> NavigateToImage.Result:
        """Wait for the end of this goal; the drive itself goes on in the navigator's steps."""
        goal = bytes(handle.goal_id.uuid)
        result: NavigateToImage.Result = await self._ends[goal]
        del self._ends[goal]
        if result.error_code == Result.NONE:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def follow(self, diagnosis: Diagnosis, command: Command, image: TimedImage | None) -> None:
        """Tell the client about one step, and end the drive if the step ended it."""
        if diagnosis.inference_time > 0.0:
            self.inference_time = diagnosis.inference_time
        if self._handle is None:
            return
        now = self._seconds()
        if diagnosis.status is not Status.STOPPED:
            self._healthy = now
        if diagnosis.inference_time > 0.0 or diagnosis.status is Status.STOPPED:
            self._give_feedback(diagnosis, command, image)
        if diagnosis.status is Status.ARRIVED:
            self._finish(Result.NONE, "", arrived=True)
        elif self._handle.is_cancel_requested:
            self._finish(Result.CANCELED, "canceled by the client")
        elif now - self._started > self._limit:
            self._finish(Result.TIMEOUT, f"not there after {self._limit:g} s")
        elif now - self._healthy > self._fault_timeout:
            self._finish(Result.STOPPED_BY_FAULT, diagnosis.reason)

    def deactivated(self, reason: str) -> None:
        """End a drive because the navigator is not active any more."""
        self._finish(Result.NOT_ACTIVE, reason)

    def failed(self, reason: str) -> None:
        """End a drive because of an error in the navigator."""
        self._finish(Result.INTERNAL, reason)

    def _finish(self, code: int, message: str, arrived: bool = False) -> None:
        if self._handle is None:
            return
        elapsed = self._seconds() - self._started
        result = Result(error_code=code, error_msg=message, arrived=arrived)
        result.navigation_time = duration_message(elapsed)
        self._node.get_logger().info(f"goal ended after {elapsed:.1f} s: {message or 'arrived'}")
        self._drop_goal()
        self._ends[bytes(self._handle.goal_id.uuid)].set_result(result)
        self._handle = None

    def _give_feedback(
        self, diagnosis: Diagnosis, command: Command, image: TimedImage | None
    ) -> None:
        assert self._handle is not None
        feedback = NavigateToImage.Feedback(
            steps_to_goal=_or_nan(diagnosis.steps_to_goal),
            navigation_time=duration_message(self._seconds() - self._started),
            image_age=_or_nan(diagnosis.image_age),
            command=twist_of(command),
            reason="" if diagnosis.status is not Status.STOPPED else diagnosis.reason,
        )
        if image is not None:
            feedback.image_stamp = stamp_message(image.stamp)
        self._handle.publish_feedback(feedback)

    def _seconds(self) -> float:
        return float(self._clock.now().nanoseconds / 1e9)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
