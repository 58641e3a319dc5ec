"""State vectors brought to zero mean and unit variance, with statistics that are saved."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SMALLEST_STD = 1e-3


class Normaliser(nn.Module):
    """(B, D) state vectors as logged -> (B, D) normalised.

    Mean and standard deviation are buffers: a policy that is loaded sees what it was trained on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, states: NDArray[np.floating]) -> None:
        """Take mean and standard deviation of (T, D) states; what never moves is not scaled."""
        std = states.std(0)
        self.mean.copy_(torch.from_numpy(states.mean(0)))
        self.std.copy_(torch.from_numpy(np.where(std < SMALLEST_STD, 1.0, std)))

    def forward(self, states: Tensor) -> Tensor:
        """Normalise."""
        return (states - self.mean) / self.std
