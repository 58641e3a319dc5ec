"""What a store holds, in figures: amounts, ranges, and values that look wrong."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tqdm import tqdm

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Store
from nav_offrl.store.schema import REQUIRED_FIELDS, SPLITS, STEP_FIELDS

OUTLIER_DEVIATIONS = 8.0  # robust standard deviations from the median
GAP_PERIODS = 2.5  # a longer time between steps is a gap


class StoreSummary(Config):
    """The figures that `nav-offrl inspect` shows."""

    path: str
    fingerprint: str
    steps: int
    rate_hz: float
    rate_is_nominal: bool
    action_source: str
    cameras: dict[str, str]
    episodes: dict[str, int] = Field(description="split -> episodes")
    distance: dict[str, float] = Field(description="split -> m")
    duration: dict[str, float] = Field(description="split -> s")
    actions: dict[str, tuple[float, ...]] = Field(
        description="min, 1 %, median, 99 %, max of v in m/s and omega in rad/s"
    )
    collisions: int | None = Field(description="steps in collision; null: not recorded")
    missing_fields: tuple[str, ...]
    suspicious: tuple[str, ...]


def summarise(store: Store) -> StoreSummary:
    """Compute the summary from the step fields; decodes no image."""
    splits = [SPLITS[code] for code in store.episodes.split]
    distances = [_path_length(store, row) for row in _rows(store)]
    time = store.field("time")
    durations = [float(np.ptp(time[store.steps_of(row)])) * 1e-9 for row in _rows(store)]
    action = store.field("action")
    names = ("v (m/s)", "omega (rad/s)")
    return StoreSummary(
        path=str(store.path),
        fingerprint=store.fingerprint(),
        steps=store.steps,
        rate_hz=store.info.rate_hz,
        rate_is_nominal=store.info.rate_is_nominal,
        action_source=store.info.action_source,
        cameras={name: _describe(camera) for name, camera in store.info.cameras.items()},
        episodes={split: splits.count(split) for split in SPLITS},
        distance=_per_split(splits, distances),
        duration=_per_split(splits, durations),
        actions={
            name: tuple(np.percentile(action[:, axis], [0, 1, 50, 99, 100]).tolist())
            for axis, name in enumerate(names)
        },
        collisions=int(store.field("collision").sum())
        if "collision" in store.info.fields
        else None,
        missing_fields=tuple(
            name
            for name in STEP_FIELDS
            if name not in REQUIRED_FIELDS and name not in store.info.fields
        ),
        suspicious=tuple(find_suspicious(store)),
    )


def find_suspicious(store: Store) -> list[str]:
    """Return a line for each kind of value that often means a fault of the recording."""
    stale = gaps = 0
    for row in _rows(store):
        steps = store.steps_of(row)
        same_place = (np.diff(store.field("position")[steps], axis=0) == 0).all(axis=1)
        stale += int((same_place & (np.diff(store.field("yaw")[steps]) == 0)).sum())
        gaps += int(
            (np.diff(store.field("time")[steps]) * 1e-9 * store.info.rate_hz > GAP_PERIODS).sum()
        )
    lines = []
    if stale:
        lines.append(f"{stale} steps have exactly the previous pose (stale odometry, or a stop)")
    if gaps:
        lines.append(f"{gaps} gaps of more than {GAP_PERIODS:g} periods lie inside episodes")
    for axis, name in enumerate(("v", "omega")):
        lines += _outliers(store, store.field("action")[:, axis], name)
    idle = float((np.abs(store.field("action")).max(axis=1) < 0.01).mean())
    if idle > 0.3:
        lines.append(f"{idle:.0%} of the actions stand still")
    return lines


def verify(store: Store, progress: bool = True) -> tuple[list[str], list[str]]:
    """Check every episode's checksum and decode every frame.

    Returns `(faults, remarks)`: faults are damage of the store; a remark (a frame that repeats
    the one before) was so in the log.
    """
    faults, remarks = [], []
    for row in tqdm(_rows(store), desc="verify", unit="episode", disable=not progress):
        steps = store.steps_of(row)
        try:
            store.verify(row)
            for camera in store.info.cameras:
                frozen = _check_frames(store, camera, steps)
                if frozen:
                    name = store.episodes.name[row]
                    remarks.append(f"episode '{name}', camera '{camera}': {frozen} repeated frames")
        except NavOffrlError as error:
            faults.append(str(error))
    return faults, remarks


def _check_frames(store: Store, camera: str, steps: slice) -> int:
    """Decode in blocks that fit in memory; return how many frames repeat the one before."""
    repeated, previous = 0, b""
    for start in range(steps.start, steps.stop, 256):
        block = slice(start, min(start + 256, steps.stop))
        store.images(camera, block)
        for jpeg in store.jpegs(camera, block):
            repeated += jpeg == previous
            previous = jpeg
    return repeated


def _rows(store: Store) -> range:
    return range(len(store.episodes))


def _path_length(store: Store, row: int) -> float:
    position = store.field("position")[store.steps_of(row)]
    return float(np.linalg.norm(np.diff(position, axis=0), axis=1).sum())


def _per_split(splits: list[str], values: list[float]) -> dict[str, float]:
    pairs = list(zip(splits, values, strict=True))
    return {split: sum(value for name, value in pairs if name == split) for split in SPLITS}


def _describe(camera: CameraInfo) -> str:
    fov = camera.horizontal_fov
    known = f"{fov:.2f} rad" if fov else "unknown"
    return f"{camera.width}x{camera.height} pixels, horizontal field of view {known}"


def _outliers(store: Store, values: NDArray[np.float32], name: str) -> list[str]:
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    if deviation == 0.0:
        return []
    distance = np.abs(values - median) / deviation
    count = int((distance > OUTLIER_DEVIATIONS).sum())
    if not count:
        return []
    worst = int(distance.argmax())
    row = int(np.searchsorted(store.episodes.start, worst, side="right")) - 1
    step = worst - int(store.episodes.start[row])
    return [
        f"{count} actions have {name} far from the rest (worst {values[worst]:.2f} in episode "
        f"'{store.episodes.name[row]}', step {step})"
    ]
