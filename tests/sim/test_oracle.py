import math

import numpy as np
import pytest

from nav_offrl_sim import generate_world, load_robot_config, load_world_config
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.robot import Robot
from nav_offrl_sim.tasks import evaluation_pairs


@pytest.mark.parametrize("name", ["campus", "office"])
def test_oracle_reaches_goals_without_touching_anything(name):
    config = load_robot_config("generic")
    clean, count = 0, 0
    for seed in range(3):
        world = generate_world(load_world_config(name), seed)
        robot, oracle = Robot(world, config), OracleDriver(world, config)
        for start, goal in evaluation_pairs(world, 20, seed, 4.0, 8.0):
            robot.place(start, np.random.default_rng(count))
            clean += arrives_cleanly(robot, oracle, goal)
            count += 1
    assert clean >= 0.95 * count


def arrives_cleanly(robot, oracle, goal):
    for _ in range(200):
        if math.dist(robot.pose[:2], goal[:2]) < 0.5:
            return True
        if robot.step(*oracle.command(robot.pose, goal)).collision:
            return False
    return False


def test_oracle_stops_at_the_goal_facing_its_yaw():
    world = generate_world(load_world_config("office"), 0)
    config = load_robot_config("generic")
    robot, oracle = Robot(world, config), OracleDriver(world, config)
    start, goal = evaluation_pairs(world, 1, 0, 4.0, 8.0)[0]
    robot.place(start, np.random.default_rng(0))
    for _ in range(200):
        linear, angular = oracle.command(robot.pose, goal)
        assert 0.0 <= linear <= config.max_linear and abs(angular) <= config.max_angular
        robot.step(linear, angular)
    assert math.dist(robot.pose[:2], goal[:2]) < 0.4
    assert math.cos(robot.pose[2] - goal[2]) > 0.98
    assert robot.linear < 0.01
