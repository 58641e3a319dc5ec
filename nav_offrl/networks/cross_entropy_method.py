"""The cross-entropy method: the best of a function of an action, without gradients."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

MIN_STD = 0.02  # a search that has converged still looks around a little
TABLE_SEED = 0


class CrossEntropyMethod(nn.Module):
    """Maximise functions of an action in [-1, 1]^A, many at once.

    As Kalashnikov et al. 2018 (QT-Opt, arXiv 1806.10293), section 4.2, search the actions: sample,
    fit a Gaussian to the best few, sample from it. The first samples are uniform over the box, and
    the best of all samples is the answer.
    """

    table: Tensor

    def __init__(self, action_size: int, samples: int, elites: int, rounds: int) -> None:
        """`rounds` counts the first, uniform one."""
        super().__init__()
        self.elites = elites
        generator = torch.Generator().manual_seed(TABLE_SEED)
        uniform = 2 * torch.rand(1, samples, 1, action_size, generator=generator) - 1
        normal = torch.randn(rounds - 1, samples, 1, action_size, generator=generator)
        self.register_buffer("table", torch.cat([uniform, normal]), persistent=False)

    def forward(
        self, score: Callable[[Tensor], Tensor], rows: int, *, fixed: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the best actions (B, A) and their scores (B,).

        Args:
            score: scores N actions of each of B rows, (N, B, A) -> (N, B).
            rows: B.
            fixed: search with one fixed table of noise, so that the same question has the same
                answer and the search can be exported; else with fresh noise, for learning.
        """
        actions = self._noise(0, rows, fixed)
        scores = score(actions)
        best, best_score = _best(actions, scores)
        for number in range(1, len(self.table)):
            mean, std = self._fit(actions, scores)
            actions = (mean + std * self._noise(number, rows, fixed)).clamp(-1, 1)
            scores = score(actions)
            action, action_score = _best(actions, scores)
            best = torch.where((action_score > best_score)[:, None], action, best)
            best_score = torch.maximum(best_score, action_score)
        return best, best_score

    def _noise(self, number: int, rows: int, fixed: bool) -> Tensor:
        table = self.table[number].expand(-1, rows, -1)
        if fixed:
            return table
        return torch.randn_like(table) if number else 2 * torch.rand_like(table) - 1

    def _fit(self, actions: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the elites, (B, A) each."""
        elite = _taken(actions, scores.topk(self.elites, 0).indices)
        mean = elite.mean(0)
        return mean, (elite - mean).square().mean(0).sqrt().clamp(min=MIN_STD)


def _best(actions: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    best, number = scores.max(0)
    return _taken(actions, number[None])[0], best


def _taken(actions: Tensor, number: Tensor) -> Tensor:
    """Take actions (K, B, A) by their numbers (K, B)."""
    return actions.gather(0, number[..., None].expand(-1, -1, actions.shape[-1]))
