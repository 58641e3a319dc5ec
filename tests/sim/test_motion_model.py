"""Predictions against the simulated robot itself, far from anything that could stop it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl_sim import RobotConfig, generate_world, load_world_config
from nav_offrl_sim.motion_model import MotionModel
from nav_offrl_sim.robot import Robot
from nav_offrl_sim.robot_configuration import SlipConfig, TippingConfig

WORLD = generate_world(load_world_config("open"), 0)
START = (10.0, 10.0, 0.3)
COMMANDS = st.lists(st.tuples(st.floats(-0.5, 1.0), st.floats(-2, 2)), min_size=8, max_size=8)


def robot_config(latency=0.0, **changes):
    values = {"linear_acceleration": 1.0, "angular_acceleration": 3.0, "max_reverse": 0.5}
    values |= {"max_angular": 2.0, "control_period": 0.2, "latency": latency} | changes
    return RobotConfig(name="x", slip={"floor": SlipConfig(linear=0.1, angular=0.2)}, **values)


@given(commands=COMMANDS, latency=st.sampled_from([0.0, 0.05, 0.2, 0.33, 0.6]))
@settings(max_examples=60, deadline=None)
def test_it_foresees_what_the_robot_will_do(commands, latency):
    config = robot_config(latency)
    robot, model = Robot(WORLD, config), MotionModel(WORLD, config)
    robot.place(START, np.random.default_rng(0))
    sent = [(0.0, 0.0)] * (int(latency / 0.2 + 1e-9) + 2)
    foreseen = None
    for command in commands:
        sent = [*sent[1:], command]
        state = (robot.pose, robot.linear, robot.angular)
        foreseen = model.roll(state, model.latest(sent))[-1]
        robot.step(*command)
        assert foreseen[1:] == pytest.approx((robot.linear, robot.angular), abs=1e-9)
        # Steps of another length than the robot's own: arcs differ by less than a millimetre.
        assert math.dist(foreseen[0][:2], robot.pose[:2]) < 2e-3
        assert abs(math.remainder(foreseen[0][2] - robot.pose[2], 2 * math.pi)) < 1e-9


@pytest.mark.parametrize("latency", [0.0, 0.1, 0.2, 0.5])
def test_what_is_pending_lasts_as_long_as_the_latency(latency):
    model = MotionModel(WORLD, robot_config(latency))
    sent = [(0.0, 0.0)] * (int(latency / 0.2 + 1e-9) + 2)
    assert sum(duration for _, duration in model.pending(sent)) == pytest.approx(latency)


def test_the_way_to_stand_still_in_closed_form():
    """Without lag a robot stops within v²/2a."""
    model = MotionModel(WORLD, robot_config(linear_lag=0.0).model_copy(update={"slip": {}}))
    way = model.stop(((10.0, 10.0, 0.0), 1.0, 0.0))
    assert way[-1][1] == pytest.approx(0.0, abs=1e-9)
    assert way[-1][0][0] == pytest.approx(10.0 + 0.5)
    assert len(way) == 10  # 1 s


def test_who_does_not_tip_may_drive_on_any_ground():
    assert MotionModel(WORLD, robot_config()).untipped_speed(3.0) == math.inf
    low = TippingConfig(half_track=0.2, mass_height=0.1)
    high = TippingConfig(half_track=0.2, mass_height=0.4)
    slow, fast = (
        MotionModel(WORLD, robot_config(tipping=tipping)).untipped_speed(0.5)
        for tipping in (high, low)
    )
    assert 0 < slow < fast
