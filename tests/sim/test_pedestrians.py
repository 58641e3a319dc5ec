import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim import EnvConfig, generate_world, load_robot_config, load_world_config
from nav_offrl_sim.configuration import PedestriansConfig
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.geometry import Obstacle
from nav_offrl_sim.pedestrians import RADIUS, START_DISTANCE, Pedestrians, way_to_disc
from nav_offrl_sim.robot import Robot

NAMES = ("office", "campus", "warehouse")
FAR_AWAY = (-100.0, -100.0, 0.25)


@functools.cache
def world(name):
    return generate_world(load_world_config(name), 0)


def crowd(where, seed=0, robot=(1.0, 1.0, 0.0), **settings):
    config = PedestriansConfig(**({"count": 4} | settings))
    people = Pedestrians(where, where.free_space(0.25), config)
    people.begin(np.random.default_rng(seed), robot)
    return people


def test_way_to_a_disc():
    assert way_to_disc((0.0, 0.0), (1.0, 0.0), (5.0, 0.0, 1.0)) == pytest.approx(4.0)
    assert way_to_disc((0.0, 0.0), (1.0, 0.0), (5.0, 0.6, 1.0)) == pytest.approx(4.2)
    assert way_to_disc((0.0, 0.0), (1.0, 0.0), (5.0, 1.1, 1.0)) == math.inf
    assert way_to_disc((0.0, 0.0), (1.0, 0.0), (-5.0, 0.0, 1.0)) == math.inf
    assert way_to_disc((0.0, 0.0), (1.0, 0.0), (0.5, 0.0, 1.0)) == 0.0


def test_same_seed_same_walks_and_other_seed_others():
    def walks(seed):
        people = crowd(world("office"), seed)
        return np.array([(people.step(0.2, FAR_AWAY), people.poses.copy())[1] for _ in range(100)])

    assert np.array_equal(walks(1), walks(1))
    assert not np.array_equal(walks(1), walks(2))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(NAMES))
def test_people_walk_at_their_speed_and_keep_off_walls(seed, name):
    people = crowd(world(name), seed, min_speed=0.8, max_speed=1.2)
    walked = np.zeros(4)
    for _ in range(150):
        before = people.poses.copy()
        assert not people.step(0.2, FAR_AWAY)
        steps = np.linalg.norm(people.poses[:, :2] - before[:, :2], axis=1)
        assert steps.max() <= 1.2 * 0.2 + 1e-9
        walked += steps
        assert min(world(name).clearance.at(x, y) for x, y, _ in people.poses) >= RADIUS
        heading = np.stack([np.cos(before[:, 2]), np.sin(before[:, 2])], axis=1)
        along = ((people.poses - before)[:, :2] * heading).sum(axis=1)
        assert along == pytest.approx(steps, abs=1e-9)  # nobody walks sideways
    assert np.median(walked) > 15.0  # of 24 to 36 m in 30 s


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), stops=st.booleans())
def test_nobody_and_no_robot_ever_overlap(seed, stops):
    office = world("office")
    config = load_robot_config("jackal")
    radius = config.footprint_radius
    space = office.free_space(radius)
    rng = np.random.default_rng(seed)
    start = (*space.centre(*space.cells[rng.integers(len(space.cells))]), 0.0)
    people = crowd(office, seed, start, count=8, stops=stops, stop_distance=0.5)
    robot = Robot(office, config)
    robot.place(start, rng)
    for _ in range(100):
        robot.set_bodies(people.discs)
        robot.step(2.0, rng.uniform(-4, 4))
        before = np.linalg.norm(people.poses[:, :2] - robot.pose[:2], axis=1)
        assert before.min() >= radius + RADIUS - 1e-6
        touched = people.step(0.2, (*robot.pose[:2], radius))
        gaps = np.linalg.norm(people.poses[:, :2] - robot.pose[:2], axis=1) - radius - RADIUS
        assert gaps.min() >= -1e-6
        if touched:
            assert not stops and gaps.min() < 1e-6


def send(people, place, target):
    """Have the only person at a place, on the way to another."""
    heading = math.atan2(target[1] - place[1], target[0] - place[0])
    people.poses[0] = (*place, heading)
    people._targets[0] = target


def walking_at_the_robot(where, **settings):
    """A person who walks along x towards a robot that stands at (12, 10)."""
    people = crowd(where, 0, count=1, min_speed=1.0, max_speed=1.0, **settings)
    send(people, (8.0, 10.0), (16.0, 10.0))
    return people, [people.step(0.2, (12.0, 10.0, 0.25)) for _ in range(24)]


def test_polite_people_stop_before_the_robot_and_then_take_another_way(arena):
    people, touched = walking_at_the_robot(arena(), stop_distance=0.6)
    stop = 12.0 - 0.6 - 0.25 - RADIUS
    assert not any(touched)
    assert people.poses[0] == pytest.approx((stop, 10.0, 0.0))
    farthest = 0.0
    for _ in range(40):
        people.step(0.2, (12.0, 10.0, 0.25))
        gap = math.dist(people.poses[0, :2], (12.0, 10.0)) - 0.25 - RADIUS
        assert gap >= 0.6 - 1e-9
        farthest = max(farthest, math.dist(people.poses[0, :2], (stop, 10.0)))
    assert farthest > 1.0


def test_others_walk_into_the_robot(arena):
    _, touched = walking_at_the_robot(arena(), stops=False)
    assert touched.index(True) == 17  # 3.5 m at 1 m/s: within the 18th period
    assert all(touched[17:])


def test_people_start_away_from_the_robot(arena):
    for seed in range(20):
        people = crowd(arena(), seed, robot=(10.0, 10.0, 0.0), count=8)
        assert np.linalg.norm(people.poses[:, :2] - 10.0, axis=1).min() >= START_DISTANCE


def test_without_room_to_walk_people_stand(arena):
    sides = [Obstacle(10.0 + x, 10.0, 0.2, 0.9) for x in (-0.7, 0.7)]
    ends = [Obstacle(10.0, 10.0 + y, 0.9, 0.2) for y in (-0.7, 0.7)]
    people = crowd(arena(*sides, *ends), count=1)
    send(people, (10.0, 10.0), (10.0, 10.0))
    for _ in range(20):
        assert not people.step(0.2, FAR_AWAY)
    assert people.poses[0, :2].tolist() == [10.0, 10.0]


def test_people_are_seen_by_lidar_and_camera_and_stop_the_robot():
    config = EnvConfig(world="open", pedestrians=PedestriansConfig(count=1), lidar=True)
    with_people, alone = NavigationEnv(config), NavigationEnv(world="open")
    start = {"options": {"start": (10.0, 10.0, 0.0), "goal": (18.0, 18.0, 0.0)}, "seed": 0}
    observation, _ = with_people.reset(**start)
    people = with_people._pedestrians
    people._speeds[0] = 1e-4  # hardly moves
    send(people, (12.0, 10.0), (8.0, 10.0))
    with_people._robot.set_bodies(people.discs)
    empty, _ = alone.reset(**start)
    assert np.array_equal(observation["goal_image"], empty["goal_image"])
    seen, _, _, _, info = with_people.step((0.0, 0.0))
    unseen, _, _, _, empty_info = alone.step((0.0, 0.0))
    different = np.abs(seen["image"].astype(int) - unseen["image"]).sum(axis=2) > 30
    assert different[:, 54:74].mean() > 3 * different[:, :40].mean()
    ahead = np.argmin(np.abs(np.linspace(-math.pi, 3.106686, 180)))
    assert info["sensed"]["lidar"][ahead] == pytest.approx(1.75, abs=0.05)
    assert empty_info["sensed"]["lidar"][ahead] > 9.9
    assert info["truth"]["pedestrians"] == pytest.approx(np.array([[12, 10, math.pi]]), abs=1e-3)
    collided = [with_people.step((1.0, 0.0))[4]["collision"] for _ in range(15)]
    assert collided[-1]
    assert with_people._robot.pose[0] < 12.0 - RADIUS - 0.25 + 1e-6
    with_people.close()
    alone.close()


def test_people_do_not_shift_the_robots_own_chance():
    def drive(count):
        env = NavigationEnv(
            world="open", images="never", pedestrians={"count": count, "stop_distance": 0.0}
        )
        env.reset(seed=4, options={"start": (10.0, 10.0, 0.0), "goal": (18.0, 18.0, 0.0)})
        return [env.step((0.0, 1.0))[4] for _ in range(10)]

    for alone, among in zip(drive(0), drive(3), strict=True):
        assert np.array_equal(alone["sensed"]["odometry"], among["sensed"]["odometry"])
        assert np.array_equal(alone["sensed"]["imu"], among["sensed"]["imu"])


def test_mistakes_are_named():
    with pytest.raises(NavOffrlError, match="max_speed must not be below"):
        NavigationEnv(pedestrians={"count": 2, "min_speed": 2.0})
    with pytest.raises(NavOffrlError, match=r"pedestrians\.count"):
        NavigationEnv(pedestrians={"count": 50})
