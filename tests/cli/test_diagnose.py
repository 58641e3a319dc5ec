"""A real run from training to the checkpoint that diagnose names, and what it says of others."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.cli.main import main
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)

LENGTH, RATE = 90, 4.0


def drive(name: str, split: str) -> Episode:
    """Walk about a room at random, seeing its position as colours."""
    rng = np.random.default_rng(len(name) + ord(name[-1]))
    turns = rng.uniform(-1, 1, LENGTH)
    yaw = np.cumsum(turns) / RATE
    steps = np.stack([np.cos(yaw), np.sin(yaw)], -1) / RATE
    position = np.clip(np.cumsum(steps, 0), -3, 3)
    frames = np.zeros((LENGTH, 40, 48, 3), np.uint8)
    frames[..., :2] = (128 + 40 * position).astype(np.uint8)[:, None, None]
    return Episode(
        name=name,
        images={"front": [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]},
        fields={
            "time": np.arange(LENGTH) * 250_000_000,
            "position": position,
            "yaw": yaw,
            "action": np.stack([np.full(LENGTH, 1.0), turns], -1),
        },
        split=split,
        session="one",
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 steps of IQL on six drives, a checkpoint kept in 20."""
    folder = tmp_path_factory.mktemp("diagnosed")
    camera = CameraInfo(height=40, width=48, horizontal_fov=1.5)
    info = StoreInfo(rate_hz=RATE, action_source="commanded", cameras={"front": camera})
    with StoreWriter.create(folder / "log.zarr", info) as writer:
        for number in range(6):
            writer.append(drive(f"drive_{number}", "held_out" if number < 2 else "train"))
        writer.finish()
    config = TrainConfig(
        device="cpu",
        encoder=EncoderConfig(height=32, width=32, channels=(4, 8), latent_size=8),
        representation=GoalRepresentationConfig(steps=5, batch_size=8, hidden=(16,)),
        method=IQLConfig(hidden=(16,)),
        steps=120,
        batch_size=16,
        log_every=4,
        checkpoint_every=20,
        keep_every=20,
    )
    run = start_run(Store.open(folder / "log.zarr"), folder / "run", config)
    Trainer(Store.open(folder / "log.zarr"), run, progress=False).run()
    return folder / "run"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_verdict_its_picture_and_a_checkpoint_that_can_be_judged(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("diagnose", trained) == 0
    shown = capsys.readouterr().out
    figures = json.loads((trained / "diagnosis.json").read_text())
    assert f"verdict: {figures['verdict']}" in shown
    name = figures["checkpoint"]
    assert f"checkpoint: {name}" in shown and (trained / "checkpoints" / name).is_dir()
    picture = cv2.imread(str(trained / "diagnosis.png"))
    assert picture is not None and picture.std() > 5
    call("evaluate", trained, "--checkpoint", "policy_000020", "--output", tmp_path / "early")
    call("evaluate", trained, "--output", tmp_path / "late")
    early, late = (
        json.loads((tmp_path / part / "evaluation.json").read_text())["command_error"]["policy"]
        for part in ("early", "late")
    )
    assert early != late


def test_held_out_drives_estimate_the_return(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nav_offrl.evaluation import fitted_q, importance_sampling, off_policy

    quick = off_policy.OffPolicyConfig(
        fitted_q=fitted_q.FittedQConfig(steps=20, members=3, hidden=(8,)),
        behaviour=importance_sampling.BehaviourConfig(steps=20, hidden=(8,)),
    )
    monkeypatch.setattr(off_policy, "OffPolicyConfig", lambda: quick)
    assert call("diagnose", trained, "--off-policy", "--checkpoint", "policy_000040") == 0
    shown = capsys.readouterr().out
    figures = json.loads((trained / "diagnosis.json").read_text())["off_policy"]
    assert "fitted Q evaluation" in shown and figures["tasks"] > 100
    floor = -1 / (1 - figures["discount"])
    for name in ("fitted_q", "importance_sampling"):
        estimate = figures[name]
        assert floor <= estimate["low"] <= estimate["high"] <= 0
        assert floor <= estimate["value"] <= 0


@pytest.mark.parametrize("verb", ["evaluate", "export", "diagnose"])
def test_a_checkpoint_that_is_not_there_is_an_error_that_names_those_that_are(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    more = ["--off-policy"] if verb == "diagnose" else ["--output", tmp_path / "out"]
    assert call(verb, trained, "--checkpoint", "policy_000021", *more) == 2
    error = capsys.readouterr().err
    assert "no checkpoint 'policy_000021'" in error and "policy_000040" in error


def test_only_runs_have_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", tmp_path, "--checkpoint", "policy_1", "--output", tmp_path / "out"]
    assert call(*line) == 2 and "is no run" in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("diagnose", tmp_path) == 2
    assert "no run folder" in capsys.readouterr().err
