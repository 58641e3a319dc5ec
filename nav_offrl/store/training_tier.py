"""The training tier: small uint8 frames derived from a store, disposable, memory-mapped.

Episodes start at shard boundaries, so appending an episode never rewrites a file that a training
process has mapped. The tier is stamped with the fingerprint of its source and with the
preprocessing that made it; when either differs it is built anew.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.flat_view import flat_view
from nav_offrl.store.reader import Store

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

    def gather(self, steps: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the frames of `steps` (any shape) as `(*steps.shape, H, W, 3)`."""
        return self.frames[self.row_of_step[steps]]


def open_training_tier(
    store: Store,
    camera: str,
    size: tuple[int, int],
    resize: Resize,
    preprocessing: str,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> TrainingTier:
    """Open the tier of `camera` at `size` (H, W), building it when absent or out of date.

    `resize` maps frames (T, h, w, 3) uint8 to (T, H, W, 3) uint8; `preprocessing` names it, so
    that a change of method rebuilds the tier. `progress` wraps the loop over episodes.

    Raises:
        NavOffrlError: an episode is damaged, or the store's folder cannot be written.
    """
    folder = store.path / "derived" / f"{camera}_{size[0]}x{size[1]}"
    row_of_step = _rows_of_steps(store)
    stamp = {"source": store.fingerprint(), "preprocessing": preprocessing}
    if not _is_current(folder, stamp):
        try:
            _build(store, camera, size, resize, folder, stamp, progress)
        except OSError as error:
            raise NavOffrlError(
                f"the training tier cannot be written ({error.strerror or error})",
                where=folder,
                remedy="make the store's folder writable and check the disk's free space",
            ) from error
    return TrainingTier(flat_view(folder / "frames"), row_of_step)


def _rows_of_steps(store: Store) -> NDArray[np.int64]:
    shards = -(-store.episodes.length // ROWS_PER_SHARD)
    first_rows = np.concatenate([[0], np.cumsum(shards)[:-1]]) * ROWS_PER_SHARD
    rows = [
        first + np.arange(length, dtype=np.int64)
        for first, length in zip(first_rows, store.episodes.length, strict=True)
    ]
    return np.concatenate(rows)


def _is_current(folder: Path, stamp: dict[str, str]) -> bool:
    try:
        return zarr.open_group(str(folder), mode="r").attrs.asdict() == stamp
    except (OSError, ValueError, KeyError):
        return False


def _build(
    store: Store,
    camera: str,
    size: tuple[int, int],
    resize: Resize,
    folder: Path,
    stamp: dict[str, str],
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> None:
    partial = folder.with_name(folder.name + ".partial")
    for stale in (partial, folder):
        shutil.rmtree(stale, ignore_errors=True)
    group = zarr.create_group(store=str(partial), zarr_format=3)
    rows = _rows_of_steps(store)
    frames = _create_frames(group, int(rows[-1]) + 1, size)
    for episode in progress(range(len(store.episodes))):
        store.verify(episode)
        steps = store.steps_of(episode)
        # A shard at a time: a long drive decoded whole would not fit in memory.
        for begin in range(steps.start, steps.stop, ROWS_PER_SHARD):
            end = min(begin + ROWS_PER_SHARD, steps.stop)
            first = int(rows[begin])
            frames[first : first + end - begin] = resize(store.images(camera, slice(begin, end)))
    group.attrs.update(stamp)
    partial.rename(folder)


def _create_frames(group: zarr.Group, rows: int, size: tuple[int, int]) -> zarr.Array[Any]:
    return group.create_array(
        "frames",
        shape=(rows, *size, 3),
        dtype="uint8",
        chunks=(1, *size, 3),
        shards=(ROWS_PER_SHARD, *size, 3),
        compressors=None,
        dimension_names=("row", "height", "width", "rgb"),
        # A chunk left out because it is black would move every later frame of its shard.
        config={"write_empty_chunks": True},
    )
