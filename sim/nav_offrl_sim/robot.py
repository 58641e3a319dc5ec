"""Motion of a robot: limits, lag, latency, slip, contact and falling over; what it senses of it."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nav_offrl_sim.geometry import FloatArray, wrap_angle
from nav_offrl_sim.imu import GRAVITY, GroundProfile, Imu, Shaking
from nav_offrl_sim.interpolation import Interpolation
from nav_offrl_sim.robot_configuration import RobotConfig, SlipConfig, TippingConfig
from nav_offrl_sim.world import World

SUBSTEP = 0.1  # longest time between two looks at the ground, s
NEAREST_CHECK = 0.002  # between two contact checks beside an obstacle, m: it cuts in by < 1e-5 m
SHAKES_HZ = 50.0  # rate at which a robot without an IMU is shaken
BLOCK = 64  # periods for which noise is drawn at once
STILL = 1e-3  # slower wheels do not move, m/s and rad/s
STUCK_SPEED = 0.05  # slower commands are none to drive, m/s
STUCK_SHARE = 0.1  # of the commanded way: who moves less does not move
NO_SLIP = SlipConfig()

Pose = tuple[float, float, float]  # x m, y m, yaw rad
Disc = tuple[float, float, float]  # x m, y m, radius m


def arc(pose: Pose, linear: float, angular: float, duration: float) -> Pose:
    """Pose after driving at constant velocities (m/s, rad/s) for `duration` s; exact."""
    x, y, yaw = pose
    turn = angular * duration
    # The chord of an arc of length s and angle t is s * sin(t/2) / (t/2), along yaw + t/2.
    chord = linear * duration * (math.sin(turn / 2) / (turn / 2) if abs(turn) > 1e-9 else 1.0)
    heading = yaw + turn / 2
    return x + chord * math.cos(heading), y + chord * math.sin(heading), wrap_angle(yaw + turn)


def respond(
    value: float, target: float, lag: float, limit: float, duration: float
) -> tuple[float, float]:
    """A velocity that follows a command, and the way it makes; the closed form of
    dv/dt = (target - v) / lag, cut to ±limit.

    `lag` and `duration` are in s, `limit` is an acceleration.
    """
    gap = target - value
    slope = math.copysign(limit, gap)
    ramp = (abs(gap) - limit * lag) / limit  # time until the lag governs
    if duration <= ramp:
        return value + slope * duration, (value + slope * duration / 2) * duration
    way = 0.0
    if ramp > 0:
        way = (value + slope * ramp / 2) * ramp
        gap -= slope * ramp
        duration -= ramp
    if lag == 0.0:
        return target, way + target * duration
    rest = gap * math.exp(-duration / lag)
    return target - rest, way + target * duration - (gap - rest) * lag


@dataclass(frozen=True)
class Motion:
    """What happened during one control period.

    Attributes:
        collision: the robot touched something.
        bumpiness: rms of the gyro's x and y, rad/s; as its IMU has it, if it has one.
        stuck: for some time it has been told to drive but has not moved.
        flipped: it lies on its side and drives no more.
        true_bumpiness: what the ground's roughness makes of the speed, without noise, rad/s.
    """

    collision: bool
    bumpiness: float
    stuck: bool = False
    flipped: bool = False
    true_bumpiness: float = 0.0


class Robot:
    """True state and sensed motion of a robot in a world.

    Attributes:
        pose: true x m, y m, yaw rad.
        velocity: true m/s and rad/s.
        linear, angular: of the wheels, m/s and rad/s: what slip takes off is still in them.
        odometry: integrated from the wheels; agrees with `pose` at the start of a drive.
        measured: velocity of the wheels as sensed, m/s and rad/s.
        imu: samples of the last control period (N, 6), see `Imu`; NaN before the first period and
            without an IMU.
    """

    def __init__(self, world: World, config: RobotConfig) -> None:
        self.config = config
        self._world = world
        rate = config.imu.rate_hz if config.imu is not None else SHAKES_HZ
        self._samples = max(1, round(rate * config.control_period))
        self.place((0.0, 0.0, 0.0), np.random.default_rng(0))

    def place(self, pose: Pose, rng: np.random.Generator, latency: float | None = None) -> None:
        """Put the robot down at rest, its odometry right.

        `rng` drives ground and sensors, each by a stream of its own; `latency` (s) replaces that
        of the robot's configuration.
        """
        config = self.config
        ground, wheels, inertia = rng.spawn(3)
        self.pose = self.odometry = pose
        self.linear = self.angular = 0.0
        self.velocity = self.measured = (0.0, 0.0)
        self._rng = wheels
        self._scale = 1 + wheels.normal(0, config.odometry_scale_error, 2)
        self._profile = GroundProfile(ground)
        self._imu = Imu(config.imu, inertia) if config.imu is not None else None
        self.imu: FloatArray = np.full((self._samples, 6), np.nan)
        self._errors: list[list[float]] = []
        delay = config.latency if latency is None else latency
        whole = int(delay / config.control_period + 1e-9)
        late = max(0.0, delay - whole * config.control_period)
        self._plan = _substeps(late, config.control_period - late)
        self._interpolation = Interpolation([time for _, time in self._plan], self._samples)
        self._commands = deque([(0.0, 0.0)] * (whole + 2), maxlen=whole + 2)
        self._driven = self._waiting = 0.0
        self._fallen = 0.0
        self.set_bodies(())

    def set_bodies(self, bodies: Sequence[Disc]) -> None:
        """Say where the moving things are that stop the robot."""
        self._bodies = tuple(bodies)
        self._free_way = 0.0

    def step(self, linear: float, angular: float) -> Motion:
        """Obey a command (m/s, rad/s), clamped to the limits, for one control period."""
        config = self.config
        linear = min(max(linear, -config.max_reverse), config.max_linear)
        angular = min(max(angular, -config.max_angular), config.max_angular)
        self._commands.append((linear, angular))
        start, trace = self.pose, _Trace()
        if self._fallen:
            trace.velocities = [(0.0, 0.0)] * (3 * len(self._plan))
            trace.roughness = [0.0] * len(self._plan)
            self.measured = (0.0, 0.0)
            self._shake(trace)
            return Motion(False, self._bumpiness(0.0), False, True)
        error = self._error()
        commands = self._commands[0], self._commands[1]
        collision = False
        for number, duration in self._plan:
            collision |= self._substep(commands[number], duration, trace, error)
        self.measured = (self.linear + error[0], self.angular + error[1])
        shaking = self._shake(trace)
        self._driven += trace.way
        self._tip(shaking)
        truth = shaking.bumpiness()
        stuck = self._is_stuck(start)
        return Motion(collision, self._bumpiness(truth), stuck, bool(self._fallen), truth)

    def gap(self, x: float, y: float) -> float:
        """Room between a robot at (x, y) m and the nearest thing that stops it, m."""
        room = self._world.clearance.at(x, y)
        for body_x, body_y, radius in self._bodies:
            room = min(room, math.hypot(x - body_x, y - body_y) - radius)
        return room - self.config.footprint_radius

    def _error(self) -> tuple[float, float]:
        """The wheels' errors of a period, m/s and rad/s."""
        if not self._errors:
            noise = self._rng.standard_normal((BLOCK, 2)) * self.config.velocity_noise
            self._errors = noise[::-1].tolist()
        linear, angular = self._errors.pop()
        return linear, angular

    def _substep(
        self,
        command: tuple[float, float],
        duration: float,
        trace: "_Trace",
        error: tuple[float, float],
    ) -> bool:
        config, (x, y, _) = self.config, self.pose
        before = self.velocity
        self.linear, way = respond(
            self.linear, command[0], config.linear_lag, config.linear_acceleration, duration
        )
        self.angular, turn = respond(
            self.angular, command[1], config.angular_lag, config.angular_acceleration, duration
        )
        slip = config.slip.get(self._world.terrain(x, y), NO_SLIP) if config.slip else NO_SLIP
        keep, keep_turn = 1 - slip.linear, 1 - slip.angular
        done = self._advance(way * keep, turn * keep_turn)
        collision = done < 1.0
        if collision:
            self.linear = 0.0
        self.velocity = (self.linear * keep, self.angular * keep_turn)
        self._count_wheels(way * done, turn, duration, error)
        made = way * keep * done
        mean = made / duration, turn * keep_turn / duration
        trace.velocities += (before, self.velocity, mean)
        trace.roughness.append(self._world.roughness(x, y))
        trace.way += made
        return collision

    def _advance(self, way: float, turn: float) -> float:
        """Move along an arc; return the share of the way made before a contact, or 1.

        The gap shrinks by no more than the way driven, so that far from things nothing is checked.
        """
        target = arc(self.pose, way, turn, 1.0)
        length = abs(way)
        if self._free_way >= length:
            self._free_way -= length
            self.pose = target
            return 1.0
        made = self._free_part(way, turn)
        if made == length:
            self.pose = target
            return 1.0
        # A round footprint can always turn on the spot, so only the translation ends here.
        done = made / length
        x, y, _ = arc(self.pose, way * done, turn * done, 1.0)
        self.pose = (x, y, target[2])
        return done

    def _free_part(self, way: float, turn: float) -> float:
        """Length of an arc's part that a robot can drive, found in steps no longer than the gap."""
        length, made = abs(way), 0.0
        gap = self._free_way if self._free_way > 0 else self.gap(self.pose[0], self.pose[1])
        while made < length:
            following = min(made + max(gap, NEAREST_CHECK), length)
            share = following / length
            x, y, _ = arc(self.pose, way * share, turn * share, 1.0)
            ahead = self.gap(x, y)
            if ahead < min(gap, 0.0):
                break
            made, gap = following, ahead
        self._free_way = gap
        return made

    def _count_wheels(
        self, way: float, turn: float, duration: float, error: tuple[float, float]
    ) -> None:
        """Integrate the odometry; encoders of wheels that stand add no noise."""
        moving = abs(way) + abs(turn) > STILL * duration
        linear = way * float(self._scale[0]) + (error[0] * duration if moving else 0.0)
        angular = turn * float(self._scale[1]) + (error[1] * duration if moving else 0.0)
        self.odometry = arc(self.odometry, linear, angular, 1.0)

    def _shake(self, trace: "_Trace") -> Shaking:
        (speed, turning), (acceleration, _), (way, _) = self._interpolation(
            trace.velocities
        ).transpose(0, 2, 1)
        roughness = np.array(trace.roughness).take(self._interpolation.substep)
        motion = speed, turning, acceleration
        shaking = Shaking.of(self._profile, self._driven + way, motion, roughness)
        if self._imu is not None:
            self.imu = self._imu.samples(shaking, self._fallen)
        return shaking

    def _bumpiness(self, truth: float) -> float:
        if self._imu is None:
            return truth
        rates = self.imu[:, :2].ravel()
        return math.sqrt(float(rates @ rates) / len(rates))

    def _tip(self, shaking: Shaking) -> None:
        tipping = self.config.tipping
        if tipping is None:
            return
        load = tipping_load(tipping, shaking)
        worst = int(np.argmax(np.abs(load)))
        if abs(load[worst]) >= 1.0:
            self._fallen = math.copysign(1.0, load[worst])
            self.linear = self.angular = 0.0
            self.velocity = (0.0, 0.0)

    def _is_stuck(self, start: Pose) -> bool:
        config = self.config
        told = abs(self._commands[1][0])
        moved = math.hypot(self.pose[0] - start[0], self.pose[1] - start[1])
        if told > STUCK_SPEED and moved < STUCK_SHARE * told * config.control_period:
            self._waiting += config.control_period
        else:
            self._waiting = 0.0
        return self._waiting >= config.stuck_time - 1e-9


def _substeps(*durations: float) -> list[tuple[int, float]]:
    """Index of the command and duration (s) of each substep, for commands of these durations."""
    counts = [math.ceil(duration / SUBSTEP - 1e-9) for duration in durations]
    return [
        (number, durations[number] / count)
        for number, count in enumerate(counts)
        for _ in range(count)
    ]


def tipping_load(tipping: TippingConfig, shaking: Shaking) -> FloatArray:
    """How near a robot is to falling over at N instants: at 1 it falls to its right, at -1 left.

    The sum of two shares. A curve tips a rigid body when its lateral acceleration reaches
    g * half_track / mass_height. A jolt tips it when the roll's energy lifts the centre of mass
    over the wheels: 1/2 I rate² = m g (r - mass_height), r the distance of the centre of mass
    from the wheels' edge and I = 4/3 m r² that of a box about its edge.
    """
    lateral = GRAVITY * tipping.half_track / tipping.mass_height
    arm = math.hypot(tipping.half_track, tipping.mass_height)
    jolt = 1.5 * GRAVITY * (arm - tipping.mass_height) / arm**2  # rate² that tips it
    rolling = shaking.rates[0]
    load: FloatArray = shaking.speed * shaking.turning / lateral + np.abs(rolling) * rolling / jolt
    return load


class _Trace:
    """The substeps of one control period: velocities as `Interpolation` takes them."""

    def __init__(self) -> None:
        self.velocities: list[tuple[float, float]] = []
        self.roughness: list[float] = []
        self.way = 0.0
