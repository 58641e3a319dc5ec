"""Windows of BADGR's TFRecord files, and how they join to drives; see `formats/badgr.py`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.readers.tfrecord import bytes_features, read_records

MAX_HORIZON = 100
IMAGE_SHAPE = (96, 128, 3)
IMAGES = ("images/rgb_left", "images/rgb_right")
ACTIONS = ("commands/linear_velocity", "commands/angular_velocity")
# Observations of one step: shape and how they are stored, little-endian.
STATES: dict[str, tuple[tuple[int, ...], str]] = {
    "jackal/position": ((3,), "<f4"),
    "jackal/yaw": ((1,), "<f4"),
    "jackal/linear_velocity": ((1,), "<f4"),
    "jackal/angular_velocity": ((1,), "<f4"),
    "jackal/imu/angular_velocity": ((3,), "<f4"),
    "jackal/imu/linear_acceleration": ((3,), "<f4"),
    "imu/angular_velocity": ((3,), "<f4"),
    "imu/linear_acceleration": ((3,), "<f4"),
    "gps/latlong": ((2,), "<f4"),
    "gps/is_fixed": ((1,), "<f4"),
    "lidar": ((360,), "<f4"),
    "collision/any": ((1,), "u1"),
    "collision/close": ((1,), "u1"),
    "collision/flipped": ((1,), "u1"),
    "collision/stuck": ((1,), "u1"),
    "bumpy": ((1,), "u1"),
}
# What tells one step from another: labels may differ from window to window.
IDENTITY = tuple(name for name in STATES if name.startswith(("jackal/", "imu/")))


@dataclass(frozen=True)
class Window:
    """One example: H + 1 `states`, the (H, 2) `actions` between them, pictures of the first state.

    Only the first `steps` states and `acted` actions mean something; `identities` holds a digest
    of each of these states.
    """

    states: dict[str, NDArray[Any]]
    actions: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]
    steps: int
    acted: int
    identities: tuple[bytes, ...]


Chain = list[tuple[int, int]]  # windows of a drive, and the step at which each begins


def read_windows(path: Path) -> tuple[list[Window], list[str]]:
    """Return the windows of a file in its order, and a line on each that is damaged.

    Raises:
        NavOffrlError: there is none.
    """
    records, faults = read_records(path)
    windows = []
    for number, record in enumerate(records):
        try:
            windows.append(_window(bytes_features(record)))
        except NavOffrlError as error:
            faults.append(f"record {number}: {error}")
    if not windows:
        raise NavOffrlError(
            f"holds no window of BADGR ({faults[0] if faults else 'it is empty'})", where=path
        )
    return windows, faults


def join(windows: Sequence[Window]) -> list[Chain]:
    """Return the drives that the windows are pieces of.

    A window follows another if it begins with one of the other's later states and both agree,
    bit by bit, on all states and actions that they share. The next window in the file is tried
    first, then the one window anywhere that begins so.
    """
    begins: dict[bytes, int | None] = {}
    for index, window in enumerate(windows):
        first = window.identities[0]
        begins[first] = None if first in begins else index
    after: dict[int, tuple[int, int]] = {}
    taken: set[int] = set()
    for index in range(len(windows)):
        found = _follower(windows, index, begins, taken)
        if found:
            after[index] = found
            taken.add(found[0])
    return _chains(after, taken, len(windows))


def _follower(
    windows: Sequence[Window], index: int, begins: dict[bytes, int | None], taken: set[int]
) -> tuple[int, int] | None:
    """Return the window that follows window `index`, and after how many steps."""
    window = windows[index]
    for shift in range(1, window.steps):
        for other in (index + 1, begins.get(window.identities[shift])):
            if other in (None, index, len(windows)) or other in taken:
                continue
            if agree(window, windows[other], shift):
                return other, shift
    return None


def agree(window: Window, other: Window, shift: int) -> bool:
    """Tell whether `other` can begin `shift` steps after `window`."""
    states = min(window.steps - shift, other.steps)
    actions = max(0, min(window.acted - shift, other.acted))
    same_actions = (
        window.actions[shift : shift + actions].tobytes() == other.actions[:actions].tobytes()
    )
    return same_actions and (window.identities[shift : shift + states] == other.identities[:states])


def _chains(after: dict[int, tuple[int, int]], taken: set[int], count: int) -> list[Chain]:
    chains, done = [], set()
    # First those that follow no other; what is left then are rings, which are cut anywhere.
    for head in sorted(range(count), key=lambda index: index in taken):
        chain: Chain = []
        index, start = head, 0
        while index not in done:
            done.add(index)
            chain.append((index, start))
            index, shift = after.get(index, (index, 0))
            start += shift
        if chain:
            chains.append(chain)
    return sorted(chains)


def _window(features: dict[str, memoryview]) -> Window:
    missing = [key for key in ("outputs/done", *inputs(ACTIONS)) if key not in features]
    if missing:
        raise NavOffrlError(f"has no {', '.join(missing)}")
    horizon = len(features["outputs/done"])
    if not 0 < horizon <= MAX_HORIZON:
        raise NavOffrlError(f"'outputs/done' has {horizon} steps")
    states = {}
    for name, (shape, dtype) in STATES.items():
        if {f"inputs/{name}", f"outputs/{name}"} <= features.keys():
            first = _decoded(features, f"inputs/{name}", (1, *shape), dtype)
            later = _decoded(features, f"outputs/{name}", (horizon, *shape), dtype)
            states[name] = np.concatenate([first, later])
    ended = np.flatnonzero(_decoded(features, "outputs/done", (horizon,), "u1"))
    acted = int(ended[0]) if len(ended) else horizon
    steps = min(acted + 2, horizon + 1)
    actions = [_decoded(features, key, (horizon,), "<f4") for key in inputs(ACTIONS)]
    return Window(
        states,
        np.stack(actions, axis=1),
        {
            name: _decoded(features, f"inputs/{name}", IMAGE_SHAPE, "u1")
            for name in IMAGES
            if f"inputs/{name}" in features
        },
        steps,
        acted,
        _identities(states, steps),
    )


def inputs(names: Sequence[str]) -> list[str]:
    """Return the features that hold the inputs `names`."""
    return [f"inputs/{name}" for name in names]


def _decoded(
    features: dict[str, memoryview], key: str, shape: tuple[int, ...], dtype: str
) -> NDArray[Any]:
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(features[key]) != expected:
        raise NavOffrlError(
            f"'{key}' has {len(features[key])} bytes, {dtype} {shape} takes {expected}"
        )
    return np.frombuffer(features[key], dtype).reshape(shape)


def _identities(states: dict[str, NDArray[Any]], steps: int) -> tuple[bytes, ...]:
    known = [states[name] for name in IDENTITY if name in states]
    if not known:
        raise NavOffrlError("has neither odometry nor an IMU to tell its steps by")
    rows = np.concatenate(known, axis=1)[:steps]
    return tuple(row.tobytes() for row in rows)
