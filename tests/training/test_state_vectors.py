"""Runs on the field 'observation', without any camera."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nav_offrl.algorithms.registry import method_config
from nav_offrl.cli.main import EXIT_USER_ERROR, main
from nav_offrl.config import load_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.trained_policy import load_policy
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)


def small(name: str, **changes: object) -> TrainConfig:
    method = method_config(name)(name=name, hidden=(16,)).model_dump()
    values = {"observation": "state", "device": "cpu", "batch_size": 16, "steps": 6, "log_every": 2}
    return TrainConfig.model_validate(values | {"method": method} | changes)


@pytest.fixture(scope="module")
def states(write_states: Callable[..., Store], tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_states(tmp_path_factory.mktemp("states") / "ant.zarr", actions=8)


@pytest.mark.parametrize("name", ["gcivl", "iql", "bc"])
def test_states_are_normalised_by_the_training_drives(
    states: Store, tmp_path: Path, name: str
) -> None:
    run = start_run(states, tmp_path / "run", small(name))
    trainer = Trainer(states, run, progress=False)
    trainer.run()
    seen = trainer.observations()
    train = np.concatenate([np.r_[states.steps_of(int(e))] for e in (0, 1)])
    moving = seen[train][:, :4]
    torch.testing.assert_close(moving.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(moving.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    assert not seen[:, 4].any()  # what never moves is not blown up
    unit = trainer.agent.learner.act(states_of(states), states_of(states))
    assert unit.shape == (states.steps, 8) and bool((unit.abs() <= 1).all())
    checkpoint = run.load()
    assert checkpoint is not None
    again = Trainer(states, RunFolder.open(run.path), progress=False)
    assert torch.equal(again.observations(), seen)
    assert torch.equal(checkpoint.weights["encoder.mean"], trainer.agent.encoder.mean)


def states_of(store: Store) -> torch.Tensor:
    return torch.from_numpy(store.field("observation").astype(np.float32))


def test_resumed_on_states_bit_for_bit(states: Store, tmp_path: Path) -> None:
    Trainer(states, start_run(states, tmp_path / "whole", small("gcivl")), progress=False).run()
    half = start_run(states, tmp_path / "half", small("gcivl", steps=3))
    Trainer(states, half, progress=False).run()
    (half.path / "config.yaml").write_bytes((tmp_path / "whole" / "config.yaml").read_bytes())
    Trainer(states, half, progress=False).run()
    one, other = RunFolder.open(tmp_path / "whole").load(), half.load()
    assert one is not None and other is not None
    for name, value in (one.weights | one.optimizer).items():
        assert torch.equal(value, (other.weights | other.optimizer)[name]), name


def test_no_robot_with_a_camera_can_use_it(states: Store, tmp_path: Path) -> None:
    Trainer(states, start_run(states, tmp_path / "run", small("bc")), progress=False).run()
    with pytest.raises(NavOffrlError, match=r"state vectors.*--train\.observation images"):
        load_policy(tmp_path / "run")


def test_a_store_without_states_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="no field 'observation'"):
        start_run(store, tmp_path / "run", small("bc"))


def command(*arguments: str | Path) -> int:
    """Run the command line in this process; returns its exit status."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.mark.parametrize(("maze", "state", "actions"), [("ant", 29, 8), ("point", 2, 2)])
def test_from_a_benchmarks_file_to_a_run_by_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], maze: str, state: int, actions: int
) -> None:
    name, rng = f"{maze}maze-medium-navigate-v0", np.random.default_rng(0)
    for suffix, lengths in (("", (30, 40)), ("-val", (30,))):
        rows = sum(lengths)
        terminals = np.zeros(rows, bool)
        terminals[np.cumsum(lengths) - 1] = True
        action = rng.uniform(-1, 1, (rows, actions)).astype(np.float32)
        observations = rng.normal(size=(rows, state)).astype(np.float32)
        observations[:, :2] = 0.1 * action[:, :2].cumsum(0)  # the place, which must not jump
        np.savez(
            tmp_path / f"{name}{suffix}.npz",
            observations=observations,
            actions=action,
            terminals=terminals,
        )
    store, run = tmp_path / "maze.zarr", tmp_path / "run"
    assert command("import", tmp_path / f"{name}.npz", "--output", store) == 0
    settings = ["--train.observation", "state", "--train.steps", "3", "--train.batch-size", "8"]
    assert command("train", "gcivl", store, "--output", run, *settings) == 0
    assert load_yaml(TrainConfig, run / "config.yaml").observation == "state"
    checkpoint = RunFolder.open(run).load()
    assert checkpoint is not None and checkpoint.step == 3
    assert len(checkpoint.extra["action_low"]) == actions
    assert checkpoint.weights["encoder.mean"].shape == (state,)
    assert command("export", run, "--output", tmp_path / "bundle") == EXIT_USER_ERROR
    assert "state vectors" in capsys.readouterr().err
