import math

import numpy as np
import pytest

from nav_offrl_sim import generate_world, load_robot_config, load_world_config
from nav_offrl_sim.robot import Robot, arc

PERFECT = load_robot_config("generic").model_copy(
    update={"velocity_noise": 0.0, "odometry_scale_error": 0.0}
)


@pytest.fixture(scope="module")
def campus():
    return generate_world(load_world_config("campus"), 0)


def open_place(world):
    """The free cell with the most room around it."""
    space = world.free_space(PERFECT.footprint_radius)
    row, column = np.unravel_index(np.argmax(space.clearance), space.clearance.shape)
    return space.centre(row, column)


def placed(world, pose, config=PERFECT, seed=0):
    robot = Robot(world, config)
    robot.place(pose, np.random.default_rng(seed))
    return robot


def test_arc_is_the_closed_form_of_the_unicycle():
    linear, angular, duration = 0.7, 0.9, 1.3
    x, y, yaw = arc((1.0, 2.0, 0.4), linear, angular, duration)
    radius = linear / angular
    end = 0.4 + angular * duration
    assert x == pytest.approx(1.0 + radius * (math.sin(end) - math.sin(0.4)))
    assert y == pytest.approx(2.0 - radius * (math.cos(end) - math.cos(0.4)))
    assert yaw == pytest.approx(end)
    assert arc((0, 0, 0), 1.0, 0.0, 2.0) == (2.0, 0.0, 0.0)


def test_steady_driving_follows_a_circle_of_radius_v_over_omega(campus):
    robot = placed(campus, (*open_place(campus), 0.0))
    for _ in range(20):
        robot.step(0.3, 0.8)
    x, y, yaw = robot.pose
    centre = x - 0.375 * math.sin(yaw), y + 0.375 * math.cos(yaw)
    for _ in range(40):
        assert not robot.step(0.3, 0.8).collision
        assert math.dist(robot.pose[:2], centre) == pytest.approx(0.375, abs=2e-3)


def test_commands_are_clamped_and_acceleration_limited(campus):
    robot = placed(campus, (*open_place(campus), 0.0))
    speeds = []
    for _ in range(6):
        robot.step(9.0, -9.0)
        speeds.append((robot.linear, robot.angular))
        robot.pose = (*open_place(campus), 0.0)
    changes = np.diff([(0.0, 0.0), *speeds], axis=0) / PERFECT.control_period
    assert (np.abs(changes) <= [1.5 + 1e-9, 4.0 + 1e-9]).all()
    assert speeds[-1] == pytest.approx((1.0, -1.2), abs=0.02)
    robot.step(-1.0, 0.0)
    assert robot.linear >= 0.0


@pytest.mark.parametrize("name", ["campus", "office"])
def test_no_command_tunnels_or_teleports(name):
    world = generate_world(load_world_config(name), 1)
    space = world.free_space(PERFECT.footprint_radius)
    rng = np.random.default_rng(0)
    touched = 0
    for _ in range(60):
        start = space.centre(*space.cells[rng.integers(len(space.cells))])
        robot = placed(world, (*start, rng.uniform(-3, 3)))
        turn = rng.uniform(-0.3, 0.3)
        for _ in range(50):
            before = robot.pose
            touched += robot.step(1.0, turn).collision
            assert world.clearance.at(*robot.pose[:2]) >= PERFECT.footprint_radius
            assert math.dist(before[:2], robot.pose[:2]) <= 1.0 * PERFECT.control_period + 1e-9
    assert touched > 500


def test_contact_stops_at_the_obstacle_and_turning_away_frees(campus):
    robot = placed(campus, (2.0, 12.0, math.pi))
    for _ in range(30):
        motion = robot.step(1.0, 0.0)
    assert motion.collision
    assert robot.linear == 0.0
    gap = campus.clearance.at(*robot.pose[:2]) - PERFECT.footprint_radius
    assert 0.0 <= gap < 0.01
    while abs(robot.pose[2]) > 0.3:
        robot.step(0.0, 1.2)
    assert not any(robot.step(0.5, 0.0).collision for _ in range(5))


def test_odometry_is_exact_without_noise_and_drifts_little_with_it(campus):
    real = load_robot_config("generic")
    start = (*open_place(campus), 0.0)
    exact, noisy = placed(campus, start), placed(campus, start, real)
    for k in range(200):
        command = (0.3, 0.8 * math.sin(0.1 * k) + 0.4)
        exact.step(*command)
        noisy.step(*command)
    assert math.dist(exact.odometry[:2], exact.pose[:2]) < 0.02
    drift = math.dist(noisy.odometry[:2], noisy.pose[:2])
    assert 0.001 < drift < 0.6


def test_odometry_does_not_move_while_the_robot_pushes_a_wall(campus):
    robot = placed(campus, (2.0, 12.0, math.pi))
    for _ in range(30):
        robot.step(1.0, 0.0)
    before = robot.odometry
    for _ in range(20):
        robot.step(1.0, 0.0)
    assert math.dist(before[:2], robot.odometry[:2]) < 0.01


def test_rough_ground_and_speed_shake_the_robot(campus):
    table = campus.scene.roughness
    space = campus.free_space(PERFECT.footprint_radius)
    roughness = {}
    for row, column in space.cells[::7]:
        if space.clearance[row, column] > 0.9:
            x, y = space.centre(row, column)
            roughness[(x, y)] = campus.roughness(x, y)
    smooth, rough = min(roughness, key=roughness.get), max(roughness, key=roughness.get)
    assert table.min() < 0.1 < 0.3 < table.max()

    def shaking(place, speed):
        robot = placed(campus, (*place, 0.0))
        return np.mean([robot.step(speed, 0.0).bumpiness for _ in range(3)])

    assert shaking(rough, 0.8) > 3 * shaking(smooth, 0.8)
    assert shaking(rough, 0.8) > shaking(rough, 0.3) > shaking(rough, 0.0)
