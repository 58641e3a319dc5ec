"""Embeddings of a store's frames by a frozen encoder, cached beside it: `derived/latents_<key>`.

One plain Zarr array (steps, D) float32. The key is a fingerprint of everything that decides the
numbers: weights, preprocessing, what computes them, and the camera. The array says which episodes
it holds; of a store that grew only the new ones are encoded.
"""

import hashlib
import json
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.derived import Progress, common_start, episode_digests, sole_writer
from nav_offrl.store.raw_array import LARGE_CHUNK_BYTES, RawArray, rows_per_chunk
from nav_offrl.store.reader import Store
from nav_offrl.store.store_mixture import store_parts

Latents = NDArray[np.float32]

COMMIT_SECONDS = 10.0  # what a kill -9 may cost of the encoding done


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder of one camera's frames.

    `fingerprint` differs where any latent could: it stands for weights and preprocessing and for
    what computes them, since two libraries round differently. `size` is D; `encode(store, episode)`
    returns the latents (T, D) of an episode and checks its frames.
    """

    fingerprint: str
    camera: str
    size: int
    encode: Callable[[Store, int], Latents]

    def folder(self, store: Store) -> Path:
        """Return where the latents of `store` lie."""
        key = hashlib.sha256(f"{self.fingerprint} {self.camera}".encode()).hexdigest()[:16]
        return Path(store.path) / "derived" / f"latents_{key}"


def open_latents(store: Store, encoder: Encoder, progress: Progress = iter) -> Latents:
    """Return the latents of all steps, (steps, D), encoding those that are not cached yet.

    Of a mixture, every store caches its own. `progress` wraps the loop over the episodes of a
    store that have to be encoded; when interrupted, the next call goes on where it stopped.

    Raises:
        NavOffrlError: an episode is damaged, or the store's folder cannot be written.
    """
    for part in store_parts(store):
        folder, wanted = encoder.folder(part), episode_digests(part)
        if _held(folder, encoder).digests != wanted:
            with sole_writer(folder, "cache of latents"):
                held = _held(folder, encoder)  # another process may have made it meanwhile
                if held.digests != wanted:
                    _encode(part, encoder, held, wanted, progress)
    loaded = [_load(part, encoder) for part in store_parts(store)]
    return loaded[0] if len(loaded) == 1 else np.concatenate(loaded)


def find_latents(store: Store, encoder: Encoder) -> Latents | None:
    """Return the latents of all steps, (steps, D), if all are cached.

    Raises:
        NavOffrlError: the cache is damaged.
    """
    for part in store_parts(store):
        if _held(encoder.folder(part), encoder).digests != episode_digests(part):
            return None
    return open_latents(store, encoder)


@dataclass(frozen=True)
class _Held:
    """Which episodes the cache holds, and the CRC-32 of the latents of each."""

    digests: list[str]
    crcs: list[int]


def _held(folder: Path, encoder: Encoder) -> _Held:
    try:
        metadata = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        attributes: dict[str, Any] = metadata["attributes"]
        if (attributes["encoder"], attributes["camera"]) == (encoder.fingerprint, encoder.camera):
            return _Held(list(attributes["episodes"]), list(attributes["crc32"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _Held([], [])


def _load(store: Store, encoder: Encoder) -> Latents:
    folder = encoder.folder(store)
    try:
        latents = np.ascontiguousarray(zarr.open_array(str(folder), mode="r")[:], np.float32)
        episodes = range(len(store.episodes))
        whole = [_crc(latents[store.steps_of(k)]) for k in episodes] == _held(folder, encoder).crcs
    except Exception:  # zarr raises a dozen classes on bytes that are not its own
        whole = False
    if not whole:
        raise NavOffrlError(
            "the cache of latents is damaged", where=folder, remedy="delete it: it is made anew"
        )
    return latents


def _crc(latents: Latents) -> int:
    return zlib.crc32(np.ascontiguousarray(latents).view(np.uint8).data)


def _encode(
    store: Store, encoder: Encoder, held: _Held, wanted: list[str], progress: Progress
) -> None:
    folder = encoder.folder(store)
    if not held.digests:
        _create(folder, encoder)
    crcs = held.crcs[: common_start(held.digests, wanted)]
    array = RawArray(folder)

    def commit() -> float:
        """Count episodes as there, once their latents are on the disk."""
        array.sync()
        rows = int(store.episodes.length[: len(crcs)].sum())
        array.resize(rows, episodes=wanted[: len(crcs)], crc32=crcs)
        return time.monotonic()

    committed = commit()  # what is written over must not count as there while it is
    try:
        for episode in progress(range(len(crcs), len(wanted))):
            latents = _latents(store, encoder, episode)
            array.write(int(store.episodes.start[episode]), latents)
            crcs.append(_crc(latents))
            if time.monotonic() > committed + COMMIT_SECONDS:
                committed = commit()
    finally:
        commit()
        array.close()


def _latents(store: Store, encoder: Encoder, episode: int) -> Latents:
    latents = encoder.encode(store, episode).astype(np.float32, copy=False)
    expected = (int(store.episodes.length[episode]), encoder.size)
    if latents.shape != expected:
        raise ValueError(f"the encoder returned {latents.shape}, not {expected}")
    return latents


def _create(folder: Path, encoder: Encoder) -> None:
    partial = folder.with_name(folder.name + ".partial")
    for stale in (partial, folder):
        shutil.rmtree(stale, ignore_errors=True)
    zarr.create_array(
        str(partial),
        shape=(0, encoder.size),
        dtype="float32",
        chunks=(rows_per_chunk(4 * encoder.size, LARGE_CHUNK_BYTES), encoder.size),
        compressors=None,
        dimension_names=("step", "latent"),
        attributes={"encoder": encoder.fingerprint, "camera": encoder.camera},
        zarr_format=3,
    )
    partial.rename(folder)
