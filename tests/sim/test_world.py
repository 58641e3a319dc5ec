import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim import WorldConfig, generate_world, load_robot_config, load_world_config
from nav_offrl_sim.geometry import ClearanceMap, Obstacle
from nav_offrl_sim.tasks import evaluation_pairs

WORLDS = ("campus", "office")
RADIUS = load_robot_config("generic").footprint_radius


@pytest.mark.parametrize("name", WORLDS)
def test_same_seed_same_world_and_other_seed_another(name):
    config = load_world_config(name)
    first, again, other = (generate_world(config, seed) for seed in (4, 4, 5))
    assert first.scene.obstacles == again.scene.obstacles
    assert np.array_equal(first.scene.ground, again.scene.ground)
    assert np.array_equal(first.scene.atlas, again.scene.atlas)
    assert first.scene.obstacles != other.scene.obstacles


@settings(max_examples=5, deadline=None)
@given(name=st.sampled_from(WORLDS), seed=st.integers(0, 10_000))
def test_every_free_cell_is_reachable_and_free_of_obstacles(name, seed):
    world = generate_world(load_world_config(name), seed)
    space = world.free_space(RADIUS)
    assert ndimage.label(space.free)[1] == 1
    field = space.distance_field(*space.centre(*space.cells[0]))
    assert np.isfinite(field[space.free]).all()
    x, y = (space.cells[:, ::-1].T + 0.5) * space.cell
    for obstacle in world.scene.obstacles:
        assert obstacle.distance(x, y).min() >= RADIUS


@settings(max_examples=4, deadline=None)
@given(name=st.sampled_from(WORLDS), seed=st.integers(0, 10_000))
def test_evaluation_pairs_are_free_in_range_and_fixed(name, seed):
    world = generate_world(load_world_config(name), seed)
    pairs = evaluation_pairs(world, 5, seed, 4.0, 8.0)
    assert pairs == evaluation_pairs(world, 5, seed, 4.0, 8.0)
    space = world.free_space(RADIUS)
    for start, goal in pairs:
        assert world.clearance.at(start[0], start[1]) >= RADIUS
        assert world.clearance.at(goal[0], goal[1]) >= RADIUS
        length = space.distance_field(goal[0], goal[1])[space.cell_of(start[0], start[1])]
        assert 4.0 <= length <= 8.0
        assert length >= math.dist(start[:2], goal[:2]) - 1e-9


def test_every_room_of_the_office_can_be_reached():
    for seed in range(5):
        space = generate_world(load_world_config("office"), seed).free_space(RADIUS)
        blocks = space.free[: 120 // 20 * 20, :160].reshape(6, 20, 8, 20)
        assert blocks.any(axis=(1, 3)).all()


def test_clearance_is_the_distance_to_a_turned_box_and_a_disc():
    box = Obstacle(2.0, 2.0, 1.0, 0.5, yaw=math.pi / 2)
    disc = Obstacle(5.0, 5.0, 0.0, 0.0, radius=0.5)
    clearance = ClearanceMap([box, disc], (8.0, 8.0), 0.05)
    assert clearance.at(3.5, 2.0) == pytest.approx(1.0, abs=1e-6)
    assert clearance.at(2.0, 4.0) == pytest.approx(1.0, abs=1e-6)
    assert clearance.at(6.02, 5.0) == pytest.approx(0.52, abs=1e-3)
    assert clearance.at(0.3, 7.0) == pytest.approx(0.3, abs=1e-6)
    assert clearance.at(2.0, 2.0) < 0
    assert clearance.at(-0.1, 2.0) < 0


def test_geodesic_distance_goes_around_a_wall():
    world = generate_world(load_world_config("office"), 0)
    space = world.free_space(RADIUS)
    rng = np.random.default_rng(0)
    longer = 0
    for _ in range(20):
        (x0, y0), (x1, y1) = (
            space.centre(*space.cells[rng.integers(len(space.cells))]) for _ in "ab"
        )
        length = space.distance_field(x1, y1)[space.cell_of(x0, y0)]
        straight = math.dist((x0, y0), (x1, y1))
        assert length >= straight - 1e-9
        longer += length > 1.1 * straight
    assert longer > 3


def test_mistakes_in_a_world_are_named(tmp_path):
    with pytest.raises(NavOffrlError, match="campus"):
        load_world_config("camps")
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\nsize: [10, 10]\noutdoor: {treees: 3}\n")
    with pytest.raises(NavOffrlError, match="treees"):
        load_world_config(path)
    both = {"name": "x", "size": (10, 10), "outdoor": {}, "indoor": {}}
    with pytest.raises(ValueError, match="exactly one"):
        WorldConfig.model_validate(both)
    with pytest.raises(NavOffrlError, match="radius"):
        generate_world(load_world_config("office"), 0).free_space(1.4)
