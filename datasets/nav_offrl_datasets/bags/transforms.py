"""Where a bag's cameras are mounted: its static transforms (/tf_static), followed to base_link."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.bags.files import Bag
from nav_offrl_datasets.bags.messages import UnusableError

Matrix = NDArray[np.float64]
Mounting = tuple[float, float, float, float, float, float]
# Child frame -> its parent, and the child's pose in it (4, 4).
Transforms = Mapping[str, tuple[str, Matrix]]

BASE = "base_link"  # REP-105
MAX_TRANSFORMS = 10_000
MAX_DEPTH = 100  # frames between a camera and the base; a cycle has no end
# Axes of a camera that looks along x (REP-103's body) in those of one that looks along z (its
# "optical" frames: x right, y down).
BODY_IN_OPTICAL = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def read_static_transforms(bag: Bag, topic: str) -> Transforms:
    """Return the transforms that were published on `topic`; of one frame the last.

    Damaged messages, and poses that are none, are left out; a bag that is damaged further on gives
    what comes before.
    """
    found: dict[str, tuple[str, Matrix]] = {}
    with suppress(NavOffrlError):
        for _, _, data in bag.messages([topic]):
            with suppress(UnusableError):
                for each in bag.decode(topic, data).transforms:
                    pose = _pose(each.transform)
                    if pose is not None and len(found) < MAX_TRANSFORMS:
                        found[_plain(each.child_frame_id)] = _plain(each.header.frame_id), pose
    return found


def mounting_of(frame: str, transforms: Transforms) -> Mounting | None:
    """Return x, y, z m and roll, pitch, yaw rad in base_link of a camera with images in `frame`.

    The angles are of a camera that looks along its x axis, as the schema has it: one whose frame is
    called optical is turned. A namespace before base_link is passed over. None where no chain of
    transforms leads there.
    """
    frame = _plain(frame)
    pose = BODY_IN_OPTICAL if "optical" in frame.rpartition("/")[2] else np.eye(4)
    for _ in range(MAX_DEPTH):
        if frame.rpartition("/")[2] == BASE:
            return _six_numbers(pose)
        if frame not in transforms:
            return None
        frame, of_frame = transforms[frame]
        pose = of_frame @ pose
    return None


def _pose(transform: Any) -> Matrix | None:
    place, turn = transform.translation, transform.rotation
    vector = np.array([turn.x, turn.y, turn.z])
    norm = math.sqrt(float(vector @ vector) + turn.w**2)
    numbers = (place.x, place.y, place.z, norm)
    if not all(map(math.isfinite, numbers)) or not 0.5 < norm < 2.0:
        return None
    (x, y, z), w = vector / norm, turn.w / norm
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    pose = np.eye(4)
    pose[:3, :3] += 2.0 * (w * cross + cross @ cross)
    pose[:3, 3] = numbers[:3]
    return pose


def _six_numbers(pose: Matrix) -> Mounting:
    """Return the position, and the angles about fixed x, y, z axes (REP-103) of a pose (4, 4)."""
    turn = pose[:3, :3]
    pitch = math.atan2(-turn[2, 0], math.hypot(turn[0, 0], turn[1, 0]))
    roll, yaw = math.atan2(turn[2, 1], turn[2, 2]), math.atan2(turn[1, 0], turn[0, 0])
    x, y, z, *angles = (round(float(value), 6) + 0.0 for value in (*pose[:3, 3], roll, pitch, yaw))
    return x, y, z, angles[0], angles[1], angles[2]


def _plain(frame: str) -> str:
    """Return a frame's name without the slash that tf of ROS 1 allowed before it."""
    return str(frame).lstrip("/")
