"""Donkeycar tubs, version 2: a small car's camera, steering and throttle at about 20 Hz.

Format: `donkeycar/parts/datastore_v2.py` and `tub_v2.py` of Donkeycar 4 and 5. A tub is a folder
of `manifest.json` (five lines of JSON: inputs, types, metadata, the manifest's metadata, the
catalogs with `deleted_indexes`), `catalog_N.catalog` (a record a line) and `images/`. What the
driver deleted (crashes, mostly) is marked in the manifest, not removed from the catalogs.
"""

import itertools
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.importing.thinning import rate_of_steps, thin
from nav_offrl_datasets.readers.jpeg import decoded_size

FORMAT = "donkeycar"
HELP = "Donkeycar tub v2: manifest.json, catalogs, images/"
IMAGE = "cam/image_array"
READ_INPUTS = (IMAGE, "user/angle", "user/throttle", "user/mode", "pilot/angle", "pilot/throttle")
MAX_MANIFEST_BYTES, MAX_LINE_BYTES = 64 << 20, 1 << 20
MAX_TIME_MS = 1 << 43  # the year 2248; beyond it a time stamp is damaged
NOTES = (
    "actions are (throttle, steering) of -1..1, not m/s and rad/s: no speed is known",
    "steering is mirrored: a tub's angle of +1 is full right, here +1 is full left",
    "a tub has no pose",
)


@dataclass(frozen=True)
class _Manifest:
    """What is needed of `manifest.json`."""

    inputs: list[str]
    catalogs: list[Path]
    end: int  # one more than the greatest index ever written
    deleted: list[int]  # in order


@dataclass(frozen=True)
class _Record:
    """One line of a catalog; `angle` and `throttle` as recorded, NaN where there is none."""

    index: int
    session: str
    time_ms: int
    image: str
    angle: float
    throttle: float
    by_person: bool


@dataclass
class _Tub:
    """What the catalogs hold: `images` are named by deleted records too."""

    path: Path
    manifest: _Manifest
    records: list[_Record] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    last: int = -1  # index of the record that was read last
    damaged: int = 0  # lines since then that no record could be made of
    dropped: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)

    def drop(self, why: str, detail: str, count: int = 1) -> None:
        self.dropped[why] += count
        self.details.append(detail)


def recognises(path: Path) -> bool:
    """Tell whether `path` is a tub or a folder of tubs."""
    return bool(_tubs(path))


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the tubs below `path`, and files in them that no tub has."""
    tubs = _tubs(path)
    if not tubs:
        raise NavOffrlError(
            "holds no Donkeycar tub", where=path, remedy="give a folder with manifest.json in it"
        )
    found, unknown = [], []
    for tub in tubs:
        listed = {catalog.name for catalog in _read_manifest(tub).catalogs}
        images = sorted((tub / "images").glob("*.jpg"))
        catalogs = sorted(tub / name for name in listed if (tub / name).is_file())
        found.append(Source(_name(tub, path), (tub / "manifest.json", *catalogs, *images)))
        known = {"manifest.json", "images"} | listed
        unknown += [
            str(file.relative_to(path))
            for file in sorted(tub.iterdir())
            if file.name not in known and file.suffix != ".catalog_manifest"
        ]
    return found, unknown


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Take the rate from the clock and the size from the images of the first usable tub."""
    first_fault = None
    for source in sources:
        tub = source.files[0].parent
        try:
            content = _read_tub(tub)
            recorded = _rate(content)
            height, width = _image_size(content)
        except NavOffrlError as error:
            first_fault = first_fault or error
            continue
        camera = CameraInfo(
            height=height, width=width, horizontal_fov=config.horizontal_fov, rate_hz=recorded
        )
        return Layout(
            rate_hz=rate_of_steps(recorded, config.rate_hz, str(tub)),
            rate_is_nominal=False,
            cameras={config.camera: camera},
            fields=_fields(recorded),
            action_source="commanded",
            robot="donkeycar",
            notes=NOTES,
        )
    raise first_fault or NavOffrlError("no tub to read")


def _fields(rate_hz: float) -> dict[str, FieldInfo]:
    return {
        "action": field_info(
            "action",
            axes=("throttle", "steering"),
            unit="-1..1 (not m/s), -1..1 (+1 is left)",
            source="user/throttle, -user/angle; pilot/ where the pilot drove",
            rate_hz=rate_hz,
        ),
        "intervention": field_info("intervention", source="user/mode is 'user'", rate_hz=rate_hz),
    }


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield a run a session; a session whose clock was set back becomes several."""
    content = _read_tub(source.files[0].parent)
    if not content.records:
        counts = ", ".join(f"{why}: {count}" for why, count in content.dropped.items())
        raise NavOffrlError(
            f"holds no usable record ({counts or 'its catalogs are empty'})", where=content.path
        )
    recorded_hz = _rate(content)
    for number, part in enumerate(_parts(content.records)):
        run = _run(content.path, part, config.camera)
        run.session = f"{source.name}/{part[0].session}"
        run.name = f"{source.name}_{part[0].session}" + (f"_{number}" if number else "")
        if number == 0:  # what is true of the whole tub is told once
            run.dropped, run.details = content.dropped, content.details + run.details
            run.facts = _facts(content)
        yield thin(run, recorded_hz, layout)


def _tubs(path: Path) -> list[Path]:
    candidates = [path, *sorted(path.glob("*/")), *sorted(path.glob("*/*/"))]
    return [tub for tub in candidates if _is_manifest(tub / "manifest.json")]


def _is_manifest(path: Path) -> bool:
    """Tell a tub's manifest from the many other files of that name by its first line."""
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 16)
    except OSError:
        return False
    return first.lstrip().startswith(b"[") and IMAGE.encode() in first


def _name(tub: Path, root: Path) -> str:
    parts = [part for part in (root.name, *tub.relative_to(root).parts) if part != "data"]
    return "/".join(parts[1:] or parts) or tub.resolve().parent.name


def _read_manifest(tub: Path) -> _Manifest:
    path = tub / "manifest.json"
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_MANIFEST_BYTES).splitlines()
    except OSError as error:
        raise NavOffrlError(f"cannot be read ({error.strerror})", where=path) from error
    if len(lines) < 5:
        raise NavOffrlError(
            f"has {len(lines)} lines, a tub's manifest has 5",
            where=path,
            remedy="copy it again; Donkeycar's tubs of version 1 (record_N.json) are not read",
        )
    parsed = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines[:5], 1)]
    inputs, catalogs = parsed[0], parsed[4]
    if not isinstance(inputs, list) or IMAGE not in inputs:
        raise NavOffrlError(f"the inputs have no '{IMAGE}'", where=f"{path}, line 1")
    if not isinstance(catalogs, dict):
        raise NavOffrlError("is no JSON object", where=f"{path}, line 5")
    names, end = catalogs.get("paths"), catalogs.get("current_index")
    deleted = catalogs.get("deleted_indexes")
    if not isinstance(names, list) or not all(_is_plain_name(name) for name in names):
        raise NavOffrlError("'paths' is no list of file names", where=f"{path}, line 5")
    if not isinstance(deleted, list) or not all(type(index) is int for index in deleted):
        raise NavOffrlError("'deleted_indexes' is no list of integers", where=f"{path}, line 5")
    if type(end) is not int:
        raise NavOffrlError("'current_index' is no integer", where=f"{path}, line 5")
    texts = [str(name) for name in inputs]
    return _Manifest(texts, [tub / name for name in names], end, sorted(set(deleted)))


def _parse(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NavOffrlError(
            f"is no readable JSON ({str(error)[:80]})", where=where, remedy="copy the tub again"
        ) from error


def _is_plain_name(name: Any) -> TypeGuard[str]:
    """Tell whether `name` is one file of a folder: it leads nowhere else and can be opened."""
    if not isinstance(name, str) or name in ("", ".", "..") or len(name) > 60:
        return False
    return name.isprintable() and not set(name) & set("/\\")


def _read_tub(tub: Path) -> _Tub:
    """Read the catalogs: records in order without the deleted ones, which are counted."""
    content = _Tub(tub, _read_manifest(tub))
    for line, where in _lines(content):
        record = _record(line)
        if isinstance(record, str):
            content.drop("record is damaged", f"{where}: {record}")
            content.damaged += 1
        elif not content.last < record.index < content.manifest.end:
            content.drop("record is damaged", f"{where}: index {record.index} is out of order")
            content.damaged += 1
        else:
            _add(content, record, where)
    return content


def _add(content: _Tub, record: _Record, where: str) -> None:
    deleted = content.manifest.deleted
    if content.last >= 0 and record.index > content.last + 1:
        gone = bisect_left(deleted, record.index) - bisect_right(deleted, content.last)
        missing = record.index - content.last - 1 - gone - content.damaged
        if missing > 0:
            content.drop("record is missing", f"before {where}: {missing} records", missing)
        if gone:
            content.dropped["deleted by the driver"] += gone
    content.last, content.damaged = record.index, 0
    content.images.add(record.image)
    place = bisect_left(deleted, record.index)
    if place < len(deleted) and deleted[place] == record.index:
        content.dropped["deleted by the driver"] += 1
    elif content.records and content.records[-1].time_ms == record.time_ms:
        content.drop("time stamp is that of the record before", f"{where}: record {record.index}")
    else:
        content.records.append(record)


def _lines(content: _Tub) -> Iterator[tuple[bytes, str]]:
    for path in content.manifest.catalogs:
        try:
            with path.open("rb") as file:
                for number in itertools.count(1):
                    line = file.readline(MAX_LINE_BYTES)
                    if not line:
                        break
                    if line.strip():
                        yield line, f"{path.name}, line {number}"
        except OSError as error:
            content.drop("catalog cannot be read", f"{path.name}: {error.strerror}")


def _record(line: bytes) -> _Record | str:
    """Return the record of a line, or what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is no readable JSON ({str(error)[:80]})"
    if not isinstance(row, dict):
        return "is no JSON object"
    index, time, image = row.get("_index"), row.get("_timestamp_ms"), row.get(IMAGE)
    if type(index) is not int or index < 0:
        return "'_index' is no index"
    if type(time) is not int or not 0 <= time < MAX_TIME_MS:
        return "'_timestamp_ms' is no time"
    if not _is_plain_name(image):
        return f"'{IMAGE}' is no file name"
    mode = str(row.get("user/mode", "user"))
    # In mode "local_angle" the pilot steers and the person gives throttle; in "local" the pilot
    # does both. A tub that did not record the pilot does not know what drove the car then.
    angle = row.get("user/angle" if mode == "user" else "pilot/angle")
    throttle = row.get("pilot/throttle" if mode == "local" else "user/throttle")
    session = re.sub(r"[^\w.-]", "_", str(row.get("_session_id", "")))[:32]
    return _Record(
        index, session, time, image, _number(angle), _number(throttle), by_person=mode == "user"
    )


def _number(value: Any) -> float:
    """Return a float32's value, NaN for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if abs(number) < 1e6 else math.nan


def _parts(records: list[_Record]) -> Iterator[list[_Record]]:
    """Cut where the session changes and where the clock goes back."""
    edges = [0]
    for number, (old, new) in enumerate(itertools.pairwise(records), 1):
        if new.session != old.session or new.time_ms < old.time_ms:
            edges.append(number)
    for begin, end in itertools.pairwise([*edges, len(records)]):
        yield records[begin:end]


def _run(tub: Path, records: list[_Record], camera: str) -> Run:
    time = np.array([record.time_ms for record in records], np.int64) * 1_000_000
    action = [(record.throttle, 0.0 - record.angle) for record in records]
    jumps = [
        step
        for step, (old, new) in enumerate(itertools.pairwise(records), 1)
        if new.index != old.index + 1
    ]
    run = Run(
        name="",
        time=time,
        fields={
            "action": np.array(action, np.float32).reshape(-1, 2),
            "intervention": np.array([record.by_person for record in records]),
        },
        breaks=tuple(jumps),
    )
    run.images = {camera: [_image(run, tub, step, row.image) for step, row in enumerate(records)]}
    return run


def _image(run: Run, tub: Path, step: int, name: str) -> bytes | None:
    try:
        return (tub / "images" / name).read_bytes()
    except FileNotFoundError:
        run.fault(step, "image is missing", f"images/{name}: image is missing")
    except OSError as error:
        run.fault(step, "image cannot be read", f"images/{name}: {error.strerror}")
    return None


def _rate(content: _Tub) -> float:
    """Return the rate that the median period means, Hz to three digits."""
    periods = np.diff(np.array([record.time_ms for record in content.records], np.float64))
    periods = periods[periods > 0]
    if not len(periods):
        raise NavOffrlError("has fewer than two records that follow each other", where=content.path)
    return float(f"{1e3 / float(np.median(periods)):.3g}")


def _image_size(content: _Tub) -> tuple[int, int]:
    """Return (height, width) of the first whole image."""
    folder = content.path / "images"
    for record in content.records:
        try:
            size = decoded_size((folder / record.image).read_bytes())
        except OSError:
            continue
        if size is not None:
            return size
    raise NavOffrlError("has no usable image", where=folder, remedy="copy the tub with its images")


def _facts(content: _Tub) -> list[str]:
    records, inputs = content.records, content.manifest.inputs
    unread = [name for name in inputs if name not in READ_INPUTS]
    beyond = sum(abs(row.angle) > 1 or abs(row.throttle) > 1 for row in records)
    autopilot = sum(not row.by_person for row in records)
    on_disk = {file.name for file in (content.path / "images").glob("*.jpg")}
    statements = {
        f"inputs that are not read: {', '.join(unread)}": unread,
        f"{beyond} commands lie outside -1..1": beyond,
        f"the pilot drove {autopilot} of {len(records)} records": autopilot,
        f"{len(on_disk - content.images)} images belong to no record": on_disk - content.images,
    }
    return [text for text, holds in statements.items() if holds]
