"""Which frames to show of a store, and small pictures of them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.schema import SPLITS
from nav_offrl_datasets.inspection.summary import event_starts

THUMBNAIL_WIDTH = 224  # pixels
STRIP_SPACING = 0.5  # s between the frames that lead up to a collision


@dataclass(frozen=True)
class Strip:
    """Frames of one episode in order, as flat steps."""

    caption: str
    steps: tuple[int, ...]


def spread_steps(store: Store, count: int) -> list[int]:
    """Return up to `count` flat steps, evenly spaced over the whole store."""
    return _spread(slice(0, store.steps), count)


def _spread(steps: slice, count: int) -> list[int]:
    length = steps.stop - steps.start
    count = min(count, length)
    return [steps.start + int((index + 0.5) * length / count) for index in range(count)]


def strips(store: Store, count: int, collisions: int) -> list[Strip]:
    """Return the longest episode of each split, then what led up to the first collisions.

    `count`: frames in a strip; `collisions`: strips of these at most.
    """
    chosen = []
    for split in SPLITS:
        rows = store.episodes.of_split(split)
        if len(rows):
            row = int(rows[store.episodes.length[rows].argmax()])
            steps = _spread(store.steps_of(row), count)
            chosen.append(Strip(f"longest episode of {split}: {_named(store, row)}", tuple(steps)))
    if "collision" not in store.info.fields:
        return chosen
    stride = max(1, round(STRIP_SPACING * store.info.rate_hz))
    for hit in event_starts(store, "collision")[:collisions].tolist():
        row = row_of(store, hit)
        first = int(store.episodes.start[row])
        before = tuple(step for step in range(hit - (count - 1) * stride, hit + 1, stride))
        steps = [step for step in before if step >= first]
        chosen.append(Strip(f"up to a collision: {_named(store, row)}", tuple(steps)))
    return chosen


def row_of(store: Store, step: int) -> int:
    """Return the episode that a flat step belongs to."""
    return int(np.searchsorted(store.episodes.start, step, side="right")) - 1


def _named(store: Store, row: int) -> str:
    return f"'{store.episodes.name[row]}', {store.episodes.length[row]} steps"


def thumbnail(store: Store, camera: str, step: int) -> NDArray[np.uint8] | None:
    """Return a frame (H, W, 3) RGB, made smaller if it is wide; None if it cannot be decoded."""
    try:
        image = store.image(camera, step)
    except NavOffrlError:
        return None
    height, width = image.shape[:2]
    if width <= THUMBNAIL_WIDTH:
        return image
    size = (THUMBNAIL_WIDTH, max(1, round(height * THUMBNAIL_WIDTH / width)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
