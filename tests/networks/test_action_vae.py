"""The behaviour autoencoder: its loss by hand, and two modes that it keeps apart."""

import numpy as np
import pytest
import torch

from nav_offrl.networks.action_vae import LATENT_CLIP, ActionVAE

torch.set_num_threads(1)


def test_loss_by_hand() -> None:
    torch.manual_seed(0)
    vae, features, action = ActionVAE(3, 2, (8,)), torch.randn(5, 3), torch.rand(5, 2) - 0.5
    torch.manual_seed(1)
    loss, reconstruction = vae.loss(features, action, 0.3)
    with torch.no_grad():
        encoded = vae.encoder(torch.cat([features, action], -1)).numpy()
        mean, log_std = encoded[:, :4], encoded[:, 4:]
        torch.manual_seed(1)
        latent = torch.from_numpy(mean + np.exp(log_std) * torch.randn(5, 4).numpy())
        decoded = np.tanh(vae.decoder(torch.cat([features, latent], -1)).numpy())
    squared = ((decoded - action.numpy()) ** 2).mean()
    kl = (0.5 * (mean**2 + np.exp(2 * log_std) - 1) - log_std).mean()
    assert reconstruction.item() == pytest.approx(squared, rel=1e-5)
    assert loss.item() == pytest.approx(squared + 0.3 * kl, rel=1e-5)


def test_samples_decode_clipped_latents_row_by_row() -> None:
    torch.manual_seed(0)
    vae, features = ActionVAE(3, 2, (8,)), torch.randn(5, 3)
    torch.manual_seed(1)
    drawn = vae.sample(features, 7)
    torch.manual_seed(1)
    latent = torch.randn(7, 5, 4).clamp(-LATENT_CLIP, LATENT_CLIP)
    assert drawn.shape == (7, 5, 2)
    alone = vae.decoder(torch.cat([features[2], latent[4, 2]]))
    torch.testing.assert_close(drawn[4, 2], alone)


def test_two_modes_stay_two() -> None:
    """Left or right, as two drivers pass an obstacle: straight on is what neither did."""
    torch.manual_seed(0)
    vae, ones = ActionVAE(1, 1, (32,)), torch.ones(64, 1)
    action = torch.cat([torch.linspace(-0.6, -0.5, 32), torch.linspace(0.5, 0.6, 32)])[:, None]
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    for _ in range(500):
        optimizer.zero_grad()
        vae.loss(ones, action, 0.04)[0].backward()
        optimizer.step()
    with torch.no_grad():
        drawn = torch.tanh(vae.sample(ones[:1], 1000))
    assert (drawn > 0.3).float().mean() > 0.25 and (drawn < -0.3).float().mean() > 0.25
    assert (drawn.abs() < 0.2).float().mean() < 0.2
