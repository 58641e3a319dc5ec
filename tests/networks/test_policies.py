"""Policies: likelihoods against closed forms, samples against likelihoods."""

import numpy as np
import pytest
import torch
from torch import nn

from nav_offrl.networks.policies import (
    MAX_LOG_STD,
    MIN_LOG_STD,
    CategoricalPolicy,
    DeterministicPolicy,
    GaussianPolicy,
    TanhGaussianPolicy,
)

torch.set_num_threads(1)


@pytest.mark.parametrize("log_std", [-9.0, -3.0, -0.7, 0.4, 1.0, 5.0])
def test_policy_log_probability_is_the_closed_form(log_std: float) -> None:
    policy = GaussianPolicy(6, 2, (8,))
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([log_std, 0.1]))
    features, action = torch.randn(6, 6), torch.rand(6, 2) * 2 - 1
    mean = policy(features).detach().double().numpy()
    sigma = np.exp(np.clip([log_std, 0.1], MIN_LOG_STD, MAX_LOG_STD))
    density = -0.5 * ((action.numpy() - mean) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    computed = policy.log_prob(features, action).detach().numpy()
    np.testing.assert_allclose(computed, density.sum(-1), rtol=1e-4, atol=1e-4)


def test_policy_mean_is_what_the_robot_executes_and_stays_inside() -> None:
    policy = GaussianPolicy(6, 2, (8,))
    mean = policy(torch.randn(200, 6) * 100)
    assert mean.shape == (200, 2) and mean.abs().max() <= 1 and mean.abs().max() > 0.9


EDGES = (0, 1, 3, 8)


def squashed(mean: float, log_std: float) -> TanhGaussianPolicy:
    """A policy of one action that says the same of every state."""
    policy = TanhGaussianPolicy(3, 1, ())
    last = policy.network[0]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([mean, log_std])
    return policy


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.8, -1.0), (-1.5, 0.3)])
def test_a_squashed_density_integrates_to_one(mean: float, log_std: float) -> None:
    # Evenly before the squashing, for the density climbs steeply at the edges.
    action = torch.tanh(torch.linspace(-6, 6, 20001))[:, None]
    with torch.no_grad():
        density = squashed(mean, log_std).log_prob(torch.zeros(len(action), 3), action).exp()
    assert torch.trapezoid(density, action[:, 0]).item() == pytest.approx(1.0, abs=2e-3)


def test_a_squashed_sample_has_the_likelihood_that_is_told_with_it() -> None:
    policy = TanhGaussianPolicy(3, 2, (8,))
    features = torch.randn(5, 3)
    action, log_prob = policy.sample(features, 4)
    assert action.shape == (4, 5, 2) and log_prob.shape == (4, 5)
    torch.testing.assert_close(policy.log_prob(features, action), log_prob, atol=1e-3, rtol=1e-3)


def test_squashed_likelihood_at_the_edge_is_finite_and_has_a_gradient() -> None:
    policy = TanhGaussianPolicy(3, 2, (8,))
    log_prob = policy.log_prob(torch.randn(2, 3), torch.tensor([[1.0, -1.0], [0.0, 1.0]])).sum()
    log_prob.backward()
    assert torch.isfinite(log_prob)
    assert all(bool(torch.isfinite(p.grad).all()) for p in policy.parameters())  # type: ignore[arg-type]


def test_samples_of_the_gaussian_have_its_moments_and_carry_gradients() -> None:
    policy = GaussianPolicy(3, 1, (8,))
    with torch.no_grad():
        policy.log_std.fill_(-2.0)
    features = torch.randn(1, 3)
    torch.manual_seed(0)
    action, log_prob = policy.sample(features, 20000)
    assert action.mean().item() == pytest.approx(policy(features).item(), abs=5e-3)
    assert action.std().item() == pytest.approx(np.exp(-2.0), rel=0.03)
    inside = action.abs() < 1
    again = policy.log_prob(features, action[:, 0])
    torch.testing.assert_close(again[inside[:, 0, 0]], log_prob[inside[..., 0]])
    gradients = torch.autograd.grad(action.sum(), list(policy.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients)


def test_a_category_stands_for_its_action() -> None:
    grid = torch.tensor([[-1.0, 0.0], [0.5, 0.5], [1.0, -1.0]])
    policy = CategoricalPolicy(3, grid, (8,))
    features = torch.randn(6, 3)
    log_probs = policy.log_probs(features)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(6))
    action = torch.tensor([0, 1, 2, 2, 1, 0])
    assert torch.equal(policy.log_prob(features, action), log_probs[torch.arange(6), action])
    assert torch.equal(policy(features), grid[log_probs.argmax(-1)])


def test_a_deterministic_policy_stays_inside() -> None:
    assert DeterministicPolicy(3, 2, (8,))(100 * torch.randn(50, 3)).abs().max() <= 1
