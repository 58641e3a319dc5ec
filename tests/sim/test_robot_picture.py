import math

import numpy as np

from nav_offrl_sim import load_robot_config
from nav_offrl_sim.geometry import Obstacle
from nav_offrl_sim.robot_picture import SCALE, draw_robot, returns


def test_returns_lie_on_what_the_lidar_sees(arena):
    box = Obstacle(12.0, 10.0, 0.5, 0.5)
    for name in ("generic", "jackal", "turtlebot"):
        points = returns(load_robot_config(name), arena(box), (10.0, 10.0, 0.4))
        edges = np.minimum.reduce(
            [points[:, 0], 20 - points[:, 0], points[:, 1], 20 - points[:, 1]]
        )
        assert len(points) > 10
        assert np.minimum(np.abs(box.distance(*points.T)), edges).max() < 0.02
    blind = load_robot_config("generic").model_copy(update={"lidar": None})
    assert returns(blind, arena(box), (10.0, 10.0, 0.4)).shape == (0, 2)


def test_picture_shows_the_robot_in_the_middle_and_its_cameras_beside_it(arena):
    robot = load_robot_config("generic")
    two = robot.model_copy(
        update={
            "cameras": {
                "front": robot.camera,
                "rear": robot.camera.model_copy(update={"yaw": math.pi}),
            }
        }
    )
    world = arena(Obstacle(12.0, 10.0, 0.5, 0.5))
    one, both = (draw_robot(config, world, (10.0, 10.0, 0.4)) for config in (robot, two))
    assert one.shape == (480, 480 + 640, 3) and both.shape == (480, 480 + 320, 3)
    blue = (one[:, :480, 2] > 180) & (one[:, :480, 0] < 90)
    rows, columns = np.nonzero(blue)
    assert abs(rows.mean() - 240) < 3 and abs(columns.mean() - 240) < 3
    assert abs(np.ptp(columns) - 2 * robot.footprint_radius * SCALE) < 4
    yellow = np.abs(one[:, :480].astype(int) - both[:, :480]).sum(axis=2) > 20
    assert yellow[240:, :240].mean() > yellow[:240, 240:].mean()  # the rear camera looks down left
