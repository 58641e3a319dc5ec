"""A run that is stopped and continued is, bit for bit, the run that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nav_offrl.algorithms.iql as iql_module
from nav_offrl.algorithms.goal_representation import GoalRepresentation
from nav_offrl.algorithms.learner import Learner
from nav_offrl.config import dump_yaml
from nav_offrl.store import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)

TOTAL = 12 + 14


def continue_run(store: Store, path: Path) -> None:
    Trainer(store, RunFolder.open(path), progress=False).run()


@pytest.fixture(scope="module")
def uninterrupted(
    store: Store, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    Trainer(store, start_run(store, path, config), progress=False).run()
    return path


def assert_same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys() and one
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor, other[name]), name


def assert_same_run(one: Path, other: Path) -> None:
    first, second = RunFolder.open(one).load(), RunFolder.open(other).load()
    assert first is not None and second is not None
    assert (first.phase, first.step, first.extra) == (second.phase, second.step, second.extra)
    assert_same_tensors(first.weights, second.weights)
    assert_same_tensors(first.optimizer, second.optimizer)
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


class StopAt:
    """Presses Ctrl-C after a number of calls of a function, then gets out of the way."""

    def __init__(self, function: Callable[..., object], calls: int) -> None:
        self._function, self._left = function, calls

    def __call__(self, *args: object, **keywords: object) -> object:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self._function(*args, **keywords)

    def __get__(self, instance: object, owner: type) -> Callable[..., object]:
        return lambda *args, **keywords: self(instance, *args, **keywords)


def interrupt(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, calls: int, store: Store, run: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, StopAt(getattr(owner, name), calls))
        with pytest.raises(KeyboardInterrupt):
            continue_run(store, run)


def test_training_is_a_function_of_its_seed(
    store: Store, config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    Trainer(store, start_run(store, tmp_path / "again", config), progress=False).run()
    assert_same_run(tmp_path / "again", uninterrupted)
    other = config.model_copy(update={"seed": 4})
    Trainer(store, start_run(store, tmp_path / "other", other), progress=False).run()
    first, second = (RunFolder.open(p).load() for p in (uninterrupted, tmp_path / "other"))
    assert first is not None and second is not None
    for name in ("representation.encoder.head.0.weight", "method.policy.network.1.weight"):
        assert not torch.equal(first.weights[name], second.weights[name])


def test_ctrl_c_in_both_phases_and_between_them(
    store: Store,
    config: TrainConfig,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six stops at any place of a step, each continued by a fresh trainer."""
    run = tmp_path / "stopped"
    start_run(store, run, config)
    stops = [
        (GoalRepresentation, "update", 1, ("representation", 1)),
        (GoalRepresentation, "loss", 5, ("representation", 6)),
        (GoalRepresentation, "update", 6, ("representation", 12)),
        (Learner, "update", 1, ("policy", 1)),
        # After the optimizer's step and before the target critic's: the worst moment.
        (iql_module, "polyak_update", 6, ("policy", 7)),
        (iql_module, "polyak_update", 7, ("policy", 14)),
    ]
    for owner, name, calls, expected in stops:
        interrupt(monkeypatch, owner, name, calls, store, run)
        checkpoint = RunFolder.open(run).load()
        assert checkpoint is not None
        assert (checkpoint.phase, checkpoint.step) == expected
    continue_run(store, run)
    assert_same_run(run, uninterrupted)


@pytest.mark.flaky(reruns=1)  # a key pressed while another thread starts can come late
def test_ctrl_c_before_the_first_step_leaves_a_run_that_continues(
    store: Store,
    config: TrainConfig,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "stopped"
    start_run(store, run, config)
    interrupt(monkeypatch, Trainer, "_spread", 1, store, run)
    interrupt(monkeypatch, Trainer, "_spread", 1, store, run)
    continue_run(store, run)
    assert_same_run(run, uninterrupted)


@pytest.mark.parametrize(("owner", "calls"), [(GoalRepresentation, 8), (Learner, 9)])
def test_a_crash_goes_back_to_the_last_checkpoint(
    store: Store,
    config: TrainConfig,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    calls: int,
) -> None:
    """Nothing is saved at a crash; steps 6 and 7 are taken and logged again, once."""
    run = tmp_path / "crashed"
    start_run(store, run, config)
    update, left = owner.update, [calls]

    def crash(self: object, *args: object) -> object:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("out of memory")
        return update(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, "update", crash)
        with pytest.raises(RuntimeError, match="out of memory"):
            continue_run(store, run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "representation/lo')  # the power went
    continue_run(store, run)
    assert_same_run(run, uninterrupted)


def test_continuing_a_finished_run_changes_nothing(
    store: Store, config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "twice"
    Trainer(store, start_run(store, run, config), progress=False).run()
    last = run / "checkpoints" / (run / "checkpoints" / "last").read_text()
    before = (last / "weights.safetensors").stat()
    continue_run(store, run)
    after = (last / "weights.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert_same_run(run, uninterrupted)


def test_kill_nine_of_the_command_and_resume(
    store: Store, config: TrainConfig, tmp_path: Path
) -> None:
    """A killed process leaves a run that the same command with --resume completes."""
    longer = config.model_copy(update={"steps": 120, "checkpoint_every": 10})
    dump_yaml(longer, tmp_path / "mine.yaml")
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "nav_offrl.cli.main", "train", "iql", str(store.path)]
    command += ["--output", str(run), "--config", str(tmp_path / "mine.yaml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        pointer, deadline = run / "checkpoints" / "last", time.monotonic() + 120
        while not (pointer.is_file() and pointer.read_text().startswith("policy_0000")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    interrupted = RunFolder.open(run).load()
    assert interrupted is not None and interrupted.step < 120, "killed too late to mean anything"
    finished = subprocess.run([*command, "--resume"], env=environment, capture_output=True)
    assert finished.returncode == 0, finished.stderr
    Trainer(store, start_run(store, tmp_path / "whole", longer), progress=False).run()
    assert_same_run(run, tmp_path / "whole")
