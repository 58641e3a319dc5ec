import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl_sim import load_robot_config
from nav_offrl_sim.configuration import LidarConfig
from nav_offrl_sim.geometry import ClearanceMap, Obstacle
from nav_offrl_sim.lidar import Lidar, RayCaster, cast_at_discs
from nav_offrl_sim.robot import Robot

SIZE = (20.0, 20.0)
ROUND = LidarConfig(rays=360, angle_max=math.radians(179), min_range=0.0, max_range=30.0, noise=0)
BEARINGS = np.radians(np.arange(-180, 180))


def to_disc(origin, bearing, disc):
    """Exact range to a disc (x, y, radius); inf past it."""
    dx, dy = disc[0] - origin[0], disc[1] - origin[1]
    along = dx * math.cos(bearing) + dy * math.sin(bearing)
    across = dy * math.cos(bearing) - dx * math.sin(bearing)
    if abs(across) >= disc[2] or along < 0:
        return math.inf
    return along - math.sqrt(disc[2] ** 2 - across**2)


def to_box(origin, bearing, box):
    """Exact range to a box without rounding, by its slabs; inf past it."""
    turned = bearing - box.yaw
    dx, dy = origin[0] - box.x, origin[1] - box.y
    x = math.cos(box.yaw) * dx + math.sin(box.yaw) * dy
    y = -math.sin(box.yaw) * dx + math.cos(box.yaw) * dy
    near, far = -math.inf, math.inf
    for place, slope, half in (
        (x, math.cos(turned), box.half_length),
        (y, math.sin(turned), box.half_width),
    ):
        if abs(slope) < 1e-12:
            if abs(place) > half:
                return math.inf
            continue
        ends = sorted(((-half - place) / slope, (half - place) / slope))
        near, far = max(near, ends[0]), min(far, ends[1])
    return near if near <= far and near > 0 else math.inf


def to_edge(origin, bearing):
    cos, sin = math.cos(bearing), math.sin(bearing)
    along = (SIZE[0] - origin[0] if cos > 0 else -origin[0]) / cos if cos else math.inf
    across = (SIZE[1] - origin[1] if sin > 0 else -origin[1]) / sin if sin else math.inf
    return min(along, across)


def cast(obstacles, origin, bearings=BEARINGS, reach=30.0):
    return RayCaster(ClearanceMap(obstacles, SIZE, 0.05)).cast(origin, bearings, reach)


def test_empty_world_ends_at_its_edges():
    origin = (6.3, 11.2)
    exact = [to_edge(origin, bearing) for bearing in BEARINGS]
    assert cast([], origin) == pytest.approx(exact, abs=1e-4)
    near = cast([], origin, reach=8.0)
    assert np.array_equal(np.isinf(near), np.array(exact) > 8.0)


@settings(max_examples=60, deadline=None)
@given(
    disc=st.tuples(st.floats(3, 17), st.floats(3, 17), st.floats(0.15, 2.0)),
    origin=st.tuples(st.floats(1, 19), st.floats(1, 19)),
)
def test_ranges_to_a_disc_are_exact(disc, origin):
    x, y, radius = disc
    if math.dist((x, y), origin) < radius + 0.1:
        return
    ranges = cast([Obstacle(x, y, 0.0, 0.0, radius=radius)], origin)
    for bearing, seen in zip(BEARINGS, ranges, strict=True):
        across = abs((y - origin[1]) * math.cos(bearing) - (x - origin[0]) * math.sin(bearing))
        if 0.9 * radius < across < radius + 0.01:  # grazing: a millimetre beside is a metre ahead
            continue
        exact = min(to_disc(origin, bearing, disc), to_edge(origin, bearing))
        assert seen == pytest.approx(exact, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    box=st.builds(
        Obstacle,
        x=st.floats(3, 17),
        y=st.floats(3, 17),
        half_length=st.floats(0.3, 2.0),
        half_width=st.floats(0.1, 1.0),
        yaw=st.floats(-3, 3),
    ),
    origin=st.tuples(st.floats(1, 19), st.floats(1, 19)),
)
def test_ranges_to_a_box_are_exact_but_at_its_corners(box, origin):
    if box.distance(*np.array(origin)[:, None])[0] < 0.3:
        return
    ranges = cast([box], origin)
    x = origin[0] + ranges * np.cos(BEARINGS)
    y = origin[1] + ranges * np.sin(BEARINGS)
    edge = np.minimum.reduce([x, 20 - x, y, 20 - y])
    # Each ray ends on an outline (corners are rounded by a share of the map's 5 cm) ...
    assert np.abs(np.minimum(box.distance(x, y), edge)).max() < 0.02
    # ... and, corners and grazing rays apart, on the right one.
    exact = np.array([min(to_box(origin, b, box), to_edge(origin, b)) for b in BEARINGS])
    assert np.mean(np.abs(ranges - exact) < 0.01) > 0.95


def test_thin_and_small_things_are_seen():
    post = Obstacle(14.0, 10.0, 0.0, 0.0, radius=0.04)
    plate = Obstacle(10.0, 15.0, 1.0, 0.01, radius=0.02)
    ranges = cast([post, plate], (10.0, 10.0), np.array([0.0, math.pi / 2]))
    assert ranges == pytest.approx([3.96, 4.97], abs=0.02)


def test_tall_grass_is_a_wall_for_the_lidar_and_none_for_the_robot(arena):
    world = arena(grass=[Obstacle(13.0, 10.0, 1.0, 1.0)])
    lidar = Lidar(world, ROUND)
    assert lidar.scan((10.0, 10.0, 0.0))[180] == pytest.approx(2.0, abs=0.01)
    robot = Robot(world, load_robot_config("generic"))
    robot.place((10.0, 10.0, 0.0), np.random.default_rng(0))
    assert not any(robot.step(1.0, 0.0).collision for _ in range(30))
    assert robot.pose[0] > 15.0


@settings(max_examples=30, deadline=None)
@given(
    discs=st.lists(
        st.tuples(st.floats(2, 18), st.floats(2, 18), st.floats(0.1, 0.6)), min_size=1, max_size=4
    ),
)
def test_people_are_discs(discs):
    origin = (10.0, 1.0)
    exact = [min(to_disc(origin, bearing, disc) for disc in discs) for bearing in BEARINGS]
    assert cast_at_discs(discs, origin, BEARINGS) == pytest.approx(exact, abs=1e-9)


def test_a_person_hides_what_is_behind(arena):
    lidar = Lidar(arena(Obstacle(15.0, 10.0, 0.5, 0.5)), ROUND)
    pose = (10.0, 10.0, 0.0)
    assert lidar.scan(pose)[180] == pytest.approx(4.5, abs=0.01)
    assert lidar.scan(pose, bodies=[(12.0, 10.0, 0.25)])[180] == pytest.approx(1.75)
    assert lidar.scan(pose, bodies=[(17.0, 10.0, 0.25)])[180] == pytest.approx(4.5, abs=0.01)


def test_mounting_and_heading_turn_the_scan(arena):
    mounted = ROUND.model_copy(update={"forward": 0.5, "left": 0.25, "yaw": math.pi / 2})
    scan = Lidar(arena(), mounted).scan((10.0, 8.0, math.pi / 2))
    # The robot faces +y: the lidar is at (9.75, 8.5) and looks along -x.
    assert scan[180] == pytest.approx(9.75, abs=1e-3)
    assert scan[90] == pytest.approx(20 - 8.5, abs=1e-3)  # a quarter to its right is +y
    assert scan[270] == pytest.approx(8.5, abs=1e-3)


def test_near_and_far_things_give_no_return(arena):
    config = ROUND.model_copy(update={"min_range": 1.0, "max_range": 5.0})
    lidar = Lidar(arena(Obstacle(11.0, 10.0, 0.5, 0.5)), config)
    scan = lidar.scan((10.0, 10.0, 0.0))
    assert scan.dtype == np.float32
    assert np.isinf(scan[180]) and np.isinf(scan[0]) and np.isinf(scan).all()


def test_noise_has_the_configured_energy(arena):
    lidar = Lidar(arena(), ROUND.model_copy(update={"noise": 0.05}))
    pose, rng = (10.0, 10.0, 0.3), np.random.default_rng(0)
    errors = np.array([lidar.scan(pose, rng) for _ in range(40)]) - lidar.scan(pose)
    assert errors.std() == pytest.approx(0.05, rel=0.03)
    assert abs(errors.mean()) < 0.003
    assert abs(np.corrcoef(errors[:, 0], errors[:, 1])[0, 1]) < 0.5


def test_scans_come_at_the_lidars_rate(arena):
    lidar = Lidar(arena(), ROUND.model_copy(update={"rate_hz": 10.0, "noise": 0.01}))
    lidar.begin(np.random.default_rng(0))
    pose = (10.0, 10.0, 0.0)
    times = []
    for k in range(9):
        before = lidar.ranges
        lidar.sense(0.05 * k, pose)
        assert (lidar.ranges is before) == (k % 2 == 1)
        times.append(lidar.time)
    assert times == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4])


@pytest.mark.parametrize("step", [0.016, 1 / 75])
def test_the_mean_rate_does_not_depend_on_how_often_it_is_asked(arena, step):
    lidar = Lidar(arena(), ROUND.model_copy(update={"rate_hz": 7.5}))
    lidar.begin(np.random.default_rng(0))
    taken = set()
    for k in range(500):
        lidar.sense(step * k, (10.0, 10.0, 0.0))
        taken.add(lidar.time)
    assert len(taken) == pytest.approx(500 * step * 7.5, abs=1.5)
