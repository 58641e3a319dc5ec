"""The last thing before the wheels: lets a command through only while everything is alive.

It trusts nobody, the navigator included, and knows no network. Pure functions over an explicit
state, time (s) as an argument. It is no obstacle detector: keep a collision monitor and a
hardware emergency stop behind it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Self

from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl.runtime.checks import Scenery, accelerate, clip_command, time_fault, watch_scenery
from nav_offrl.runtime.types import Command, TimedCommand, TimedImageHeader, TimedOdometry

Pair = tuple[float, float]


class SafetyConfig(Config):
    """What the robot may do, and how fresh its inputs must be."""

    linear_limits: Pair = Field((0.0, 1.0), description="lowest and highest velocity (m/s)")
    angular_limits: Pair = Field((-1.0, 1.0), description="lowest and highest turn rate (rad/s)")
    max_linear_acceleration: float = Field(
        1.0, gt=0, description="speeding up (m/s^2); braking is never limited"
    )
    max_angular_acceleration: float = Field(
        3.0, gt=0, description="turning faster (rad/s^2); braking is never limited"
    )
    far_out_factor: float = Field(
        2.0, ge=1, description="a command this many times beyond a limit is nonsense: stop"
    )
    max_command_age: float = Field(0.3, gt=0, le=5, description="older commands stop it (s)")
    max_image_age: float = Field(0.5, gt=0, le=5, description="older images stop it (s)")
    max_odometry_age: float = Field(0.3, gt=0, le=5, description="older odometry stops it (s)")
    max_frozen_time: float | None = Field(
        1.0, gt=0, description="identical pixels for longer stop it (s); null: noise-free camera"
    )
    clock_tolerance: float = Field(
        0.1, ge=0, le=1, description="how far in the future a stamp may lie (s)"
    )
    recovery_time: float = Field(
        0.5, ge=0, le=60, description="inputs must be healthy this long before driving (s)"
    )

    @model_validator(mode="after")
    def _limits_contain_stop(self) -> Self:
        for name in ("linear_limits", "angular_limits"):
            low, high = getattr(self, name)
            if not (low < high and low <= 0.0 <= high):
                raise ValueError(f"{name}: needs low < high and 0 inside, found {(low, high)}")
        return self


class Cause(Enum):
    """Why the gate changed or stopped a command."""

    CLOCK = "clock"
    EMERGENCY_STOP = "emergency_stop"
    NO_IMAGE = "no_image"
    STALE_IMAGE = "stale_image"
    FROZEN_IMAGE = "frozen_image"
    NO_ODOMETRY = "no_odometry"
    STALE_ODOMETRY = "stale_odometry"
    BAD_ODOMETRY = "bad_odometry"
    NO_COMMAND = "no_command"
    STALE_COMMAND = "stale_command"
    BAD_COMMAND = "bad_command"
    FAR_OUT_OF_LIMITS = "far_out_of_limits"
    RECOVERING = "recovering"
    CLAMPED = "clamped"
    ACCELERATION = "acceleration"


@dataclass(frozen=True)
class SafetyInputs:
    """The latest of each input (None: none yet), and whether the emergency stop is pressed."""

    command: TimedCommand | None
    image: TimedImageHeader | None
    odometry: TimedOdometry | None
    emergency_stop: bool


@dataclass(frozen=True)
class SafetyDiagnosis:
    """What the gate did in this step.

    `stopped`: the output is the stop command because of `cause`. `cause` is None where the
    command passed unchanged. `interventions` counts, for each cause, how often it began (not
    for how many steps it lasted); waiting out the recovery time is not counted again.
    """

    stopped: bool
    cause: Cause | None
    reason: str
    interventions: Mapping[Cause, int]


@dataclass(frozen=True)
class SafetyState:
    """All that the gate remembers; times in s."""

    now: float | None = None
    command: Command = Command.STOP
    healthy_since: float | None = None
    emergency_stopped: bool = False
    scenery: Scenery | None = None
    cause: Cause | None = None
    interventions: Mapping[Cause, int] = field(default_factory=lambda: MappingProxyType({}))


Step = tuple[SafetyState, Command, SafetyDiagnosis]
Fault = tuple[Cause, str]


class SafetyGate:
    """Command in, safe command out; stopped at the start and after every fault."""

    def __init__(self, config: SafetyConfig | None = None) -> None:
        self.config = config or SafetyConfig()
        self._low = (self.config.linear_limits[0], self.config.angular_limits[0])
        self._high = (self.config.linear_limits[1], self.config.angular_limits[1])
        self._accelerations = (
            self.config.max_linear_acceleration,
            self.config.max_angular_acceleration,
        )

    def initial_state(self) -> SafetyState:
        """Stopped; nothing seen yet."""
        return SafetyState()

    def release(self, state: SafetyState) -> SafetyState:
        """Deliberately lift a latched emergency stop; one still pressed latches again."""
        return replace(state, emergency_stopped=False)

    def step(self, state: SafetyState, inputs: SafetyInputs, now: float) -> Step:
        """Judge the inputs at `now` (s); never raises, stops instead."""
        previous = state.now
        state, clock_fault = _observe(state, inputs, now)
        command = inputs.command
        fault = clock_fault or self._fault(state, inputs, now)
        if fault is not None or command is None:
            cause, reason = fault or (Cause.NO_COMMAND, "no command yet")
            return _stop(replace(state, healthy_since=None), cause, reason)
        since = now if state.healthy_since is None else state.healthy_since
        state = replace(state, healthy_since=since)
        if now - since < self.config.recovery_time:
            reason = f"healthy for {now - since:.2f} of {self.config.recovery_time:.2f} s"
            return _stop(state, Cause.RECOVERING, reason)
        # In a long gap between steps the base may have stopped by itself: it earns no speed.
        elapsed = 0.0 if previous is None else min(now - previous, self.config.max_command_age)
        return self._pass(state, command.command, elapsed)

    def _pass(self, state: SafetyState, wanted: Command, elapsed: float) -> Step:
        inside = clip_command(wanted, self._low, self._high)
        command = accelerate(inside, state.command, self._accelerations, elapsed)
        cause, reason = None, "passed"
        if inside != wanted:
            cause, reason = Cause.CLAMPED, f"{wanted} is beyond the limits"
        elif command != inside:
            cause, reason = Cause.ACCELERATION, f"{wanted} is reached gradually"
        return _result(state, command, cause, reason, stopped=False)

    def _fault(self, state: SafetyState, inputs: SafetyInputs, now: float) -> Fault | None:
        if state.emergency_stopped:
            return Cause.EMERGENCY_STOP, "emergency stop; release it to drive"
        return (
            self._image_fault(inputs.image, now)
            or self._frozen_fault(state.scenery, now)
            or self._odometry_fault(inputs.odometry, now)
            or self._command_fault(inputs.command, now)
        )

    def _image_fault(self, image: TimedImageHeader | None, now: float) -> Fault | None:
        if image is None:
            return Cause.NO_IMAGE, "no image yet"
        limits = (self.config.max_image_age, self.config.clock_tolerance)
        fault = time_fault("image", image.stamp, image.arrival, now, *limits)
        return (Cause.STALE_IMAGE, fault) if fault else None

    def _frozen_fault(self, scenery: Scenery | None, now: float) -> Fault | None:
        limit = self.config.max_frozen_time
        if limit is None or scenery is None or now - scenery.since <= limit:
            return None
        return Cause.FROZEN_IMAGE, f"same pixels for {now - scenery.since:.1f} s"

    def _odometry_fault(self, odometry: TimedOdometry | None, now: float) -> Fault | None:
        if odometry is None:
            return Cause.NO_ODOMETRY, "no odometry yet"
        if not odometry.is_finite():
            return Cause.BAD_ODOMETRY, "odometry is not finite"
        limits = (self.config.max_odometry_age, self.config.clock_tolerance)
        fault = time_fault("odometry", odometry.stamp, odometry.arrival, now, *limits)
        return (Cause.STALE_ODOMETRY, fault) if fault else None

    def _command_fault(self, timed: TimedCommand | None, now: float) -> Fault | None:
        if timed is None:
            return Cause.NO_COMMAND, "no command yet"
        if not timed.command.is_finite():
            return Cause.BAD_COMMAND, "command is not finite"
        limits = (self.config.max_command_age, self.config.clock_tolerance)
        fault = time_fault("command", timed.stamp, timed.arrival, now, *limits)
        if fault:
            return Cause.STALE_COMMAND, fault
        if self._is_far_out(timed.command):
            return Cause.FAR_OUT_OF_LIMITS, f"{timed.command} is far beyond the limits"
        return None

    def _is_far_out(self, command: Command) -> bool:
        parts = (command.linear, command.angular)
        return any(
            abs(value) > self.config.far_out_factor * max(abs(low), abs(high))
            for value, low, high in zip(parts, self._low, self._high, strict=True)
        )


def _observe(
    state: SafetyState, inputs: SafetyInputs, now: float
) -> tuple[SafetyState, Fault | None]:
    """Take note of the time, the emergency stop and the pixels; judge the clock."""
    if inputs.emergency_stop:
        state = replace(state, emergency_stopped=True)
    if not math.isfinite(now):
        return state, (Cause.CLOCK, "the time now is not a number")
    fault: Fault | None = None
    if state.now is not None and now < state.now:
        fault = (Cause.CLOCK, f"the clock jumped back by {state.now - now:.2f} s")
        state = replace(state, scenery=None)
    if inputs.image is not None and inputs.image.digest is not None:
        state = replace(state, scenery=watch_scenery(state.scenery, inputs.image.digest, now))
    return replace(state, now=now), fault


def _stop(state: SafetyState, cause: Cause, reason: str) -> Step:
    return _result(state, Command.STOP, cause, reason, stopped=True)


def _result(
    state: SafetyState, command: Command, cause: Cause | None, reason: str, *, stopped: bool
) -> Step:
    counts = dict(state.interventions)
    if cause not in (None, Cause.RECOVERING, state.cause):
        counts[cause] = counts.get(cause, 0) + 1
    interventions = MappingProxyType(counts)
    state = replace(state, command=command, cause=cause, interventions=interventions)
    return state, command, SafetyDiagnosis(stopped, cause, reason, interventions)
