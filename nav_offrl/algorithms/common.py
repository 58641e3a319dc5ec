"""Pieces that several methods share."""

import torch
from torch import Tensor, nn

Metrics = dict[str, Tensor]


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """L_tau(u) = |tau - 1(u < 0)| u^2 (Kostrikov et al. 2021, eq. 4), elementwise."""
    weight = torch.where(difference > 0, expectile, 1.0 - expectile)
    return weight * difference.square()


@torch.no_grad()
def polyak_update(target: nn.Module, online: nn.Module, rate: float) -> None:
    """Move `target` towards `online`: target <- (1 - rate) target + rate online."""
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.lerp_(new, rate)


def effective_sample_share(weight: Tensor) -> Tensor:
    """Kish's effective sample size of the weights (B,) as a share of B, in (0, 1].

    Below about 0.05 the policy copies a handful of transitions: it is too greedy.
    """
    return weight.sum().square() / (weight.square().sum() * weight.numel())
