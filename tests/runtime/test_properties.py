"""No sequence of inputs makes the robot leave its limits or move on what is not fresh."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.runtime import (
    Command,
    Navigator,
    NavigatorConfig,
    NavigatorInputs,
    SafetyConfig,
    SafetyGate,
    SafetyInputs,
    Status,
    TimedCommand,
    TimedImage,
    TimedImageHeader,
    TimedOdometry,
)

SPECIAL = [math.nan, math.inf, -math.inf, 1e308, -1e308]
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Mostly ordinary values, so that runs get as far as driving; now and then anything at all.
ORDINARY_TICKS, ORDINARY_AGES = st.floats(0.01, 0.3), st.floats(0.0, 0.2)
TICKS = st.one_of(st.floats(-5.0, 20.0), st.sampled_from(SPECIAL))
AGES = st.one_of(st.floats(-2.0, 2.0), st.sampled_from(SPECIAL))
VALUES = st.one_of(st.floats(-3.0, 3.0), st.floats(), st.sampled_from(SPECIAL))


def is_fresh(now, stamp, arrival, max_age, tolerance=0.1):
    """An oracle of its own, written the other way round from the code under test."""
    return all(-tolerance <= now - time <= max_age for time in (stamp, arrival))


def overshoots(command, wanted):
    """Not between 0 and what was wanted: braking was delayed, or the gate drove by itself."""
    return not (
        min(0.0, wanted.linear) <= command.linear <= max(0.0, wanted.linear)
        and min(0.0, wanted.angular) <= command.angular <= max(0.0, wanted.angular)
    )


def grew_too_much(old, new, largest):
    return abs(new) > abs(old) * (old * new > 0) + largest * (1 + 1e-9) + 1e-9


# What is odd in a step, if anything: one thing at a time, so that each check must stand alone.
ODDITIES = st.sampled_from(
    [None] * 10 + ["tick", "command", "ages", "odometry", "missing", "pressed", "request"]
)


@st.composite
def odometries(draw, now, ages, odd):
    values = [draw(VALUES) if odd == "odometry" else 0.0 for _ in range(5)]
    return TimedOdometry(*values, now - draw(ages), now - draw(ages))


@st.composite
def safety_sequences(draw):
    now, items = 100.0, []
    for _ in range(draw(st.integers(1, 40))):
        odd = draw(ODDITIES)
        this = now + draw(TICKS if odd == "tick" else ORDINARY_TICKS)
        now = this if math.isfinite(this) and abs(this) < 1e9 else now
        ages = AGES if odd == "ages" else ORDINARY_AGES
        speeds = VALUES if odd == "command" else st.floats(-1.5, 1.5)
        parts = {
            "command": TimedCommand(
                Command(draw(speeds), draw(speeds)), this - draw(ages), this - draw(ages)
            ),
            "image": TimedImageHeader(
                this - draw(ages), this - draw(ages), draw(st.integers(0, 3))
            ),
            "odometry": draw(odometries(this, ages, odd)),
        }
        if odd == "missing":
            parts[draw(st.sampled_from(list(parts)))] = None
        inputs = SafetyInputs(**parts, emergency_stop=odd == "pressed")
        items.append((inputs, this, odd == "request"))
    return items


@SETTINGS
@given(safety_sequences(), st.sampled_from([0.0, 0.2, 0.5]))
def test_gate(sequence, recovery_time):
    config = SafetyConfig(
        linear_limits=(-0.2, 0.8), angular_limits=(-0.5, 1.0), recovery_time=recovery_time
    )
    gate = SafetyGate(config)
    state, previous, latest, pressed, healthy_since = (
        gate.initial_state(),
        Command.STOP,
        None,
        0,
        None,
    )
    for inputs, now, release in sequence:
        if release:
            state, pressed = gate.release(state), False
        pressed = pressed or inputs.emergency_stop
        state, command, diagnosis = gate.step(state, inputs, now)
        assert -0.2 <= command.linear <= 0.8 and -0.5 <= command.angular <= 1.0
        healthy = (
            math.isfinite(now)
            and (latest is None or now >= latest)
            and not pressed
            and None not in (inputs.command, inputs.image, inputs.odometry)
            and inputs.odometry.is_finite()
            and inputs.command.command.is_finite()
            and is_fresh(now, inputs.image.stamp, inputs.image.arrival, 0.5)
            and is_fresh(now, inputs.odometry.stamp, inputs.odometry.arrival, 0.3)
            and is_fresh(now, inputs.command.stamp, inputs.command.arrival, 0.3)
            and abs(inputs.command.command.linear) <= 1.6
            and abs(inputs.command.command.angular) <= 2.0
        )
        healthy_since = None if not healthy else now if healthy_since is None else healthy_since
        if not healthy or now - healthy_since < recovery_time:
            assert command == Command.STOP and diagnosis.stopped
        assert command == Command.STOP or not overshoots(command, inputs.command.command)
        elapsed = 0.0 if latest is None or not math.isfinite(now) else max(now - latest, 0.0)
        assert not grew_too_much(previous.linear, command.linear, elapsed * 1.0)
        assert not grew_too_much(previous.angular, command.angular, elapsed * 3.0)
        latest = now if math.isfinite(now) else latest
        previous = command
    assert sum(diagnosis.interventions.values()) <= len(sequence)


@st.composite
def navigator_sequences(draw):
    now, image, items = 100.0, None, []
    for _ in range(draw(st.integers(1, 30))):
        odd = draw(ODDITIES)
        this = now + draw(TICKS if odd == "tick" else ORDINARY_TICKS)
        now = this if math.isfinite(this) and abs(this) < 1e9 else now
        ages = AGES if odd == "ages" else ORDINARY_AGES
        if draw(st.integers(0, 2)) or image is None:
            pixels = np.full((24, 32, 3), draw(st.integers(0, 255)), np.uint8)
            if odd == "pressed":
                pixels = pixels[:10]
            image = TimedImage(pixels, this - draw(ages), this - draw(ages))
        parts = {"image": image, "odometry": draw(odometries(this, ages, odd))}
        if odd == "missing":
            parts[draw(st.sampled_from(list(parts)))] = None
        items.append((NavigatorInputs(**parts, now=this), odd == "request"))
    return items


@SETTINGS
@given(sequence=navigator_sequences())
def test_navigator(bundle, sequence):
    config = NavigatorConfig(max_angular_velocity=0.3, max_frozen_time=None)
    navigator = Navigator(bundle, config)
    goal = np.full((24, 32, 3), 120, np.uint8)
    state = navigator.with_goal(navigator.initial_state(), goal)
    previous, latest, arrived = Command.STOP, None, False
    for inputs, new_goal in sequence:
        if new_goal:
            state, arrived = navigator.with_goal(state, goal), False
        state, command, diagnosis = navigator.step(state, inputs)
        now, image, odometry = inputs.now, inputs.image, inputs.odometry
        assert 0.0 <= command.linear <= 1.0 and abs(command.angular) <= 0.3
        healthy = (
            math.isfinite(now)
            and (latest is None or now >= latest)
            and None not in (image, odometry)
            and image.pixels.shape == (24, 32, 3)
            and odometry.is_finite()
            and is_fresh(now, image.stamp, image.arrival, 0.5)
            and is_fresh(now, odometry.stamp, odometry.arrival, 0.5)
        )
        if not healthy:
            assert diagnosis.status is Status.STOPPED
        arrived = arrived or diagnosis.status is Status.ARRIVED
        if diagnosis.status is not Status.DRIVING or arrived:
            assert command == Command.STOP
        assert command == Command.STOP or not overshoots(command, state.target)
        elapsed = 0.0 if latest is None or not math.isfinite(now) else max(now - latest, 0.0)
        assert not grew_too_much(previous.linear, command.linear, elapsed * 1.0)
        assert not grew_too_much(previous.angular, command.angular, elapsed * 3.0)
        latest = now if math.isfinite(now) else latest
        previous = command


@pytest.mark.parametrize("kind", ["gate", "navigator"])
def test_the_properties_are_not_met_by_standing_still(bundle, kind):
    """The same oracle conditions let a healthy robot drive."""
    gate, navigator = SafetyGate(), Navigator(bundle, NavigatorConfig(max_frozen_time=None))
    gate_state = gate.initial_state()
    state = navigator.with_goal(navigator.initial_state(), np.full((24, 32, 3), 120, np.uint8))
    command = Command.STOP
    for k in range(20):
        now = 100 + 0.1 * k
        odometry = TimedOdometry(0, 0, 0, 0, 0, now, now)
        image = TimedImage(np.full((24, 32, 3), 30, np.uint8), now, now)
        if kind == "navigator":
            state, command, _ = navigator.step(state, NavigatorInputs(image, odometry, now))
        else:
            header = TimedImageHeader(now, now, k)
            timed = TimedCommand(Command(0.4, 0.1), now, now)
            inputs = SafetyInputs(timed, header, odometry, False)
            gate_state, command, _ = gate.step(gate_state, inputs, now)
    assert command.linear >= 0.4
