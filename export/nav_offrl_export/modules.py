"""The three modules that make a bundle."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Modules:
    """Trained modules, each ready to be traced.

    encoder: (B, H, W, 3) uint8 RGB to (B, D) float32 latent, preprocessing inside.
    policy: latent, goal latent to (B, 2) float32 commands (m/s, rad/s) inside the limits.
    distance: latent, goal latent to (B,) float32 predicted steps, at least 0.
    """

    encoder: nn.Module
    policy: nn.Module
    distance: nn.Module

    def items(self) -> Iterator[tuple[str, nn.Module]]:
        """Graph name and module, in the order in which they run."""
        yield "encoder", self.encoder
        yield "policy", self.policy
        yield "distance", self.distance
