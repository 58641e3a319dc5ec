"""Distances that need not be the same there and back."""

import torch
from torch import Tensor, nn


class IntervalQuasimetric(nn.Module):
    """Interval quasimetric embedding (IQE): d(x, y) of latents (..., L) -> (...).

    Wang and Isola: Improved Representation of Asymmetrical Distances with Interval Quasimetric
    Embeddings, 2022 (arXiv 2211.15120), with the maxmean reduction of section 3.3. A latent is
    `size / component_size` components of `component_size` numbers each. For one component, d is the
    length of the union of the intervals [x_i, max(x_i, y_i)]. Whatever the latents and weights are,
    d >= 0, d(x, x) = 0 and d(x, z) <= d(x, y) + d(y, z); d(x, y) = d(y, x) does not hold.
    """

    def __init__(self, size: int, component_size: int) -> None:
        """`size` L must be a multiple of `component_size`."""
        super().__init__()
        assert size % component_size == 0, "latents must split into components"
        self.component_size = component_size
        self.mean_logit = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mix the mean and the greatest component by a weight that is learned."""
        components = self.components(x, y)
        share = torch.sigmoid(self.mean_logit)
        return share * components.mean(-1) + (1 - share) * components.amax(-1)

    def components(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the length of each component's union, (..., size / component_size).

        In the order of their lower ends, each interval adds what lies beyond the reach of those
        before it. A sum of what is not negative: rounding cannot bring it below 0.
        """
        lower, order = self.split(x).sort(-1)
        upper = torch.maximum(lower, self.split(y).gather(-1, order))
        reach = torch.cat([lower[..., :1], running_maximum(upper)[..., :-1]], -1)
        return (upper - torch.maximum(lower, reach)).clamp(min=0).sum(-1)

    def split(self, latent: Tensor) -> Tensor:
        """Split (..., L) into (..., components, component_size)."""
        return latent.reshape(*latent.shape[:-1], -1, self.component_size)


def running_maximum(x: Tensor) -> Tensor:
    """Return torch.cummax(x, -1).values by operators that ONNX has."""
    shift = 1
    while shift < x.shape[-1]:
        x = torch.cat([x[..., :shift], torch.maximum(x[..., shift:], x[..., :-shift])], -1)
        shift *= 2
    return x
