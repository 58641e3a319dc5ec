"""Multilayer perceptrons, alone and as an ensemble evaluated in one batched product."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class EnsembleLinear(nn.Module):
    """`members` independent linear layers: (E, B, in) -> (E, B, out)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))
        for member in self.weight:
            nn.init.xavier_uniform_(member)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each member's batch by its own weights."""
        if self.weight.shape[-1] == 1:
            # As a product of matrices, one column takes three times as long, six times backward.
            return (x * self.weight.mT).sum(-1, keepdim=True) + self.bias
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """`members` perceptrons over one input: (B, in) -> (E, B, out).

    Hidden layers are Dense, GELU, LayerNorm, as OGBench's value networks are; the last is bare.
    GELU is the exact one: by erf it takes a third of the time of the tanh approximation.
    """

    def __init__(self, members: int, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.members = members
        sizes = [inputs, *hidden]
        self.hidden = nn.ModuleList(
            EnsembleLinear(members, a, b) for a, b in itertools.pairwise(sizes)
        )
        self.activation = nn.GELU()
        self.norms = nn.ModuleList(nn.LayerNorm(size, eps=1e-6) for size in hidden)
        self.last = EnsembleLinear(members, sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate every member on (B, in), or each member on its own (E, B, in)."""
        if x.dim() == 2:
            x = x.expand(self.members, *x.shape)
        return self.after_first(self.hidden[0](x))

    @property
    def first(self) -> EnsembleLinear:
        """The first layer."""
        layer = self.hidden[0]
        assert isinstance(layer, EnsembleLinear)
        return layer

    def after_first(self, x: Tensor) -> Tensor:
        """Go on from what the first layer gives, (E, B, hidden[0])."""
        x = self._activate(x, 0)
        for k in range(1, len(self.hidden)):
            x = self._activate(self.hidden[k](x), k)
        out: Tensor = self.last(x)
        return out

    def _activate(self, x: Tensor, layer: int) -> Tensor:
        activated: Tensor = self.norms[layer](self.activation(x))
        return activated


def perceptron(
    inputs: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0
) -> nn.Sequential:
    """One perceptron, Dense and GELU in turn: (B, in) -> (B, out).

    With `dropout`, that share of the inputs and of every hidden layer is dropped while training.
    """
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.GELU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
