"""Image encoder: a small strided convolutional network."""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn

from nav_offrl.config import Config


class EncoderConfig(Config):
    """Size of the image encoder."""

    height: int = Field(default=48, ge=32, le=512, description="pixels of the training frames")
    width: int = Field(default=64, ge=32, le=512, description="pixels of the training frames")
    channels: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), description="per stage of stride 2"
    )
    latent_size: int = Field(default=128, ge=2)


class ConvolutionalEncoder(nn.Module):
    """Frames (B, H, W, 3) in 0…255 -> latents (B, latent_size), normalised by LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        previous, kernel = 3, 5
        for channels in config.channels:
            stages += [
                nn.Conv2d(previous, channels, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            previous, kernel = channels, 3
        self.stages = nn.Sequential(*stages)
        cells = _halvings(config.height, config.channels) * _halvings(config.width, config.channels)
        self.head = nn.Sequential(
            nn.Linear(previous * cells, config.latent_size), nn.LayerNorm(config.latent_size)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Encode (B, H, W, 3) uint8 or float in 0…255."""
        images = frames.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        latent: Tensor = self.head(self.stages(images).flatten(1))
        return latent

    @torch.no_grad()
    def measure_statistics(self, batches: Iterable[Tensor]) -> None:
        """Take the statistics of BatchNorm from batches of frames; the weights stay.

        For an encoder that nothing has trained yet, and that is used in evaluation mode at once.
        """
        norms = [stage for stage in self.stages if isinstance(stage, nn.BatchNorm2d)]
        momentum = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # every batch counts the same
        was_training = self.training
        self.train()
        for frames in batches:
            self(frames)
        self.train(was_training)
        for norm, before in zip(norms, momentum, strict=True):
            norm.momentum = before


def _halvings(pixels: int, stages: tuple[int, ...]) -> int:
    for _ in stages:
        pixels = (pixels + 1) // 2
    return pixels
