"""The gate passes what is alive and sane, and nothing else."""

import itertools
from dataclasses import replace

import pytest
from pydantic import ValidationError

from nav_offrl.runtime import (
    Cause,
    Command,
    SafetyConfig,
    SafetyGate,
    SafetyInputs,
    TimedCommand,
    TimedImageHeader,
    TimedOdometry,
)

GATE = SafetyGate(SafetyConfig(max_linear_acceleration=10.0, max_angular_acceleration=10.0))
WANTED = Command(0.6, -0.4)


def inputs(now, command=WANTED, emergency_stop=False):
    return SafetyInputs(
        TimedCommand(command, now, now),
        TimedImageHeader(now, now, digest=int(now * 1000)),
        TimedOdometry(0, 0, 0, 0, 0, now, now),
        emergency_stop,
    )


def run(state, start, steps, gate=GATE, period=0.05, **keywords):
    commands, diagnosis = [], None
    for k in range(steps):
        now = start + k * period
        state, command, diagnosis = gate.step(state, inputs(now, **keywords), now)
        commands.append(command)
    return state, commands, diagnosis


def driving():
    state, commands, _ = run(GATE.initial_state(), 10.0, 20)
    assert commands[-1] == WANTED
    return state


def test_starts_stopped_and_passes_after_the_recovery_time():
    _, commands, diagnosis = run(GATE.initial_state(), 10.0, 20)
    assert commands[:10] == [Command.STOP] * 10
    assert commands[-1] == WANTED
    assert not diagnosis.stopped and diagnosis.cause is None


@pytest.mark.parametrize(
    ("missing", "cause"),
    [
        ("image", Cause.NO_IMAGE),
        ("odometry", Cause.NO_ODOMETRY),
        ("command", Cause.NO_COMMAND),
    ],
)
def test_nothing_passes_until_everything_has_arrived(missing, cause):
    state = GATE.initial_state()
    for k in range(100):
        now = 10 + 0.05 * k
        state, command, diagnosis = GATE.step(state, replace(inputs(now), **{missing: None}), now)
        assert command == Command.STOP and diagnosis.cause is cause
    assert diagnosis.interventions == {cause: 1}


def faulty(now):
    good = inputs(now)
    nan = float("nan")
    return {
        "stale image": (Cause.STALE_IMAGE, replace(good, image=TimedImageHeader(now - 1, now, 1))),
        "late image": (Cause.STALE_IMAGE, replace(good, image=TimedImageHeader(now, now - 1, 1))),
        "future image": (Cause.STALE_IMAGE, replace(good, image=TimedImageHeader(now + 1, now))),
        "stale odometry": (
            Cause.STALE_ODOMETRY,
            replace(good, odometry=replace(good.odometry, stamp=now - 1)),
        ),
        "odometry NaN": (
            Cause.BAD_ODOMETRY,
            replace(good, odometry=replace(good.odometry, linear=nan)),
        ),
        "stale command": (
            Cause.STALE_COMMAND,
            replace(good, command=replace(good.command, stamp=now - 1)),
        ),
        "late command": (
            Cause.STALE_COMMAND,
            replace(good, command=replace(good.command, arrival=now - 1)),
        ),
        "command NaN": (Cause.BAD_COMMAND, inputs(now, Command(nan, 0.0))),
        "command inf": (Cause.BAD_COMMAND, inputs(now, Command(0.1, float("-inf")))),
        "huge speed": (Cause.FAR_OUT_OF_LIMITS, inputs(now, Command(2.1, 0.0))),
        "huge turn": (Cause.FAR_OUT_OF_LIMITS, inputs(now, Command(0.0, -50.0))),
    }


@pytest.mark.parametrize("name", list(faulty(0.0)))
def test_fault_stops_at_once_is_counted_and_needs_recovery(name):
    cause, bad = faulty(11.0)[name]
    state, command, diagnosis = GATE.step(driving(), bad, 11.0)
    assert command == Command.STOP and diagnosis.stopped
    assert diagnosis.cause is cause and diagnosis.interventions[cause] == 1
    _, commands, diagnosis = run(state, 11.05, 20)
    assert commands[:10] == [Command.STOP] * 10
    assert commands[-1] == WANTED
    assert diagnosis.interventions[cause] == 1


def test_flickering_input_never_drives():
    state = driving()
    for k in range(60):
        now = 11 + 0.05 * k
        item = inputs(now) if k % 5 else replace(inputs(now), odometry=None)
        state, command, _ = GATE.step(state, item, now)
        assert command == Command.STOP
    assert state.interventions[Cause.NO_ODOMETRY] == 12


def test_clock_set_back_stops_and_recovers():
    state, commands, diagnosis = run(driving(), 3.0, 1)
    assert commands == [Command.STOP] and diagnosis.cause is Cause.CLOCK
    _, commands, _ = run(state, 3.05, 20)
    assert commands[-1] == WANTED


def test_time_that_is_not_a_number_stops():
    _, command, diagnosis = GATE.step(driving(), inputs(11.0), float("nan"))
    assert command == Command.STOP and diagnosis.cause is Cause.CLOCK


def test_emergency_stop_is_latched_until_released():
    state, commands, _ = run(driving(), 11.0, 1, emergency_stop=True)
    assert commands == [Command.STOP]
    state, commands, diagnosis = run(state, 11.05, 60)
    assert set(commands) == {Command.STOP} and diagnosis.cause is Cause.EMERGENCY_STOP
    assert diagnosis.interventions == {Cause.ACCELERATION: 1, Cause.EMERGENCY_STOP: 1}
    _, commands, _ = run(GATE.release(state), 14.05, 20)
    assert commands[:10] == [Command.STOP] * 10 and commands[-1] == WANTED


def test_release_of_a_pressed_emergency_stop_does_nothing():
    state, _, _ = run(driving(), 11.0, 1, emergency_stop=True)
    _, commands, _ = run(GATE.release(state), 11.05, 60, emergency_stop=True)
    assert set(commands) == {Command.STOP}


def test_frozen_camera_stops():
    state, stopped_at = GATE.initial_state(), None
    for k in range(60):
        now = 10 + 0.05 * k
        image = TimedImageHeader(now, now, digest=7)
        state, command, diagnosis = GATE.step(state, replace(inputs(now), image=image), now)
        if diagnosis.cause is Cause.FROZEN_IMAGE and stopped_at is None:
            stopped_at = now
        assert stopped_at is None or command == Command.STOP
    assert stopped_at == pytest.approx(11.05, abs=0.06)


def test_command_a_little_beyond_the_limits_is_clamped_and_counted_once():
    _, commands, diagnosis = run(driving(), 11.0, 20, command=Command(1.5, -1.2))
    assert commands[-1] == Command(1.0, -1.0)
    assert not diagnosis.stopped
    assert diagnosis.interventions[Cause.CLAMPED] == 1


def test_speed_grows_gradually_and_falls_at_once():
    gate = SafetyGate(SafetyConfig(max_linear_acceleration=0.5, recovery_time=0.0))
    state, commands, _ = run(gate.initial_state(), 10.0, 21, gate=gate)
    assert commands[-1].linear == pytest.approx(0.5)
    assert all(b.linear >= a.linear for a, b in itertools.pairwise(commands))
    _, commands, _ = run(state, 11.05, 1, gate=gate, command=Command.STOP)
    assert commands == [Command.STOP]


@pytest.mark.parametrize("limits", [(1.0, 0.0), (0.1, 1.0), (0.0, 0.0), (-1.0, float("nan"))])
def test_limits_without_stop_are_refused(limits):
    with pytest.raises(ValidationError):
        SafetyConfig(linear_limits=limits)
