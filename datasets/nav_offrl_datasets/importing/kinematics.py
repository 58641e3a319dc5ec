"""Velocities from poses."""

import numpy as np
from numpy.typing import NDArray


def wrap_angle(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same angles in [-pi, pi), rad."""
    wrapped: NDArray[np.float64] = np.mod(angle + np.pi, 2.0 * np.pi) - np.pi
    return wrapped


def body_twists(
    time: NDArray[np.float64], position: NDArray[np.float64], yaw: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the constant body-frame twist that leads from each pose to the next.

    `time` (T,) s increasing, `position` (T, 2) m, `yaw` (T,) rad -> (T - 1, 3): forward m/s,
    leftward m/s, counter-clockwise rad/s. It is the logarithm of the relative pose in SE(2)
    (Sola et al. 2018, "A micro Lie theory", eq. 156-158): exact for a robot that holds v and
    omega between samples, where differencing along the old heading alone reads too low in turns.
    Between two samples the robot is taken to turn the short way round.
    """
    period = np.diff(time)
    turn = wrap_angle(np.diff(yaw))
    half = 0.5 * turn
    # The chord of an arc points along the mean heading and is shorter than the arc by sinc.
    heading, arc = yaw[:-1] + half, 1.0 / np.sinc(half / np.pi)
    dx, dy = np.diff(position, axis=0).T * arc
    forward = np.cos(heading) * dx + np.sin(heading) * dy
    left = -np.sin(heading) * dx + np.cos(heading) * dy
    return np.stack([forward, left, turn], axis=1) / period[:, None]


def actions_and_velocities(
    twists: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `(action, velocity)`, each (T, 2) in m/s and rad/s, from (T - 1, 3) twists.

    The action of a step leads to the next pose, the velocity of a step is what odometry could
    have told by then: the twist that led to it. So velocity never reveals the action of its step,
    but for the first step, which has nothing before it and takes the first twist. The last action
    repeats the one before.
    """
    planar = twists[:, [0, 2]]
    return np.concatenate([planar, planar[-1:]]), np.concatenate([planar[:1], planar])
