"""What a store holds, in figures: amounts, rates, ranges of every field, cameras, robots."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tqdm import tqdm

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Store
from nav_offrl.store.schema import REQUIRED_FIELDS, SPLITS, STEP_FIELDS
from nav_offrl_datasets.inspection.suspicions import GAP_PERIODS, find_suspicious

FLAT = 2.0  # grey levels (standard deviation): a covered lens, a black frame
FRAMES_AT_ONCE = 256
MAX_SORTED = 1_000_000  # values of a field that its percentiles are taken from
MAX_COMPONENTS = 8  # vectors of more (a lidar's ranges) are summarised as a whole


class Timing(Config):
    """What the timestamps inside episodes say of the rate."""

    stated_hz: float
    is_nominal: bool = Field(description="true: the log has no timestamps, time = index / rate")
    measured_hz: float = Field(description="one over the mean time between steps, without gaps")
    jitter: float = Field(description="s; rms difference of the periods from their mean, likewise")
    longest_period: float = Field(description="s")
    gaps: int = Field(description=f"periods longer than {GAP_PERIODS:g} / stated_hz")


class Events(Config):
    """How often a yes-or-no field was true."""

    count: int = Field(description="times it became true, or an episode began with it")
    steps: int
    per_km: float | None = Field(description="count / km driven; null: distance unknown or zero")


class FieldRow(Config):
    """One component of a field, or a whole field where it has more than a few components.

    Figures are null where no value is finite, and for `time`.
    """

    field: str
    name: str = Field(description="of the component")
    shape: tuple[int, ...] = Field(description="of the field at one step")
    unit: str
    frame: str
    source: str
    minimum: float | None
    percent_1: float | None
    median: float | None
    percent_99: float | None
    maximum: float | None
    not_finite: float = Field(description="share of the values that are NaN or infinite")

    @property
    def figures(self) -> list[str]:
        """Minimum, 1 %, median, 99 % and maximum as text; empty where there is none."""
        values = (self.minimum, self.percent_1, self.median, self.percent_99, self.maximum)
        largest = max((abs(value) for value in values if value is not None), default=0.0)
        if self.unit == "deg":
            form = ".4f"  # of latitude: 11 m
        elif 1e-4 <= largest < 1e6:
            form = f".{max(0, 2 - math.floor(math.log10(largest)))}f"
        else:
            form = ".3g"
        return ["" if value is None else f"{value:{form}}" for value in values]


class CameraRow(Config):
    """One camera."""

    width: int
    height: int
    coding: str
    rate_hz: float | None = Field(description="at which it delivered; null: not said")
    frame: str
    calibration: str


class StoreSummary(Config):
    """The figures that `nav-offrl inspect` shows."""

    path: str
    fingerprint: str
    steps: int
    timing: Timing
    action_source: str
    notes: str
    episodes: dict[str, int] = Field(description="split -> episodes")
    sessions: dict[str, int] = Field(description="split -> sessions")
    unfinished: tuple[str, ...] = Field(description="episodes that were cut short")
    distance: dict[str, float] | None = Field(description="split -> m; null: no positions")
    duration: dict[str, float] = Field(description="split -> s")
    collisions: Events | None = Field(description="null: not recorded")
    interventions: Events | None = Field(description="null: not recorded")
    robots: dict[str, int] = Field(description="robot -> episodes; '': not said")
    licences: dict[str, int] = Field(description="licence -> episodes; '': not said")
    cameras: dict[str, CameraRow]
    fields: tuple[FieldRow, ...]
    missing_fields: tuple[str, ...]
    suspicious: tuple[str, ...]


def summarise(store: Store) -> StoreSummary:
    """Compute the summary from the step fields; decodes no image.

    Raises:
        NavOffrlError: an array of the store is damaged.
    """
    episodes = store.episodes
    splits = [SPLITS[code] for code in episodes.split]
    metres = episode_distances(store)
    info = store.info
    return StoreSummary(
        path=store.where,
        fingerprint=store.fingerprint(),
        steps=store.steps,
        timing=_timing(store),
        action_source=info.action_source,
        notes=info.notes,
        episodes={split: splits.count(split) for split in SPLITS},
        sessions={split: len(set(_sessions_of(store, split))) for split in SPLITS},
        unfinished=tuple(episodes.name[row] for row in np.flatnonzero(~episodes.complete)),
        distance=None if metres is None else _per_split(splits, metres),
        duration=_per_split(splits, episode_durations(store)),
        collisions=_events(store, "collision", metres),
        interventions=_events(store, "intervention", metres),
        robots=dict(Counter(episodes.robot)),
        licences=dict(Counter(episodes.licence)),
        cameras={name: _camera_row(camera) for name, camera in info.cameras.items()},
        fields=tuple(row for name in info.fields for row in _field_rows(store, name)),
        missing_fields=tuple(
            name for name in STEP_FIELDS if name not in (*REQUIRED_FIELDS, *info.fields)
        ),
        suspicious=tuple(find_suspicious(store)),
    )


def verify(store: Store, progress: bool = True) -> tuple[list[str], list[str]]:
    """Check every step's checksum and decode every frame.

    Returns `(faults, remarks)`: faults are damage of the store; a remark (a frame that repeats
    the one before, or shows nothing) was so in the log.
    """
    faults: list[str] = []
    odd: dict[str, Counter[str]] = {}
    for row in tqdm(
        range(len(store.episodes)), desc="verify", unit="episode", disable=not progress
    ):
        try:
            store.verify(row)
            for camera in store.info.cameras:
                for what, count in _check_frames(store, camera, store.steps_of(row)).items():
                    episodes = odd.setdefault(f"camera '{camera}': {what}", Counter())
                    episodes[store.episodes.name[row]] += count
        except NavOffrlError as error:
            faults.append(str(error))
    remarks = []
    for what, episodes in odd.items():
        count = sum(count > 0 for count in episodes.values())
        if count:
            name, most = episodes.most_common(1)[0]
            remarks.append(
                f"{what}: {episodes.total()} in {count} episodes (most in '{name}': {most})"
            )
    return faults, remarks


def _check_frames(store: Store, camera: str, steps: slice) -> dict[str, int]:
    """Decode in blocks that fit in memory; count frames that repeat the one before or are flat.

    Raises:
        NavOffrlError: a frame cannot be decoded, or is not of the size that the store states.
    """
    info = store.info.cameras[camera]
    size = (info.height, info.width, 3)
    repeated = flat = 0
    previous = b""
    for start in range(steps.start, steps.stop, FRAMES_AT_ONCE):
        block = slice(start, min(start + FRAMES_AT_ONCE, steps.stop))
        stored = store.frames(camera, block)
        images = store.images(camera, block)
        if images.shape[1:] != size:
            raise NavOffrlError(
                f"camera '{camera}', step {start}: frames are {images.shape[2]}x{images.shape[1]} "
                f"pixels, the store says {info.width}x{info.height}",
                where=store.where,
            )
        for frame, image in zip(stored, images, strict=True):
            bytes_ = bytes(frame)
            repeated += bytes_ == previous
            previous = bytes_
            flat += float(image[::4, ::4].std()) < FLAT
    return {"repeated frames": repeated, "frames of one colour": flat}


def describe_timing(timing: Timing) -> str:
    """Return the stated rate and the measured one in words."""
    stated = f"{timing.stated_hz:g} Hz"
    if timing.is_nominal:
        return f"{stated}, nominal: the log has no timestamps"
    return (
        f"{stated} stated; measured {timing.measured_hz:.4g} Hz, "
        f"jitter {timing.jitter * 1e3:.3g} ms, longest period {timing.longest_period:.3g} s"
    )


def describe_events(events: Events | None) -> str:
    """Return how often something happened in words."""
    if events is None:
        return "not recorded"
    rate = "" if events.per_km is None else f", {events.per_km:.3g} per km"
    return f"{events.count:,} ({events.steps:,} steps{rate})"


def describe_counts(episodes: dict[str, int]) -> str:
    """Return names and how many episodes each has, in words."""
    return ", ".join(f"{name or 'not said'} ({count:,})" for name, count in episodes.items())


def episode_distances(store: Store) -> NDArray[np.float64] | None:
    """Return the metres driven in each episode (episodes,), None if the store has no positions."""
    if "position" not in store.info.fields:
        return None
    steps = np.linalg.norm(np.diff(store.field("position").astype(np.float64), axis=0), axis=1)
    return _sum_inside(store, steps)


def episode_durations(store: Store) -> NDArray[np.float64]:
    """Return the seconds from each episode's first step to its last (episodes,)."""
    return _sum_inside(store, np.diff(store.field("time")) * 1e-9)


def event_starts(store: Store, name: str) -> NDArray[np.int64]:
    """Return the flat steps at which the yes-or-no field `name` became true, in each episode."""
    values = store.field(name).astype(bool)
    began = values.copy()
    began[1:] &= ~values[:-1]
    first = store.episodes.start
    began[first] = values[first]
    return np.flatnonzero(began)


def _sum_inside(store: Store, between: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum what lies between neighbouring steps (steps - 1,) over each episode (episodes,)."""
    total = np.concatenate([[0.0], np.cumsum(between)])
    last = store.episodes.start + store.episodes.length - 1
    sums: NDArray[np.float64] = total[last] - total[store.episodes.start]
    return sums


def _per_split(splits: list[str], values: NDArray[np.float64]) -> dict[str, float]:
    pairs = list(zip(splits, values.tolist(), strict=True))
    return {split: sum(value for name, value in pairs if name == split) for split in SPLITS}


def _sessions_of(store: Store, split: str) -> list[str]:
    """Return each episode's session; an episode without one is a session of its own."""
    table = store.episodes
    return [table.session[row] or f"\0{table.name[row]}" for row in table.of_split(split)]


def _timing(store: Store) -> Timing:
    inside = np.ones(store.steps, bool)
    inside[store.episodes.start] = False
    periods = np.diff(store.field("time"))[inside[1:]] * 1e-9
    stated = store.info.rate_hz
    regular = periods[periods <= GAP_PERIODS / stated]
    mean = float(regular.mean()) if len(regular) else 1.0 / stated
    return Timing(
        stated_hz=stated,
        is_nominal=store.info.rate_is_nominal,
        measured_hz=1.0 / mean,
        jitter=float(np.sqrt(np.mean((regular - mean) ** 2))) if len(regular) else 0.0,
        longest_period=float(periods.max(initial=0.0)),
        gaps=len(periods) - len(regular),
    )


def _events(store: Store, name: str, metres: NDArray[np.float64] | None) -> Events | None:
    if name not in store.info.fields:
        return None
    count = len(event_starts(store, name))
    kilometres = 0.0 if metres is None else float(metres.sum()) / 1e3
    return Events(
        count=count,
        steps=int(store.field(name).sum()),
        per_km=count / kilometres if kilometres else None,
    )


def component_names(store: Store, name: str) -> list[tuple[str, str]]:
    """Return `(label, unit)` of each component of a field, e.g. ("action v", "m/s")."""
    described = store.info.fields[name]
    count = int(np.prod(described.shape))
    units = described.unit.split(", ")
    if count % len(units):
        units = [described.unit]
    axes = described.axes if len(described.axes) == count else tuple(map(str, range(count)))
    return [
        (f"{name} {axes[index]}" if described.shape else name, units[index * len(units) // count])
        for index in range(count)
    ]


def _field_rows(store: Store, name: str) -> list[FieldRow]:
    described = store.info.fields[name]
    values = store.field(name).reshape(store.steps, -1)
    components = component_names(store, name)
    if len(components) > MAX_COMPONENTS:
        columns = {(name, described.unit): values}
    else:
        columns = {label: values[:, axis] for axis, label in enumerate(components)}
    return [
        FieldRow(
            field=name,
            name=label,
            shape=described.shape,
            unit=unit,
            frame=described.frame,
            source=described.source,
            **_ranges(column if name != "time" else column[:0]),
        )
        for (label, unit), column in columns.items()
    ]


def _ranges(values: NDArray[Any]) -> dict[str, Any]:
    """Return the figures of a `FieldRow`; percentiles from rows evenly taken where there are many.

    `values` (steps,) or (steps, n).
    """
    finite = np.isfinite(values)
    share = float(finite.mean()) if values.size else 1.0
    if not finite.any():
        names = ("minimum", "percent_1", "median", "percent_99", "maximum")
        return dict.fromkeys(names) | {"not_finite": 1.0 - share}
    if values.dtype == np.bool_:
        values = values.astype(np.float32)
    taken = slice(None, None, -(-values.size // MAX_SORTED))
    known = values[taken][finite[taken]]
    low, median, high = np.percentile(known, [1, 50, 99]).tolist() if known.size else [None] * 3
    return {
        "minimum": float(values.min(where=finite, initial=np.inf)),
        "percent_1": low,
        "median": median,
        "percent_99": high,
        "maximum": float(values.max(where=finite, initial=-np.inf)),
        "not_finite": 1.0 - share,
    }


def _camera_row(camera: CameraInfo) -> CameraRow:
    known = []
    if camera.horizontal_fov:
        known.append(f"horizontal field of view {camera.horizontal_fov:.3g} rad")
    if camera.intrinsics:
        known.append("fx, fy, cx, cy " + _numbers(camera.intrinsics) + " pixels")
    if camera.distortion_model or camera.distortion:
        model = camera.distortion_model or "distortion"
        known.append(f"{model} {_numbers(camera.distortion)}".strip())
    if camera.mounting:
        known.append("mounted at x, y, z, roll, pitch, yaw " + _numbers(camera.mounting))
    return CameraRow(
        width=camera.width,
        height=camera.height,
        coding=camera.coding,
        rate_hz=camera.rate_hz,
        frame=camera.frame,
        calibration="; ".join(known) or "unknown",
    )


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
