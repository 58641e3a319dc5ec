"""The training tier: small uint8 frames derived from a store, disposable, memory-mapped.

Episodes start at shard boundaries, so an appended episode is added without rewriting a file, and a
training process keeps what it has mapped. The tier is stamped with the preprocessing that made it
and with a digest of each episode that it holds; what no longer agrees is made anew, the rest stays.
"""

import math
import mmap
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.store.derived import Progress, common_start, episode_digests, sole_writer
from nav_offrl.store.flat_view import flat_view
from nav_offrl.store.reader import Store
from nav_offrl.store.store_mixture import store_parts

ROWS_PER_SHARD = 256

Resize = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class TrainingTier:
    """Frames of one camera at one size.

    `frames` is a read-only view (rows, H, W, 3) uint8; `row_of_step` (steps,) int64 says in which
    row the frame of a step lies.
    """

    frames: NDArray[np.uint8]
    row_of_step: NDArray[np.int64]

    def gather(
        self, steps: NDArray[np.int64], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the frames of `steps` (any shape) as `(*steps.shape, H, W, 3)`.

        They are written to `out` of that shape where it is given: see `frame_buffer`. A buffer that
        is used again and again saves the memory's first touch.
        """
        rows = self.row_of_step[steps]
        if out is None:
            out = frame_buffer((*steps.shape, *self.frames.shape[1:]))
        # The rows are known to be in range; "raise" would copy all frames once more.
        return np.take(self.frames, rows, axis=0, out=out, mode="clip")


def frame_buffer(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return memory for frames, not initialised, that begins at a page as the tier's frames do.

    Where malloc puts large arrays, 16 bytes into a page, some processors copy at half the speed:
    their string instructions dislike a destination a few bytes behind its source modulo a page.
    """
    size = math.prod(shape)
    memory = np.empty(size + mmap.PAGESIZE, np.uint8)
    begin = -memory.ctypes.data % mmap.PAGESIZE
    return memory[begin : begin + size].reshape(shape)


@dataclass(frozen=True)
class TierSpec:
    """Which frames a tier holds: of one camera at one size (H, W).

    `resize` maps frames (T, h, w, 3) uint8 to (T, H, W, 3) uint8; `preprocessing` names it, so that
    a change of method rebuilds the tier.
    """

    camera: str
    size: tuple[int, int]
    resize: Resize
    preprocessing: str

    def folder(self, store: Store) -> Path:
        """Return where the tier of `store` lies."""
        return store.path / "derived" / f"{self.camera}_{self.size[0]}x{self.size[1]}"


def open_training_tier(store: Store, spec: TierSpec, progress: Progress = iter) -> TrainingTier:
    """Open the tier of a store, or of all stores of a mixture as one; make what is missing.

    `progress` wraps the loop over the episodes of a store that have to be decoded.

    Raises:
        NavOffrlError: no such camera, an episode is damaged, or the store's folder cannot be
            written.
    """
    stores = store_parts(store)
    for part in stores:
        _bring_up_to_date(part, spec, progress)
    frames, first_rows = flat_view(*(spec.folder(part) / "frames" for part in stores))
    rows = [first + _rows_of_steps(part) for first, part in zip(first_rows, stores, strict=True)]
    return TrainingTier(frames, np.concatenate(rows))


def has_training_tier(store: Store, spec: TierSpec) -> bool:
    """Tell whether the tier holds all episodes as they are now."""
    return all(_stamp(spec.folder(p), spec) == episode_digests(p) for p in store_parts(store))


def _rows_of_steps(store: Store) -> NDArray[np.int64]:
    length = store.episodes.length
    shards = -(-length // ROWS_PER_SHARD)
    first_rows = np.concatenate([[0], np.cumsum(shards)[:-1]]) * ROWS_PER_SHARD
    rows: NDArray[np.int64] = np.repeat(first_rows - store.episodes.start, length)
    return rows + np.arange(store.steps)


def _bring_up_to_date(store: Store, spec: TierSpec, progress: Progress) -> None:
    store.calibration(spec.camera)  # before anything is made for a camera that is not there
    folder, wanted = spec.folder(store), episode_digests(store)
    if _stamp(folder, spec) == wanted:
        return
    with sole_writer(folder, "training tier"):
        # Another process may have made it while this one waited for the lock.
        present = _stamp(folder, spec)
        if present != wanted:
            _build(store, spec, present, wanted, progress)


def _stamp(folder: Path, spec: TierSpec) -> list[str] | None:
    """Return the digests of the episodes that the tier holds; None where there is no such tier."""
    try:
        group = zarr.open_group(str(folder), mode="r")
        attributes = group.attrs.asdict()
        if attributes.get("preprocessing") != spec.preprocessing or "frames" not in group:
            return None
    except (OSError, ValueError, KeyError):
        return None
    episodes = attributes.get("episodes")
    return episodes if isinstance(episodes, list) else None


def _build(
    store: Store, spec: TierSpec, present: list[str] | None, wanted: list[str], progress: Progress
) -> None:
    """Decode the episodes that are not there yet; a Ctrl-C keeps those that were finished."""
    folder = spec.folder(store)
    if present is None:
        shutil.rmtree(folder, ignore_errors=True)
        group = zarr.create_group(str(folder), zarr_format=3)
        _create_frames(group, spec.size)
        present = []
    else:
        group = zarr.open_group(str(folder), mode="r+")
    done = common_start(present, wanted)
    # What is written over must not count as there while it is.
    _set_stamp(group, spec, wanted[:done])
    rows = _rows_of_steps(store)
    frames = group["frames"]
    assert isinstance(frames, zarr.Array)
    # A chunk left out because it is black would move every later frame of its shard.
    frames = frames.with_config({"write_empty_chunks": True})
    frames.resize((int(rows[-1]) + 1, *frames.shape[1:]))
    try:
        for episode in progress(range(done, len(wanted))):
            _write_episode(frames, store, episode, rows, spec)
            done = episode + 1
    finally:
        _set_stamp(group, spec, wanted[:done])


def _set_stamp(group: zarr.Group, spec: TierSpec, episodes: list[str]) -> None:
    group.attrs.put({"preprocessing": spec.preprocessing, "episodes": episodes})


def _write_episode(
    frames: "zarr.Array[Any]",
    store: Store,
    episode: int,
    rows: NDArray[np.int64],
    spec: TierSpec,
) -> None:
    store.verify(episode)
    steps = store.steps_of(episode)
    # A shard at a time: a long drive decoded whole would not fit in memory.
    for begin in range(steps.start, steps.stop, ROWS_PER_SHARD):
        end = min(begin + ROWS_PER_SHARD, steps.stop)
        first = int(rows[begin])
        decoded = store.images(spec.camera, slice(begin, end))
        frames[first : first + end - begin] = spec.resize(decoded)


def _create_frames(group: zarr.Group, size: tuple[int, int]) -> None:
    group.create_array(
        "frames",
        shape=(0, *size, 3),
        dtype="uint8",
        chunks=(1, *size, 3),
        shards=(ROWS_PER_SHARD, *size, 3),
        compressors=None,
        dimension_names=("row", "height", "width", "rgb"),
    )
