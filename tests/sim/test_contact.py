import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl_sim import generate_world, load_robot_config, load_world_config
from nav_offrl_sim.geometry import Obstacle
from nav_offrl_sim.robot import Robot

GENERIC = load_robot_config("generic")
MIDDLE = (10.0, 10.0, 0.0)


def placed(world, pose, config=GENERIC, seed=0):
    robot = Robot(world, config)
    robot.place(pose, np.random.default_rng(seed))
    return robot


def boxes():
    return st.builds(
        Obstacle,
        x=st.floats(1, 19),
        y=st.floats(1, 19),
        half_length=st.floats(0.0, 2.0),
        half_width=st.floats(0.0, 0.1),
        yaw=st.floats(-3, 3),
        radius=st.floats(0.02, 0.2),
    )


@settings(max_examples=40, deadline=None)
@given(
    obstacles=st.lists(boxes(), min_size=1, max_size=25),
    seed=st.integers(0, 1000),
    name=st.sampled_from(["generic", "jackal", "turtlebot"]),
)
def test_a_robot_at_top_speed_never_cuts_into_an_obstacle(arena, obstacles, seed, name):
    world = arena(*obstacles)
    # One substep a control period, so that every stretch of the way can be looked at.
    config = load_robot_config(name).model_copy(update={"control_period": 0.04, "tipping": None})
    rng = np.random.default_rng(seed)
    radius = config.footprint_radius
    for _ in range(20):
        pose = (*rng.uniform(1, 19, 2), rng.uniform(-3, 3))
        if world.clearance.at(*pose[:2]) >= radius:
            break
    else:
        return
    robot = placed(world, pose, config, seed)
    for k in range(120):
        if k % 20 == 0:
            speed = rng.choice([-config.max_reverse, config.max_linear, config.max_linear])
            turn = rng.uniform(-1, 1) * config.max_angular * rng.integers(2)
        before = robot.pose
        robot.step(speed, turn)
        way = np.linspace(before[:2], robot.pose[:2], 12).T
        assert math.dist(before[:2], robot.pose[:2]) <= config.max_linear * 0.04 + 1e-9
        # The clearance is interpolated between nodes 5 cm apart; beside a corner it is 2 mm off.
        assert min(obstacle.distance(*way).min() for obstacle in obstacles) >= radius - 2e-3
        assert radius - 2e-3 <= way.min() and way.max() <= 20 - radius + 2e-3


@pytest.mark.parametrize("name", ["campus", "office"])
def test_no_command_tunnels_or_teleports_in_generated_worlds(name):
    world = generate_world(load_world_config(name), 1)
    config = load_robot_config("jackal")
    space = world.free_space(config.footprint_radius)
    rng = np.random.default_rng(0)
    touched = 0
    for _ in range(40):
        start = space.centre(*space.cells[rng.integers(len(space.cells))])
        robot = placed(world, (*start, rng.uniform(-3, 3)), config)
        turn = rng.uniform(-0.3, 0.3)
        for _ in range(40):
            before = robot.pose
            touched += robot.step(2.0, turn).collision
            assert world.clearance.at(*robot.pose[:2]) >= config.footprint_radius - 1e-9
            assert math.dist(before[:2], robot.pose[:2]) <= 2.0 * 0.2 + 1e-9
    assert touched > 300


def test_moving_bodies_stop_the_robot(arena):
    robot = placed(arena(), MIDDLE)
    robot.set_bodies([(12.0, 10.0, 0.3)])
    collided = [robot.step(1.0, 0.0).collision for _ in range(20)]
    assert collided[-1] and not collided[0]
    assert robot.pose[0] == pytest.approx(12.0 - 0.3 - 0.25, abs=0.005)
    robot.set_bodies([])
    assert not any(robot.step(1.0, 0.0).collision for _ in range(10))


def test_contact_stops_at_the_obstacle_and_turning_away_frees(arena):
    robot = placed(arena(), (2.0, 10.0, math.pi))
    for _ in range(30):
        motion = robot.step(1.0, 0.0)
    assert motion.collision
    assert robot.linear == 0.0
    gap = arena().clearance.at(*robot.pose[:2]) - GENERIC.footprint_radius
    assert 0.0 <= gap < 0.01
    while abs(robot.pose[2]) > 0.3:
        robot.step(0.0, 1.2)
    assert not any(robot.step(0.5, 0.0).collision for _ in range(5))


def test_stuck_after_its_time_and_free_again_when_moving(arena):
    robot = placed(arena(), (0.26, 10.0, math.pi))
    stuck = [robot.step(1.0, 0.0).stuck for _ in range(15)]
    assert stuck == [False] * 9 + [True] * 6  # 2 s are ten periods
    assert not any(robot.step(0.0, 1.2).stuck for _ in range(13))
    assert not any(robot.step(1.0, 0.0).stuck for _ in range(15))
    assert not any(robot.step(0.0, 0.0).stuck for _ in range(15))
