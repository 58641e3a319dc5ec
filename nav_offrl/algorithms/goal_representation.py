"""Self-supervised goal representation: how far away is that photo, and in which direction?

The two heads of Shah et al. 2020, *ViNG* (arXiv 2012.09812): temporal distance by classification
over bins of steps, with negatives mined from other episodes, and the goal's relative pose from
odometry. Trained together with the encoder; reinforcement learning then runs on frozen latents.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nav_offrl.algorithms.common import Metrics
from nav_offrl.config import Config
from nav_offrl.networks.encoder import ConvolutionalEncoder, EncoderConfig
from nav_offrl.networks.heads import PairHead


class GoalRepresentationConfig(Config):
    """Hyperparameters of the pre-training."""

    steps: int = Field(default=800, ge=0, description="gradient steps")
    windows: int = Field(default=24, ge=2, description="stretches of episodes in a batch")
    frames_per_window: int = Field(default=8, ge=2, description="frames drawn from each stretch")
    horizon: int = Field(default=60, ge=2, description="steps that a stretch spans at most")
    bin_edges: tuple[int, ...] = Field(
        default=(0, 1, 3, 5, 8, 12, 17, 24, 34, 48, 64), description="steps; the last bin is 'far'"
    )
    hidden: tuple[int, ...] = (256, 256)
    pose_weight: float = Field(default=1.0, ge=0)
    negative_weight: float = Field(default=0.25, ge=0, description="of pairs of two stretches")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak, falling along a cosine")
    weight_decay: float = Field(default=1e-2, ge=0)
    shift_pixels: int = Field(default=4, ge=0, description="random crop of the training frames")
    brightness: float = Field(default=0.2, ge=0, lt=1, description="random gain and offset")


@dataclass(frozen=True)
class WindowBatch:
    """Frames of W stretches with F frames each.

    `frames` (W, F, H, W', 3) uint8; `step` (W, F) position in the episode; `pose` (W, F, 3) x, y
    in metres and yaw in radians, in one frame a stretch.
    """

    frames: Tensor
    step: Tensor
    pose: Tensor


class GoalRepresentation(nn.Module):
    """Encoder and pair head with their joint loss."""

    def __init__(self, config: GoalRepresentationConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvolutionalEncoder(encoder)
        self.pair_head = PairHead(encoder.latent_size, config.hidden, config.bin_edges)
        self.optimizer = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        # A metre means more indoors than outdoors: the pose loss is in units of the log's own
        # spread, set once from the data.
        self.register_buffer("pose_scale", torch.ones(()))
        self.pose_scale: Tensor

    def loss(self, batch: WindowBatch) -> tuple[Tensor, Metrics]:
        """Distance and pose over all pairs of a stretch, 'far' over pairs of two stretches."""
        windows, frames = batch.step.shape
        latent = self.encoder(batch.frames.flatten(0, 1)).unflatten(0, (windows, frames))
        here = latent[:, :, None].expand(-1, -1, frames, -1)
        there = latent[:, None].expand(-1, frames, -1, -1)
        logits, pose = self.pair_head(here, there)
        ahead = batch.step[:, None] - batch.step[:, :, None]
        distance = self._distance_loss(logits, ahead)
        pose_loss = self._pose_loss(pose, batch.pose)
        negative = self._negative_loss(latent)
        loss = (
            distance + self.config.pose_weight * pose_loss + self.config.negative_weight * negative
        )
        return loss, {
            "representation/loss": loss,
            "representation/distance_loss": distance,
            "representation/pose_loss": pose_loss,
            "representation/negative_loss": negative,
        }

    def _distance_loss(self, logits: Tensor, ahead: Tensor) -> Tensor:
        # A robot that cannot reverse reaches only what lies ahead, so only those pairs have a
        # distance.
        forward = ahead >= 0
        return functional.cross_entropy(logits[forward], self.pair_head.bin_of(ahead[forward]))

    def _pose_loss(self, predicted: Tensor, pose: Tensor) -> Tensor:
        target = relative_pose(pose[:, :, None], pose[:, None])
        scale = torch.cat([self.pose_scale.expand(2), torch.ones(2, device=pose.device)])
        return functional.smooth_l1_loss(predicted / scale, target / scale, beta=0.1)

    def _negative_loss(self, latent: Tensor) -> Tensor:
        logits, _ = self.pair_head(latent, latent.roll(1, 0))
        far = torch.full(logits.shape[:-1], logits.shape[-1] - 1, device=logits.device)
        return functional.cross_entropy(logits.flatten(0, 1), far.flatten())

    def update(self, batch: WindowBatch, step: int, generator: torch.Generator) -> Metrics:
        """Take gradient step number `step` on augmented frames; returns detached metrics."""
        cosine = 0.5 * (1 + np.cos(np.pi * step / max(1, self.config.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(0.01, float(cosine))
        frames = augment(batch.frames, self.config.shift_pixels, self.config.brightness, generator)
        loss, metrics = self.loss(WindowBatch(frames, batch.step, batch.pose))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parameters(), 5.0)
        self.optimizer.step()
        return {name: value.detach() for name, value in metrics.items()}


def relative_pose(here: Tensor, there: Tensor) -> Tensor:
    """Return the pose of `there` seen from `here`: (..., 3), (..., 3) -> (..., 4).

    Poses are x, y, yaw; the result is x (forward), y (left) in metres, cos and sin of the turn.
    """
    offset = there[..., :2] - here[..., :2]
    cosine, sine = here[..., 2].cos(), here[..., 2].sin()
    turn = there[..., 2] - here[..., 2]
    forward = cosine * offset[..., 0] + sine * offset[..., 1]
    left = cosine * offset[..., 1] - sine * offset[..., 0]
    return torch.stack([forward, left, turn.cos(), turn.sin()], -1)


def augment(
    frames: Tensor, shift_pixels: int, brightness: float, generator: torch.Generator
) -> Tensor:
    """Shift each frame (..., H, W, 3) by whole pixels and change its gain and offset.

    Never mirrored: left and right are what the policy must tell apart.
    """
    shape = frames.shape
    images = frames.reshape(-1, *shape[-3:]).permute(0, 3, 1, 2).float()
    count, _, height, width = images.shape
    if shift_pixels:
        padded = functional.pad(images, [shift_pixels] * 4, mode="replicate")
        corner = torch.randint(0, 2 * shift_pixels + 1, (2, count), generator=generator)
        rows = corner[0, :, None] + torch.arange(height)
        columns = corner[1, :, None] + torch.arange(width)
        index = torch.arange(count)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None]].permute(
            0, 3, 1, 2
        )
    gain = 1 + brightness * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    offset = 127.5 * brightness * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    images = (images * gain.to(images.device) + offset.to(images.device)).clamp(0, 255)
    return images.permute(0, 2, 3, 1).reshape(shape)


class WindowSampler:
    """Draws stretches of episodes; batch `number` depends on the seed alone."""

    def __init__(
        self,
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        config: GoalRepresentationConfig,
        seed: int,
    ) -> None:
        """`starts` and `lengths` are of the episodes to draw from, in flat steps."""
        self._starts, self._lengths = starts, lengths
        self._config, self._seed = config, seed

    def sample(self, number: int) -> NDArray[np.int64]:
        """Return flat steps (windows, frames_per_window), each row within one episode."""
        rng = np.random.default_rng((self._seed, 1, number))
        config = self._config
        share = self._lengths / self._lengths.sum()
        episode = rng.choice(len(self._lengths), config.windows, p=share)
        # Short and long stretches alike, so that near pairs are as frequent as far ones.
        span = np.exp(rng.uniform(np.log(4), np.log(config.horizon), config.windows))
        span = np.minimum(span.astype(np.int64) + 1, self._lengths[episode])
        first = rng.integers(0, self._lengths[episode] - span + 1)
        inside = rng.integers(0, span[:, None], (config.windows, config.frames_per_window))
        steps: NDArray[np.int64] = self._starts[episode][:, None] + first[:, None] + inside
        return steps
