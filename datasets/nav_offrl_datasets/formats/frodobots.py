"""Importer of FrodoBots-2K: rides of small sidewalk robots, driven by people over the internet.

A ride is a folder `ride_<id>_<time>` of CSV files and `recordings/`: control_data (linear, angular
in [-1, 1], timestamp s), gps_data (latitude, longitude, timestamp ms), imu_data (lists of
[x, y, z, s] written as text), front_camera_timestamps (frame_id, timestamp s) and an HLS video.
There is no odometry, and units and axes of the IMU are not documented.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.importing.streams import (
    Stream,
    Streams,
    Timing,
    mean_imu,
    rate_fact,
    resample,
)
from nav_offrl_datasets.readers.hls_video import frames, jpeg_of, segments_of

FORMAT = "frodobots"
HELP = "FrodoBots-2K: ride_* folders of .csv files and HLS video; commands are no m/s"

RATE_HZ = 4.0
MAX_COMMAND_AGE = 0.5  # s; a robot that is told nothing for so long may do anything
CONTROL, GPS, IMU, CAMERA = "control_data", "gps_data", "imu_data", "front_camera_timestamps"
FRONT_VIDEO = "uid_s_1000"  # in the names of the front camera's playlist and segments
MILLISECONDS = 1e11  # a time stamp beyond this is not in seconds
LATEST = 4e9  # s
MAX_CELL = 100_000  # characters of one cell of a CSV file
NOTES = (
    "commands are shares of full speed, not m/s and rad/s; the sense of angular is not documented",
    "no odometry: no position and yaw; gps has the fixes",
    "the IMU's units and axes are not documented: values are as logged",
    "rear camera, audio, compass and wheel speeds are left out",
    "video frames are encoded to JPEG (quality 95)",
)

Rows = list[tuple[float, ...]]


def recognises(path: Path) -> bool:
    """Tell whether there is a ride's control data at `path` or up to two folders below."""
    name = f"{CONTROL}_*.csv"
    return path.is_dir() and any(
        next(path.glob(pattern), None) for pattern in (name, f"*/{name}", f"*/*/{name}")
    )


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the rides in order of their names.

    Raises:
        NavOffrlError: there is none.
    """
    folders = sorted({file.parent for file in path.rglob(f"{CONTROL}_*.csv")})
    if not folders:
        raise NavOffrlError(
            f"holds no ride ({CONTROL}_*.csv)",
            where=path,
            remedy="give a ride_* folder, or the folder of several",
        )
    return [_source(folder, path) for folder in folders], []


def _source(folder: Path, path: Path) -> Source:
    tables = [folder.glob(f"{kind}_*.csv") for kind in (CONTROL, GPS, IMU, CAMERA)]
    video = (folder / "recordings").glob(f"*{FRONT_VIDEO}*video*")
    files = [*(file for found in tables for file in sorted(found)), *sorted(video)]
    inside = folder.relative_to(path).as_posix()
    return Source(path.resolve().name if inside == "." else inside, tuple(files))


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Return what the rides have in common; the camera's size is that of the first good frame.

    Raises:
        NavOffrlError: no ride has a video that can be decoded.
    """
    rate = config.rate_hz or RATE_HZ
    return Layout(
        rate_hz=rate,
        rate_is_nominal=False,
        cameras={config.camera: _camera(sources, config)},
        fields={
            "action": FieldInfo(
                shape=(2,),
                unit="share of full speed",
                axes=("linear", "angular"),
                source=f"{CONTROL}: linear, angular",
            ),
            "gps": field_info("gps", source=GPS, rate_hz=1.0),
            "imu": FieldInfo(
                shape=(6,),
                unit="as logged",
                axes=field_info("imu").axes,
                source=f"{IMU}: gyroscope, accelerometer; mean since the step before",
            ),
        },
        action_source="commanded",
        robot="frodobots_earth_rover",
        notes=NOTES,
    )


def _camera(sources: Sequence[Source], config: ImportConfig) -> CameraInfo:
    first: NavOffrlError | None = None
    for source in sources:
        try:
            for frame in frames(segments_of(_playlist(source))):
                return CameraInfo(
                    height=frame.height,
                    width=frame.width,
                    horizontal_fov=config.horizontal_fov,
                    rate_hz=20.0,
                )
        except NavOffrlError as error:
            first = first or error
    raise first or NavOffrlError("no ride has a frame", where=sources[0].files[0].parent)


def _playlist(source: Source) -> Path:
    found = [file for file in source.files if file.suffix == ".m3u8"]
    if len(found) != 1:
        raise NavOffrlError(
            f"ride {source.name} has {len(found)} playlists of the front camera "
            f"(recordings/*{FRONT_VIDEO}*video.m3u8), needs one",
            where=source.files[0].parent,
        )
    return found[0]


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the one run of a ride.

    Raises:
        NavOffrlError: a table or the playlist cannot be read, or no step can be made.
    """
    run = Run(name=source.name, time=np.empty(0, np.int64), fields={}, session=source.name)
    camera = next(iter(layout.cameras))
    taken = _table(source, CAMERA, ("frame_id", "timestamp"), run)
    control = _table(source, CONTROL, ("linear", "angular", "timestamp"), run)
    fixes = _table(source, GPS, ("latitude", "longitude", "timestamp"), run)
    stamps = _times([row[-1] for row in taken])
    streams = Streams(
        cameras={camera: stamps},
        command=Stream.of(_times([row[-1] for row in control]), _columns(control, 2)),
        gps=Stream.of(_times([row[-1] for row in fixes]), _with_altitude(_columns(fixes, 2))),
    )
    run.facts += [rate_fact(CAMERA, stamps), rate_fact(CONTROL, _times([r[-1] for r in control]))]
    run.facts.append(rate_fact(GPS, _times([row[-1] for row in fixes])))
    timing = Timing.of(layout.rate_hz, config.tolerance, MAX_COMMAND_AGE)
    steps = resample(streams, timing)
    if not len(steps.time):
        raise NavOffrlError(f"ride {source.name} gives no step", where=source.files[0].parent)
    run.time, run.fields = steps.time, steps.fields
    run.dropped.update(steps.missing)
    run.fields["imu"] = _imu(source, steps.time, timing, run)
    for step, why in steps.faults.items():
        run.fault(step, why)
    if camera not in config.without:
        numbers = [int(taken[row][0]) for row in steps.frames[camera].tolist()]
        run.images = {camera: _jpegs(source, numbers, len(taken), run)}
    yield run


def _jpegs(source: Source, numbers: list[int], stamped: int, run: Run) -> list[bytes | None]:
    """Return the frames with the given numbers, None where the video has none."""
    place = {number: step for step, number in enumerate(numbers)}
    jpegs: list[bytes | None] = [None] * len(numbers)
    count = 0
    try:
        for frame in frames(segments_of(_playlist(source))):
            step = place.get(count)
            if step is not None:
                jpegs[step] = jpeg_of(frame)
            count += 1
    except NavOffrlError as error:
        run.facts.append(f"video ends early, after frame {count}: {error}")
    if count != stamped:
        run.facts.append(f"the video has {count} frames, {CAMERA} {stamped} rows")
    for step, jpeg in enumerate(jpegs):
        if jpeg is None:
            run.fault(step, "no frame in the video", f"step {step}: no frame {numbers[step]}")
    return jpegs


def _table(source: Source, kind: str, names: tuple[str, ...], run: Run) -> Rows:
    """Return the columns `names` of a ride's table as numbers; damaged rows are counted."""

    def numbers(cells: dict[str, str]) -> Rows:
        row = tuple(float(cells[name]) for name in names)
        if not all(map(math.isfinite, row)):
            raise ValueError("not finite")
        return [(*row[:-1], _seconds(row[-1]))]

    return [row for rows in _rows(source, kind, run, numbers) for row in rows]


def _rows(
    source: Source, kind: str, run: Run, parse: Callable[[dict[str, str]], Rows]
) -> Iterator[Rows]:
    """Yield what `parse` makes of each row of a ride's table; where it raises ValueError or
    KeyError the row is counted as damaged.

    Raises:
        NavOffrlError: there is no such table, or it is no text.
    """
    found = [file for file in source.files if file.name.startswith(f"{kind}_")]
    if len(found) != 1:
        raise NavOffrlError(
            f"ride {source.name} has {len(found)} files {kind}_*.csv, needs one",
            where=source.files[0].parent,
            remedy="copy the ride again",
        )
    try:
        with found[0].open(newline="", encoding="utf-8") as file:
            for number, cells in enumerate(csv.DictReader(file)):
                try:
                    yield parse(cells)
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    run.drop(f"damaged row of {kind}", f"{kind}, row {number}: {error}"[:120])
    except (csv.Error, UnicodeDecodeError) as error:
        raise NavOffrlError(
            f"is no CSV file ({error})", where=found[0], remedy="copy the ride again"
        ) from error


def _seconds(stamp: float) -> float:
    seconds = stamp / 1000.0 if stamp > MILLISECONDS else stamp
    if not 0.0 <= seconds < LATEST:  # NaN too
        raise ValueError(f"time stamp {stamp}")
    return seconds


def _times(seconds: Sequence[float]) -> NDArray[np.int64]:
    return np.round(np.asarray(seconds, np.float64) * 1e9).astype(np.int64)


def _columns(rows: Rows, count: int) -> NDArray[np.float64]:
    return np.array([row[:count] for row in rows], np.float64).reshape(-1, count)


def _with_altitude(fixes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the altitude, which the log lacks, as NaN; a fix at 0, 0 is none."""
    none = (fixes == 0).all(axis=1, keepdims=True)
    known = np.where(none, np.nan, fixes)
    return np.concatenate([known, np.full((len(fixes), 1), np.nan)], axis=1)


def _imu(source: Source, at: NDArray[np.int64], timing: Timing, run: Run) -> NDArray[np.float64]:
    """Return the mean readings (T, 6); gyroscope and accelerometer have clocks of their own.

    The time within each reading counts; rows come late.
    """
    gyro: Rows = []
    acceleration: Rows = []

    def parse(cells: dict[str, str]) -> Rows:
        turns, forces = _vectors(cells["gyroscope"]), _vectors(cells["accelerometer"])
        gyro.extend(turns)
        acceleration.extend(forces)
        return []

    for _ in _rows(source, IMU, run, parse):
        pass
    none = (math.nan,) * 3
    turned = Stream.of(
        _times([row[3] for row in gyro]), _columns([(*row[:3], *none) for row in gyro], 6)
    )
    pushed = Stream.of(
        _times([row[3] for row in acceleration]),
        _columns([(*none, *row[:3]) for row in acceleration], 6),
    )
    run.facts += [rate_fact("gyroscope", turned.time), rate_fact("accelerometer", pushed.time)]
    mean = mean_imu(pushed, at, timing)
    mean[:, :3] = mean_imu(turned, at, timing)[:, :3]
    return mean


def _vectors(cell: str) -> Rows:
    """Return x, y, z, s of each reading in a cell `[["x", "y", "z", "s"], ...]`.

    Raises:
        ValueError: it is no such list.
    """
    if len(cell) > MAX_CELL:
        raise ValueError("cell is too long")
    rows: Rows = []
    for reading in json.loads(cell.replace("'", '"')):
        x, y, z, stamp = (float(number) for number in reading)
        rows.append((x, y, z, _seconds(stamp)))
    return rows
