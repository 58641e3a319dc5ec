"""What the robot lived through online: a log store like any other, with its latents in memory."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nav_offrl.finetuning.actor import FIELDS, Experience
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter

ENCODE_BATCH = 256


class ExperienceStore:
    """Appends drives to the store at `path`; each is safe on disk before it is learned from."""

    def __init__(self, path: Path, camera: CameraInfo, rate_hz: float, encoder: nn.Module) -> None:
        """Open the store, or start one. `encoder` recovers the latents of earlier drives."""
        self.path = path
        self._info = StoreInfo(
            rate_hz=rate_hz,
            action_source="commanded",
            cameras={"front": camera},
            fields=FIELDS,
            notes="recorded while finetuning",
        )
        self._latents: list[Tensor] = []
        self._writer: StoreWriter | None = None
        if path.exists():
            self._writer = StoreWriter.append_to(path)
            self._latents = _encode_store(Store.open(path), encoder)

    @property
    def drives(self) -> int:
        """How many drives are in."""
        return len(self._latents)

    @property
    def steps(self) -> int:
        """How many steps are in."""
        return sum(map(len, self._latents))

    @property
    def latents(self) -> Tensor:
        """Latents of all steps, (steps, D), in the store's order."""
        return torch.cat(self._latents)

    def append(self, experience: Experience) -> None:
        """Commit one drive."""
        if self._writer is None:
            self._writer = self._start(experience.episode)
        else:
            self._writer.append(experience.episode)
            self._writer.sync()
        self._latents.append(experience.latents)

    def _start(self, episode: Episode) -> StoreWriter:
        """Make the store with its first drive in it."""
        writer = StoreWriter.create(self.path, self._info)
        if writer.names:  # a power cut came before the store had its name; nothing learned from it
            writer.discard()
            writer = StoreWriter.create(self.path, self._info)
        writer.append(episode)
        writer.finish()
        # A writer stays at the path that it was opened at, which `finish` has renamed.
        return StoreWriter.append_to(self.path)

    def close(self) -> None:
        """Trim the store and let others write it."""
        if self._writer is not None:
            self._writer.finish()
            self._writer = None

    def open(self) -> Store:
        """Open what is in so far for reading."""
        return Store.open(self.path)


def _encode_store(store: Store, encoder: nn.Module) -> list[Tensor]:
    latents = []
    with torch.no_grad():
        for episode in range(len(store.episodes)):
            frames = store.images("front", store.steps_of(episode))
            parts = np.array_split(frames, -(-len(frames) // ENCODE_BATCH))
            latents.append(torch.cat([encoder(torch.from_numpy(part)) for part in parts]))
    return latents
