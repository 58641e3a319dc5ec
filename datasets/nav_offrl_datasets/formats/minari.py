"""Importer of Minari data sets: episodes of any Gymnasium environment in one HDF5 file.

The format as Minari's `_storages/hdf5_storage.py` writes it: `data/main_data.hdf5` with the groups
`episode_0` ... of `observations` (T + 1, the last one after the last action), `actions`, `rewards`,
`terminations` and `truncations` (T each); a dict or tuple space is a group of arrays. The last
observation becomes a step of its own, whose action repeats the one before and leads nowhere; a
termination is put down at the step that it leads to. `desired_goal` is what an episode's own task
wanted, no state, and is left out, as are `infos`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Frame, Layout, Run, Source, nominal_time
from nav_offrl_datasets.readers.hdf5 import Hdf5File, is_hdf5
from nav_offrl_datasets.readers.log_files import HARMLESS_NAMES

FORMAT = "minari"
HELP = "Minari: data/main_data.hdf5 of a data set"
MAIN_FILE, METADATA = "main_data.hdf5", "metadata.json"
EPISODE = re.compile(r"episode_(\d{1,9})")
DEFAULT_RATE_HZ = 10.0
EPISODES_A_SOURCE = 100  # what a worker holds at a time
MAX_PARTS, MAX_DEPTH = 1000, 10  # of a space: groups and arrays, one in another
MAX_METADATA_BYTES = 16 << 20
NOT_STATE = "desired_goal"
NOTES = (
    "truncations are timeouts: an episode that ends without 'terminal' was cut off",
    "the last step of an episode is its last observation; its action repeats the one before",
    f"not imported: {NOT_STATE}, infos",
)


def recognises(path: Path) -> bool:
    """Tell whether `path` is, or holds, a main_data.hdf5 of Minari."""
    return next(_main_files(path), None) is not None


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return blocks of episodes, and files that are no part of a data set."""
    files = sorted(_main_files(path))
    if not files:
        raise NavOffrlError(
            f"holds no {MAIN_FILE} of Minari",
            where=path,
            remedy="give the data set's folder; data sets in Arrow format are not read",
        )
    found = []
    for file in files:
        name, count = _name(file, path), _count(file)
        for first in range(0, max(count, 1), EPISODES_A_SOURCE):
            end = min(first + EPISODES_A_SOURCE, count)
            part = f"/{first}-{end - 1}" if count > EPISODES_A_SOURCE else ""
            found.append(Source(name + part, (file,), key=f"{first}:{end}" if part else ""))
    known = {MAIN_FILE, METADATA, "namespace_metadata.json"}
    unknown = [
        file.relative_to(path).as_posix()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in known and not HARMLESS_NAMES.fullmatch(file.name)
    ]
    return found, unknown


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Describe the episodes as the first readable one is."""
    fault = None
    for path in dict.fromkeys(source.files[0] for source in sources):
        try:
            with Hdf5File(path) as file:
                for episode in _episodes(file):
                    try:
                        return _describe(file, episode, config)
                    except NavOffrlError as error:
                        fault = fault or error
        except NavOffrlError as error:
            fault = fault or error
    raise fault or NavOffrlError("holds no episode", where=sources[0].files[0])


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the episodes of a block; one that is damaged is told of in the next one's report."""
    name = source.name.rpartition("/")[0] if source.key else source.name
    faults: list[str] = []
    waiting: Run | None = None  # so that the last one can tell of what comes after it
    with Hdf5File(source.files[0]) as file:
        episodes = _episodes(file)
        first, end = map(int, source.key.split(":")) if source.key else (0, len(episodes))
        for episode in episodes[first:end]:
            try:
                run = _run(file, episode, layout, config)
            except NavOffrlError as error:
                faults.append(f"{episode}: {error.what}")
                continue
            run.name = f"{name}/{episode}"
            if waiting:
                yield waiting
            waiting = run
            _tell(waiting, faults)
    if not waiting:
        what = faults[0] if faults else "there is none"
        raise NavOffrlError(f"holds no episode that can be read ({what})", where=source.files[0])
    _tell(waiting, faults)
    yield waiting


def _tell(run: Run, faults: list[str]) -> None:
    for fault in faults:
        run.drop("damaged episode", fault)
    faults.clear()


def _main_files(path: Path) -> Iterator[Path]:
    """Yield the files of that name that hold episodes, or are too damaged to tell."""
    candidates = path.rglob(MAIN_FILE) if path.is_dir() else [path]
    for file in candidates:
        if not is_hdf5(file):
            continue
        try:
            with Hdf5File(file) as opened:
                if _episodes(opened):
                    yield file
        except NavOffrlError:
            if file.name == MAIN_FILE:
                yield file


def _name(file: Path, path: Path) -> str:
    """Return the name of a data set: that of its folder, which holds `data/`."""
    folder = file.resolve().parent
    if folder.name == "data":
        folder = folder.parent
    root = path.resolve()
    inner = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else "."
    return folder.name if inner == "." else inner


def _count(path: Path) -> int:
    try:
        with Hdf5File(path) as file:
            return len(_episodes(file))
    except NavOffrlError:  # `read` says what is wrong with it
        return 0


def _episodes(file: Hdf5File) -> list[str]:
    """Return the names of the episodes in the order of their numbers."""
    numbers = [(int(match[1]), name) for name in file.names() if (match := EPISODE.fullmatch(name))]
    return [name for _, name in sorted(numbers)]


def _leaves(file: Hdf5File, space: str) -> list[str]:
    """Return the arrays of a space, in the order of their names; itself, if it is an array."""
    leaves: list[str] = []
    parts = [space]
    while parts:
        part = parts.pop()
        # Without bounds, a group that holds itself would never end.
        if len(leaves) + len(parts) > MAX_PARTS or part.count("/") > MAX_DEPTH:
            raise NavOffrlError(f"'{space}' has too many parts", where=file.path)
        if file.is_array(part):
            leaves.append(part)
            continue
        names = sorted(file.names(part), reverse=True)
        parts += [f"{part}/{name}" for name in names if name != NOT_STATE]
    return leaves


def _is_picture(file: Hdf5File, leaf: str) -> bool:
    shape = file.shape(leaf)
    return len(shape) == 4 and shape[3] == 3 and 0 not in shape and file.dtype(leaf) == np.uint8


def _observations(file: Hdf5File, episode: str) -> tuple[list[str], list[str]]:
    """Return the arrays of the observations that are vectors, and those that are pictures."""
    leaves = _leaves(file, f"{episode}/observations")
    pictures = [leaf for leaf in leaves if _is_picture(file, leaf)]
    return [leaf for leaf in leaves if leaf not in pictures], pictures


def _camera(leaf: str, config: ImportConfig) -> str:
    """Return the name of a picture's camera: the log's, or the user's where it has none."""
    name = re.sub(r"\W+", "_", leaf.partition("/observations")[2].strip("/").lower(), flags=re.A)
    return name if re.match("[a-z]", name) else config.camera


def _describe(file: Hdf5File, episode: str, config: ImportConfig) -> Layout:
    vectors, pictures = _observations(file, episode)
    fields = {
        "action": _vector_info(file, _leaves(file, f"{episode}/actions"), "action"),
        "reward": field_info("reward", source="rewards"),
        "terminal": field_info("terminal", source="terminations"),
    }
    if vectors:
        fields["observation"] = _vector_info(file, vectors, "observation")
    notes = list(NOTES)
    environment = _environment(file.path)
    goal = f"{episode}/observations/achieved_goal"
    if "maze" in environment.lower() and goal in vectors and file.shape(goal)[1:] == (2,):
        fields["position"] = field_info("position", frame="maze", source="achieved_goal")
    if config.rate_hz is None:
        notes.append(f"the data set does not tell its rate: {DEFAULT_RATE_HZ:g} Hz assumed")
    return Layout(
        rate_hz=config.rate_hz or DEFAULT_RATE_HZ,
        rate_is_nominal=True,
        cameras={_camera(leaf, config): _camera_info(file, leaf, config) for leaf in pictures},
        fields=fields,
        action_source="commanded",
        frame="maze" if "position" in fields else "odom",
        robot=environment,
        notes=tuple(notes),
    )


def _environment(main_file: Path) -> str:
    """Return the environment's id, "" where the metadata do not tell."""
    try:
        with (main_file.parent / METADATA).open("rb") as file:
            metadata = json.loads(file.read(MAX_METADATA_BYTES))
        name = str(json.loads(metadata["env_spec"])["id"])
        return name if re.fullmatch(r"[\w./:-]{1,64}", name, flags=re.ASCII) else ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _camera_info(file: Hdf5File, leaf: str, config: ImportConfig) -> CameraInfo:
    _, height, width, _ = file.shape(leaf)
    return CameraInfo(
        height=height, width=width, coding="raw", horizontal_fov=config.horizontal_fov
    )


def _vector_info(file: Hdf5File, leaves: list[str], name: str) -> FieldInfo:
    """Describe arrays (T,) or (T, n) side by side, their names as axes."""
    if not leaves:
        raise NavOffrlError(f"has no {name}s", where=file.path)
    axes = []
    for leaf in leaves:
        shape = file.shape(leaf)
        if not 0 < len(shape) <= 2 or 0 in shape:
            raise NavOffrlError(
                f"'{leaf}' has shape {shape}, neither vectors nor RGB pictures", where=file.path
            )
        label = leaf.rpartition("/")[2].removesuffix("s")
        axes += [f"{label}_{index}" for index in range(shape[1] if len(shape) == 2 else 1)]
    return field_info(name, shape=(len(axes),), axes=tuple(axes), unit="", source=name + "s")


def _vector(file: Hdf5File, leaves: list[str]) -> NDArray[np.float64]:
    columns = []
    for leaf in leaves:
        values = file.array(leaf)
        if values.dtype.kind not in "biuf" or not 0 < values.ndim <= 2 or not values.size:
            raise NavOffrlError(f"'{leaf}' is {values.dtype} {values.shape}", where=file.path)
        columns.append(values.reshape(len(values), -1).astype(np.float64))
    if not columns:
        raise NavOffrlError("an observation or action holds no array", where=file.path)
    if len({len(column) for column in columns}) > 1:
        raise NavOffrlError(f"{', '.join(leaves)} differ in length", where=file.path)
    return np.concatenate(columns, axis=1)


def _run(file: Hdf5File, episode: str, layout: Layout, config: ImportConfig) -> Run:
    vectors, pictures = _observations(file, episode)
    actions = _vector(file, _leaves(file, f"{episode}/actions"))
    ends = {
        name: _vector(file, [f"{episode}/{name}"])[:, 0] for name in ("rewards", "terminations")
    }
    observations = {leaf: file.array(leaf) for leaf in pictures}
    if vectors:
        observations["vector"] = _vector(file, vectors)
    counts = {name: len(values) for name, values in (observations | ends).items()}
    acted, steps = len(actions), counts.get(next(iter(observations), ""), 0)
    if acted == 0 or steps - acted not in (0, 1):
        raise NavOffrlError(f"has {steps} observations and {acted} actions")
    if any(count != (acted if name in ends else steps) for name, count in counts.items()):
        raise NavOffrlError(f"arrays differ in length: {counts}, {acted} actions")
    fields = {
        "action": np.concatenate([actions, actions[-1:]])[:steps],
        "reward": np.append(ends["rewards"], 0.0)[:steps],
        "terminal": np.append(0.0, ends["terminations"])[:steps] != 0,
    }
    facts = []
    if steps == acted:
        fields["terminal"][-1] |= ends["terminations"][-1] != 0
        facts.append("the observation after the last action is missing")
    if "observation" in layout.fields and vectors:
        fields["observation"] = observations["vector"]
    goal = f"{episode}/observations/achieved_goal"
    if "position" in layout.fields and goal in vectors:
        fields["position"] = _vector(file, [goal])
    images: dict[str, Sequence[Frame]] = {
        _camera(leaf, config): list(observations[leaf]) for leaf in pictures
    }
    return Run("", nominal_time(steps, layout.rate_hz), fields, images, facts=facts)
