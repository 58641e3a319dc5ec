"""Where commands will take a robot: the motion of `robot.py` without chance and without contact."""

import math
from collections.abc import Sequence

from nav_offrl_sim.imu import GRAVITY
from nav_offrl_sim.robot import Pose, arc, respond
from nav_offrl_sim.robot_configuration import RobotConfig, SlipConfig
from nav_offrl_sim.world import World

State = tuple[Pose, float, float]  # pose, wheels' linear m/s and angular rad/s
Command = tuple[float, float]  # m/s, rad/s
Timeline = Sequence[tuple[Command, float]]  # commands and how long each holds, s

STEP = 0.1  # longest time of a prediction step, s
STANDS = 0.02  # m/s
LONGEST_STOP = 10.0  # s
NO_SLIP = SlipConfig()
PEAK = 4.0  # no bump of a ride is worse than so many times the rms
LOAD = 0.5  # share of what tips the robot that is used


class MotionModel:
    """Predicts a robot of `config` in a `world`."""

    def __init__(self, world: World, config: RobotConfig) -> None:
        self._world, self._config = world, config

    def pending(self, sent: Sequence[Command]) -> Timeline:
        """What was sent and has not begun yet; `sent` as `Robot` queues it, the newest last."""
        commands = list(sent)
        late = self._late
        period = self._config.control_period
        return [(commands[1], late), *((command, period) for command in commands[2:])]

    def latest(self, sent: Sequence[Command]) -> Timeline:
        """What the robot did in the period that followed the newest command of `sent`."""
        commands, late = list(sent), self._late
        return [(commands[0], late), (commands[1], self._config.control_period - late)]

    @property
    def _late(self) -> float:
        latency, period = self._config.latency, self._config.control_period
        return max(0.0, latency - int(latency / period + 1e-9) * period)

    def roll(self, state: State, timeline: Timeline) -> list[State]:
        """The states on the way, the given one first."""
        states = [state]
        for command, duration in timeline:
            count = math.ceil(duration / STEP - 1e-9)
            for _ in range(count):
                states.append(self._step(states[-1], command, duration / count))
        return states

    def stop(self, state: State) -> list[State]:
        """The states until the robot stands after the command to."""
        states: list[State] = []
        for _ in range(round(LONGEST_STOP / STEP)):
            if abs(state[1]) < STANDS:
                break
            state = self._step(state, (0.0, 0.0), STEP)
            states.append(state)
        return states

    def _step(self, state: State, command: Command, duration: float) -> State:
        config, (pose, linear, angular) = self._config, state
        linear, way = respond(
            linear, command[0], config.linear_lag, config.linear_acceleration, duration
        )
        angular, turn = respond(
            angular, command[1], config.angular_lag, config.angular_acceleration, duration
        )
        slip = NO_SLIP
        if config.slip:
            slip = config.slip.get(self._world.terrain(pose[0], pose[1]), NO_SLIP)
        pose = arc(pose, way * (1 - slip.linear), turn * (1 - slip.angular), 1.0)
        return pose, linear, angular

    def untipped_speed(self, roughness: float) -> float:
        """Speed (m/s) at which ground of a `roughness` ((rad/s)/(m/s)) does not tip the robot.

        See `robot.tipping_load`: half of the jolt that tips it is left for curves.
        """
        tipping = self._config.tipping
        if tipping is None:
            return math.inf
        arm = math.hypot(tipping.half_track, tipping.mass_height)
        jolt = 1.5 * GRAVITY * (arm - tipping.mass_height) / arm**2
        return math.sqrt(LOAD * jolt) / (PEAK * max(roughness, 1e-6))
