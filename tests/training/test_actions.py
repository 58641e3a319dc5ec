"""What is learned of a log's actions, and that it comes back as the robot's commands."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.registry import METHODS, make_method, method_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode, Store, StoreInfo, StoreWriter
from nav_offrl.training.actions import (
    ActionsConfig,
    GridActions,
    VelocityActions,
    measure_actions,
    saved_actions,
    waypoints,
)
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.store_facts import StoreFacts
from nav_offrl.training.trained_policy import CommandPolicy, load_policy
from nav_offrl.training.trainer import Trainer, start_run
from nav_offrl_export.graphs import to_onnx

torch.set_num_threads(1)

RATE, LENGTH = 4.0, 30
VELOCITIES = [(1.0, 0.0), (0.8, 0.6), (0.5, -0.4), (-0.6, 0.3)]


def arc(v: float, omega: float, start: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Poses (LENGTH, 3) of a drive at constant velocity."""
    t = np.arange(LENGTH) / RATE
    angle = omega * t
    x = v / omega * np.sin(angle) if omega else v * t
    y = v / omega * (1 - np.cos(angle)) if omega else 0 * t
    cosine, sine = np.cos(start[2]), np.sin(start[2])
    moved = start[0] + cosine * x - sine * y, start[1] + sine * x + cosine * y
    return np.stack([*moved, start[2] + angle], -1)


def write_arcs(
    path: Path, velocities: list[tuple[float, float]], start: tuple[float, float, float] = (0, 0, 0)
) -> Store:
    with StoreWriter.create(path, StoreInfo(rate_hz=RATE, action_source="commanded")) as writer:
        for number, (v, omega) in enumerate(velocities):
            pose = arc(v, omega, start)
            fields = {
                "time": np.arange(LENGTH) * 250_000_000,
                "position": pose[:, :2],
                "yaw": np.angle(np.exp(1j * pose[:, 2])),
                "action": np.tile([v, omega], (LENGTH, 1)),
            }
            writer.append(Episode(name=f"arc_{number}", images={}, fields=fields))
        writer.finish()
    return Store.open(path)


@pytest.fixture(scope="module")
def arcs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Straight on, two bends, and backwards."""
    return write_arcs(tmp_path_factory.mktemp("arcs") / "arcs.zarr", VELOCITIES)


@pytest.mark.parametrize("spacing", [1, 2])
def test_waypoints_give_the_velocity_back_that_drove_there(arcs: Store, spacing: int) -> None:
    config = ActionsConfig(kind="waypoints", waypoint_spacing=spacing)
    actions = measure_actions(config, arcs)
    unit = actions.of_store(arcs)
    assert unit.shape == (4 * LENGTH, 15) and actions.size == 15 and actions.grid is None
    assert bool((unit.abs() <= 1 + 1e-6).all())
    command = actions.command()(unit).reshape(4, LENGTH, 2)
    whole = LENGTH - 3 * spacing  # the followed waypoint lies within the drive
    for episode, velocity in enumerate(VELOCITIES):
        np.testing.assert_allclose(
            command[episode, :whole], np.tile(velocity, (whole, 1)), atol=2e-3
        )


def test_waypoints_are_of_the_robots_own_frame(arcs: Store, tmp_path: Path) -> None:
    """Nothing changes when the whole drive is moved and turned."""
    moved = write_arcs(tmp_path / "moved.zarr", VELOCITIES, start=(-7.0, 3.0, 2.5))
    config = ActionsConfig(kind="waypoints")
    torch.testing.assert_close(waypoints(moved, config), waypoints(arcs, config), atol=1e-5, rtol=0)


def test_waypoints_by_hand_and_at_the_end_of_a_drive(arcs: Store) -> None:
    """Where the drive ends first, its last pose stands in; the next drive never does."""
    ahead = waypoints(arcs, ActionsConfig(kind="waypoints", waypoints=3, waypoint_spacing=2))
    step = 1.0 / RATE
    straight = torch.zeros(3, 3)
    straight[:, 0] = torch.tensor([2.0, 4.0, 6.0]) * step
    torch.testing.assert_close(ahead[0], straight)
    straight[:, 0] = torch.tensor([2.0, 3.0, 3.0]) * step
    torch.testing.assert_close(ahead[LENGTH - 4], straight)
    assert not ahead[LENGTH - 1].any()
    turn = VELOCITIES[1][1] * step
    torch.testing.assert_close(ahead[LENGTH, :, 2], torch.tensor([2.0, 4.0, 6.0]) * turn)


def test_a_jump_of_odometry_keeps_its_direction(arcs: Store) -> None:
    config = ActionsConfig(kind="waypoints", waypoints=3)
    actions = measure_actions(config, arcs)
    glitched = arcs.field("position").copy()
    glitched[10:] += (30.0, 40.0)
    before, arcs._fields["position"] = arcs.field("position"), glitched
    try:
        first = actions.of_store(arcs)[9, :3]
    finally:
        arcs._fields["position"] = before
    assert first[:2].tolist() == pytest.approx([0.6, 0.8], abs=0.01)


def test_the_grid_holds_stop_straight_on_and_the_limits() -> None:
    limits = ActionLimits((-0.3, -1.0), (1.2, 0.7))
    actions = GridActions(limits, (4, 5))
    assert actions.grid.shape == (20, 2) and actions.size == 2
    commands = actions.command()(actions.grid).numpy().reshape(4, 5, 2)
    v, omega = commands[:, 0, 0], commands[0, :, 1]
    np.testing.assert_allclose(v, [-0.3, 0.0, 0.7, 1.2], atol=1e-6)
    assert v[[0, -1]] == pytest.approx([-0.3, 1.2]) and omega[[0, -1]] == pytest.approx([-1, 0.7])
    assert np.abs(v).min() < 1e-6 and np.abs(omega).min() < 1e-6
    assert (np.diff(v) > 0).all() and (np.diff(omega) > 0).all()
    np.testing.assert_array_equal(commands[2, :, 0], v[2])  # v is the slower index


@settings(max_examples=60, deadline=None)
@given(
    low=st.tuples(st.floats(-2, 0), st.floats(-2, 0)),
    high=st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)),
    seed=st.integers(0, 1000),
)
def test_the_logged_action_is_its_nearest_cell(
    low: tuple[float, float], high: tuple[float, float], seed: int
) -> None:
    limits = ActionLimits(low, high)
    actions = GridActions(limits, (5, 7))
    action = np.random.default_rng(seed).uniform(-3, 3, (40, 2)).astype(np.float32)

    class Log:
        field = staticmethod(lambda name: action)

    chosen = actions.of_store(Log())  # type: ignore[arg-type]
    distance = np.abs(limits.normalise(action)[:, None] - actions.grid.numpy()).sum(-1)
    found = distance[np.arange(40), chosen.numpy()]
    np.testing.assert_allclose(found, distance.min(1), atol=1e-6)
    commands = actions.command()(actions.grid).numpy()

    class Cells:
        field = staticmethod(lambda name: commands)

    again = actions.of_store(Cells())  # type: ignore[arg-type]
    assert torch.equal(again, torch.arange(35))


@pytest.mark.parametrize("kind", ["velocity", "grid", "waypoints"])
def test_a_checkpoint_brings_the_same_actions_back(arcs: Store, kind: str) -> None:
    config = ActionsConfig(kind=kind)
    actions = measure_actions(config, arcs)
    restored = saved_actions(config, actions.saved())
    assert torch.equal(restored.of_store(arcs), actions.of_store(arcs))
    unit = torch.rand(20, actions.size) * 2 - 1
    assert torch.equal(restored.command()(unit), actions.command()(unit))


@pytest.mark.parametrize("kind", ["grid", "waypoints"])
def test_actions_that_are_no_velocities_are_refused(
    write_states: Callable[..., Store], tmp_path: Path, kind: str
) -> None:
    store = write_states(tmp_path / "ant.zarr", actions=8)
    assert isinstance(measure_actions(ActionsConfig(), store), VelocityActions)
    with pytest.raises(NavOffrlError, match=rf"8 numbers, and '{kind}'.*actions\.kind"):
        measure_actions(ActionsConfig(kind=kind), store)


def test_waypoints_need_poses(write_states: Callable[..., Store], tmp_path: Path) -> None:
    store = write_states(tmp_path / "point.zarr", actions=2)
    with pytest.raises(NavOffrlError, match="no field 'position'"):
        measure_actions(ActionsConfig(kind="waypoints"), store)


def test_followed_waypoint_must_be_there() -> None:
    with pytest.raises(ValueError, match="followed_waypoint"):
        ActionsConfig(kind="waypoints", waypoints=2)


def test_methods_for_continuous_actions_refuse_the_grid_before_a_run_is_made(
    store: Store, config: TrainConfig, tmp_path: Path
) -> None:
    name = next(name for name in METHODS if not method_config(name).discrete)
    update = {"method": method_config(name)(name=name), "actions": ActionsConfig(kind="grid")}
    with pytest.raises(NavOffrlError, match=rf"'{name}' learns on continuous.*iql"):
        start_run(store, tmp_path / "run", config.model_copy(update=update))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["grid", "waypoints"])
def test_a_run_is_resumed_and_loaded(
    write_store: Callable[..., Store], config: TrainConfig, tmp_path: Path, kind: str
) -> None:
    store = write_store(tmp_path / "log.zarr", ("train", "train", "held_out"))
    short = config.model_copy(
        update={"actions": ActionsConfig(kind=kind), "steps": 6, "checkpoint_every": 3}
    )
    whole = Trainer(store, start_run(store, tmp_path / "whole", short), progress=False)
    whole.run()
    start_run(store, tmp_path / "half", short)
    half = start_run(store, tmp_path / "other", short.model_copy(update={"steps": 3}))
    Trainer(store, half, progress=False).run()
    (tmp_path / "other" / "config.yaml").write_bytes(
        (tmp_path / "half" / "config.yaml").read_bytes()
    )
    resumed = Trainer(store, half, progress=False)
    resumed.run()
    for name, value in whole.agent.method.state_dict().items():
        assert torch.equal(value, resumed.agent.method.state_dict()[name]), name
    policy = load_policy(tmp_path / "whole")
    assert policy.agent.facts.saved() == StoreFacts.measure(short, store).saved()
    latents = whole.observations()[:20]
    unit = whole.agent.learner.act(latents, latents.flip(0))
    with torch.no_grad():
        command = policy.policy_module()(latents, latents.flip(0))
        torch.testing.assert_close(command, whole.agent.facts.actions.command()(unit))


def test_the_graph_of_a_policy_on_a_grid_drives_alike() -> None:
    torch.manual_seed(0)
    actions = GridActions(ActionLimits((-0.3, -1.0), (1.2, 0.7)), (4, 5))
    spaces = Spaces(8, 2, actions.grid)
    policy = CommandPolicy(make_method(IQLConfig(hidden=(16,)), spaces), actions).eval()
    latents = torch.randn(20, 8)
    pair = {"latent": latents[:2], "goal_latent": latents[2:4]}
    graph = to_onnx(policy, "policy", pair, "command")
    inputs = {"latent": latents.numpy(), "goal_latent": latents.flip(0).numpy()}
    found = onnxruntime.InferenceSession(graph).run(None, inputs)[0]
    with torch.no_grad():
        expected = policy(latents, latents.flip(0)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(expected, axis=0)) > 1
