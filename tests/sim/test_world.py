"""Every family: the same seed gives the same world, and a robot can go wherever it is sent."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim import WorldConfig, generate_world, load_robot_config, load_world_config
from nav_offrl_sim.tasks import evaluation_pairs
from nav_offrl_sim.world_configuration import FOLDER

FAMILIES = tuple(sorted(path.stem for path in (FOLDER / "worlds").glob("*.yaml")))
FOOTPRINTS = (0.2, 0.35)
RADIUS = load_robot_config("generic").footprint_radius


def test_all_the_families_are_there():
    assert set(FAMILIES) >= {"campus", "courtyard", "forest", "office", "open", "warehouse"}


@pytest.mark.parametrize("name", FAMILIES)
def test_same_seed_same_world_and_other_seed_another(name):
    config = load_world_config(name)
    first, again, other = (generate_world(config, seed) for seed in (4, 4, 5))
    for field in ("ground", "terrain", "roughness_steps", "atlas", "sky"):
        assert np.array_equal(getattr(first.scene, field), getattr(again.scene, field))
    assert np.array_equal(first.scene.mesh.vertices, again.scene.mesh.vertices)
    assert first.scene.obstacles == again.scene.obstacles
    assert np.array_equal(first.clearance.values, again.clearance.values)
    assert not np.array_equal(first.scene.ground, other.scene.ground)
    assert name == "open" or first.scene.obstacles != other.scene.obstacles


@pytest.mark.parametrize("name", ["campus", "forest", "office"])
def test_paint_moves_nothing(name):
    config = load_world_config(name)
    first, painted = generate_world(config, 1), generate_world(config, 1, texture_seed=9)
    assert first.scene.obstacles == painted.scene.obstacles
    assert np.array_equal(first.scene.terrain, painted.scene.terrain)
    assert np.array_equal(first.scene.roughness_steps, painted.scene.roughness_steps)
    assert not np.array_equal(first.scene.ground, painted.scene.ground)


@settings(max_examples=12, deadline=None)
@given(name=st.sampled_from(FAMILIES), seed=st.integers(0, 100_000))
def test_free_space_is_connected_and_clear_of_obstacles(name, seed):
    world = generate_world(load_world_config(name), seed)
    for radius in FOOTPRINTS:
        space = world.free_space(radius)
        assert ndimage.label(space.free)[1] == 1
        fits = world.clearance.on_grid(space.cell, *space.free.shape) >= radius + 0.05
        assert space.free.sum() >= 0.9 * fits.sum()
        field = space.distance_field(*space.centre(*space.cells[0]))
        assert np.isfinite(field[space.free]).all()
        x, y = (space.cells[:, ::-1].T + 0.5) * space.cell
        for obstacle in world.scene.obstacles:
            assert obstacle.distance(x, y).min() >= radius


@settings(max_examples=10, deadline=None)
@given(
    name=st.sampled_from(FAMILIES),
    seed=st.integers(0, 100_000),
    radius=st.sampled_from(FOOTPRINTS),
)
def test_starts_and_goals_are_free_reachable_in_range_and_fixed(name, seed, radius):
    world = generate_world(load_world_config(name), seed)
    pairs = evaluation_pairs(world, 4, seed, 4.0, 8.0, radius)
    assert pairs == evaluation_pairs(world, 4, seed, 4.0, 8.0, radius)
    space = world.free_space(radius)
    for start, goal in pairs:
        assert world.clearance.at(start[0], start[1]) >= radius
        assert world.clearance.at(goal[0], goal[1]) >= radius
        length = space.distance_field(goal[0], goal[1])[space.cell_of(start[0], start[1])]
        assert 4.0 <= length <= 8.0
        assert length >= math.dist(start[:2], goal[:2]) - 1e-9


@settings(max_examples=10, deadline=None)
@given(
    name=st.sampled_from(["courtyard", "office"]),
    place=st.integers(0, 1000),
    limit=st.floats(0.5, 9.0),
)
def test_a_limited_field_is_the_whole_one_up_to_its_limit(name, place, limit):
    world = generate_world(load_world_config(name), 0)
    x, y = world.free_space(RADIUS).centre(*world.free_space(RADIUS).cells[place])
    limited = world.free_space(RADIUS).distance_field(x, y, limit)
    whole = world.free_space(RADIUS).distance_field(x, y)
    assert np.array_equal(limited, np.where(whole <= limit, whole, np.inf))


@pytest.mark.parametrize("name", ["campus", "forest", "office", "warehouse"])
def test_large_families_have_ways_of_more_than_25_metres(name):
    for seed in range(2):
        space = generate_world(load_world_config(name), seed).free_space(RADIUS)
        field = space.distance_field(*space.centre(*space.cells[0]))
        assert field[space.free].max() > 25.0


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_tall_grass_stops_a_lidar_but_not_the_robot(seed):
    world = generate_world(load_world_config("forest"), seed)
    space = world.free_space(RADIUS)
    points = (space.cells[:, ::-1] + 0.5) * space.cell
    grass = np.array([world.terrain(x, y) == "tall_grass" for x, y in points])
    assert grass.mean() > 0.02
    assert (world.clearance.at_points(points) >= RADIUS).all()
    seen = world.geometric_clearance.at_points(points)
    assert (seen[grass] <= 0.05).all()
    # Elsewhere the two differ by grass that is nearer than anything solid, and never upwards.
    assert (seen <= world.clearance.at_points(points) + 1e-6).all()
    assert (seen[~grass] >= -0.1).all() and (seen[~grass] > RADIUS).any()


def test_without_tall_grass_a_lidar_sees_what_stops():
    for name in ("campus", "office"):
        world = generate_world(load_world_config(name), 0)
        assert np.array_equal(world.geometric_clearance.values, world.clearance.values)


@pytest.mark.parametrize("name", FAMILIES)
def test_roughness_goes_with_the_kind_of_ground(name):
    config = load_world_config(name)
    world = generate_world(config, 3)
    bounds = {layer.kind: layer.roughness for layer in config.ground}
    if config.outdoor is not None and config.outdoor.paths is not None:
        bounds[config.outdoor.paths.kind] = config.outdoor.paths.roughness
    if config.indoor is not None:
        bounds[config.indoor.floor_kind] = config.indoor.floor_roughness
    rng = np.random.default_rng(0)
    seen = set()
    for x, y in rng.uniform(0, world.size, (400, 2)):
        kind = world.terrain(x, y)
        low, high = bounds[kind]
        assert low - 0.003 <= world.roughness(x, y) <= high + 0.003
        seen.add(kind)
    assert len(seen) >= min(len(bounds), 3)
    assert world.scene.roughness[0, 0] == pytest.approx(world.roughness(0.0, 0.0))


def test_bumpy_ground_in_the_forest_is_the_roughest():
    world = generate_world(load_world_config("forest"), 0)
    kinds = np.array(world.scene.kinds)[world.scene.terrain]
    bumpy = world.scene.roughness[kinds == "bumpy"]
    assert bumpy.max() <= 0.8 + 1e-6 and bumpy.min() >= 0.4 - 1e-6 and np.ptp(bumpy) > 0.15
    assert bumpy.mean() > world.scene.roughness[kinds == "trail"].mean() + 0.2


def test_every_room_of_the_office_can_be_reached():
    for seed in range(5):
        space = generate_world(load_world_config("office"), seed).free_space(RADIUS)
        blocks = space.free.reshape(6, 30, 10, 26)  # 3 m x 2.6 m, smaller than any room
        assert blocks.any(axis=(1, 3)).all()


def test_geodesic_distance_goes_around_a_wall():
    space = generate_world(load_world_config("office"), 0).free_space(RADIUS)
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
    floor = "ground: [{kind: floor, material: asphalt}]\n"
    mistakes = {
        "outdoor: {pathes: 3}\n" + floor: "pathes",
        "outdoor: {}\n" + floor + "objects: [{prefab: tre}]\n": "no prefab is called 'tre'",
        "outdoor: {}\nground: [{kind: floor, material: asfalt}]\n": "no material is called 'asf",
        "outdoor: {}\n": "a first 'ground' that lies everywhere",
        "outdoor: {}\n" + floor + "objects: [{prefab: tree, place: rows}]\n": "'rows' goes with",
        "outdoor: {}\n" + floor + "objects: [{prefab: tree, count: [4, 2]}]\n": "lower number",
        "outdoor: {}\nindoor: {}\n" + floor: "exactly one",
    }
    for number, (text, message) in enumerate(mistakes.items()):
        path = tmp_path / f"{number}.yaml"
        path.write_text("name: x\nsize: [10, 10]\n" + text)
        with pytest.raises(NavOffrlError, match=message) as caught:
            load_world_config(path)
        assert str(path) in str(caught.value)
    with pytest.raises(NavOffrlError, match="radius"):
        generate_world(load_world_config("office"), 0).free_space(1.4)
    with pytest.raises(NavOffrlError, match="negative"):
        generate_world(load_world_config("open"), -1)


def test_a_layout_that_is_never_connected_is_refused():
    config = WorldConfig.model_validate(
        {
            "name": "shut",
            "size": (10, 10),
            "outdoor": {},
            "ground": [{"kind": "floor", "material": "asphalt"}],
            "prefabs": {"wall": {"parts": [{"size": (0.4, 9.9, 1.0), "material": "wood"}]}},
            "objects": [
                {
                    "prefab": "wall",
                    "place": "rows",
                    "rows": {"spacing": (20, 20), "margin": (5, 5)},
                    "gap": 0,
                    "heading": "fixed",
                }
            ],
        }
    )
    with pytest.raises(NavOffrlError, match="not connected"):
        generate_world(config, 0)


def test_worlds_are_generated_within_bounds_of_time():
    for name in FAMILIES:
        config = load_world_config(name)
        generate_world(config, 0)
        begin = time.process_time()
        generate_world(config, 1)
        assert time.process_time() - begin < 1.0
