"""The simulator as a robot: its sensors' topics, and a base that obeys cmd_vel.

Like a real base it stops by itself when commands stop coming. In real time it is stamped by the
system's clock; with `use_sim_time` it is the source of `/clock` and may go faster: see `pace`.
"""

import math
import sys
import time
from functools import partial
from pathlib import Path

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from nav_offrl_msgs.srv import ResetSimulation
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from nav_offrl.config import load_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import Command
from nav_offrl_ros.camera import LATEST_QOS
from nav_offrl_ros.conversions import seconds, stamp_message
from nav_offrl_ros.diagnostics import OK, STEADY, WARN, Diagnostics, Report
from nav_offrl_ros.images import UInt8Array, compressed_message
from nav_offrl_ros.pacer import PACES, Pacer
from nav_offrl_ros.parameters import declare, declare_choice
from nav_offrl_ros.robot_topics import RobotTopics
from nav_offrl_ros.run import run_node
from nav_offrl_ros.velocity import COMMAND_QOS, subscribe_velocity
from nav_offrl_sim import EnvConfig, RobotConfig, load_robot_config
from nav_offrl_sim.configuration import PedestriansConfig
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.randomisation import RandomisationConfig

DRAWN = [math.nan] * 3  # ROS has no empty pose
STEP_RATE = 50.0  # of a robot without an IMU, Hz
BURST = 0.005  # s of steps on end when running free
HIGHEST_STEP_RATE = 100.0  # an IMU that is faster has several samples a step


def step_period(robot: RobotConfig) -> float:
    """Time between two steps (s): as its IMU samples, so that samples come when they are taken."""
    if robot.imu is None:
        return 1.0 / STEP_RATE
    return math.ceil(robot.imu.rate_hz / HIGHEST_STEP_RATE) / robot.imu.rate_hz


class SimBridgeNode(Node):
    """NavigationEnv, stepped by a timer."""

    def __init__(self) -> None:
        super().__init__("sim_bridge")
        self._environment = self._make_environment()
        self._timeout = declare(
            self,
            "command_timeout",
            0.3,
            "stand still without commands for this long (s)",
            0.05,
            5.0,
        )
        self._command = Command.STOP
        self._commanded_at = -math.inf
        self._topics = RobotTopics(
            self,
            self._environment,
            declare(self, "camera_rate_hz", 20.0, "pictures (Hz)", 1.0, 100.0),
            declare(self, "odometry_rate_hz", 20.0, "odometry (Hz)", 5.0, 100.0),
        )
        self._reset(
            list(declare(self, "start", DRAWN, "x (m), y (m), yaw (rad); NaN: drawn")),
            list(declare(self, "goal", DRAWN, "x (m), y (m), yaw (rad); NaN: drawn")),
            declare(self, "seed", 0, "of drawn places, noise, people", 0, 2**31 - 1),
        )
        self._listen()
        self._start_clock()

    def _make_environment(self) -> NavigationEnv:
        world = declare(self, "world", "campus", "name of a shipped world, or a YAML file")
        robot = declare(self, "robot", "generic", "name of a shipped robot, or a YAML file")
        seed = declare(self, "world_seed", 0, "which world of its kind", 0, 2**31 - 1)
        people = declare(self, "pedestrians", 0, "people who walk about", 0, 8)
        file = declare(self, "randomisation", "", "YAML file of what differs between drives")
        noise = declare(
            self,
            "camera_noise",
            1.0,
            "standard deviation of the pixels' noise (grey levels) if 'randomisation' has none; "
            "without any, the pictures of a resting robot are identical and taken for a frozen "
            "camera",
            0.0,
            50.0,
        )
        drawn = load_yaml(RandomisationConfig, Path(file)) if file else RandomisationConfig()
        if drawn.noise is None:
            drawn = drawn.model_copy(update={"noise": (noise, noise)})
        config = EnvConfig(
            world=world,
            robot=robot,
            images="lazy",
            pedestrians=PedestriansConfig(count=people),
            randomisation=drawn,
        )
        base = load_robot_config(robot)
        base = base.model_copy(update={"control_period": step_period(base)})
        return NavigationEnv(config, world_seed=seed, robot=base)

    def _listen(self) -> None:
        stamped = declare(self, "enable_stamped_cmd_vel", False, "cmd_vel is TwistStamped")
        subscribe_velocity(self, "cmd_vel", stamped, self._on_command)
        self.create_service(ResetSimulation, "reset_simulation", self._on_reset)
        self._diagnostics = Diagnostics(self, self._report)

    def _start_clock(self) -> None:
        pace = declare_choice(
            self,
            "pace",
            PACES,
            "by the wall clock, by commands (each lets command_period pass as fast as can be), or "
            "free; the latter two need use_sim_time",
        )
        period = declare(
            self, "command_period", 0.1, "time that a command lets pass (s)", 0.01, 10.0
        )
        topics = list(
            declare(
                self,
                "pace_topics",
                ["cmd_vel"],
                "velocities whose senders the pace 'commands' waits for",
            )
        )
        self._pacer = Pacer(
            self._environment.robot_config.control_period, pace, period, len(topics)
        )
        self._clock_topic = None
        if self.get_parameter("use_sim_time").value:
            self._clock_topic = self.create_publisher(Clock, "/clock", COMMAND_QOS)
        elif pace != "real_time":
            raise ValueError(f"parameter 'pace' is '{pace}', which needs 'use_sim_time'")
        stamped = self.get_parameter("enable_stamped_cmd_vel").value
        for number, topic in enumerate(topics):
            self.create_subscription(
                TwistStamped if stamped else Twist,
                topic,
                partial(self._on_pace, number),
                LATEST_QOS,
            )
        self._reported = (0.0, time.monotonic())
        self.create_timer(self._pacer.period, self._step_when_due, clock=STEADY)
        # Always ready: lets everything that has arrived be heard between two steps.
        self._hurry = self.create_timer(0.0, self._step_in_a_hurry, clock=STEADY)

    # Commands ----------------------------------------------------------------------------------

    def _on_command(self, command: Command, stamp: float | None) -> None:
        del stamp
        self._command = command if command.is_finite() else Command.STOP
        self._commanded_at = self._pacer.now

    def _on_pace(self, commander: int, command: Command, stamp: float | None) -> None:
        del command, stamp
        self._pacer.command(commander)
        if self._pacer.hurries():
            self._hurry.reset()

    def _on_reset(
        self, request: ResetSimulation.Request, response: ResetSimulation.Response
    ) -> ResetSimulation.Response:
        try:
            distance, goal_image = self._reset(list(request.start), list(request.goal), None)
        except NavOffrlError as error:
            response.message = str(error)
            return response
        frame = "camera_optical_frame"
        stamp = self._stamp(self._pacer.now)
        response.success = True
        response.goal_image = compressed_message(goal_image, stamp, frame, "png")
        response.geodesic_distance = distance
        response.success_radius = self._environment.config.success_radius
        return response

    def _reset(
        self, start: list[float], goal: list[float], seed: int | None
    ) -> tuple[float, UInt8Array]:
        """Place the robot; return the shortest path (m) to the goal and the goal's picture."""
        poses = {"start": tuple(map(float, start)), "goal": tuple(map(float, goal))}
        options = {name: pose for name, pose in poses.items() if not math.isnan(pose[0])}
        _, info = self._environment.reset(seed=seed, options=options)
        self._topics.place(info)
        self._command, self._commanded_at = Command.STOP, -math.inf
        distance = info["geodesic_to_goal"]
        picture = self._environment.goal_image()
        return distance if math.isfinite(distance) else math.nan, picture

    # Time --------------------------------------------------------------------------------------

    def _step_when_due(self) -> None:
        while self._pacer.due() and self.context.ok():
            self._step()
            if self._pacer.hurries():
                self._hurry.reset()
                return

    def _step_in_a_hurry(self) -> None:
        if not self._pacer.hurries():
            self._hurry.cancel()
            return
        self._step()
        # One step at a time hears commands soonest, but between steps the executor costs more than
        # they do; who runs free waits for nobody's commands.
        until = time.monotonic() + BURST
        while self._pacer.pace == "free" and time.monotonic() < until and self.context.ok():
            self._step()

    def _step(self) -> None:
        alive = self._pacer.now - self._commanded_at <= self._timeout
        command = self._command if alive else Command.STOP
        *_, info = self._environment.step((command.linear, command.angular))
        self._pacer.step()
        if self._clock_topic is not None:
            self._clock_topic.publish(Clock(clock=self._stamp(self._pacer.now)))
        self._topics.publish(info, self._pacer.now, self._stamp)

    def _stamp(self, moment: float) -> Time:
        """Return a moment (s, simulated) as a stamp of the clock that nodes go by."""
        if self._clock_topic is not None:
            return stamp_message(moment)
        now = seconds(self.get_clock().now().to_msg())
        return stamp_message(now - self._pacer.lag() + moment - self._pacer.now)

    def _report(self) -> Report:
        late, self._pacer.late = self._pacer.late, 0
        (now, wall), self._reported = self._reported, (self._pacer.now, time.monotonic())
        rate = (self._reported[0] - now) / max(self._reported[1] - wall, 1e-9)
        values = {"late_steps": late, "real_time_factor": round(rate, 3)}
        if late:
            return Report(WARN, "slower than real time: the machine is too busy", values)
        return Report(OK, "running", values)

    def destroy_node(self) -> None:
        """Free the renderer, too."""
        self._environment.close()
        super().destroy_node()


def main() -> None:
    """Entry point."""
    sys.exit(run_node(SimBridgeNode))
