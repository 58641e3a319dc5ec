"""A run that is loaded acts as the one that was trained, and says what a bundle needs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nav_offrl.store import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trained_policy import (
    TrainedPolicy,
    load_policy,
    metres_per_step,
    steps_of_split,
)
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trainer(store: Store, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    path = tmp_path_factory.mktemp("runs") / "finished"
    trainer = Trainer(store, start_run(store, path, config), progress=False)
    trainer.run()
    return trainer


@pytest.fixture(scope="module")
def policy(trainer: Trainer) -> TrainedPolicy:
    return load_policy(trainer.run_folder.path)


def test_a_loaded_policy_acts_alike_from_raw_frames(
    trainer: Trainer, policy: TrainedPolicy, store: Store
) -> None:
    latents = trainer.observations()
    goal = latents[40].expand_as(latents)
    unit = trainer.agent.learner.act(latents, goal).numpy()
    low, high = np.array(trainer.agent.limits.low), np.array(trainer.agent.limits.high)
    expected = low + (unit + 1) / 2 * (high - low)
    frames = torch.from_numpy(store.images("front", slice(0, store.steps)))
    with torch.no_grad():
        encoder = policy.encoder_module()
        seen = encoder(frames)
        torch.testing.assert_close(seen, latents, rtol=1e-5, atol=1e-5)
        command = policy.policy_module()(seen, seen[40].expand_as(seen))
        np.testing.assert_allclose(command.numpy(), expected, rtol=1e-4, atol=1e-5)
        alone = encoder(frames[7:8])
    torch.testing.assert_close(alone[0], seen[7], rtol=1e-5, atol=1e-5)


def test_iql_sees_the_pair_head_that_was_trained(policy: TrainedPolicy) -> None:
    relation = policy.agent.method.features.relation
    assert relation is not None
    trained = policy.agent.representation.pair_head.state_dict()
    for name, value in relation.state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_loading_twice_gives_the_same_policy_in_evaluation_mode(policy: TrainedPolicy) -> None:
    again = load_policy(policy.run)
    for one, other in zip(
        policy.agent.method.state_dict().values(),
        again.agent.method.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other)
    modules = (policy.encoder_module(), policy.policy_module(), policy.distance_module())
    assert not any(part.training for module in modules for part in module.modules())


def test_using_a_policy_leaves_it_in_evaluation_mode(policy: TrainedPolicy) -> None:
    """The encoder's batch statistics must not move while latents are computed."""
    before = {k: v.clone() for k, v in policy.agent.representation.state_dict().items()}
    policy.latents("train")
    policy.arrival_steps()
    assert not policy.agent.representation.training
    for name, value in policy.agent.representation.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_latents_are_of_the_split_that_was_asked_for(
    trainer: Trainer, policy: TrainedPolicy, store: Store
) -> None:
    latents, steps = policy.latents("held_out")
    assert np.array_equal(steps, np.r_[store.steps_of(2)])
    torch.testing.assert_close(latents, trainer.observations()[steps])
    assert np.array_equal(steps_of_split(store, "train"), np.r_[0 : 2 * 24, store.steps_of(3)])


def test_contract_fields_are_what_a_bundle_needs(policy: TrainedPolicy, store: Store) -> None:
    fields = policy.contract_fields
    assert set(fields) >= {
        "method", "camera", "rate_hz", "action", "embedding_size", "arrival_steps",
        "metric_scale_m_per_step", "provenance",
    }  # fmt: skip
    assert fields["camera"] == {
        "height": 40, "width": 48, "horizontal_fov": 1.5, "encoding": "rgb8"
    }  # fmt: skip
    assert fields["rate_hz"] == 4.0 and fields["embedding_size"] == 8
    assert fields["metric_scale_m_per_step"] == pytest.approx(0.5)
    assert fields["provenance"]["store_fingerprint"] == store.fingerprint()
    low, high = fields["action"]["low"], fields["action"]["high"]
    assert low[0] == 0 and low[1] < 0 < high[1] and high[0] > 1


def test_distance_is_never_negative(policy: TrainedPolicy) -> None:
    latents, _ = policy.latents("train")
    with torch.no_grad():
        steps = policy.distance_module()(latents, latents.flip(0))
    assert steps.shape == (len(latents),) and (steps >= 0).all()


def test_arrival_is_rarely_called_from_afar(policy: TrainedPolicy, store: Store) -> None:
    """Of all pairs of the held-out drive farther apart than a metre, few are called arrived."""
    threshold = policy.arrival_steps()
    assert threshold >= 0.5
    latents, steps = policy.latents("held_out")
    here, there = np.triu_indices(len(steps))
    with torch.no_grad():
        predicted = policy.distance_module()(latents[here], latents[there]).numpy()
    metres = np.abs(store.field("position")[steps][there] - store.field("position")[steps][here])
    apart = metres[:, 0] > policy.config.arrival_radius
    assert apart.sum() > 100
    assert threshold == 0.5 or (predicted[apart] < threshold).mean() < 0.06


def test_arrival_where_the_whole_log_lies_in_the_radius(trainer: Trainer, tmp_path: Path) -> None:
    policy = load_policy(trainer.run_folder.path)
    wide = policy.config.model_copy(update={"arrival_radius": 1000.0})
    policy = TrainedPolicy(policy.run, wide, policy.agent, policy.store, policy.provenance)
    assert np.isfinite(policy.arrival_steps()) and policy.arrival_steps() >= 0.5


def test_sample_images_are_recorded_frames(policy: TrainedPolicy, store: Store) -> None:
    images = policy.sample_images(5)
    assert images.shape == (5, 40, 48, 3) and images.dtype == np.uint8
    assert np.array_equal(images[0], store.image("front", 0))
    assert np.array_equal(images[-1], store.image("front", store.steps - 1))
    assert len(policy.sample_images(10_000)) == store.steps


def test_metres_per_step_does_not_jump_between_episodes(
    write_store: Callable[..., Store], tmp_path: Path
) -> None:
    """Each drive ends 11.5 m from where the next begins."""
    store = write_store(tmp_path / "log.zarr", ("train",) * 4)
    assert metres_per_step(store) == pytest.approx(0.5)
