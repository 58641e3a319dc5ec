"""Who teaches the encoder, and that it is the same encoder that the robot drives with."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nav_offrl.algorithms.batch import OBSERVED, Batch
from nav_offrl.algorithms.distance import NEGATIVE_WEIGHT, WithDistance
from nav_offrl.algorithms.iql import IQL, IQLConfig
from nav_offrl.algorithms.learner import ENCODER, Learner
from nav_offrl.algorithms.method import Method, Spaces
from nav_offrl.algorithms.registry import METHODS, make_method, method_config
from nav_offrl.networks.heads import PairHead

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]
SIZE = 6


def make(name: str, **settings: object) -> Method:
    torch.manual_seed(0)
    config = method_config(name)(name=name, hidden=(16,), **settings)
    spaces = Spaces(SIZE, 2, return_bounds=(-50.0, 0.0))
    return WithDistance(make_method(config, spaces), PairHead(SIZE, (8,), (0, 1, 3, 6)))


def encoder() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, SIZE), nn.BatchNorm1d(SIZE), nn.Tanh())


def encoder_gradient(method: Method, batch: Batch) -> Tensor:
    """The gradient after one update; the learning rate is too small to change anything."""
    torch.manual_seed(2)
    learner = Learner(method, encoder(), encoder_learning_rate=1e-12)
    learner.update(batch)
    return learner.optimizer.gradients[ENCODER].clone()


def encoded(batch: Batch, module: nn.Module) -> Batch:
    return replace(batch, **{name: module(getattr(batch, name)) for name in OBSERVED})


@pytest.mark.parametrize("name", METHODS)
def test_every_method_teaches_an_encoder(name: str, random_batch: MakeBatch) -> None:
    gradient = encoder_gradient(make(name), random_batch())
    assert bool(torch.isfinite(gradient).all()) and float(gradient.norm()) > 0


@pytest.mark.parametrize("extraction", ["awr", "ddpg_bc"])
def test_values_teach_the_encoder_and_policies_do_not(
    random_batch: MakeBatch, extraction: str
) -> None:
    """A policy that could move the latents would move them to where the critic errs upwards."""
    batch, method = random_batch(), make("iql", extraction=extraction, policy_dropout=0.0)
    module = encoder().eval()
    losses, _ = method.losses(encoded(batch, module))
    alone = torch.autograd.grad(
        losses["value"] + losses["critic"], list(module.parameters()), retain_graph=True
    )
    of_policy = torch.autograd.grad(losses["policy"], list(module.parameters()))
    assert any(bool(g.any()) for g in of_policy), "the test tells nothing"
    expected = torch.cat([g.reshape(-1) for g in alone])
    found = encoder_gradient(make("iql", extraction=extraction, policy_dropout=0.0), batch)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_cloning_teaches_the_encoder_by_its_policy(random_batch: MakeBatch) -> None:
    batch, method = random_batch(), make("bc", policy_dropout=0.0)
    module = encoder().eval()
    loss = method.losses(encoded(batch, module))[0]["policy"]
    expected = torch.autograd.grad(loss, list(module.parameters()))
    found = encoder_gradient(make("bc", policy_dropout=0.0), batch)
    torch.testing.assert_close(
        found, torch.cat([g.reshape(-1) for g in expected]), atol=1e-6, rtol=1e-4
    )


def test_heads_learn_from_frames_as_they_would_from_latents(random_batch: MakeBatch) -> None:
    batch = random_batch()
    settings = {"policy_dropout": 0.0}
    from_frames = Learner(make("iql", **settings), encoder(), encoder_learning_rate=1e-3)
    with torch.no_grad():
        latents = encoded(batch, encoder().eval())
    from_latents = Learner(make("iql", **settings))
    from_frames.update(batch)
    from_latents.update(latents)
    for one, other in zip(
        from_frames.method.parameters(), from_latents.method.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_statistics_of_the_encoder_stay_while_it_learns(random_batch: MakeBatch) -> None:
    """So a state is encoded alike whatever stands beside it in a batch."""
    module = encoder()
    learner = Learner(make("iql"), module, encoder_learning_rate=1e-2)
    batch, before = random_batch(), module[0].weight.clone()
    for step in range(3):
        learner.update(batch, step)
    assert not torch.equal(module[0].weight, before)
    assert not module[1].running_mean.any() and bool((module[1].running_var == 1).all())
    together = learner.encode(batch).observation
    torch.testing.assert_close(together[3:4], module(batch.observation[3:4]))


def test_a_frozen_encoder_is_left_alone(random_batch: MakeBatch) -> None:
    module = encoder()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    Learner(make("iql"), module).update(random_batch())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_distance_is_learned_from_the_steps_ahead_by_hand(random_batch: MakeBatch) -> None:
    """Bins are 0, 1 to 2, 3 to 5, far; behind, elsewhere and other goals are far."""
    spaces = Spaces(4, 2)
    head = PairHead(4, (8,), (0, 1, 3, 6))
    method, batch = WithDistance(IQL(IQLConfig(hidden=(8,)), spaces), head), random_batch()
    ahead = batch.steps_to_goal.tolist()
    bins = [3 if s < 0 or s >= 6 else sum(s >= edge for edge in (1, 3)) for s in ahead]
    assert {0, 3} <= set(bins)

    def cross_entropy(goal: Tensor, target: list[int]) -> float:
        logits = head(batch.observation, goal)[0].detach().double()
        probability = logits.exp() / logits.exp().sum(-1, keepdim=True)
        return float(-probability[torch.arange(16), target].log().mean())

    other = torch.cat([batch.goal[-1:], batch.goal[:-1]])
    expected = cross_entropy(batch.goal, bins) + NEGATIVE_WEIGHT * cross_entropy(other, [3] * 16)
    assert float(method.distance_loss(batch).detach()) == pytest.approx(expected, rel=1e-5)


def test_distance_moves_neither_encoder_nor_method(random_batch: MakeBatch) -> None:
    method, module = make("iql"), encoder()
    loss = method.losses(encoded(random_batch(), module))[0]["distance"]
    others = [*module.parameters(), *method.method.parameters()]
    gradients = torch.autograd.grad(
        loss, [p for p in others if p.requires_grad], allow_unused=True, retain_graph=True
    )
    assert not any(g is not None and bool(g.any()) for g in gradients)
    own = torch.autograd.grad(loss, list(method.distance.parameters()))
    assert any(bool(g.any()) for g in own)


def test_distance_learns_how_far_a_place_is() -> None:
    """Places on a line, goals up to 5 steps ahead: near is near and far is far."""
    torch.manual_seed(0)
    place = torch.randint(0, 20, (256,))
    ahead = torch.randint(-3, 6, (256,))
    eye = torch.eye(30)
    batch = Batch(
        eye[place], torch.zeros(256, 2), eye[place], eye[(place + ahead) % 30], eye[place],
        reward=-torch.ones(256), discount=torch.full((256,), 0.9), mask=torch.ones(256),
        steps_to_goal=torch.where(ahead >= 0, ahead, -1).float(),
    )  # fmt: skip
    config = IQLConfig(hidden=(8,), learning_rate=1e-2)
    method = WithDistance(IQL(config, Spaces(30, 2)), PairHead(30, (32,), (0, 1, 3, 6)))
    learner = Learner(method)
    for step in range(150):
        learner.update(batch, step)
    with torch.no_grad():
        steps = method.distance.expected_steps(batch.observation, batch.goal)
    means = [float(steps[ahead == k].mean()) for k in (0, 2, 4, -2)]
    assert means[0] < 0.7 < means[1] < 3 < means[2] < 5 < means[3]
