"""Policies on features of a state and a goal. Actions lie in [-1, 1]."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nav_offrl.networks.mlp import perceptron

MIN_LOG_STD, MAX_LOG_STD = -3.0, 1.0
SQUASHED_MIN_LOG_STD, SQUASHED_MAX_LOG_STD = -5.0, 2.0
EDGE = 1e-6  # actions this close to -1 or 1 have no finite place before the squashing
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(value: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the log density of independent Gaussians, summed over the last dimension."""
    scaled = (value - mean) * (-log_std).exp()
    return (-0.5 * scaled.square() - log_std - HALF_LOG_TWO_PI).sum(-1)


class GaussianPolicy(nn.Module):
    """pi(a | s, g): Gaussian with mean in [-1, 1] and a standard deviation that no state moves."""

    def __init__(
        self, inputs: int, action_size: int, hidden: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.network = perceptron(inputs, hidden, action_size, dropout)
        self.log_std = nn.Parameter(torch.zeros(action_size))

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean action (B, A), which is also what the robot executes."""
        mean: Tensor = torch.tanh(self.network(features))
        return mean

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """Return log pi(action | features), (B,)."""
        return gaussian_log_prob(
            action, self(features), self.log_std.clamp(MIN_LOG_STD, MAX_LOG_STD)
        )

    def sample(self, features: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """Draw `count` actions of each row: (count, B, A) in [-1, 1], and their (count, B) log pi.

        Gradients flow to the mean and the standard deviation.
        """
        mean, log_std = self(features), self.log_std.clamp(MIN_LOG_STD, MAX_LOG_STD)
        noise = torch.randn(count, *mean.shape, device=mean.device)
        action = mean + log_std.exp() * noise
        return action.clamp(-1, 1), gaussian_log_prob(action, mean, log_std)


class TanhGaussianPolicy(nn.Module):
    """A Gaussian squashed by tanh, whose mean and standard deviation both depend on the state.

    Haarnoja et al. 2018, *Soft Actor-Critic* (arXiv 1801.01290), appendix C.
    """

    def __init__(
        self, inputs: int, action_size: int, hidden: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.network = perceptron(inputs, hidden, 2 * action_size, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the squashed mean (B, A), which is also what the robot executes."""
        return torch.tanh(self.mean_and_log_std(features)[0])

    def mean_and_log_std(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return both before the squashing, (B, A) each."""
        mean, log_std = self.network(features).chunk(2, -1)
        return mean, log_std.clamp(SQUASHED_MIN_LOG_STD, SQUASHED_MAX_LOG_STD)

    def sample(self, features: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """Draw `count` actions of each row: (count, B, A) and their (count, B) log pi.

        Gradients flow to the mean and the standard deviation.
        """
        mean, log_std = self.mean_and_log_std(features)
        noise = torch.randn(count, *mean.shape, device=mean.device)
        before = mean + log_std.exp() * noise
        log_prob = gaussian_log_prob(before, mean, log_std) - _log_slope_of_tanh(before)
        return torch.tanh(before), log_prob

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """Return log pi(action | features) of actions (..., B, A) in [-1, 1]: (..., B)."""
        mean, log_std = self.mean_and_log_std(features)
        before = torch.atanh(action.clamp(-1 + EDGE, 1 - EDGE))
        return gaussian_log_prob(before, mean, log_std) - _log_slope_of_tanh(before)


def _log_slope_of_tanh(before: Tensor) -> Tensor:
    """Log |d tanh(x) / dx|, summed over the last dimension, without overflow."""
    return (2 * (math.log(2) - before - functional.softplus(-2 * before))).sum(-1)


class DeterministicPolicy(nn.Module):
    """a = mu(s, g) in [-1, 1]."""

    def __init__(
        self, inputs: int, action_size: int, hidden: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.network = perceptron(inputs, hidden, action_size, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the action (B, A)."""
        action: Tensor = torch.tanh(self.network(features))
        return action


class CategoricalPolicy(nn.Module):
    """pi(a | s, g) over a grid of N actions."""

    grid: Tensor

    def __init__(
        self, inputs: int, grid: Tensor, hidden: Sequence[int], dropout: float = 0.0
    ) -> None:
        """`grid` (N, A) are the actions that the numbers 0 to N - 1 stand for."""
        super().__init__()
        self.register_buffer("grid", grid.clone())
        self.network = perceptron(inputs, hidden, len(grid), dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the most likely action (B, A), which is also what the robot executes."""
        return self.grid[self.network(features).argmax(-1)]

    def log_probs(self, features: Tensor) -> Tensor:
        """Return log pi of every action, (B, N)."""
        return functional.log_softmax(self.network(features), -1)

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """Return log pi of the actions numbered (B,) int64: (B,)."""
        return self.log_probs(features).gather(-1, action[:, None])[:, 0]
