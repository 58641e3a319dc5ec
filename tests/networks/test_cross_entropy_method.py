"""The cross-entropy method on functions whose maximum is known."""

import itertools

import pytest
import torch
from torch import Tensor

from nav_offrl.networks.cross_entropy_method import CrossEntropyMethod

torch.set_num_threads(1)

CENTRES = torch.tensor([[0.3, -0.7], [0.0, 0.95], [-0.5, 0.5], [2.0, -3.0]])
NEAREST = CENTRES.clamp(-1, 1)


def bowl(actions: Tensor) -> Tensor:
    """-|a - c|^2, with a centre of its own for each row; the last lies outside the box."""
    return -(actions - CENTRES).square().sum(-1)


@pytest.mark.parametrize("fixed", [True, False])
def test_it_finds_the_maximum_within_the_box(fixed: bool) -> None:
    torch.manual_seed(0)
    search = CrossEntropyMethod(2, samples=64, elites=6, rounds=4)
    action, score = search(bowl, 4, fixed=fixed)
    assert (action - NEAREST).abs().max() < 0.06
    torch.testing.assert_close(score, bowl(action[None])[0])


def test_more_rounds_find_more_and_never_less() -> None:
    scores = [
        CrossEntropyMethod(2, samples=32, elites=4, rounds=rounds)(bowl, 4, fixed=True)[1]
        for rounds in (1, 2, 3, 4)
    ]
    for fewer, more in itertools.pairwise(scores):
        assert bool((more >= fewer).all())
    assert (scores[-1] - scores[0]).mean() > 0.01


def test_it_tells_two_peaks_apart() -> None:
    """Gradients from the middle would climb the nearer, lower one."""

    def peaks(actions: Tensor) -> Tensor:
        low = 0.5 * torch.exp(-20 * (actions + 0.2).square().sum(-1))
        return low + torch.exp(-20 * (actions - 0.7).square().sum(-1))

    action, _ = CrossEntropyMethod(2, samples=64, elites=6, rounds=3)(peaks, 1, fixed=True)
    assert (action - 0.7).abs().max() < 0.1


def test_a_fixed_search_draws_nothing_and_two_searches_share_the_table() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = CrossEntropyMethod(2, 16, 4, 2)(bowl, 4, fixed=True)
    other = CrossEntropyMethod(2, 16, 4, 2)(bowl, 4, fixed=True)
    assert torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())
    fresh = CrossEntropyMethod(2, 16, 4, 2)(bowl, 4, fixed=False)
    assert not torch.equal(one[0], fresh[0])
