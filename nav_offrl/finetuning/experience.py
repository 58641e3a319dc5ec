"""What the robot lived through online: a log store like any other, with its latents in memory."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nav_offrl.finetuning.actor import FIELDS, Experience
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.latents import Encoder, Latents, open_latents


class ExperienceStore:
    """Appends drives to the store at `path`; each is safe on disk before it is learned from."""

    def __init__(self, path: Path, camera: CameraInfo, rate_hz: float, encoder: Encoder) -> None:
        """Open the store, or start one.

        Latents of earlier drives come from the cache that `close` leaves; `encoder`, which the
        actor drives with, encodes those that are missing there.
        """
        self.path = path
        # While driving the camera's own picture is encoded, not the JPEG that the store keeps.
        self._encoder = replace(
            encoder, fingerprint=f"{encoder.fingerprint} while driving", encode=self._encode
        )
        self._encode_stored = encoder.encode
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
            self._latents = self._cached()

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
        """Trim the store, cache the latents and let others write it."""
        if self._writer is not None:
            self._writer.finish()
            self._writer = None
            self._cached()

    def _cached(self) -> list[Tensor]:
        store = self.open()
        latents = torch.from_numpy(open_latents(store, self._encoder))
        return [latents[store.steps_of(episode)] for episode in range(len(store.episodes))]

    def _encode(self, store: Store, episode: int) -> Latents:
        if episode < len(self._latents):
            latents: Latents = self._latents[episode].numpy()
            return latents
        return self._encode_stored(store, episode)

    def open(self) -> Store:
        """Open what is in so far for reading."""
        return Store.open(self.path)
