"""Heads compute what their equations say."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from nav_offrl.networks.heads import (
    DiscreteGoalCritic,
    GoalCritic,
    GoalValue,
    PairFeatures,
    PairHead,
)
from nav_offrl.networks.mlp import EnsembleMLP, perceptron

torch.set_num_threads(1)

EDGES = (0, 1, 3, 8)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def alone(ensemble: EnsembleMLP, member: int, x: torch.Tensor) -> torch.Tensor:
    """Evaluate one member layer by layer, from its weights."""
    for layer, norm in zip(ensemble.hidden, ensemble.norms, strict=True):
        x = functional.gelu(x @ layer.weight[member] + layer.bias[member])
        x = functional.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, 1e-6)
    return x @ ensemble.last.weight[member] + ensemble.last.bias[member]


def test_each_member_of_an_ensemble_is_a_network_of_its_own() -> None:
    ensemble = EnsembleMLP(3, 5, (8, 6), 2)
    x = torch.randn(4, 5)
    out = ensemble(x)
    assert out.shape == (3, 4, 2)
    for member in range(3):
        torch.testing.assert_close(out[member], alone(ensemble, member, x))
    assert not torch.allclose(out[0], out[1]), "members start alike"


def test_the_loss_of_one_member_moves_no_other() -> None:
    ensemble = EnsembleMLP(3, 5, (8,), 1)
    ensemble(torch.randn(4, 5))[1].sum().backward()
    for layer in (*ensemble.hidden, ensemble.last):
        moved = layer.weight.grad.abs().flatten(1).sum(1) > 0
        assert moved.tolist() == [False, True, False]


def test_perceptron_ends_bare() -> None:
    network = perceptron(3, (8,), 2)
    out = network(torch.randn(64, 3) * 50)
    assert out.shape == (64, 2) and out.min() < -1 and out.max() > 1


@pytest.mark.parametrize("member", [0, 1])
def test_value_and_critic_depend_on_each_input(member: int) -> None:
    features = PairFeatures(4)
    value = GoalValue(features.size, (8,), members=2)
    critic = GoalCritic(features.size, 2, (8,))
    latent, action, goal = torch.randn(5, 4), torch.randn(5, 2), torch.randn(5, 4)
    here = features(latent, goal)
    v, q = value(here), critic(here, action)
    assert v.shape == q.shape == (2, 5)
    for other in (features(latent + 1, goal), features(latent, goal + 1), features(goal, latent)):
        assert (value(other) != v)[member].all()
        assert (critic(other, action) != q)[member].all()
    assert (critic(here, action + 1) != q)[member].all()


def test_a_critic_gives_many_actions_the_values_that_it_gives_each() -> None:
    critic = GoalCritic(5, 2, (8, 8), members=3)
    features, actions = torch.randn(6, 5), torch.randn(4, 6, 2)
    together = critic.of_actions(features, actions)
    assert together.shape == (3, 4, 6)
    apart = torch.stack([critic(features, action) for action in actions], 1)
    torch.testing.assert_close(together, apart)


def test_a_discrete_critic_picks_the_value_of_the_action_that_was_taken() -> None:
    critic = DiscreteGoalCritic(5, 3, (8,), members=2)
    features, action = torch.randn(4, 5), torch.tensor([2, 0, 1, 1])
    every, taken = critic.of_every_action(features), critic(features, action)
    assert every.shape == (2, 4, 3) and taken.shape == (2, 4)
    for member in range(2):
        for row in range(4):
            assert taken[member, row] == every[member, row, action[row]]


def test_pair_features_hold_what_the_pair_head_says_and_do_not_train_it() -> None:
    relation = PairHead(3, (8,), (0, 1, 4))
    features = PairFeatures(3, relation)
    latent, goal = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    out = features(latent, goal)
    assert out.shape == (5, features.size)
    logits, pose = relation(latent, goal)
    torch.testing.assert_close(out[:, 6:9], logits.softmax(-1))
    torch.testing.assert_close(out[:, 9:], pose)
    out.sum().backward()
    assert latent.grad is not None
    assert all(parameter.grad is None for parameter in relation.parameters())


def test_bins_begin_at_their_edges() -> None:
    head = PairHead(3, (8,), EDGES)
    steps = torch.tensor([0, 1, 2, 3, 7, 8, 9, 10_000])
    assert head.bin_of(steps).tolist() == [0, 1, 1, 2, 2, 3, 3, 3]


def test_centres_lie_in_their_bins() -> None:
    head = PairHead(3, (8,), EDGES)
    assert head.bin_centres.tolist() == [0.0, 1.5, 5.0, 10.5]
    assert head.bin_of(head.bin_centres).tolist() == [0, 1, 2, 3]


def test_expected_steps_is_the_mean_over_the_bins() -> None:
    head = PairHead(3, (8,), EDGES)
    latent, goal = torch.randn(5, 3), torch.randn(5, 3)
    logits, pose = head(latent, goal)
    assert logits.shape == (5, 4) and pose.shape == (5, 4)
    probability = np.exp(logits.detach().double().numpy())
    probability /= probability.sum(-1, keepdims=True)
    expected = probability @ [0.0, 1.5, 5.0, 10.5]
    computed = head.expected_steps(latent, goal).detach().numpy()
    np.testing.assert_allclose(computed, expected, rtol=1e-5)
    assert not torch.allclose(head.expected_steps(latent, goal), head.expected_steps(goal, latent))


def test_the_bins_travel_with_the_weights() -> None:
    names = PairHead(3, (8,), EDGES).state_dict()
    assert {"bin_edges", "bin_centres"} <= set(names)
