"""Embeddings and bilinear critics compute what their equations say."""

import numpy as np
import pytest
import torch

from nav_offrl.networks.representations import (
    BilinearCritic,
    Embedding,
    LengthNormalisedEmbedding,
    length_normalised,
)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_normalised_vectors_keep_their_direction_and_have_length_root_d() -> None:
    vector = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 1e-3, 0.0, 0.0]])
    expected = [[1.2, 0.0, 1.6, 0.0], [0.0, 2.0, 0.0, 0.0]]
    np.testing.assert_allclose(length_normalised(vector).numpy(), expected, atol=1e-6)


def test_a_vector_of_zeros_stays_finite() -> None:
    vector = torch.zeros(2, 4, requires_grad=True)
    length_normalised(vector).sum().backward()
    assert vector.grad is not None and torch.isfinite(vector.grad).all()


def test_an_embedding_is_normalised_only_where_it_is_said_to_be() -> None:
    x = 5 * torch.randn(7, 3)
    plain = Embedding(3, (8,), 10)
    normalised = LengthNormalisedEmbedding(3, (8,), 10)
    normalised.load_state_dict(plain.state_dict())
    assert plain(x).norm(dim=-1).std() > 0.01
    torch.testing.assert_close(normalised(x).norm(dim=-1), torch.full((7,), 10**0.5))
    torch.testing.assert_close(normalised(x), length_normalised(plain(x)))


def test_a_bilinear_critic_is_the_scaled_product_of_its_towers() -> None:
    critic = BilinearCritic(5, 3, (8,), 16)
    x, goal = torch.randn(4, 5), torch.randn(4, 3)
    phi, psi = critic.phi(x).detach().numpy(), critic.psi(goal).detach().numpy()
    expected = (phi * psi).sum(-1) / 4
    np.testing.assert_allclose(critic(x, goal).detach().numpy(), expected, atol=1e-5)
    assert critic(x, goal).shape == (2, 4)


def test_every_pair_is_each_row_with_each_goal() -> None:
    critic = BilinearCritic(5, 3, (8,), 16)
    x, goals = torch.randn(4, 5), torch.randn(6, 3)
    table = critic.of_every_pair(x, goals)
    assert table.shape == (2, 4, 6)
    torch.testing.assert_close(table[:, 2:3, 5], critic(x[2:3], goals[5:6]))
    torch.testing.assert_close(table[:, 0:1, 3], critic(x[0:1], goals[3:4]))
