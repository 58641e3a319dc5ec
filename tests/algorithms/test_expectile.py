"""Expectile regression, Polyak averaging and the effective sample size."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nav_offrl.algorithms.common import effective_sample_share, expectile_loss, polyak_update

torch.set_num_threads(1)


def test_by_hand() -> None:
    """With u = Q - V, V too low (u > 0) costs tau, V too high costs 1 - tau."""
    difference = torch.tensor([2.0, -2.0, 0.5, -1.0, 0.0])
    loss = expectile_loss(difference, 0.9)
    torch.testing.assert_close(loss, torch.tensor([3.6, 0.4, 0.225, 0.1, 0.0]))


def test_gradient_pushes_the_value_up_harder_than_down() -> None:
    value = torch.zeros(2, requires_grad=True)
    expectile_loss(torch.tensor([1.0, -1.0]) - value, 0.9).sum().backward()
    torch.testing.assert_close(value.grad, torch.tensor([-1.8, 0.2]))


def minimiser(samples: list[float], expectile: float) -> float:
    """Solve by fixed-point iteration and check that the gradient of the loss vanishes there."""
    target = torch.tensor(samples, dtype=torch.float64)
    value = target.mean()
    for _ in range(100):
        difference = target - value
        weight = torch.where(difference > 0, expectile, 1 - expectile)
        value = (weight * target).sum() / weight.sum()
    gradient_at = value.clone().requires_grad_()
    expectile_loss(target - gradient_at, expectile).sum().backward()
    assert gradient_at.grad is not None and abs(float(gradient_at.grad)) < 1e-4
    return float(value)


@settings(max_examples=50, deadline=None)
@given(expectile=st.floats(0.01, 0.99))
def test_minimiser_on_a_zero_and_a_one_is_the_expectile(expectile: float) -> None:
    assert minimiser([0.0, 1.0], expectile) == pytest.approx(expectile, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(samples=st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=10))
def test_a_half_is_the_mean_and_one_the_maximum(samples: list[float]) -> None:
    assert minimiser(samples, 0.5) == pytest.approx(np.mean(samples), abs=1e-5)
    spread = max(samples) - min(samples)
    assert minimiser(samples, 0.9999) == pytest.approx(max(samples), abs=2e-3 * spread + 1e-5)


def test_polyak_moves_by_exactly_its_rate_and_leaves_the_online_network() -> None:
    torch.manual_seed(0)
    online, target = nn.Linear(3, 2), nn.Linear(3, 2)
    before, fixed = copy.deepcopy(target), copy.deepcopy(online)
    polyak_update(target, online, 0.25)
    for new, old, toward, same in zip(
        target.parameters(), before.parameters(), online.parameters(), fixed.parameters(),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(new, 0.75 * old + 0.25 * toward)
        assert torch.equal(toward, same)
    polyak_update(target, online, 1.0)
    assert torch.equal(target.weight, online.weight)


def test_effective_sample_share() -> None:
    assert float(effective_sample_share(torch.full((8,), 3.0))) == pytest.approx(1.0)
    one = torch.zeros(8)
    one[2] = 100.0
    assert float(effective_sample_share(one)) == pytest.approx(1 / 8)
    assert float(effective_sample_share(torch.tensor([1.0, 3.0]))) == pytest.approx(16 / 20)
