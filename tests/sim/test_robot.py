import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim import RobotConfig, generate_world, load_robot_config, load_world_config
from nav_offrl_sim.configuration import SlipConfig, TippingConfig
from nav_offrl_sim.geometry import ClearanceMap, Obstacle
from nav_offrl_sim.imu import GRAVITY, Shaking
from nav_offrl_sim.robot import Robot, arc, respond, tipping_load

PERFECT = load_robot_config("generic").model_copy(
    update={"velocity_noise": 0.0, "odometry_scale_error": 0.0}
)
INSTANT = PERFECT.model_copy(
    update={
        "linear_lag": 0.0,
        "angular_lag": 0.0,
        "linear_acceleration": 1e9,
        "angular_acceleration": 1e9,
        "max_reverse": 1.0,
        "imu": None,
    }
)
MIDDLE = (10.0, 10.0, 0.0)


@pytest.fixture(scope="module")
def campus():
    return generate_world(load_world_config("campus"), 0)


def placed(world, pose, config=PERFECT, seed=0):
    robot = Robot(world, config)
    robot.place(pose, np.random.default_rng(seed))
    return robot


@pytest.mark.parametrize("name", ["generic", "jackal", "turtlebot"])
def test_shipped_robots_are_described_in_full(name):
    robot = load_robot_config(name)
    assert robot.name == name
    assert robot.lidar is not None and robot.imu is not None
    assert robot.camera is robot.cameras["front"]


def test_mistakes_in_a_robot_file_are_named(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("name: x\nlidar: {angle_min: 1.0, angle_max: 0.5}\n")
    with pytest.raises(NavOffrlError, match=r"lidar.*angle_max must exceed"):
        load_robot_config(path)
    path.write_text("name: x\ncameras: {}\n")
    with pytest.raises(NavOffrlError, match="at least one camera"):
        load_robot_config(path)
    path.write_text("name: x\nslip: {grass: {linear: 1.5}}\n")
    with pytest.raises(NavOffrlError, match=r"slip\.grass\.linear"):
        load_robot_config(path)


def test_arc_is_the_closed_form_of_the_unicycle():
    linear, angular, duration = 0.7, 0.9, 1.3
    x, y, yaw = arc((1.0, 2.0, 0.4), linear, angular, duration)
    radius = linear / angular
    end = 0.4 + angular * duration
    assert x == pytest.approx(1.0 + radius * (math.sin(end) - math.sin(0.4)))
    assert y == pytest.approx(2.0 - radius * (math.cos(end) - math.cos(0.4)))
    assert yaw == pytest.approx(end)
    assert arc((0, 0, 0), 1.0, 0.0, 2.0) == (2.0, 0.0, 0.0)


def test_velocity_ramps_then_settles():
    # 1.5 m/s² up to 1.5 * 0.12 = 0.18 m/s below the target, at t = 0.82 / 1.5 s; then exp(-t/0.12).
    ramp = 0.82 / 1.5
    assert respond(0.0, 1.0, 0.12, 1.5, 0.2) == pytest.approx((0.3, 0.03))
    assert respond(0.0, 1.0, 0.12, 1.5, ramp)[0] == pytest.approx(0.82)
    assert respond(0.0, 1.0, 0.12, 1.5, ramp + 0.12)[0] == pytest.approx(1 - 0.18 / math.e)
    assert respond(0.5, -0.5, 0.0, 2.0, 0.25) == pytest.approx((0.0, 0.0625))
    assert respond(0.5, 0.2, 0.0, 2.0, 1.0) == pytest.approx((0.2, 0.15 * 0.35 + 0.85 * 0.2))


@settings(max_examples=50, deadline=None)
@given(
    value=st.floats(-2, 2),
    target=st.floats(-2, 2),
    lag=st.floats(0, 0.5),
    limit=st.floats(0.5, 20),
    duration=st.floats(0.01, 1.0),
)
def test_velocity_agrees_with_small_steps(value, target, lag, limit, duration):
    speed, way = value, 0.0
    step = duration / 4000
    for _ in range(4000):
        wanted = (target - speed) / max(lag, step)
        change = min(max(wanted, -limit), limit) * step
        way += (speed + change / 2) * step
        speed += change
    assert respond(value, target, lag, limit, duration) == pytest.approx((speed, way), abs=5e-3)


def test_one_step_is_the_same_as_many_short_ones():
    whole = respond(0.3, -0.9, 0.1, 1.5, 0.5)
    speed, way = 0.3, 0.0
    for _ in range(7):
        speed, part = respond(speed, -0.9, 0.1, 1.5, 0.5 / 7)
        way += part
    assert (speed, way) == pytest.approx(whole)


def test_steady_driving_follows_a_circle_of_radius_v_over_omega(arena):
    robot = placed(arena(), MIDDLE)
    for _ in range(20):
        robot.step(0.3, 0.8)
    x, y, yaw = robot.pose
    centre = x - 0.375 * math.sin(yaw), y + 0.375 * math.cos(yaw)
    for _ in range(40):
        assert not robot.step(0.3, 0.8).collision
        assert math.dist(robot.pose[:2], centre) == pytest.approx(0.375, abs=1e-4)


def test_commands_are_clamped_and_acceleration_limited(arena):
    robot = placed(arena(), MIDDLE)
    speeds = []
    for _ in range(6):
        robot.step(9.0, -9.0)
        speeds.append((robot.linear, robot.angular))
    changes = np.diff([(0.0, 0.0), *speeds], axis=0) / PERFECT.control_period
    assert (np.abs(changes) <= [1.5 + 1e-9, 4.0 + 1e-9]).all()
    assert speeds[-1] == pytest.approx((1.0, -1.2), abs=0.02)


def test_only_some_robots_drive_backwards(arena):
    forward, both = placed(arena(), MIDDLE), placed(arena(), MIDDLE, load_robot_config("jackal"))
    for _ in range(10):
        forward.step(-1.0, 0.0)
        both.step(-9.0, 0.0)
    assert forward.pose == MIDDLE
    assert both.linear == pytest.approx(-2.0, abs=0.01)
    assert both.pose[0] < 10.0 - 2.0


@settings(max_examples=40, deadline=None)
@given(
    latency=st.floats(0, 1.1),
    commands=st.lists(st.floats(-1, 1).map(lambda v: round(v, 3)), min_size=3, max_size=12),
)
def test_commands_take_effect_after_exactly_the_latency(arena, latency, commands):
    config = INSTANT.model_copy(update={"latency": latency})
    robot = placed(arena(), MIDDLE, config)
    period = config.control_period
    for count, command in enumerate(commands, start=1):
        robot.step(command, 0.0)
        now = count * period
        # Each command holds from its time plus the latency for one period.
        held = [
            min(max(now - (k * period + latency), 0.0), period) * commands[k] for k in range(count)
        ]
        assert robot.pose[0] - 10.0 == pytest.approx(sum(held), abs=1e-6)


def test_latency_of_a_drive_replaces_that_of_the_robot(arena):
    robot = Robot(arena(), INSTANT)
    robot.place(MIDDLE, np.random.default_rng(0), latency=0.3)
    ways = []
    for _ in range(4):
        robot.step(1.0, 0.0)
        ways.append(robot.pose[0] - 10.0)
    assert ways == pytest.approx([0.0, 0.1, 0.3, 0.5], abs=1e-6)


def test_slip_takes_its_share_and_the_wheels_do_not_notice(arena):
    slip = {"ice": SlipConfig(linear=0.5, angular=0.25)}
    config = INSTANT.model_copy(update={"slip": slip})
    on_ice, on_floor = placed(arena(kind="ice"), MIDDLE, config), placed(arena(), MIDDLE, config)
    for robot in (on_ice, on_floor):
        for _ in range(5):
            robot.step(1.0, 0.0)
        for _ in range(5):
            robot.step(0.0, 1.0)
    assert on_floor.pose == pytest.approx((11.0, 10.0, 1.0))
    assert on_floor.odometry == pytest.approx(on_floor.pose)
    assert on_ice.pose == pytest.approx((10.5, 10.0, 0.75))
    assert on_ice.odometry == pytest.approx((11.0, 10.0, 1.0))
    assert on_ice.velocity == pytest.approx((0.0, 0.75)) and on_ice.angular == 1.0


def test_odometry_is_exact_without_noise_and_drifts_little_with_it(arena):
    real = load_robot_config("generic")
    exact, noisy = placed(arena(), MIDDLE), placed(arena(), MIDDLE, real)
    for k in range(200):
        command = (0.3, 0.8 * math.sin(0.1 * k) + 0.4)
        exact.step(*command)
        noisy.step(*command)
    assert exact.odometry == pytest.approx(exact.pose)
    assert exact.measured == pytest.approx(exact.velocity)
    assert 0.001 < math.dist(noisy.odometry[:2], noisy.pose[:2]) < 1.0


def test_noise_of_wheels_has_the_configured_energy(arena):
    config = INSTANT.model_copy(update={"velocity_noise": 0.03, "odometry_scale_error": 0.0})
    robot = placed(arena(), MIDDLE, config)
    errors, drifts = [], []
    for _ in range(3000):
        before = robot.odometry
        robot.step(0.2, 0.5)
        errors.append(np.subtract(robot.measured, (0.2, 0.5)))
        drifts.append(math.dist(before[:2], robot.odometry[:2]) / 0.2)
    assert np.std(errors, axis=0) == pytest.approx([0.03, 0.03], rel=0.05)
    assert abs(np.mean(errors, axis=0)).max() < 0.003
    assert np.std(drifts) == pytest.approx(0.03, rel=0.05)
    at_rest = placed(arena(), MIDDLE, config)
    for _ in range(10):
        at_rest.step(0.0, 0.0)
    assert at_rest.odometry == MIDDLE


def test_scale_error_is_a_drives_own_and_has_the_configured_energy(arena):
    config = INSTANT.model_copy(update={"velocity_noise": 0.0, "odometry_scale_error": 0.02})
    robot = Robot(arena(), config)
    scales = []
    for seed in range(1000):
        robot.place(MIDDLE, np.random.default_rng(seed))
        robot.step(1.0, 0.0)
        scales.append((robot.odometry[0] - 10.0) / 0.2)
    assert np.std(scales) == pytest.approx(0.02, rel=0.08)
    assert np.mean(scales) == pytest.approx(1.0, abs=0.002)


def test_odometry_does_not_move_while_the_robot_pushes_a_wall(arena):
    robot = placed(arena(), (2.0, 12.0, math.pi))
    for _ in range(30):
        robot.step(1.0, 0.0)
    before = robot.odometry
    for _ in range(20):
        robot.step(1.0, 0.0)
    assert math.dist(before[:2], robot.odometry[:2]) < 0.01


def test_rough_ground_and_speed_shake_the_robot(campus):
    space = campus.free_space(PERFECT.footprint_radius)
    roughness = {}
    for row, column in space.cells[::7]:
        if space.clearance[row, column] > 0.9:
            x, y = space.centre(row, column)
            roughness[(x, y)] = campus.roughness(x, y)
    smooth, rough = min(roughness, key=roughness.get), max(roughness, key=roughness.get)
    assert roughness[smooth] < 0.1 < 0.3 < roughness[rough]

    def shaking(place, speed):
        drives = (placed(campus, (*place, 0.0), seed=seed) for seed in range(10))
        return np.mean([robot.step(speed, 0.0).bumpiness for robot in drives for _ in range(3)])

    assert shaking(rough, 0.8) > 3 * shaking(smooth, 0.8)
    assert shaking(rough, 0.8) > shaking(rough, 0.3) > shaking(rough, 0.0)


def shaken(speed, turning, roll):
    at = np.ones(1)
    rates = np.array([[roll], [0.0]])
    return Shaking(speed * at, turning * at, 0 * at, at, rates, 0 * rates)


def test_a_body_tips_over_its_wheels_when_physics_says_so():
    tipping = TippingConfig(half_track=0.2, mass_height=0.1)
    # Moments about the wheels: m a h = m g b.
    curve = shaken(2.0, GRAVITY * 0.2 / 0.1 / 2.0, 0.0)
    assert tipping_load(tipping, curve) == pytest.approx(1.0)
    # Energy: 1/2 * 4/3 m r² rate² = m g (r - h).
    arm = math.hypot(0.2, 0.1)
    rate = math.sqrt(2 * GRAVITY * (arm - 0.1) / (4 / 3 * arm**2))
    assert tipping_load(tipping, shaken(0.0, 0.0, -rate)) == pytest.approx(-1.0)


def test_a_jackal_falls_over_on_rough_ground_at_speed_and_nowhere_else(arena):
    jackal = load_robot_config("jackal").model_copy(update={"linear_acceleration": 20.0})

    def fallen(world, config, speed):
        robot = placed(world, MIDDLE, config)
        return any(robot.step(speed, 4.0).flipped for _ in range(300))

    rough = arena(roughness=1.2)
    assert fallen(rough, jackal, 2.0)
    assert not fallen(arena(roughness=0.05), jackal, 2.0)
    assert not fallen(rough, jackal, 0.3)
    assert not fallen(rough, load_robot_config("generic"), 2.0)


def test_a_fallen_robot_lies_on_its_side_until_it_is_placed_again(arena):
    robot = placed(arena(roughness=1.2), MIDDLE, load_robot_config("jackal"))
    while not robot.step(2.0, 4.0).flipped:
        pass
    lying = robot.pose
    motion = robot.step(2.0, 4.0)
    assert motion.flipped and not motion.stuck and robot.pose == lying
    assert robot.velocity == robot.measured == (0.0, 0.0)
    down = robot.imu[:, 3:].mean(axis=0)
    assert abs(down[1]) == pytest.approx(GRAVITY, abs=0.3) and abs(down[2]) < 0.3
    robot.place(MIDDLE, np.random.default_rng(1))
    assert not robot.step(0.5, 0.0).flipped


def test_a_drive_depends_on_its_seed_alone(arena):
    world, config = arena(roughness=0.3), load_robot_config("jackal")

    def drive(seed):
        robot = placed(world, MIDDLE, config, seed)
        motions = [robot.step(1.0, math.sin(k)) for k in range(30)]
        return robot.odometry, robot.imu.tolist(), motions

    assert drive(3) == drive(3)
    assert drive(3) != drive(4)


def test_clearance_of_the_arena_is_that_of_its_obstacles(arena):
    world = arena(Obstacle(10.0, 10.0, 1.0, 0.5))
    assert isinstance(world.clearance, ClearanceMap)
    assert world.clearance.at(12.0, 10.0) == pytest.approx(1.0)
    assert RobotConfig(name="plain").camera_name == "front"
