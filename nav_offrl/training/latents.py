"""A run's frozen encoder, and the latents of a store by it: cached if they are, else computed."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from nav_offrl.algorithms.goal_representation import GoalRepresentation
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.networks.preprocess import PREPROCESSING
from nav_offrl.store.latents import Encoder, Latents, find_latents, open_latents
from nav_offrl.store.reader import Store
from nav_offrl.store.training_tier import TrainingTier
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import existing_tier, resized
from nav_offrl.training.run_folder import RunFolder, load_weights

ENCODE_BATCH = 256
RESIZE_BATCH = 32


def frozen_encoder(
    module: nn.Module, camera: str, size: EncoderConfig, device: torch.device
) -> Encoder:
    """Return what encodes frames of `camera` by `module`, whose weights must not change any more.

    `module` maps (B, H, W, 3) uint8 frames of the training tier's size to latents (B, D). Frames
    come from the training tier where there is one, else from the store.
    """
    tiers: dict[Path, TrainingTier | None] = {}

    @torch.no_grad()
    def encode(store: Store, episode: int) -> Latents:
        if store.path not in tiers:
            tiers[store.path] = existing_tier(store, camera, size)
        tier = tiers[store.path]
        if tier is None:
            store.verify(episode)  # what the tier holds was checked when it was made
        was_training = module.training
        module.eval()
        latents = [
            module(torch.from_numpy(_frames(store, tier, camera, size, steps)).to(device)).cpu()
            for steps in _batches(store.steps_of(episode), ENCODE_BATCH)
        ]
        module.train(was_training)
        result: Latents = torch.cat(latents).numpy()
        return result

    return Encoder(_fingerprint(module, size, device), camera, size.latent_size, encode)


def _frames(
    store: Store, tier: TrainingTier | None, camera: str, size: EncoderConfig, steps: slice
) -> NDArray[np.uint8]:
    if tier is not None:
        return tier.gather(np.r_[steps])
    # A few at a time: a batch of whole pictures as floating point numbers takes a gigabyte.
    parts = _batches(steps, RESIZE_BATCH)
    return np.concatenate([resized(store.images(camera, part), size) for part in parts])


def _batches(steps: slice, size: int) -> list[slice]:
    return [slice(k, min(k + size, steps.stop)) for k in range(steps.start, steps.stop, size)]


def _fingerprint(module: nn.Module, size: EncoderConfig, device: torch.device) -> str:
    """Return a name for weights, preprocessing and kind of device; an ONNX graph has another."""
    digest = hashlib.sha256(f"{PREPROCESSING} {size.height}x{size.width}".encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return f"torch {device.type} {digest.hexdigest()}"


def latents_of(store: Store, encoder: Encoder, episodes: NDArray[np.int64]) -> Tensor:
    """Return the latents of some episodes one behind the other, from the cache if they are there.

    Raises:
        NavOffrlError: the cache is damaged.
    """
    cached = find_latents(store, encoder)
    if cached is None:
        return torch.from_numpy(np.concatenate([encoder.encode(store, int(e)) for e in episodes]))
    return torch.from_numpy(np.concatenate([cached[store.steps_of(int(e))] for e in episodes]))


def cached_latents(store: Store, encoder: Encoder, progress: bool = True) -> Tensor:
    """Return the latents of all steps, caching those that are not cached yet."""
    return torch.from_numpy(
        open_latents(
            store,
            encoder,
            lambda episodes: tqdm(episodes, "encode", unit="episode", disable=not progress),
        )
    )


def load_representation(run: Path) -> tuple[GoalRepresentation, TrainConfig]:
    """Load the goal representation that a run has learned, on the CPU.

    Raises:
        NavOffrlError: the run still learns it.
    """
    folder = RunFolder.open(run)
    checkpoint, config = folder.load(), folder.config
    if checkpoint is None or checkpoint.phase != "policy":
        raise NavOffrlError(
            "has not finished learning its encoder",
            where=run,
            remedy="continue it: nav-offrl train --resume",
        )
    if config.observation != "images":
        raise NavOffrlError("learned from state vectors and has no encoder of images", where=run)
    representation = GoalRepresentation(config.representation, config.encoder)
    load_weights(representation, "representation", checkpoint.weights)
    if config.end_to_end:  # encoder and distance have gone on learning
        load_weights(representation.encoder, "encoder", checkpoint.weights)
        load_weights(representation.pair_head, "method.distance", checkpoint.weights)
    return representation.eval(), config
