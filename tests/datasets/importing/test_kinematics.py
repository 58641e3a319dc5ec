"""Derived actions lead back along the poses that they were derived from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nav_offrl_datasets.importing.kinematics import actions_and_velocities, body_twists, wrap_angle

commands = st.lists(st.tuples(st.floats(-2.0, 2.0), st.floats(-6.0, 6.0)), min_size=2, max_size=40)


def drive(twists: np.ndarray, start: np.ndarray, period: float) -> np.ndarray:
    """Integrate (v, omega) in 200 small steps a period: (T + 1, 3) poses x, y, yaw."""
    poses, small = [start], period / 200
    for v, omega in twists:
        heading = poses[-1][2] + omega * small * (np.arange(200) + 0.5)
        shift = v * small * np.array([np.cos(heading).sum(), np.sin(heading).sum()])
        poses.append(poses[-1] + np.append(shift, omega * period))
    return np.array(poses)


@given(commands, st.floats(-100, 100), st.sampled_from([0.1, 0.25, 0.5]))
def test_unicycle_commands_are_recovered_whatever_the_heading(
    driven: list[tuple[float, float]], yaw: float, period: float
) -> None:
    twists = np.array(driven)
    poses = drive(twists, np.array([3.0, -4.0, yaw]), period)
    time = period * np.arange(len(poses))
    derived = body_twists(time, poses[:, :2], wrap_angle(poses[:, 2]))
    np.testing.assert_allclose(derived[:, [0, 2]], twists, atol=1e-3)
    np.testing.assert_allclose(derived[:, 1], 0.0, atol=1e-3)
    action, _ = actions_and_velocities(derived)
    np.testing.assert_allclose(drive(action[:-1], poses[0], period), poses, atol=1e-2)


@given(st.floats(-1e3, 1e3))
def test_wrapped_angle_is_the_same_direction(angle: float) -> None:
    wrapped = wrap_angle(np.array([angle]))
    assert -np.pi <= wrapped[0] <= np.pi
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * angle), atol=1e-9)


def test_sideways_motion_is_told_apart() -> None:
    position = np.array([[0.0, 0.0], [0.0, 0.2], [-0.1, 0.2]])
    twists = body_twists(np.array([0.0, 0.1, 0.2]), position, np.array([0.0, 0.0, 0.0]))
    np.testing.assert_allclose(twists, [[0.0, 2.0, 0.0], [-1.0, 0.0, 0.0]], atol=1e-12)


def test_velocity_does_not_reveal_the_action_of_its_step() -> None:
    twists = np.array([[1.0, 0.0, 0.1], [2.0, 0.0, 0.2], [3.0, 0.0, 0.3]])
    action, velocity = actions_and_velocities(twists)
    np.testing.assert_array_equal(action[:, 0], [1.0, 2.0, 3.0, 3.0])
    np.testing.assert_array_equal(velocity[:, 0], [1.0, 1.0, 2.0, 3.0])
