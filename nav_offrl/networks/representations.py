"""Embeddings that value functions of goals are made of."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nav_offrl.networks.mlp import EnsembleMLP


def length_normalised(vector: Tensor) -> Tensor:
    """Scale vectors (..., d) to the length sqrt(d), so that their numbers are of the order of 1."""
    return functional.normalize(vector, dim=-1, eps=1e-6) * math.sqrt(vector.shape[-1])


class Embedding(nn.Module):
    """phi: (B, inputs) -> (B, size), with LayerNorm as value networks have it."""

    def __init__(self, inputs: int, hidden: Sequence[int], size: int) -> None:
        super().__init__()
        self.size = size
        self.network = EnsembleMLP(1, inputs, hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """Embed each row."""
        embedded: Tensor = self.network(x)[0]
        return embedded


class LengthNormalisedEmbedding(Embedding):
    """phi: (B, inputs) -> (B, size) of length sqrt(size): HIQL's representation of subgoals."""

    def forward(self, x: Tensor) -> Tensor:
        """Embed each row on the sphere."""
        return length_normalised(super().forward(x))


class BilinearCritic(nn.Module):
    """Ensemble of f(x, g) = phi(x) . psi(g) / sqrt(d), a tower for each side.

    Eysenbach et al. 2022 (arXiv 2206.07568), section 4.2; the scale is OGBench's.
    """

    def __init__(
        self, inputs: int, goal_size: int, hidden: Sequence[int], size: int, members: int = 2
    ) -> None:
        """`size` is d, the number of features that both towers give."""
        super().__init__()
        self.phi = EnsembleMLP(members, inputs, hidden, size)
        self.psi = EnsembleMLP(members, goal_size, hidden, size)
        self.scale = 1 / math.sqrt(size)

    def forward(self, x: Tensor, goal: Tensor) -> Tensor:
        """Evaluate row by row: (B, inputs), (B, goal_size) -> (E, B)."""
        product: Tensor = (self.phi(x) * self.psi(goal)).sum(-1)
        return product * self.scale

    def of_every_pair(self, x: Tensor, goal: Tensor) -> Tensor:
        """Evaluate every row of `x` on every goal: (B, inputs), (G, goal_size) -> (E, B, G)."""
        return torch.bmm(self.phi(x) * self.scale, self.psi(goal).mT)
