"""Importer of BADGR: TFRecord files of overlapping windows of a Clearpath Jackal's drives.

The format as gkahn13/badgr reads it (`datasets/tfrecord_dataset.py`, `envs/jackal_env_specs.py`):
a window is an observation with pictures (`inputs/...`), the actions of the next H = 8 steps
(`inputs/commands/...`), the H observations that they led to, without pictures (`outputs/...`), and
`outputs/done`. The first output that is done still counts, its action and all that follows do not
(`configs/collision_position.py`). Windows are joined back into drives where one's states are found
again in another's; steps that no window begins at have no picture.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats.recon import camera_keys, lidar_info
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.readers.badgr_windows import (
    ACTIONS,
    IMAGE_SHAPE,
    STATES,
    Chain,
    Window,
    agree,
    inputs,
    join,
    read_windows,
)
from nav_offrl_datasets.readers.log_files import find_files, run_name
from nav_offrl_datasets.readers.tfrecord import is_tfrecord

FORMAT = "badgr"
HELP = "BADGR: .tfrecord files of overlapping windows, 4 Hz"
RATE_HZ = 4.0
ROBOT, LICENCE = "jackal", "MIT"
SUFFIXES = (".tfrecord",)
TRIED_FILES = 5  # to recognise a folder by: one may be damaged
DAY = re.compile(r"(\d\d-\d\d-\d{4})_horizon_\d+")
FIELD_KEYS: dict[str, tuple[str, ...]] = {
    "position": ("jackal/position",),
    "yaw": ("jackal/yaw",),
    "velocity": ("jackal/linear_velocity", "jackal/angular_velocity"),
    "imu": ("jackal/imu/angular_velocity", "jackal/imu/linear_acceleration"),
    "gps": ("gps/latlong",),
    "lidar": ("lidar",),
    "collision": ("collision/any",),
    "bumpiness": ("bumpy",),
}
LABELS = ("collision", "bumpiness")  # a step's is the worst of those up to the next step
NO_PICTURE = "has no picture: only the first step of a window has"


def recognises(path: Path) -> bool:
    """Tell whether `path` is, or holds, a .tfrecord file."""
    if path.is_dir():
        files = itertools.islice(path.rglob("*.tfrecord"), TRIED_FILES)
        return any(is_tfrecord(file) for file in files)
    return path.suffix in SUFFIXES and is_tfrecord(path)


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return one source a file; see `nav_offrl_datasets.importing.run.Importer`."""
    files, unknown = find_files(path, SUFFIXES)
    return [Source(run_name(file, path), (file,)) for file in files], unknown


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Describe the drives as the first readable file has them, by how its windows overlap."""
    fault = None
    for source in sources:
        try:
            windows, _ = read_windows(source.files[0])
        except NavOffrlError as error:
            fault = fault or error
            continue
        return _describe(windows, config)
    raise fault or NavOffrlError("there is no file to read", where=FORMAT)


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the drives of a file, joined from its windows."""
    path = source.files[0]
    windows, faults = read_windows(path)
    chains = join(windows)
    day = DAY.fullmatch(path.parent.name)
    for number, chain in enumerate(chains):
        run = _run([(windows[index], start) for index, start in chain], layout, config)
        run.name = source.name if len(chains) == 1 else f"{source.name}/{chain[0][0]}"
        run.session = day[1] if day else ""
        run.facts.insert(0, _joined(windows, chain))
        if number == 0:
            for fault in faults:
                run.drop("damaged window", fault)
        yield run


def _describe(windows: Sequence[Window], config: ImportConfig) -> Layout:
    states = windows[0].states
    fields = {
        name: field_info(name, source=", ".join(keys))
        for name, keys in FIELD_KEYS.items()
        if name != "lidar" and states.keys() >= set(keys)
    }
    fields["action"] = field_info("action", source=", ".join(inputs(ACTIONS)))
    if "lidar" in states:
        fields["lidar"] = lidar_info(source="lidar")
    if "bumpiness" in fields:
        fields["bumpiness"] = field_info("bumpiness", unit="", source="bumpy, a label of 0 or 1")
    height, width, _ = IMAGE_SHAPE
    cameras = {
        camera: CameraInfo(
            height=height, width=width, coding="raw", horizontal_fov=config.horizontal_fov
        )
        for camera, key in camera_keys(config).items()
        if key in windows[0].images
    }
    stride = _stride(join(windows)) if _pictured(cameras, config) else 1
    return Layout(
        rate_hz=(config.rate_hz or RATE_HZ) / stride,
        rate_is_nominal=True,
        cameras=cameras,
        fields=fields,
        action_source="commanded",
        robot=ROBOT,
        licence=LICENCE,
        notes=_notes(cameras, stride),
    )


def _pictured(cameras: Mapping[str, CameraInfo], config: ImportConfig) -> bool:
    """Tell whether any camera is wanted: then only steps with a picture are."""
    return any(camera not in config.without for camera in cameras)


def _stride(chains: Sequence[Chain]) -> int:
    """Return after how many steps windows mostly follow each other, 1 if none does."""
    shifts = Counter(
        later - start for chain in chains for (_, start), (_, later) in itertools.pairwise(chain)
    )
    return shifts.most_common(1)[0][0] if shifts else 1


def _notes(cameras: dict[str, CameraInfo], stride: int) -> tuple[str, ...]:
    notes = [
        "not imported: images/thermal, imu, gps/utm, android/illuminance; of the collisions, "
        "their kinds (see the facts)",
        "bumpiness is the log's own label of 0 or 1, not a measurement",
        "gps was stored as float32: places are rounded to about a metre",
        "lidar: index 0 looks ahead; that bearings grow to the left is ROS's convention, not "
        "stated by the format",
    ]
    if cameras:
        notes.append(
            "pictures were rectified and made small before they were stored: their calibration is "
            "not known"
        )
    if stride > 1:
        notes.append(
            f"windows begin every {stride} steps and only there is a picture: steps are "
            f"{stride} times as long, commands their mean; leave the cameras out for all steps"
        )
    return tuple(notes)


def _run(pieces: Sequence[tuple[Window, int]], layout: Layout, config: ImportConfig) -> Run:
    """Return the drive that `pieces` (window, first step) make up."""
    length = max(start + window.steps for window, start in pieces)
    common = set.intersection(*({*window.states} for window, _ in pieces))
    keys = {name: of for name, of in FIELD_KEYS.items() if name in layout.fields}
    keys = {name: of for name, of in keys.items() if common.issuperset(of)}
    states = {key: _merged(pieces, key, length) for of in keys.values() for key in of}
    fields = {name: _field(name, [states[key] for key in of]) for name, of in keys.items()}
    fields["action"] = np.full((length, 2), np.nan)
    for window, start in pieces:
        fields["action"][start : start + window.acted] = window.actions[: window.acted]
    if "gps" in fields and "gps/is_fixed" in common:
        fields["gps"][_merged(pieces, "gps/is_fixed", length)[:, 0] == 0] = np.nan
    pictured = _pictured(layout.cameras, config)
    kept = [start for _, start in pieces] if pictured else list(range(length))
    period_ns = 1e9 / (config.rate_hz or RATE_HZ)
    run = Run(
        "",
        np.round(np.array(kept) * period_ns).astype(np.int64),
        _thinned(fields, kept, length),
        {
            camera: [window.images.get(key) for window, _ in pieces]
            for camera, key in camera_keys(config).items()
            if camera in layout.cameras and pictured
        },
    )
    if length > len(kept):
        run.drop(NO_PICTURE, count=length - len(kept))
    _end_commands(run)
    kinds = sorted(key for key in common if key.startswith("collision/"))
    run.facts += _facts({key: _merged(pieces, key, length) for key in kinds})
    return run


def _merged(pieces: Sequence[tuple[Window, int]], key: str, length: int) -> NDArray[np.float64]:
    """Return one observation over all steps; where windows differ (in labels), the greatest."""
    values = np.full((length, *STATES[key][0]), np.nan)
    for window, start in pieces:
        part = values[start : start + window.steps]
        np.fmax(part, window.states[key][: window.steps], out=part)
    return values


def _field(name: str, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    values = np.concatenate(parts, axis=1)
    if name == "position":
        return values[:, :2]
    if name == "gps":  # no altitude
        return np.column_stack([values, np.full(len(values), np.nan)])
    return values[:, 0] if values.shape[1] == 1 else values


def _thinned(
    fields: dict[str, NDArray[np.float64]], kept: list[int], length: int
) -> dict[str, NDArray[np.float64]]:
    """Return the kept steps: commands their mean until the next, labels their worst.

    The last step's reach as far as those of the step before it; its label counts the step that
    this ends at, too, which is where a drive ends in a collision.
    """
    last = kept[-1] - kept[-2] if len(kept) > 1 else 1
    ends = [*kept[1:], min(kept[-1] + last, length)]
    thinned = {name: values[kept] for name, values in fields.items()}
    for row, (start, end) in enumerate(zip(kept, ends, strict=True)):
        commands = fields["action"][start:end]
        known = commands[np.isfinite(commands).all(axis=1)]
        if len(known):
            thinned["action"][row] = known.mean(axis=0)
        for label in LABELS:
            if label in fields:
                stop = end + (row == len(kept) - 1)
                thinned[label][row] = fields[label][start:stop].max()
    return thinned


def _end_commands(run: Run) -> None:
    """Repeat the last command where none is known up to the end of the drive, and say so.

    The transition into the end would be lost otherwise, and with it most collisions.
    """
    action = run.fields["action"]
    known = np.flatnonzero(np.isfinite(action).all(axis=1))
    ending = len(action) - 1 - int(known[-1]) if len(known) else 0
    if ending:
        action[-ending:] = action[known[-1]]
        run.facts.append(f"steps at the end whose command is not known, but repeated: {ending}")


def _facts(collisions: dict[str, NDArray[np.float64]]) -> list[str]:
    counts = {key: int((values > 0).sum()) for key, values in collisions.items()}
    return [
        f"{key} at {count} of {len(collisions[key])} steps"
        for key, count in counts.items()
        if count
    ]


def _joined(windows: Sequence[Window], chain: Chain) -> str:
    if len(chain) == 1:
        return f"window {chain[0][0]} could not be joined to any other"
    unsure = sum(
        sum(agree(windows[one], windows[other], shift) for shift in range(1, windows[one].steps))
        > 1
        for (one, _), (other, _) in itertools.pairwise(chain)
    )
    doubt = f"; {unsure} joints fit at several steps (nothing moved)" if unsure else ""
    return f"joined from {len(chain)} windows{doubt}"
