"""A new family of worlds is one YAML file: written here, generated, seen and driven through."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from nav_offrl_sim import CameraConfig, generate_world, load_robot_config, load_world_config
from nav_offrl_sim.camera import RobotCamera
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.robot import Robot
from nav_offrl_sim.tasks import evaluation_pairs
from nav_offrl_sim.world_picture import Args, main

README = Path(__file__).parents[2] / "sim/README.md"
ORCHARD = README.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]

CAR_PARK = """
name: car_park
size: [22.0, 18.0]
indoor: {room_size: 60.0, wall_height: 3.0, walls: [hall_wall], floors: [concrete], posters: 0.2}
objects:
  - {prefab: parking_bay, place: rows, heading: fixed, gap: 0,
     rows: {spacing: [2.5, 7.5], margin: [2.5, 3.5]}}
  - {prefab: car_in_bay, place: rows, heading: fixed, gap: 0.5,
     rows: {spacing: [2.5, 7.5], margin: [2.5, 3.5], left_out: 0.4}}
  - {prefab: pillar, count: 4, gap: 1.0}
prefabs:
  car_in_bay:
    parts:
      - {size: [1.4, 2.6, 0.22], material: rubber}
      - {size: [1.5, 3.0, 0.5], at: [0, 0, 0.22], material: paint}
      - {size: [1.3, 1.6, 0.48], at: [0, 0.1, 0.72], material: glass, above: paint}
"""


@pytest.fixture(params=[ORCHARD, CAR_PARK], ids=["orchard", "car_park"])
def family(request, tmp_path):
    path = tmp_path / "family.yaml"
    path.write_text(request.param)
    return path


def test_the_oracle_drives_through_a_family_of_one_file(family):
    config, robot_config = load_world_config(family), load_robot_config("generic")
    arrived = 0
    for seed in range(2):
        world = generate_world(config, seed)
        assert len(world.scene.obstacles) > 12
        robot, oracle = Robot(world, robot_config), OracleDriver(world, robot_config)
        for start, goal in evaluation_pairs(world, 4, seed, 6.0, 14.0):
            robot.place(start, np.random.default_rng(0))
            arrived += arrives(robot, oracle, goal)
    assert arrived == 8


def arrives(robot, oracle, goal):
    for _ in range(250):
        if math.dist(robot.pose[:2], goal[:2]) < 0.5:
            return True
        robot.step(*oracle.command(robot.pose, goal))
    return False


def test_the_environment_takes_the_file(family):
    env = NavigationEnv(world=family)
    observation, _ = env.reset(seed=0)
    assert observation["image"].std() > 20
    env.close()


def test_rows_are_where_the_file_says(tmp_path):
    path = tmp_path / "orchard.yaml"
    path.write_text(ORCHARD)
    world = generate_world(load_world_config(path), 0)
    trees = [o for o in world.scene.obstacles if 0.1 < o.radius < 0.14]
    # 24 m less 2.5 m at both ends holds 7 trees 3 m apart; 20 m holds 4 rows 4 m apart.
    assert len(trees) == 28
    columns = np.array([3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0])
    gaps = np.abs(np.array([tree.x for tree in trees])[:, None] - columns).min(axis=1)
    assert gaps.max() <= 0.1 + 1e-9
    assert world.terrain(trees[0].x, trees[0].y) in ("grass", "meadow")


def test_markings_lie_on_the_floor_and_stop_nothing(tmp_path):
    path = tmp_path / "car_park.yaml"
    path.write_text(CAR_PARK)
    world = generate_world(load_world_config(path), 0)
    bays = [(2.5 * k + 3.5, y) for k in range(7) for y in (5.25, 12.75)]
    cars = [o for o in world.scene.obstacles if o.half_width == pytest.approx(1.5)]
    empty = [b for b in bays if all(math.dist(b, (c.x, c.y)) > 1.0 for c in cars)]
    assert 0 < len(cars) < len(bays) and len(cars) + len(empty) == len(bays)
    row, column = (np.array(empty[0])[::-1] * world.scene.scale).astype(int)
    half = round(1.2 * world.scene.scale)
    line = world.scene.ground[row - 3 : row + 4, column - half - 1 : column - half + 2]
    inside = world.scene.ground[row - 3 : row + 4, column - 3 : column + 4]
    assert line.max(axis=1).mean() > inside.mean() + 30
    assert world.clearance.at(*empty[0]) > 0.3


def test_a_picture_of_a_family_shows_it_from_above_and_four_views(tmp_path):
    path = tmp_path / "world.jpg"
    main(Args(world="courtyard", output=path))
    picture = cv2.imread(str(path))
    assert picture.shape == (384, 384 + 2 * 256, 3)
    views = [picture[y : y + 192, x : x + 256] for y in (0, 192) for x in (384, 640)]
    assert all(view.std() > 20 for view in views)
    assert path.stat().st_size < 150_000


def test_worlds_of_a_new_family_differ_and_can_be_looked_at(family):
    config = load_world_config(family)
    camera = RobotCamera(generate_world(config, 0), CameraConfig(width=64, height=48))
    first = camera.image(4.0, 8.6, 0.0)
    camera.show(generate_world(config, 1))
    assert np.abs(camera.image(4.0, 8.6, 0.0).astype(int) - first).mean() > 5
    camera.close()
