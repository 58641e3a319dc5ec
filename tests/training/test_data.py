"""Velocity limits from the log, the map to [-1, 1], devices, poses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.algorithms.iql import IQL, IQLConfig
from nav_offrl.algorithms.method import Spaces
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.networks.policies import GaussianPolicy
from nav_offrl.networks.preprocess import resize_frames
from nav_offrl.store import Store
from nav_offrl.training.actions import VelocityActions
from nav_offrl.training.data import ActionLimits, pick_device, poses, training_tier
from nav_offrl.training.trained_policy import CommandPolicy

torch.set_num_threads(1)

LENGTH = 24


def actions(linear: np.ndarray, angular: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(linear, angular, np.zeros(LENGTH))[:2], -1)


def limits_of(write_store: Callable[..., Store], path: Path, action: np.ndarray) -> ActionLimits:
    return ActionLimits.of_store(write_store(path, ("train", "train"), action=action))


def test_limits_contain_stop_for_a_robot_that_only_drives_ahead(
    write_store: Callable[..., Store], tmp_path: Path
) -> None:
    ahead = actions(np.linspace(0.5, 1.5, LENGTH), np.linspace(0.1, 0.8, LENGTH))
    limits = limits_of(write_store, tmp_path / "a.zarr", ahead)
    assert limits.low == (0.0, 0.0)
    assert 1.4 < limits.high[0] < 1.51 and 0.7 < limits.high[1] < 0.81
    behind = limits_of(write_store, tmp_path / "b.zarr", -ahead)
    assert behind.high == (0.0, 0.0) and behind.low[0] < -1.4


def test_a_glitch_of_odometry_does_not_set_the_limits(store: Store, tmp_path: Path) -> None:
    action = np.tile(np.array([[1.0, 0.3], [0.5, -0.3]]), (300, 1))
    action[17] = (80.0, -40.0)

    class OneGlitch:
        path, steps, episodes = store.path, 600, store.episodes
        steps_of = staticmethod(lambda episode: slice(0, 600))
        field = staticmethod(lambda name: action)

    limits = ActionLimits.of_store(OneGlitch())  # type: ignore[arg-type]
    assert limits.high == pytest.approx((1.0, 0.3)) and limits.low == pytest.approx((0.0, -0.3))
    assert limits.normalise(np.array([[80.0, -40.0]], np.float32)).tolist() == [[1.0, -1.0]]


def test_held_out_episodes_do_not_set_the_limits(
    write_store: Callable[..., Store], tmp_path: Path
) -> None:
    store = write_store(tmp_path / "log.zarr", ("train", "held_out"))
    action = store.field("action").copy()
    action[store.steps_of(1)] *= 10
    store._fields["action"] = action
    assert ActionLimits.of_store(store).high[0] < 1.2


@pytest.mark.parametrize(
    ("action", "name"),
    [(actions(np.zeros(1), np.linspace(-1, 1, LENGTH)), "linear"),
     (actions(np.linspace(0, 1, LENGTH), np.zeros(1)), "angular")],
)  # fmt: skip
def test_a_log_without_motion_is_refused(
    write_store: Callable[..., Store], tmp_path: Path, action: np.ndarray, name: str
) -> None:
    with pytest.raises(NavOffrlError, match=rf"log\.zarr.*'action'.*{name}.*units"):
        limits_of(write_store, tmp_path / "log.zarr", action)


bounds = st.tuples(st.floats(-3, 0), st.floats(0.05, 3))


@settings(max_examples=100, deadline=None)
@given(linear=bounds, angular=bounds, unit=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_commands_are_the_inverse_of_normalisation_and_stay_inside(
    linear: tuple[float, float], angular: tuple[float, float], unit: tuple[float, float]
) -> None:
    limits = ActionLimits((linear[0], angular[0]), (linear[1], angular[1]))

    class Says(GaussianPolicy):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.tensor([unit], dtype=torch.float32)

    iql = IQL(IQLConfig(hidden=(2,)), Spaces(2, 2))
    iql.policy = Says(iql.features.size, 2, (2,))
    command = CommandPolicy(iql, VelocityActions(limits))(torch.zeros(1, 2), torch.zeros(1, 2))
    low, high = torch.tensor(limits.low), torch.tensor(limits.high)
    assert (command >= low).all() and (command <= high).all()
    back = limits.normalise(command.numpy())
    np.testing.assert_allclose(back[0], unit, atol=2e-5)


def test_normalisation_by_hand() -> None:
    limits = ActionLimits((-0.5, -1.0), (1.5, 1.0))
    action = np.array([[0.5, 0.0], [1.5, -1.0], [9.0, 9.0], [-9.0, 0.5]], np.float32)
    expected = [[0.0, 0.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 0.5]]
    normalised = limits.normalise(action)
    assert normalised.dtype == np.float32 and normalised.tolist() == expected


def test_tier_is_the_networks_own_preprocessing(store: Store) -> None:
    encoder = EncoderConfig(height=32, width=36)
    tier = training_tier(store, "front", encoder, progress=False)
    frames = torch.from_numpy(store.images("front", slice(0, store.steps)))
    expected = resize_frames(frames, 32, 36).to(torch.uint8).numpy()
    assert np.array_equal(tier.gather(np.arange(store.steps)), expected)


def test_poses_are_position_and_yaw(store: Store) -> None:
    pose = poses(store)
    assert pose.shape == (store.steps, 3) and pose.dtype == torch.float32
    assert pose[25].tolist() == [0.5, 0.0, 0.0]


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(NavOffrlError, match=r"no CUDA device.*'cpu'"):
            pick_device("cuda")
