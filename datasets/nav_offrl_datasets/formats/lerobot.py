"""LeRobot data sets, version 3: Parquet tables of many episodes a file, video or images.

Format: `lerobot/datasets` of LeRobot 0.4 and later (codebase_version "v3.0"). `meta/info.json`
names the features and the paths; `meta/episodes/*/*.parquet` says in which file, and from which
second of which video, each episode lies. What becomes of the features: `lerobot_features`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.importing.thinning import choose_steps, rate_of_steps
from nav_offrl_datasets.lerobot.features import CLOCK, Correspondence, correspond
from nav_offrl_datasets.lerobot.meta import Dataset, EpisodeRow, open_dataset, read_info
from nav_offrl_datasets.readers.png import is_png, png_to_jpeg

FORMAT = "lerobot"
HELP = "LeRobot v3: meta/info.json, data/*.parquet, videos/"
LONGEST = 1e8  # s of an episode
NOMINAL = "LeRobot's time stamps are frame numbers divided by fps"
NO_UNITS = "LeRobot states no units: the action keeps the names of its components"


def recognises(path: Path) -> bool:
    """Tell whether `path`, or a folder in it, has a `meta/info.json` with a codebase_version."""
    return bool(_roots(path))


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the episodes of the data sets at `path`, in order."""
    roots = _roots(path)
    if not roots:
        raise NavOffrlError(
            "holds no LeRobot data set", where=path, remedy="give the folder with meta/info.json"
        )
    found = []
    for root in roots:
        dataset = open_dataset(root)
        prefix = "" if root == path else f"{root.name}/"
        cameras = _cameras(_correspondence(dataset, config), config)
        for row in dataset.episodes:
            videos = [dataset.video_path(row, key) for key in cameras if key in row.videos]
            files = (root / "meta/info.json", dataset.data_path(row), *videos)
            found.append(Source(f"{prefix}episode_{row.index:06d}", files, str(row.index)))
    if not found:
        raise NavOffrlError("lists no episode", where=roots[0] / "meta/episodes")
    return found, []


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Take everything from the first data set's `meta/info.json`."""
    roots = list(dict.fromkeys(source.files[0].parents[1] for source in sources))
    dataset = open_dataset(roots[0])
    for root in roots[1:]:
        other = read_info(root)
        if (other["fps"], other["features"]) != (dataset.info["fps"], dataset.info["features"]):
            raise NavOffrlError(
                f"differs in fps or features from {roots[0].name}",
                where=root / "meta/info.json",
                remedy="import the data sets into stores of their own",
            )
    found = _correspondence(dataset, config)
    notes = [NOMINAL] if found.nominal else []
    if found.left_out:
        notes.append(f"features that are left out: {', '.join(found.left_out)}"[:500])
    if "action" in found.fields and not found.fields["action"].unit:
        notes.append(NO_UNITS)
    cameras = {
        name: camera
        if camera.horizontal_fov
        else camera.model_copy(update={"horizontal_fov": config.horizontal_fov})
        for name, camera in found.cameras.items()
    }
    return Layout(
        rate_hz=rate_of_steps(dataset.fps, config.rate_hz, str(roots[0])),
        rate_is_nominal=found.nominal,
        cameras=cameras,
        fields=found.fields,
        action_source=found.action_source,
        robot=dataset.robot,
        notes=tuple(notes),
    )


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the one run of an episode."""
    from nav_offrl_datasets.lerobot.tables import read_rows

    dataset = open_dataset(source.files[0].parents[1])
    row = dataset.episode(int(source.key))
    found = _correspondence(dataset, config)
    cameras = _cameras(found, config)
    features = {columns.feature for columns in found.columns.values()}
    features |= {CLOCK} if found.clock else set()
    pictures = [key for key in cameras if not dataset.is_video(key)]
    table = read_rows(dataset, row, sorted(features), pictures)

    name = row.name or source.name
    run = Run(name, np.empty(0, np.int64), {}, session=row.session or name)
    run.split = dataset.split_of(row.index)
    time, seconds = _times(table, dataset, run)
    keep, resampled = choose_steps(time, dataset.fps, layout.rate_hz)
    run.time = time[keep]
    run.facts += resampled
    if row.length != len(time):
        run.facts.append(f"meta/episodes says {row.length} frames, the table has {len(time)}")
    if row.tasks:
        run.facts.append(f"task: {'; '.join(row.tasks)}"[:200])
    for field, columns in found.columns.items():
        values = table[columns.feature][keep]
        if columns.components is not None:
            values = values[:, list(columns.components)]
        run.fields[field] = values.reshape(len(keep), *found.fields[field].shape)
    for key, camera in cameras.items():
        if key in pictures:
            run.images[camera] = _pictures(run, key, [table[key][step] for step in keep])
        else:
            info = found.cameras[camera]
            run.images[camera] = _video_frames(run, dataset, row, key, info, seconds[keep])
    yield run


def _roots(path: Path) -> list[Path]:
    return [root for root in (path, *sorted(path.glob("*/"))) if _is_info(root / "meta/info.json")]


def _is_info(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'"codebase_version"' in file.read(1 << 20)
    except OSError:
        return False


def _correspondence(dataset: Dataset, config: ImportConfig) -> Correspondence:
    return correspond(dataset.info["features"], config.camera, dataset.fps)


def _cameras(found: Correspondence, config: ImportConfig) -> dict[str, str]:
    """Return feature -> camera of what is to be read."""
    pairs = found.feature_of_camera.items()
    return {feature: camera for camera, feature in pairs if camera not in config.without}


def _times(
    table: dict[str, Any], dataset: Dataset, run: Run
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the time of each row, ns, and the second of its episode's video."""
    frame = table["frame_index"][:, 0]
    with np.errstate(invalid="ignore"):  # a signalling NaN
        seconds = table["timestamp"][:, 0].astype(np.float64)
    if frame.dtype.kind not in "iu" or not _increases(frame) or frame[0] < 0:
        raise NavOffrlError(f"{run.name}: 'frame_index' does not increase", where=dataset.root)
    grid = frame / dataset.fps
    if not np.isfinite(seconds).all() or not _increases(seconds) or seconds[0] < 0:
        run.facts.append("'timestamp' does not increase: frame numbers are taken in its place")
        seconds = grid
    deviation = float(np.abs(seconds - grid).max())
    if deviation > 0.1 / dataset.fps:
        run.facts.append(f"'timestamp' is up to {deviation:.3g} s off frame_index / fps")
        grid = seconds
    if max(grid[-1], seconds[-1]) > LONGEST:
        raise NavOffrlError(f"{run.name}: is longer than {LONGEST:g} s", where=dataset.root)
    if CLOCK not in table:
        return np.rint(grid * 1e9).astype(np.int64), seconds
    clock = table[CLOCK][:, 0]
    if clock.dtype.kind not in "iu" or not _increases(clock):
        raise NavOffrlError(f"{run.name}: '{CLOCK}' does not increase", where=dataset.root)
    return clock.astype(np.int64), seconds


def _increases(values: NDArray[Any]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _video_frames(
    run: Run,
    dataset: Dataset,
    row: EpisodeRow,
    key: str,
    camera: CameraInfo,
    seconds: NDArray[np.float64],
) -> list[bytes | None]:
    from nav_offrl_datasets.lerobot.video import read_frames

    path = dataset.video_path(row, key)
    times = dataset.place(row, key).start + seconds
    video = read_frames(path, times, (camera.height, camera.width), 1.0 / dataset.fps)
    for step, frame in enumerate(video.jpegs):
        if frame is None:
            where = f"{path.name}: no frame at {times[step]:.3f} s"
            run.fault(step, f"video of '{key}' has no frame", where)
    if video.problem:
        run.details.append(f"{path.relative_to(dataset.root)}: {video.problem}")
    run.facts.append(f"{key}: video frames ({video.codec}) encoded once as JPEG of quality 95")
    return video.jpegs


def _pictures(run: Run, key: str, encoded: list[bytes | None]) -> list[bytes | None]:
    frames: list[bytes | None] = []
    converted = False
    for step, content in enumerate(encoded):
        if content is None:
            run.fault(step, f"no image of '{key}'")
        elif is_png(content):
            content, fault = png_to_jpeg(content)
            converted = True
            if fault:
                run.fault(step, fault, f"step {step}: '{key}' {fault}")
        frames.append(content)
    if converted:
        run.facts.append(f"{key}: PNG images encoded once as JPEG of quality 95")
    return frames
