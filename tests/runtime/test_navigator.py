"""The navigator drives to its goal and stops on every fault."""

import re
from dataclasses import replace

import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import (
    Command,
    Navigator,
    NavigatorConfig,
    NavigatorInputs,
    Status,
    TimedImage,
    TimedOdometry,
)

GOAL = (200, 100, 50)


def picture(colour=GOAL, seed=0):
    noise = np.random.default_rng(seed).integers(-3, 4, (24, 32, 3))
    noise[:12] = -noise[12:]  # the mean is exactly the colour
    return (np.array(colour) + noise).clip(0, 255).astype(np.uint8)


def inputs(now, colour=(100, 100, 50), age=0.0, seed=None):
    pixels = picture(colour, seed=int(now * 1000) if seed is None else seed)
    image = TimedImage(pixels, now - age, now - age)
    return NavigatorInputs(image, TimedOdometry(0, 0, 0, 0, 0, now, now), now)


def with_goal(bundle, **config):
    navigator = Navigator(bundle, NavigatorConfig(**config))
    return navigator, navigator.with_goal(navigator.initial_state(), picture())


def run(navigator, state, items):
    results = []
    for item in items:
        state, command, diagnosis = navigator.step(state, item)
        results.append((command, diagnosis))
    return state, results


def drive(navigator, state, start=10.0, steps=20, colour=(100, 100, 50)):
    return run(navigator, state, [inputs(start + 0.1 * k, colour) for k in range(steps)])


def test_idle_without_goal(bundle):
    navigator = Navigator(bundle)
    _, results = drive(navigator, navigator.initial_state())
    assert all(command == Command.STOP for command, _ in results)
    assert {diagnosis.status for _, diagnosis in results} == {Status.IDLE}


def test_drives_as_the_policy_says(bundle):
    navigator, state = with_goal(bundle)
    _, results = drive(navigator, state)
    command, diagnosis = results[-1]
    assert diagnosis.status is Status.DRIVING
    assert command.linear == pytest.approx(0.5)
    assert command.angular == pytest.approx(-100 / 255, abs=1e-3)
    assert diagnosis.steps_to_goal == pytest.approx(100 * 100 / 255, rel=1e-3)
    assert diagnosis.inference_time > 0.0


def test_arrives_after_consecutive_fresh_frames_and_stays(bundle):
    navigator, state = with_goal(bundle, arrival_frames=3)
    state, _ = drive(navigator, state, steps=10)
    state, results = drive(navigator, state, start=11.0, steps=5, colour=GOAL)
    assert [d.status for _, d in results] == [Status.DRIVING] * 2 + [Status.ARRIVED] * 3
    assert results[2][0] == Command.STOP
    state, results = drive(navigator, state, start=11.5, steps=5)
    assert all(d.status is Status.ARRIVED and c == Command.STOP for c, d in results)
    state = navigator.with_goal(state, picture((10, 10, 10)))
    _, results = drive(navigator, state, start=12.0)
    assert results[-1][1].status is Status.DRIVING


def test_one_frame_seen_twice_is_not_two_frames(bundle):
    navigator, state = with_goal(bundle, arrival_frames=2)
    item = inputs(10.0, GOAL)
    repeated = [replace(item, now=10.0 + 0.01 * k) for k in range(10)]
    _, results = run(navigator, state, repeated)
    assert {d.status for _, d in results} == {Status.DRIVING}


def test_interrupted_frames_at_the_goal_do_not_add_up(bundle):
    navigator, state = with_goal(bundle, arrival_frames=2)
    colours = [GOAL, (100, 100, 50)] * 5
    _, results = run(navigator, state, [inputs(10 + 0.1 * k, c) for k, c in enumerate(colours)])
    assert {d.status for _, d in results} == {Status.DRIVING}


def test_holds_the_command_between_images_without_inference(bundle):
    navigator, state = with_goal(bundle)
    state, results = drive(navigator, state)
    item = inputs(11.9, seed=11900)
    odometry = [TimedOdometry(0, 0, 0, 0, 0, t, t) for t in (11.95, 12.0)]
    held = [NavigatorInputs(item.image, o, o.stamp) for o in odometry]
    _, more = run(navigator, state, held)
    assert [command for command, _ in more] == [results[-1][0]] * 2
    assert [diagnosis.inference_time for _, diagnosis in more] == [0.0, 0.0]


@pytest.mark.parametrize("rate", [5, 10, 50, 200])
def test_acceleration_does_not_depend_on_the_rate(bundle, rate):
    navigator, state = with_goal(bundle, max_linear_acceleration=0.4)
    _, results = run(navigator, state, [inputs(10 + k / rate) for k in range(rate + 1)])
    assert results[-1][0].linear == pytest.approx(0.4, rel=1e-6)


def test_velocity_limits_below_the_bundles_hold(bundle):
    navigator, state = with_goal(bundle, max_linear_velocity=0.2, max_angular_velocity=0.1)
    _, results = drive(navigator, state)
    assert results[-1][0] == Command(0.2, -0.1)


def faulty(now):
    good = inputs(now)
    image, odometry = good.image, good.odometry
    wrong_size = np.zeros((48, 32, 3), np.uint8)
    return {
        "no image": replace(good, image=None),
        "image is stale.*stamp": replace(good, image=replace(image, stamp=now - 0.6)),
        "image is stale.*arrival": replace(good, image=replace(image, arrival=now - 0.6)),
        "image stamp.*future": replace(good, image=replace(image, stamp=now + 5)),
        "image stamp is not a number": replace(good, image=replace(image, stamp=float("nan"))),
        "the bundle takes uint8": replace(good, image=replace(image, pixels=wrong_size)),
        "image is float32": replace(
            good, image=replace(image, pixels=image.pixels.astype(np.float32))
        ),
        "older than the one before": replace(good, image=replace(image, stamp=now - 0.3)),
        "no odometry": replace(good, odometry=None),
        "odometry is stale": replace(good, odometry=replace(odometry, stamp=now - 0.6)),
        "odometry is not finite": replace(good, odometry=replace(odometry, yaw=float("inf"))),
        "time now is not a number": replace(good, now=float("nan")),
        "clock jumped backwards": inputs(now - 5),
    }


@pytest.mark.parametrize("reason", list(faulty(10.0)))
def test_fault_stops_at_once_and_driving_resumes_from_rest(bundle, reason):
    navigator, state = with_goal(bundle, max_linear_acceleration=0.5)
    state, before = drive(navigator, state)
    assert before[-1][0].linear == pytest.approx(0.5)
    state, [(command, diagnosis)] = run(navigator, state, [faulty(12.0)[reason]])
    assert command == Command.STOP
    assert diagnosis.status is Status.STOPPED
    assert re.search(reason, diagnosis.reason)
    _, after = drive(navigator, state, start=12.1)
    assert 0.0 <= after[0][0].linear <= 0.25
    assert after[-1][0].linear == pytest.approx(0.5)


def test_frozen_camera_stops_and_a_living_one_drives_again(bundle):
    navigator, state = with_goal(bundle, max_frozen_time=0.5)
    frozen = [inputs(10 + 0.1 * k, seed=1) for k in range(20)]
    state, results = run(navigator, state, frozen)
    assert results[4][1].status is Status.DRIVING
    assert all(c == Command.STOP and "frozen" in d.reason for c, d in results[7:])
    _, results = drive(navigator, state, start=12.0)
    assert results[-1][1].status is Status.DRIVING


def test_noise_free_camera_may_rest(bundle):
    navigator, state = with_goal(bundle, max_frozen_time=None)
    _, results = run(navigator, state, [inputs(10 + 0.1 * k, seed=1) for k in range(50)])
    assert results[-1][1].status is Status.DRIVING


def test_recovers_after_the_clock_was_set_back(bundle):
    navigator, state = with_goal(bundle)
    state, _ = drive(navigator, state, start=1000.0)
    state, results = drive(navigator, state, start=5.0)
    assert results[0][1].status is Status.STOPPED
    assert results[-1][1].status is Status.DRIVING


def test_odometry_may_be_left_out_where_the_configuration_says_so(bundle):
    navigator, state = with_goal(bundle, require_odometry=False)
    items = [replace(inputs(10 + 0.1 * k), odometry=None) for k in range(5)]
    _, results = run(navigator, state, items)
    assert results[-1][1].status is Status.DRIVING


def test_cancelled_goal_stops(bundle):
    navigator, state = with_goal(bundle)
    state, _ = drive(navigator, state)
    _, results = drive(navigator, navigator.without_goal(state), start=12.0)
    assert all(c == Command.STOP and d.status is Status.IDLE for c, d in results)


@pytest.mark.parametrize("goal", [np.zeros((24, 32), np.uint8), np.zeros((24, 32, 3), np.float32)])
def test_wrong_goal_image_is_refused(bundle, goal):
    navigator = Navigator(bundle)
    with pytest.raises(NavOffrlError, match="goal image"):
        navigator.with_goal(navigator.initial_state(), goal)


def test_image_age_shorter_than_the_image_period_is_refused(bundle):
    with pytest.raises(NavOffrlError, match="max_image_age"):
        Navigator(bundle, NavigatorConfig(max_image_age=0.05))
