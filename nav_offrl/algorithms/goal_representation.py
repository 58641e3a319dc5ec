"""Self-supervised goal representation: how far away is that photo, and in which direction?

Three losses on pairs of frames of one episode, none of which needs a label that a robot lacks:
contrastive recognition of what lies ahead (Eysenbach et al. 2022, *Contrastive Learning as
Goal-Conditioned Reinforcement Learning*, arXiv 2206.07568, eq. 3 in its symmetric InfoNCE form),
and the two heads of Shah et al. 2020, *ViNG* (arXiv 2012.09812): temporal distance by
classification over bins of steps, with negatives mined from other episodes, and the relative pose
from odometry. The encoder is trained by all three; reinforcement learning then runs on its frozen
latents.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from nav_offrl.algorithms.averaging import average_over_processes
from nav_offrl.algorithms.common import Metrics
from nav_offrl.config import Config
from nav_offrl.networks.encoder import ConvolutionalEncoder, EncoderConfig
from nav_offrl.networks.heads import PairHead
from nav_offrl.networks.mlp import perceptron


class GoalRepresentationConfig(Config):
    """Hyperparameters of the pre-training."""

    steps: int = Field(default=3000, ge=0, description="gradient steps")
    batch_size: int = Field(default=96, ge=2, description="pairs of frames")
    horizon: int = Field(default=64, ge=2, description="steps that a pair spans at most")
    bin_edges: tuple[int, ...] = Field(
        default=(0, 1, 3, 5, 8, 12, 17, 24, 34, 48, 64), description="steps; the last bin is 'far'"
    )
    hidden: tuple[int, ...] = (256, 256)
    contrastive_size: int = Field(default=64, ge=1, description="of the compared embeddings")
    contrastive_weight: float = Field(default=1.0, ge=0)
    distance_weight: float = Field(default=0.5, ge=0)
    negative_weight: float = Field(default=0.25, ge=0, description="of 'far' for other episodes")
    pose_weight: float = Field(default=2.0, ge=0)
    learning_rate: float = Field(default=2e-3, gt=0, description="peak, falling along a cosine")
    weight_decay: float = Field(default=1e-2, ge=0)
    shift_pixels: int = Field(default=3, ge=0, description="random crop of the training frames")
    brightness: float = Field(default=0.2, ge=0, lt=1, description="random gain and offset")

    @field_validator("bin_edges")
    @classmethod
    def _every_distance_has_a_bin(cls, edges: tuple[int, ...]) -> tuple[int, ...]:
        if len(edges) < 2 or edges[0] != 0 or not (np.diff(edges) > 0).all():
            raise ValueError("must be two or more edges that begin at 0 and increase")
        return edges


@dataclass(frozen=True)
class PairBatch:
    """B pairs of frames, the second taken `steps` after the first in the same episode.

    `frames` (2, B, H, W, 3) uint8; `pose` (2, B, 3) x, y in metres and yaw in radians; `steps`
    (B,).
    """

    frames: Tensor
    pose: Tensor
    steps: Tensor


class GoalRepresentation(nn.Module):
    """Encoder and pair head with their joint loss."""

    pose_scale: Tensor

    def __init__(self, config: GoalRepresentationConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        size, width = encoder.latent_size, config.contrastive_size
        self.encoder = ConvolutionalEncoder(encoder)
        self.pair_head = PairHead(size, config.hidden, config.bin_edges)
        self.from_here = perceptron(size, config.hidden[:1], width)
        self.to_there = perceptron(size, config.hidden[:1], width)
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))
        # A metre means more indoors than outdoors: the pose loss is in units of the log's own
        # spread, set once from the data.
        self.register_buffer("pose_scale", torch.ones(()))
        self.optimizer = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def loss(self, batch: PairBatch) -> tuple[Tensor, Metrics]:
        """Return the weighted sum of the losses, and each of them."""
        here, there = self.encoder(batch.frames.flatten(0, 1)).chunk(2)
        logits, pose = self.pair_head(here, there)
        terms = {
            "contrastive": self.contrastive_loss(here, there),
            "distance": functional.cross_entropy(logits, self.pair_head.bin_of(batch.steps)),
            "negative": self.negative_loss(here, there),
            "pose": self.pose_loss(pose, batch.pose),
        }
        weights = self.config.model_dump()
        loss = torch.stack([weights[f"{name}_weight"] * term for name, term in terms.items()]).sum()
        metrics = {f"representation/{name}_loss": term for name, term in terms.items()}
        return loss, metrics | {"representation/loss": loss}

    def contrastive_loss(self, here: Tensor, there: Tensor) -> Tensor:
        """Symmetric InfoNCE: which of the batch's frames lies ahead of this one, and whose ahead?

        `here` and `there` are latents (B, D); every other pair of the batch is a negative.
        """
        start = functional.normalize(self.from_here(here), dim=-1)
        goal = functional.normalize(self.to_there(there), dim=-1)
        logits = self.log_sharpness.exp() * start @ goal.T
        target = torch.arange(len(logits), device=logits.device)
        forward = functional.cross_entropy(logits, target)
        backward = functional.cross_entropy(logits.T, target)
        return (forward + backward) / 2

    def negative_loss(self, here: Tensor, there: Tensor) -> Tensor:
        """A frame of another pair, nearly always of another place, is 'far' (ViNG, sec. IV-B)."""
        logits, _ = self.pair_head(here, there.roll(1, 0))
        far = torch.full((len(logits),), logits.shape[-1] - 1, device=logits.device)
        return functional.cross_entropy(logits, far)

    def pose_loss(self, predicted: Tensor, pose: Tensor) -> Tensor:
        """Huber loss of the relative pose (B, 4), positions in units of `pose_scale`."""
        target = relative_pose(pose[0], pose[1])
        scale = torch.cat([self.pose_scale.expand(2), torch.ones(2, device=pose.device)])
        return functional.smooth_l1_loss(predicted / scale, target / scale, beta=0.1)

    def update(self, batch: PairBatch, step: int, generator: torch.Generator) -> Metrics:
        """Take gradient step number `step` on augmented frames; returns detached metrics.

        Under `torch.distributed` gradients are averaged, and a frame's negatives are those of its
        own process.
        """
        cosine = 0.5 * (1 + np.cos(np.pi * step / max(1, self.config.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(0.01, float(cosine))
        frames = augment(batch.frames, self.config.shift_pixels, self.config.brightness, generator)
        loss, metrics = self.loss(PairBatch(frames, batch.pose, batch.steps))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        average_over_processes([p.grad for p in self.parameters() if p.grad is not None])
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


class PairSampler:
    """Draws pairs of frames of one episode; batch `number` depends on the seed alone."""

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
        """Return flat steps (2, batch_size): here, and 0 to `horizon` steps ahead of it."""
        rng = np.random.default_rng((self._seed, 1, number))
        config = self._config
        share = self._lengths / self._lengths.sum()
        episode = rng.choice(len(self._lengths), config.batch_size, p=share)
        inside = rng.integers(0, self._lengths[episode])
        # Log-uniform, so that near pairs, far pairs and the very place itself are all frequent.
        ahead = np.exp(rng.uniform(0, np.log(config.horizon + 1), config.batch_size)) - 1
        then = np.minimum(inside + ahead.astype(np.int64), self._lengths[episode] - 1)
        steps: NDArray[np.int64] = self._starts[episode] + np.stack([inside, then])
        return steps
