"""Pieces that several methods share."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Metrics = dict[str, Tensor]
Losses = dict[str, Tensor]


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """L_tau(u) = |tau - 1(u < 0)| u^2 (Kostrikov et al. 2021, eq. 4), elementwise."""
    weight = torch.where(difference > 0, expectile, 1.0 - expectile)
    return weight * difference.square()


def polyak_update(target: nn.Module, online: nn.Module, rate: float) -> None:
    """Move `target` towards `online`: target <- (1 - rate) target + rate online."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), rate)


def effective_sample_share(weight: Tensor) -> Tensor:
    """Kish's effective sample size of the weights (B,) as a share of B, in (0, 1].

    Below about 0.05 the policy copies a handful of transitions: it is too greedy.
    """
    return weight.sum().square() / (weight.square().sum() * weight.numel())


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Let gradients pass through `modules` to their inputs, and none into their parameters.

    For a policy that climbs a critic: the critic must not be moved by the policy's loss.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def within(value: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Clip targets to the returns that the reward allows: cheap, and it removes divergence."""
    low, high = bounds
    return value if low == -float("inf") and high == float("inf") else value.clamp(low, high)


def ddpg_bc_loss(q: Tensor, action: Tensor, logged: Tensor, behaviour_weight: float) -> Tensor:
    """-E[Q] / E|Q| - alpha E[log pi(a | s, g)] of a policy N(mu(s, g), 1), less a constant.

    Park et al. 2024 (arXiv 2406.09329), section 4, with OGBench's normalisation. `q` (B,) is the
    critic's word on mu, `action` (B, A); `logged` (B, A) is what the log has.
    """
    climb = q.mean() / q.abs().mean().detach().clamp(min=1e-6)
    return 0.5 * behaviour_weight * (action - logged).square().sum(-1).mean() - climb
