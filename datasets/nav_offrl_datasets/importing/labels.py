"""A robot's own labels: collision and bumpiness from lidar, IMU, and commands against motion.

After BADGR (Kahn et al. 2020, "BADGR: An Autonomous Self-Supervised Learning-Based Navigation
System"): a collision is an obstacle close by in the lidar, a jolt in the IMU, wheels
that are told to turn while the robot stays, or a robot that lies on its side; bumpiness is how much
it rolls and pitches. What the log itself says is never overruled.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.config import LabelConfig

GYRO_XY, ACCELERATION_XY, ACCELERATION_Z = slice(0, 2), slice(3, 5), 5
Values = Mapping[str, NDArray[Any]]


def causes(fields: Collection[str], commanded: bool, labels: LabelConfig) -> tuple[str, ...]:
    """Return by what a collision can be told, given the names of a log's fields.

    `commanded`: the log has (v, omega) commands; actions derived from motion cannot differ from it.
    """
    moves = "position" in fields or "velocity" in fields
    possible = {
        "close": "lidar" in fields and labels.close_range > 0,
        "stuck": commanded and moves,
        "flipped": "imu" in fields and labels.flipped_gravity > 0,
        "jolt": "imu" in fields and labels.jolt > 0,
    }
    return tuple(cause for cause, is_possible in possible.items() if is_possible)


def labelled_fields(
    fields: Collection[str], commanded: bool, labels: LabelConfig | None
) -> dict[str, FieldInfo]:
    """Return what labelling adds to the `fields` of a log, each with what it is made from."""
    if labels is None:
        return {}
    added = {}
    told_by = causes(fields, commanded, labels)
    if "collision" not in fields and told_by:
        added["collision"] = field_info("collision", source=f"labelled: {', '.join(told_by)}")
    if "bumpiness" not in fields and "imu" in fields:
        added["bumpiness"] = field_info("bumpiness", source="labelled: gyro of 'imu'")
    return added


def bumpiness(imu: NDArray[Any]) -> NDArray[np.float64]:
    """Return the root mean square of the gyro's x and y, rad/s, of each step: (T, 6) -> (T,)."""
    gyro = np.asarray(imu[:, GYRO_XY], np.float64)
    rms: NDArray[np.float64] = np.sqrt(np.mean(gyro**2, axis=1))
    return rms


def collision(
    values: Values, seconds: NDArray[np.float64], told_by: Collection[str], labels: LabelConfig
) -> dict[str, NDArray[np.bool_]]:
    """Return for each cause which of the T steps of one uninterrupted drive it marks.

    `values` has the fields that `causes` asked for; `seconds` (T,) s. A step without a reading
    is marked by no cause that needs it.
    """
    marks = {}
    with np.errstate(invalid="ignore"):  # NaN: no reading
        if "close" in told_by:
            marks["close"] = close(values["lidar"], labels.close_range)
        if "stuck" in told_by:
            speed = _speed(values, seconds)
            marks["stuck"] = stuck(values["action"][:, 0], speed, seconds, labels)
        if "flipped" in told_by:
            marks["flipped"] = values["imu"][:, ACCELERATION_Z] < labels.flipped_gravity
        if "jolt" in told_by:
            jolt = np.linalg.norm(values["imu"][:, ACCELERATION_XY], axis=1)
            marks["jolt"] = jolt > labels.jolt
    return marks


def close(lidar: NDArray[Any], nearest: float) -> NDArray[np.bool_]:
    """Return at which steps any of the ranges (T, rays) m is below `nearest` m.

    A range of zero or less is no return: drivers write it for one.
    """
    return np.asarray(((lidar > 0) & (lidar < nearest)).any(axis=1), np.bool_)


def stuck(
    command: NDArray[Any],
    speed: NDArray[np.float64],
    seconds: NDArray[np.float64],
    labels: LabelConfig,
) -> NDArray[np.bool_]:
    """Return the steps (T,) of every stretch in which the robot is told to go and stays.

    `command` m/s and `speed` m/s hold from a step to the next. All steps of a stretch that lasts
    `stuck_duration` are marked: it is at the first of them that the robot ran into something.
    """
    held = (np.abs(command) >= labels.stuck_command) & (speed <= labels.stuck_speed)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    # The last step holds as long as the one before it.
    last = seconds[-1] + (seconds[-1] - seconds[-2] if len(seconds) > 1 else 0.0)
    ends = np.append(seconds, last)
    marked = np.zeros(len(held), np.bool_)
    for first, after in edges.reshape(-1, 2):
        # A microsecond of slack: seconds are sums of rounded periods.
        if ends[after] - ends[first] >= labels.stuck_duration - 1e-6:
            marked[first:after] = True
    return marked


def _speed(values: Values, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the speed from each step to the next, m/s (T,): from the poses where there are any."""
    if "position" in values:
        shift = np.linalg.norm(np.diff(values["position"].astype(np.float64), axis=0), axis=1)
        speed = shift / np.diff(seconds)
        return np.append(speed, speed[-1:])
    return np.abs(values["velocity"][:, 0].astype(np.float64))
