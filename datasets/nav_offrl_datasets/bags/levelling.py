"""Turning the readings of an inertial sensor that is not mounted upright."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRAVITY = (8.0, 11.5)  # m/s^2; a median acceleration outside is no gravity
UPRIGHT = 0.35  # rad (20 degrees); less may be a slope


def tilt_of(readings: Floats) -> tuple[float, Floats] | None:
    """Return the angle, rad, between the sensor's z and up, and the rotation (3, 3) that levels it.

    `readings` (N, 6) as in the schema. Up is where the median acceleration points, since at rest
    a sensor reads what keeps it from falling. The rotation is the smallest one that does it
    (Rodrigues), so directions about the vertical stay as they were; half a turn is about x.
    None where the median is no gravity, or the sensor is upright.
    """
    acceleration = readings[np.isfinite(readings).all(axis=1), 3:]
    if not len(acceleration):
        return None
    up = np.median(acceleration, axis=0)
    length = float(np.linalg.norm(up))
    if not GRAVITY[0] < length < GRAVITY[1]:
        return None
    up = up / length
    angle = float(np.arccos(np.clip(up[2], -1.0, 1.0)))
    if angle < UPRIGHT:
        return None
    axis = np.array([up[1], -up[0], 0.0])  # up x z
    sine = float(np.linalg.norm(axis))
    axis = axis / sine if sine > 1e-6 else np.array([1.0, 0.0, 0.0])
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return angle, rotation


def levelled(readings: Floats, rotation: Floats) -> Floats:
    """Return gyro and acceleration (N, 6) turned by `rotation`."""
    return np.concatenate([readings[:, :3] @ rotation.T, readings[:, 3:] @ rotation.T], axis=1)
