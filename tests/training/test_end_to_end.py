"""Training from frames: the method's losses move the encoder, and all else works as on latents."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.registry import method_config
from nav_offrl.evaluation.offline import OfflineConfig, evaluate_offline
from nav_offrl.store import Store
from nav_offrl.training.actions import ActionsConfig
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.latents import load_representation
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.trained_policy import load_policy
from nav_offrl.training.trainer import Trainer, start_run
from nav_offrl_export.run import export_run

torch.set_num_threads(1)

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def end_to_end(config: TrainConfig) -> TrainConfig:
    """Six steps from frames, nothing pre-trained."""
    untrained = config.representation.model_copy(update={"steps": 0})
    return config.model_copy(
        update={"end_to_end": True, "representation": untrained, "steps": 6, "checkpoint_every": 3}
    )


def with_method(config: TrainConfig, name: str) -> TrainConfig:
    method = method_config(name)(name=name, hidden=(16,))
    return TrainConfig.model_validate(config.model_dump() | {"method": method.model_dump()})


def train(store: Store, path: Path, config: TrainConfig) -> Trainer:
    trainer = Trainer(store, start_run(store, path, config), progress=False)
    trainer.run()
    return trainer


def weights(run: Path) -> Weights:
    checkpoint = RunFolder.open(run).load()
    assert checkpoint is not None
    return checkpoint.weights | {f"optimizer.{k}": v for k, v in checkpoint.optimizer.items()}


@pytest.mark.parametrize("name", ["iql", "bc", "crl", "hiql"])
def test_a_run_on_frames_is_judged_and_resumed_bit_for_bit(
    store: Store,
    end_to_end: TrainConfig,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = with_method(end_to_end, name)
    whole = train(store, tmp_path / "whole", config)
    run, left = start_run(store, tmp_path / "stopped", config), [5]
    update = Learner.update

    def stop(self: Learner, *args: object) -> object:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("the power went")
        return update(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "update", stop)
        with pytest.raises(RuntimeError, match="power"):
            Trainer(store, run, progress=False).run()
    Trainer(store, RunFolder.open(run.path), progress=False).run()
    one, other = weights(tmp_path / "whole"), weights(run.path)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
    moved = [k for k in one if k.startswith("encoder.") and "running" not in k and "num" not in k]
    for key in moved:
        assert not torch.equal(one[key], one[f"representation.{key}"]), key
    policy = load_policy(tmp_path / "whole")
    figures = evaluate_offline(policy, OfflineConfig(goal_seconds=(1.0,))).figures
    assert figures["command_pairs"] > 0 and "policy" in figures["command_error"]
    assert whole.agent.encoder is not whole.agent.representation.encoder


def test_a_bundle_has_a_distance_whatever_the_method(
    store: Store, end_to_end: TrainConfig, tmp_path: Path
) -> None:
    """Cloning has no value to tell a distance by; a robot must still know when to stop."""
    waypoints = end_to_end.model_copy(update={"actions": ActionsConfig(kind="waypoints")})
    train(store, tmp_path / "run", with_method(waypoints, "bc"))
    policy = load_policy(tmp_path / "run")
    latents, _ = policy.latents("train")
    with torch.no_grad():
        steps = policy.distance_module()(latents, latents.flip(0))
    assert float(steps.std()) > 0
    contract = export_run(policy, tmp_path / "bundle")
    assert contract.parity is not None and contract.method == "bc"


def test_frames_are_shifted_in_training_and_not_when_judged(
    store: Store, end_to_end: TrainConfig, tmp_path: Path
) -> None:
    trainer = Trainer(store, start_run(store, tmp_path / "run", end_to_end), progress=False)
    torch.manual_seed(1)
    training, held_out = trainer._batches("train", 0), trainer._batches("held_out", 0)
    first, again = training(16, 0), training(16, 0)
    torch.manual_seed(1)
    same = training(16, 0)
    assert torch.equal(first.observation, same.observation)
    assert not torch.equal(first.observation, again.observation)
    assert torch.equal(held_out(16, 0).observation, held_out(16, 0).observation)
    assert first.observation.shape == (16, 32, 32, 3)


def test_an_encoder_that_nothing_has_trained_sees_frames_of_its_own_scale(
    store: Store, end_to_end: TrainConfig, tmp_path: Path
) -> None:
    trainer = train(store, tmp_path / "run", end_to_end.model_copy(update={"steps": 0}))
    encoder = trainer.agent.encoder
    assert not torch.equal(encoder.stages[1].running_mean, torch.zeros(4))
    frames = trainer._frames.gather(torch.arange(store.steps).numpy())
    with torch.no_grad():
        images = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        normalised = encoder.stages[:2].eval()(images)
    assert normalised.mean((0, 2, 3)).abs().max() < 0.3
    assert float(normalised.std((0, 2, 3)).min()) > 0.6


def test_pre_training_goes_over_into_the_encoder_that_learns_on(
    store: Store, end_to_end: TrainConfig, config: TrainConfig, tmp_path: Path
) -> None:
    short = config.representation.model_copy(update={"steps": 4})
    update = {"representation": short, "steps": 0}
    trainer = train(store, tmp_path / "run", end_to_end.model_copy(update=update))
    agent = trainer.agent
    for name, value in agent.representation.encoder.state_dict().items():
        assert torch.equal(value, agent.encoder.state_dict()[name]), name
    for name, value in agent.representation.pair_head.state_dict().items():
        assert torch.equal(value, agent.method.distance.state_dict()[name]), name


def test_another_run_keeps_the_encoder_that_was_learned_end_to_end(
    store: Store, end_to_end: TrainConfig, tmp_path: Path
) -> None:
    first = train(store, tmp_path / "first", end_to_end)
    representation, _ = load_representation(tmp_path / "first")
    for name, value in first.agent.encoder.state_dict().items():
        assert torch.equal(value, representation.encoder.state_dict()[name]), name
    on_latents = end_to_end.model_copy(update={"end_to_end": False})
    run = start_run(store, tmp_path / "second", on_latents, encoder_from=tmp_path / "first")
    second = Trainer(store, run, progress=False)
    second.run()
    torch.testing.assert_close(second.observations(), first.observations())


def test_the_encoder_learns_what_the_log_holds(
    write_store: Callable[..., Store], config: TrainConfig, tmp_path: Path
) -> None:
    """Cloned from frames, a robot steers as the bright bar in its view says."""
    store = write_store(tmp_path / "log.zarr", ("train", "train"))
    update = {
        "end_to_end": True,
        "representation": config.representation.model_copy(update={"steps": 0, "shift_pixels": 0}),
        "steps": 60,
        "batch_size": 32,
        "checkpoint_every": 60,
    }
    learner = with_method(config.model_copy(update=update), "bc")
    method = learner.method.model_copy(update={"learning_rate": 3e-3})
    train(store, tmp_path / "run", learner.model_copy(update={"method": method}))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    log_prob = [json.loads(line)["policy/log_prob"] for line in lines]
    assert sum(log_prob[-3:]) / 3 > log_prob[0] + 0.3
