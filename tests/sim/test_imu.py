import math

import numpy as np
import pytest

from nav_offrl_sim import load_robot_config
from nav_offrl_sim.configuration import ImuConfig
from nav_offrl_sim.imu import GRAVITY, LONGEST, NODES, SHORTEST, SPACING, GroundProfile
from nav_offrl_sim.robot import Robot

SILENT = ImuConfig(gyro_noise=0, gyro_bias=0, acceleration_noise=0, acceleration_bias=0)
CIRCLE = (9.0, 10.0, -math.pi / 2)  # start of a circle round the middle of the arena


def driven(world, imu, command, periods, seed=0):
    """All samples of a drive, (N, 6), and its robot."""
    config = load_robot_config("generic").model_copy(update={"imu": imu})
    robot = Robot(world, config)
    robot.place(CIRCLE, np.random.default_rng(seed))
    samples = []
    for _ in range(periods):
        robot.step(*command)
        samples.append(robot.imu)
    return np.concatenate(samples), robot


def test_profile_has_unit_curvature_and_only_the_wavelengths_of_bumps():
    profile = GroundProfile(np.random.default_rng(0))
    curvature, slope = profile.at(np.arange(NODES) * SPACING + SPACING / 2)
    assert np.sqrt(np.mean(curvature**2, axis=1)) == pytest.approx([1.0, 1.0])
    wavelengths = NODES * SPACING / np.maximum(np.arange(NODES // 2 + 1), 1e-9)
    power = np.abs(np.fft.rfft(curvature)) ** 2
    bumps = (wavelengths >= SHORTEST - 1e-9) & (wavelengths <= LONGEST + 1e-9)
    assert power[:, ~bumps].sum() < 1e-12 * power.sum()
    assert np.gradient(slope, SPACING, axis=1)[:, 5:-5] == pytest.approx(
        curvature[:, 5:-5], abs=0.25
    )


@pytest.mark.parametrize(("roughness", "speed"), [(0.1, 0.5), (0.4, 0.5), (0.4, 1.0)])
def test_the_gyros_rms_is_roughness_times_speed(arena, roughness, speed):
    drives = [
        driven(arena(roughness=roughness), SILENT, (speed, speed), 100, seed)[0][200:]
        for seed in range(6)
    ]
    samples = np.concatenate(drives)
    rms = np.sqrt(np.mean(samples[:, :2] ** 2, axis=0))
    assert rms == pytest.approx([roughness * speed] * 2, rel=0.06)


def test_twice_the_speed_shakes_twice_as_fast(arena):
    def crossings(speed):
        samples, _ = driven(arena(roughness=0.4), SILENT, (speed, speed), 150)
        return np.mean(np.diff(np.sign(samples[200:, 0])) != 0)

    assert crossings(0.8) == pytest.approx(2 * crossings(0.4), rel=0.1)


def test_bumpiness_is_the_rms_of_the_gyros_samples(arena):
    world = arena(roughness=0.4)
    robot = Robot(world, load_robot_config("generic"))
    robot.place(CIRCLE, np.random.default_rng(1))
    for _ in range(10):
        motion = robot.step(1.0, 1.0)
        assert motion.bumpiness == pytest.approx(np.sqrt(np.mean(robot.imu[:, :2] ** 2)))
        assert robot.imu.shape == (20, 6)  # 100 Hz for 0.2 s
    assert motion.true_bumpiness == pytest.approx(0.4 * robot.velocity[0], rel=0.01)
    blind = load_robot_config("generic").model_copy(update={"imu": None})
    robot = Robot(world, blind)
    robot.place(CIRCLE, np.random.default_rng(1))
    motion = robot.step(1.0, 1.0)
    assert motion.bumpiness == motion.true_bumpiness > 0


def test_samples_follow_the_motion(arena):
    samples, robot = driven(arena(), SILENT, (0.8, 0.8), 40)
    assert samples[:20, 3].mean() * 0.2 == pytest.approx(0.3, rel=0.01)  # v after 0.2 s at 1.5 m/s²
    # 0.12 s at 4 rad/s² up to 0.32 rad/s below 0.8 rad/s, which then decays with 0.08 s.
    turned = 2 * 0.12**2 + 0.8 * 7.88 - 0.32 * 0.08
    assert samples[:, 2].mean() * 8.0 == pytest.approx(turned, abs=1e-3)
    steady = samples[-20:].mean(axis=0)
    assert steady == pytest.approx([0, 0, 0.8, 0, 0.64, GRAVITY], abs=1e-3)
    assert robot.velocity == pytest.approx((0.8, 0.8), abs=1e-3)


def test_tilt_and_heave_belong_to_the_same_ground(arena):
    samples, _ = driven(arena(roughness=0.5), SILENT, (1.0, 1.0), 150)
    gyro, force = samples[200:, :3], samples[200:, 3:]
    # z'' = -v * pitch rate where nose down is positive; driving at 1 m/s.
    assert force[:, 2] - GRAVITY == pytest.approx(-gyro[:, 1], abs=1e-2)
    tilt = -force[:, 0] / GRAVITY  # pitch, from gravity along x
    rate = np.gradient(tilt, 0.01)
    assert np.corrcoef(rate, gyro[:, 1])[0, 1] > 0.95
    roll = (force[:, 1] - 1.0) / GRAVITY
    assert np.corrcoef(np.gradient(roll, 0.01), gyro[:, 0])[0, 1] > 0.95


def test_noise_has_the_configured_energy_about_gravity(arena):
    noisy = ImuConfig(gyro_noise=0.02, gyro_bias=0, acceleration_noise=0.3, acceleration_bias=0)
    samples, _ = driven(arena(), noisy, (0.0, 0.0), 300)
    assert samples.std(axis=0) == pytest.approx([0.02] * 3 + [0.3] * 3, rel=0.05)
    assert samples.mean(axis=0) == pytest.approx([0, 0, 0, 0, 0, GRAVITY], abs=0.02)
    independent = np.corrcoef(samples.T) - np.eye(6)
    assert np.abs(independent).max() < 0.06


def test_biases_stay_for_a_drive_and_have_the_configured_energy(arena):
    biased = ImuConfig(gyro_noise=0, gyro_bias=0.05, acceleration_noise=0, acceleration_bias=0.2)
    world, found = arena(), []
    for seed in range(300):
        samples, _ = driven(world, biased, (0.0, 0.0), 2, seed)
        assert np.ptp(samples, axis=0).max() < 1e-12
        found.append(samples[0] - [0, 0, 0, 0, 0, GRAVITY])
    assert np.std(found, axis=0) == pytest.approx([0.05] * 3 + [0.2] * 3, rel=0.15)
