"""Which steps of a run can be used, and where it must be cut into episodes."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nav_offrl.store import CameraInfo
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Frame, Run
from nav_offrl_datasets.readers.jpeg import fault_of

END_SLACK = "end of the run"
STALE = "pose is stale"
LONG_PERIOD = 0.25  # s; a jump is judged per this time where steps are further apart


@dataclass
class Cut:
    """The usable steps of a run in uninterrupted pieces, and what was found on the way."""

    pieces: list[NDArray[np.intp]]
    dropped: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    stale: int = 0
    gaps: int = 0
    jumps: int = 0
    clock_resets: int = 0


def find_faults(
    run: Run, required: Collection[str], cameras: Mapping[str, CameraInfo]
) -> tuple[dict[int, str], list[str]]:
    """Return step -> why it cannot be used, and a line for each that the reader did not name.

    `required` fields must be finite; every frame of `cameras` must be whole and of the size.
    """
    faults = dict(run.faults)
    found = []
    for name, camera in cameras.items():
        prefix = f"camera '{name}': " if len(cameras) > 1 else ""
        for step, frame in enumerate(run.images[name]):
            why = "" if step in faults else _frame_fault(frame, camera)
            if why:
                faults[step] = prefix + why
                found.append(f"step {step}: {prefix}{why}")
    for name in required:
        what = "pose" if name in ("position", "yaw") else f"'{name}'"
        finite = np.isfinite(run.fields[name]).reshape(len(run.time), -1).all(axis=1)
        for step in np.flatnonzero(~finite).tolist():
            if step not in faults:
                faults[step] = f"{what} is not finite"
                found.append(f"step {step}: {what} is not finite")
    return faults, found


def _frame_fault(frame: Frame, camera: CameraInfo) -> str:
    if frame is None:
        return "no usable frame"
    if camera.coding == "raw":
        fits = isinstance(frame, np.ndarray) and frame.shape == (camera.height, camera.width, 3)
        return "" if fits else f"image is not {camera.width}x{camera.height} pixels of RGB"
    return fault_of(bytes(frame), (camera.height, camera.width))


def cut(run: Run, faults: Mapping[int, str], rate_hz: float, config: ImportConfig) -> Cut:
    """Cut a run at its breaks, gaps, jumps, unusable steps, and where its clock goes back."""
    steps = len(run.time)
    result = Cut(pieces=[], details=[])
    usable = np.ones(steps, bool)
    usable[list(faults)] = False
    result.dropped.update(faults.values())
    end = max(0, steps - config.end_slack)
    result.dropped[END_SLACK] += int(usable[end:].sum())
    usable[end:] = False
    begins = _forced_beginnings(run, rate_hz, config, result)
    # A new piece begins at an unusable step and after it, so that nothing bridges it.
    begins |= ~usable
    begins[1:] |= ~usable[:-1]
    kept = np.flatnonzero(usable)
    kept = _without_repeats(run, kept, result)
    kept = _without_stale(run, kept, config, result)
    # What is dropped from here on leaves a longer period, not a gap.
    if len(kept):
        piece_of = np.cumsum(begins)[kept]
        boundary = (np.diff(piece_of) > 0) | _jumps(
            run, kept, np.diff(piece_of) > 0, config, result
        )
        result.pieces = np.split(kept, np.flatnonzero(boundary) + 1)
    result.dropped = +result.dropped
    return result


def _forced_beginnings(
    run: Run, rate_hz: float, config: ImportConfig, result: Cut
) -> NDArray[np.bool_]:
    """Mark the steps before which the log itself or its clock demands a cut."""
    begins = np.zeros(len(run.time), bool)
    begins[[step for step in run.breaks if 0 <= step < len(begins)]] = True
    passed = np.diff(run.time.astype(np.float64)) * 1e-9
    for step in (np.flatnonzero(passed > config.max_gap / rate_hz) + 1).tolist():
        begins[step] = True
        result.gaps += 1
        result.details.append(f"step {step}: gap of {passed[step - 1]:.3g} s, split there")
    for step in (np.flatnonzero(run.time[1:] < run.time[:-1]) + 1).tolist():
        begins[step] = True
        result.clock_resets += 1
        result.details.append(
            f"step {step}: time goes back by {-passed[step - 1]:.3g} s, split there"
        )
    return begins


def _without_repeats(run: Run, kept: NDArray[np.intp], result: Cut) -> NDArray[np.intp]:
    time = run.time[kept]
    repeats = kept[1:][time[1:] == time[:-1]]
    result.dropped["time stamp repeats the one before"] += len(repeats)
    return np.setdiff1d(kept, repeats, assume_unique=True)


def _without_stale(
    run: Run, kept: NDArray[np.intp], config: ImportConfig, result: Cut
) -> NDArray[np.intp]:
    if not {"position", "yaw"} <= set(run.fields):
        return kept
    position, yaw = run.fields["position"], run.fields["yaw"]
    same = (np.diff(position, axis=0) == 0).all(axis=1) & (np.diff(yaw) == 0)
    result.stale = int(same.sum())
    if config.keep_stale:
        return kept
    stale = np.intersect1d(kept, np.flatnonzero(same) + 1, assume_unique=True)
    result.dropped[STALE] += len(stale)
    return np.setdiff1d(kept, stale, assume_unique=True)


def _jumps(
    run: Run,
    kept: NDArray[np.intp],
    cut_already: NDArray[np.bool_],
    config: ImportConfig,
    result: Cut,
) -> NDArray[np.bool_]:
    if "position" not in run.fields:
        return np.zeros(len(kept) - 1, bool)
    shift = np.linalg.norm(np.diff(run.fields["position"][kept], axis=0), axis=1)
    period = np.diff(run.time[kept].astype(np.float64)) * 1e-9
    jumps = ~cut_already & (
        shift > config.max_position_jump * np.maximum(1.0, period / LONG_PERIOD)
    )
    result.jumps = int(jumps.sum())
    for index in np.flatnonzero(jumps).tolist():
        result.details.append(
            f"step {kept[index + 1]}: position jumps by {shift[index]:.3g} m, split there"
        )
    return np.asarray(jumps, np.bool_)
