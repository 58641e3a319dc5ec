"""Odometry that never jumps and whose covariance is that of its error."""

import math

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("built_environment")

Pose = tuple[float, float, float]


def compose(frame: Pose, pose: Pose) -> Pose:
    cos, sin = math.cos(frame[2]), math.sin(frame[2])
    x, y, yaw = pose
    return frame[0] + cos * x - sin * y, frame[1] + sin * x + cos * y, frame[2] + yaw


def test_it_starts_at_zero_and_follows_whatever_frame_the_motion_is_told_in() -> None:
    from nav_offrl_ros.wheel_odometry import WheelOdometry

    start = (5.0, -2.0, 2.5)
    wheels = WheelOdometry(0.0, 0.0, 0.1)
    wheels.place(start)
    for pose in [(0.0, 0.0, 0.0), (1.0, 0.0, 0.4), (1.5, 0.7, 2.0), (1.0, 1.0, -2.0)]:
        wheels.update(compose(start, pose), 0.1)
        assert wheels.pose == pytest.approx(pose)


def test_lifting_the_robot_changes_nothing() -> None:
    from nav_offrl_ros.wheel_odometry import WheelOdometry

    wheels = WheelOdometry(0.01, 0.01, 0.1)
    wheels.update((1.0, 0.0, 0.5), 1.0)
    before, covariance = wheels.pose, wheels.covariance()
    wheels.place((40.0, 7.0, -1.0))
    wheels.update((40.0, 7.0, -1.0), 1.0)
    assert wheels.pose == pytest.approx(before)
    np.testing.assert_allclose(wheels.covariance(), covariance)
    # From there on it goes ahead of where it was.
    wheels.update(compose((40.0, 7.0, -1.0), (0.2, 0.0, 0.0)), 1.0)
    assert wheels.pose == pytest.approx(compose(before, (0.2, 0.0, 0.0)))


def test_a_straight_drive_has_the_covariance_of_the_closed_form() -> None:
    from nav_offrl_ros.wheel_odometry import WheelOdometry

    scale, noise, period, steps = 0.02, 0.05, 0.1, 50
    wheels = WheelOdometry(scale, noise, period)
    for k in range(1, steps + 1):
        wheels.update((0.1 * k, 0.0, 0.0), period)
    length, duration = 0.1 * steps, period * steps
    walk = noise**2 * period * duration  # variance of a random walk of velocity noise
    covariance = wheels.covariance()
    assert covariance[0, 0] == pytest.approx(scale**2 * length**2 + walk)
    assert covariance[2, 2] == pytest.approx(walk)
    assert covariance[1, 1] == pytest.approx(walk * length**2 / 3, rel=0.02)
    assert covariance[1, 2] == pytest.approx(walk * length / 2, rel=0.02)
    np.testing.assert_allclose(covariance, covariance.T)


def test_the_simulated_robot_errs_as_its_odometry_says() -> None:
    """Normalised squared errors of many drives average to the number of dimensions."""
    from nav_offrl_ros.wheel_odometry import WheelOdometry
    from nav_offrl_sim import generate_world, load_robot_config, load_world_config
    from nav_offrl_sim.robot import Robot

    config = load_robot_config("generic").model_copy(
        update={"control_period": 0.05, "velocity_noise": 0.05, "odometry_scale_error": 0.02}
    )
    robot = Robot(generate_world(load_world_config("open"), 0), config)
    rng = np.random.default_rng(0)
    squares = []
    for _ in range(60):
        wheels = WheelOdometry(0.02, 0.05, 0.05)
        start = (10.0, 10.0, float(rng.uniform(-3, 3)))
        robot.place(start, rng)
        wheels.place(start)
        for _ in range(6):
            command = (rng.uniform(0.2, 0.6), rng.uniform(-1.2, 1.2))
            for _ in range(25):
                robot.step(*command)
                wheels.update(robot.odometry, config.control_period)
        true = compose(start, wheels.pose)
        error = np.subtract(true, robot.pose)
        error[2] = math.remainder(error[2], math.tau)
        cos, sin = math.cos(start[2]), math.sin(start[2])
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        squares.append(error @ np.linalg.solve(turn @ wheels.covariance() @ turn.T, error))
    # A chi-squared of 3 degrees of freedom: mean 3, variance 6; four standard errors.
    assert np.mean(squares) == pytest.approx(3.0, abs=4 * math.sqrt(6 / 60))
