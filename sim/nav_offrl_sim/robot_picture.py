"""A picture of a robot: its footprint, cameras and lidar from above, and what it sees."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from nav_offrl_sim.camera_rig import CameraRig
from nav_offrl_sim.configuration import RobotConfig
from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.lidar import Lidar
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.textures import Image
from nav_offrl_sim.top_down import render_top_down
from nav_offrl_sim.world import World

SCALE = 80.0  # pixels per m
SIDE = 480  # of the view from above, pixels
BODY, HEADING, VIEW, RETURN = (40, 90, 220), (255, 255, 255), (255, 200, 40), (220, 30, 30)  # RGB


def draw_robot(robot: RobotConfig, world: World, pose: Pose) -> Image:
    """A robot at a pose from above, 6 m wide, and beside it what its cameras see, one below
    another, (480, W, 3) uint8 RGB.
    """
    above, to_pixel = render_top_down(world, SCALE)
    canvas = np.ascontiguousarray(above)
    for camera in robot.cameras.values():
        lens = _on_robot(pose, [(camera.forward, camera.left)])[0]
        half, heading = camera.horizontal_fov / 2, pose[2] + camera.yaw
        rim = [
            lens + 2.0 * np.array([math.cos(heading + turn), math.sin(heading + turn)])
            for turn in np.linspace(-half, half, 20)
        ]
        wedge = to_pixel(np.array([lens, *rim])).astype(np.int32)
        shaded = cv2.fillPoly(canvas.copy(), [wedge], VIEW)
        canvas = np.asarray(cv2.addWeighted(shaded, 0.35, canvas, 0.65, 0), np.uint8)
    centre = to_pixel(np.array(pose[:2])).astype(np.int32).tolist()
    nose = to_pixel(_on_robot(pose, [(robot.footprint_radius, 0.0)]))[0].astype(np.int32).tolist()
    cv2.circle(canvas, centre, round(robot.footprint_radius * SCALE), BODY, -1, cv2.LINE_AA)
    cv2.line(canvas, centre, nose, HEADING, 3, cv2.LINE_AA)
    for point in to_pixel(returns(robot, world, pose)).astype(np.int32).tolist():
        cv2.circle(canvas, point, 2, RETURN, -1, cv2.LINE_AA)
    half_side = SIDE // 2
    padded = np.pad(canvas, [(half_side, half_side)] * 2 + [(0, 0)], constant_values=255)
    cut = padded[centre[1] : centre[1] + SIDE, centre[0] : centre[0] + SIDE]
    return np.hstack([cut, _views(robot, world, pose)])


def returns(robot: RobotConfig, world: World, pose: Pose) -> FloatArray:
    """Where the lidar's light comes back from, (N, 2) m in the world; N is 0 without a lidar."""
    lidar = robot.lidar
    if lidar is None:
        return np.zeros((0, 2))
    ranges = Lidar(world, lidar).scan(pose).astype(np.float64)
    bearings = np.linspace(lidar.angle_min, lidar.angle_max, lidar.rays) + lidar.yaw
    seen = np.isfinite(ranges)
    ahead = lidar.forward + ranges[seen] * np.cos(bearings[seen])
    left = lidar.left + ranges[seen] * np.sin(bearings[seen])
    return _on_robot(pose, np.column_stack([ahead, left]))


def _on_robot(pose: Pose, places: Sequence[tuple[float, float]] | FloatArray) -> FloatArray:
    """Places (N, 2) ahead and left of a robot, m, as places in the world."""
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    turned: FloatArray = np.asarray(places, np.float64) @ np.array([[cos, sin], [-sin, cos]])
    return turned + np.array(pose[:2])


def _views(robot: RobotConfig, world: World, pose: Pose) -> Image:
    """What the cameras see, scaled to fill the picture's height together."""
    rig = CameraRig(world, robot.cameras)
    views = list(rig.images(pose).values())
    rig.close()
    height = SIDE // len(views)
    width = max(round(view.shape[1] * height / view.shape[0]) for view in views)
    shown = [cv2.resize(view, (width, height), interpolation=cv2.INTER_CUBIC) for view in views]
    column = np.full((SIDE, width, 3), 255, dtype=np.uint8)
    column[: height * len(shown)] = np.vstack(shown)
    return column
