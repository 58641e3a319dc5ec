"""The behaviour policy as a conditional variational autoencoder of actions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nav_offrl.networks.mlp import perceptron

LOG_STD_RANGE = (-4.0, 4.0)
LATENT_CLIP = 0.5  # samples stay where the decoder has seen latents


class ActionVAE(nn.Module):
    """pi_beta(a | x), able to hold several modes (Fujimoto et al. 2018, BCQ, arXiv 1812.02900).

    The latent is twice as large as the action.
    """

    def __init__(self, inputs: int, action_size: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.latent_size = 2 * action_size
        self.encoder = perceptron(inputs + action_size, hidden, 2 * self.latent_size)
        self.decoder = perceptron(inputs + self.latent_size, hidden, action_size)

    def loss(self, features: Tensor, action: Tensor, kl_weight: float) -> tuple[Tensor, Tensor]:
        """Return reconstruction + kl_weight KL(q(z | x, a) || N(0, 1)), and the former alone.

        Both are means over batch and dimensions, of (B, F) and actions (B, A) in [-1, 1].
        """
        mean, log_std = self.encoder(torch.cat([features, action], -1)).chunk(2, -1)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        latent = mean + log_std.exp() * torch.randn_like(mean)
        reconstruction = (torch.tanh(self.decode(features, latent)) - action).square().mean()
        kl = 0.5 * (mean.square() + (2 * log_std).exp() - 1).mean() - log_std.mean()
        return reconstruction + kl_weight * kl, reconstruction

    def sample(self, features: Tensor, count: int) -> Tensor:
        """Draw `count` actions of each row before their squashing by tanh: (count, B, A)."""
        latent = torch.randn(count, len(features), self.latent_size, device=features.device)
        return self.decode(features, latent.clamp(-LATENT_CLIP, LATENT_CLIP))

    def decode(self, features: Tensor, latent: Tensor) -> Tensor:
        """(B, F), (..., B, latent_size) -> actions before their squashing (..., B, A)."""
        features = features.expand(*latent.shape[:-1], -1)
        decoded: Tensor = self.decoder(torch.cat([features, latent], -1))
        return decoded
