"""The driver that knows the map: every suite, every robot, no contact."""

import math

import numpy as np
import pytest

from nav_offrl.suites import shipped_suites
from nav_offrl_sim import RobotConfig, generate_world, load_robot_config, load_world_config
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.robot import Robot
from nav_offrl_sim.robot_configuration import SlipConfig
from nav_offrl_sim.suite_tasks import suite_tasks, suite_world, world_tasks
from nav_offrl_sim.tasks import evaluation_pairs

SUITES = sorted(shipped_suites())
ROBOTS = ("generic", "jackal", "turtlebot")
# Commands arrive after four periods, wheels take seconds to stop and lose much to slip.
SLUGGISH = RobotConfig(
    name="sluggish",
    footprint_radius=0.3,
    max_linear=1.5,
    max_angular=0.5,
    linear_acceleration=0.4,
    angular_acceleration=0.5,
    linear_lag=0.5,
    angular_lag=0.4,
    control_period=0.25,
    latency=0.9,
    slip={kind: SlipConfig(linear=0.1, angular=0.3) for kind in ("floor", "grass", "path")},
)


def failures(world, robot_config, tasks, budget, success_radius=1.0):
    """Of (start, goal) tasks: those not reached within budget(number) s, or not without contact."""
    robot, oracle = Robot(world, robot_config), OracleDriver(world, robot_config)
    failed = []
    for number, (start, goal) in enumerate(tasks):
        robot.place(start, np.random.default_rng(number))
        steps = math.floor(budget(number) / robot_config.control_period)
        outcome = "late"
        for _ in range(steps):
            linear, angular = oracle.command(robot.pose, goal)
            assert 0.0 <= linear <= robot_config.max_linear
            assert abs(angular) <= robot_config.max_angular
            motion = robot.step(linear, angular)
            if motion.collision or motion.flipped or motion.stuck:
                outcome = "contact"
                break
            if math.dist(robot.pose[:2], goal[:2]) <= success_radius:
                outcome = ""
                break
        failed += [(number, outcome)] if outcome else []
    return failed


def suite_failures(suite, world, tasks, robot):
    config = load_robot_config(robot)

    def budget(number):
        return suite.time_reserve + suite.time_factor * tasks[number].shortest / config.max_linear

    pairs = [(task.start, task.goal) for task in tasks]
    return failures(world, config, pairs, budget, suite.success_radius)


@pytest.mark.parametrize("name", SUITES)
def test_the_first_world_of_a_suite_is_solved(name):
    suite = shipped_suites()[name]
    world = suite_world(suite, suite.world_seeds[0])
    assert suite_failures(suite, world, world_tasks(suite, world), "generic") == []


@pytest.mark.parametrize("robot", ["jackal", "turtlebot"])
def test_other_robots_solve_the_narrowest_suite(robot):
    suite = shipped_suites()["office"]
    world = suite_world(suite, suite.world_seeds[1])
    assert suite_failures(suite, world, world_tasks(suite, world), robot) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("name", SUITES)
def test_every_task_of_every_suite_is_solved(name, robot):
    suite = shipped_suites()[name]
    for world, tasks in suite_tasks(suite):
        assert suite_failures(suite, world, tasks, robot) == [], f"world {world.seed}"


@pytest.mark.parametrize("name", ["campus", "office"])
def test_a_robot_that_is_hard_to_stop_touches_nothing(name):
    world = generate_world(load_world_config(name), 0)
    pairs = evaluation_pairs(world, 6, 0, 4.0, 8.0, SLUGGISH.footprint_radius)
    assert failures(world, SLUGGISH, pairs, lambda _: 180.0) == []


def test_it_stops_at_the_goal_facing_its_yaw():
    world = generate_world(load_world_config("office"), 0)
    for config in map(load_robot_config, ROBOTS):
        robot, oracle = Robot(world, config), OracleDriver(world, config)
        start, goal = evaluation_pairs(world, 1, 0, 4.0, 8.0, config.footprint_radius)[0]
        robot.place(start, np.random.default_rng(0))
        for _ in range(400):
            robot.step(*oracle.command(robot.pose, goal))
        assert math.dist(robot.pose[:2], goal[:2]) < 0.4
        assert math.cos(robot.pose[2] - goal[2]) > 0.98
        assert abs(robot.linear) < 0.01


def test_its_way_is_hardly_longer_than_the_shortest():
    world = generate_world(load_world_config("campus"), 0)
    config = load_robot_config("generic")
    robot, oracle = Robot(world, config), OracleDriver(world, config)
    for number, (start, goal) in enumerate(evaluation_pairs(world, 5, 3, 8.0, 15.0)):
        robot.place(start, np.random.default_rng(number))
        shortest = oracle.space.distance_field(*goal[:2])[oracle.space.cell_of(*start[:2])]
        driven = 0.0
        while math.dist(robot.pose[:2], goal[:2]) > 0.5:
            before = robot.pose
            robot.step(*oracle.command(before, goal))
            driven += math.dist(before[:2], robot.pose[:2])
        assert driven < 1.1 * shortest


def test_it_slows_down_where_the_ground_would_tip_it():
    rough = load_world_config("open")
    ground = rough.ground[0].model_copy(update={"roughness": (1.6, 1.6)})
    speeds = []
    for config in (rough, rough.model_copy(update={"ground": (ground,)})):
        world, robot = generate_world(config, 0), load_robot_config("jackal")
        oracle = OracleDriver(world, robot)
        speeds.append(max(oracle.command((3.0, 10.0, 0.0), (17.0, 10.0, 0.0))[0] for _ in "abc"))
    assert speeds[0] > 1.95 and speeds[1] < 0.7


def test_disturbed_commands_are_accounted_for():
    """It knows where the robot will be although someone else chose the last commands."""
    world, config = generate_world(load_world_config("open"), 0), SLUGGISH
    robot, oracle = Robot(world, config), OracleDriver(world, config)
    robot.place((5.0, 5.0, 0.0), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for _ in range(40):
        oracle.command(robot.pose, (15.0, 15.0, 0.0))
        command = float(rng.uniform(0, 1.5)), float(rng.uniform(-0.5, 0.5))
        oracle.sent(*command)
        robot.step(*command)
    oracle.command(robot.pose, (15.0, 15.0, 0.0))
    assert oracle._wheels == pytest.approx((robot.linear, robot.angular), abs=1e-9)


def test_a_robot_that_is_held_is_known_to_stand():
    world, config = generate_world(load_world_config("open"), 0), load_robot_config("generic")
    oracle = OracleDriver(world, config)
    pose, goal = (5.0, 10.0, 0.0), (15.0, 10.0, 0.0)
    for _ in range(5):
        assert oracle.command(pose, goal)[0] > 0
    assert oracle._wheels[0] == 0.0
