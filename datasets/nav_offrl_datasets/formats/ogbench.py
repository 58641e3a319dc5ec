"""Importer of OGBench: .npz files of trajectories of goal-conditioned benchmarks.

The format as `ogbench/utils.py` reads it: rows of `observations`, `actions` and `terminals`, which
is 1 in the last row of a trajectory. The next observation is the following row; the action of a
trajectory's last row leads nowhere. A trajectory ends by time: no state of these logs is terminal,
and they have no rewards. What lies in `NAME-val.npz` is held out.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Frame, Layout, Run, Source, nominal_time
from nav_offrl_datasets.readers.log_files import find_files, run_name
from nav_offrl_datasets.readers.npz import NpzFile

FORMAT = "ogbench"
HELP = "OGBench: .npz of trajectories, held-out ones in NAME-val.npz"
LICENCE = "MIT"
SUFFIXES = (".npz",)
TRIED_FILES = 5  # to recognise a folder by: one may be damaged
KEYS = ("observations", "actions", "terminals")
HELD_OUT = "-val"
MAZE = re.compile(r"(?:visual-)?(point|ant|humanoid)(?:maze|soccer)")
# Control rates of the environments, by the beginning of their names.
RATES_HZ = {"point": 10.0, "ant": 10.0, "humanoid": 40.0, "cube": 20.0, "scene": 20.0}
RATES_HZ |= {"puzzle": 20.0}
DEFAULT_RATE_HZ = 10.0
MAX_TRAJECTORY_BYTES = 1 << 30
BLOCK_BYTES = 256 << 20  # of one source: what a worker holds at a time
NOTES = (
    "trajectories end by time: none ends in a terminal state",
    "the action of a trajectory's last step leads nowhere",
)


def recognises(path: Path) -> bool:
    """Tell whether `path` is, or one of its first .npz files is, of this format."""
    if path.is_dir():
        files = itertools.islice(path.rglob("*.npz"), TRIED_FILES)
        return any(recognises(file) for file in files)
    if path.suffix not in SUFFIXES:
        return False
    try:
        with NpzFile(path) as file:
            return file.arrays.keys() >= set(KEYS)
    except NavOffrlError:
        return False


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the files, in blocks of trajectories where they are large.

    The file of held-out trajectories beside a given one goes along.
    """
    files, unknown = find_files(path, SUFFIXES)
    if path.is_file() and _held_out_beside(path).is_file():
        files.append(_held_out_beside(path))
    found = []
    for file in files:
        name, blocks = _name(file, path), _blocks(file)
        for first, end in blocks:
            part = f"/{first:05d}-{end - 1:05d}" if len(blocks) > 1 else ""
            found.append(Source(name + part, (file,), key=f"{first}:{end}" if part else ""))
    return found, unknown


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Describe the trajectories as the first readable file has them."""
    fault = None
    for source in sources:
        try:
            with NpzFile(source.files[0]) as file:
                return _describe(file, config)
        except NavOffrlError as error:
            fault = fault or error
    raise fault or NavOffrlError("there is no file to read", where=FORMAT)


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the trajectories of a file, or of a block of it."""
    path = source.files[0]
    with NpzFile(path) as file:
        described = _describe(file, config)
        if (described.fields, described.cameras) != (layout.fields, layout.cameras):
            raise NavOffrlError(
                "has other observations or actions than the first file",
                where=path,
                remedy="import it into a store of its own",
            )
        lengths = _lengths(file)
        first, end = map(int, source.key.split(":")) if source.key else (0, len(lengths))
        begin, lengths = sum(lengths[:first]), lengths[first:end]
        rows = {key: file.rows(key, begin, sum(lengths)) for key in _keys(file)}
    name = source.name.rpartition("/")[0] if source.key else source.name
    at = 0
    for number, length in enumerate(lengths, first):
        run = _run({key: values[at : at + length] for key, values in rows.items()}, layout)
        run.name, run.split = f"{name}/{number:05d}", _split(path)
        at += length
        if not rows["terminals"][at - 1]:
            run.facts.append("the file ends within this trajectory")
        yield run


def _held_out_beside(file: Path) -> Path:
    return file.with_name(f"{file.stem}{HELD_OUT}{file.suffix}")


def _name(file: Path, path: Path) -> str:
    return file.stem if path.is_file() else run_name(file, path)


def _split(file: Path) -> str:
    if file.stem.endswith(HELD_OUT):
        return "held_out"
    return "train" if _held_out_beside(file).is_file() else ""


def _describe(file: NpzFile, config: ImportConfig) -> Layout:
    missing = [key for key in KEYS if key not in file.arrays]
    if missing:
        raise NavOffrlError(f"has no {', '.join(missing)}", where=file.path)
    _check_rows(file)
    cameras = _cameras(file, config)
    fields = {"action": _action(file)} | ({} if cameras else _state(file)) | _pose(file)
    family = re.sub(r"^(visual-|online-)", "", file.path.stem)
    rate = next((rate for name, rate in RATES_HZ.items() if family.startswith(name)), None)
    notes = [*NOTES]
    unread = sorted(file.arrays.keys() - set(KEYS) - {"qpos"})
    if unread:
        notes.append(f"not imported: {', '.join(unread)}")
    if rate is None and config.rate_hz is None:
        notes.append(f"the rate is not known by the file's name: {DEFAULT_RATE_HZ:g} Hz assumed")
    return Layout(
        rate_hz=config.rate_hz or rate or DEFAULT_RATE_HZ,
        rate_is_nominal=True,
        cameras=cameras,
        fields=fields,
        action_source="commanded",
        frame="maze" if "position" in fields else "odom",
        robot=family.split("-")[0] if rate else "",
        licence=LICENCE,
        notes=tuple(notes),
    )


def _cameras(file: NpzFile, config: ImportConfig) -> dict[str, CameraInfo]:
    observed = file.arrays["observations"]
    if len(observed.shape) != 4 or observed.shape[3] != 3 or observed.dtype != np.uint8:
        return {}
    _, height, width, _ = observed.shape
    fov = config.horizontal_fov
    camera = CameraInfo(height=height, width=width, coding="raw", horizontal_fov=fov)
    return {config.camera: camera}


def _state(file: NpzFile) -> dict[str, FieldInfo]:
    shape = file.arrays["observations"].shape
    if len(shape) != 2:
        raise NavOffrlError(
            f"observations {shape} are neither vectors nor RGB pictures", where=file.path
        )
    axes = tuple(f"observation_{index}" for index in range(shape[1]))
    return {"observation": field_info("observation", shape=shape[1:], axes=axes)}


def _check_rows(file: NpzFile) -> None:
    """Raise NavOffrlError unless the arrays that are read have the same number of rows."""
    shapes = {key: file.arrays[key].shape for key in _keys(file)}
    rows = {shape[:1] for shape in shapes.values()}
    if len(rows) != 1 or rows & {(), (0,)} or len(shapes["terminals"]) != 1:
        raise NavOffrlError(f"arrays have shapes {shapes}, which do not fit", where=file.path)
    if any(0 in shape for shape in shapes.values()):
        raise NavOffrlError(f"arrays have shapes {shapes}: one is empty", where=file.path)


def _action(file: NpzFile) -> FieldInfo:
    shape = file.arrays["actions"].shape[1:] or (1,)
    if len(shape) != 1:
        raise NavOffrlError(f"actions are {shape} a step, not a vector", where=file.path)
    axes = tuple(f"action_{index}" for index in range(shape[0]))
    return field_info("action", shape=shape, axes=axes, unit="", source="actions")


def _pose(file: NpzFile) -> dict[str, FieldInfo]:
    """Describe position, and yaw where a body has one, in mazes: qpos is x, y, z, quaternion."""
    maze = MAZE.match(file.path.stem)
    key = "qpos" if "qpos" in file.arrays else "observations"  # which begins with the place, too
    shape = file.arrays[key].shape
    if not maze or len(shape) != 2 or shape[1] < 2:
        return {}
    pose = {"position": field_info("position", frame="maze", source=f"{key}[:2]")}
    if key == "qpos" and maze[1] != "point" and shape[1] >= 7:
        pose["yaw"] = field_info("yaw", frame="maze", source="qpos[3:7], the body's quaternion")
    return pose


def _keys(file: NpzFile) -> list[str]:
    return [key for key in (*KEYS, "qpos") if key in file.arrays]


def _lengths(file: NpzFile) -> list[int]:
    """Return the steps of each trajectory."""
    ends = np.flatnonzero(file.array("terminals")) + 1
    rows = file.arrays["terminals"].shape[0]
    if not len(ends) or ends[-1] != rows:
        ends = np.append(ends, rows)
    lengths = np.diff(ends, prepend=0)
    largest = int(lengths.max()) * _row_bytes(file)
    if largest > MAX_TRAJECTORY_BYTES:
        raise NavOffrlError(
            f"a trajectory of {lengths.max()} steps takes {largest >> 20} MiB",
            where=file.path,
            remedy=f"split it below {MAX_TRAJECTORY_BYTES >> 20} MiB by setting terminals",
        )
    return [int(length) for length in lengths]


def _row_bytes(file: NpzFile) -> int:
    return sum(file.arrays[key].row_bytes for key in _keys(file))


def _blocks(path: Path) -> list[tuple[int, int]]:
    """Return runs of trajectories (first, end) of about BLOCK_BYTES; one of a damaged file."""
    try:
        with NpzFile(path) as file:
            _describe(file, ImportConfig())
            ends = np.cumsum(_lengths(file)) * _row_bytes(file)
    except NavOffrlError:  # `read` says what is wrong with it
        return [(0, 0)]
    block = (ends - 1) // BLOCK_BYTES
    firsts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist()]
    return list(itertools.pairwise([*firsts, len(ends)]))


def _run(rows: dict[str, NDArray[Any]], layout: Layout) -> Run:
    length = len(rows["actions"])
    fields = {"action": rows["actions"].reshape(length, -1)}
    if "observation" in layout.fields:
        fields["observation"] = rows["observations"]
    if "position" in layout.fields:
        fields["position"] = rows["qpos" if "qpos" in rows else "observations"][:, :2]
    if "yaw" in layout.fields:
        w, x, y, z = rows["qpos"][:, 3:7].astype(np.float64).T
        fields["yaw"] = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    images: dict[str, Sequence[Frame]] = {
        camera: list(rows["observations"]) for camera in layout.cameras
    }
    return Run("", nominal_time(length, layout.rate_hz), fields, images)
