"""Importer of GNM / ViNT / NoMaD logs: a folder of runs, each `0.jpg ... N.jpg` + traj_data.pkl.

`traj_data.pkl` holds `position` (T, 2) m and `yaw` (T,) rad (visualnav-transformer,
train/vint_train/data/vint_dataset.py). There are no timestamps, commands or calibration: time is
index / rate, and actions are derived from consecutive poses.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Frame, Layout, Run, Source
from nav_offrl_datasets.readers.jpeg import Size, decoded_size
from nav_offrl_datasets.readers.log_files import HARMLESS_NAMES
from nav_offrl_datasets.readers.traj_data import POSES, read_poses

FORMAT = "gnm"
HELP = "GNM / ViNT / NoMaD: folder of runs of 0.jpg 1.jpg ... + traj_data.pkl"
RATE_HZ = 4.0  # of the family's own data sets
IMAGE_NAME = re.compile(r"(0|[1-9]\d{0,8})\.jpg")
FIRST_IMAGE = "0.jpg"


def recognises(path: Path) -> bool:
    """Tell whether `path` is a run, or a folder of which at least one folder is one."""
    if not path.is_dir():
        return False
    return (path / POSES).is_file() or any(
        (folder / POSES).is_file() for folder in path.iterdir() if folder.is_dir()
    )


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the runs, a source each, and the names of what is neither a run nor harmless.

    A folder with images and no poses is taken for a run, which `read` will refuse.

    Raises:
        NavOffrlError: there is no run.
    """
    if not path.is_dir():
        raise NavOffrlError("is no folder", where=path, remedy="check the path")
    path = path.resolve()
    if (path / POSES).is_file():
        folders, unknown = [path], []
    else:
        entries = sorted(entry for entry in path.iterdir() if not _is_harmless(entry))
        folders = [entry for entry in entries if _is_run(entry)]
        unknown = [entry.name for entry in entries if entry not in folders]
    if not folders:
        raise NavOffrlError(
            f"holds no GNM run (no sub-folder with {POSES} and 0.jpg, 1.jpg, ...)",
            where=path,
            remedy="give the folder that holds the runs, or one run",
        )
    found = []
    for folder in folders:
        poses = [folder / POSES] if (folder / POSES).is_file() else []
        found.append(Source(folder.name, (*poses, *_images(folder).values())))
        unknown += [
            f"{folder.name}/{entry.name}"
            for entry in sorted(folder.iterdir())
            if entry.name != POSES
            and not IMAGE_NAME.fullmatch(entry.name)
            and not _is_harmless(entry)
        ]
    return found, unknown


def _is_run(folder: Path) -> bool:
    return (folder / POSES).is_file() or (folder / FIRST_IMAGE).is_file()


def _is_harmless(path: Path) -> bool:
    return HARMLESS_NAMES.fullmatch(path.name) is not None


def _images(folder: Path) -> dict[int, Path]:
    """Return the images by their numbers, in order."""
    matches = ((IMAGE_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Describe the runs; the image size is that of most runs, judged by a run's first whole image.

    Raises:
        NavOffrlError: no image can be decoded.
    """
    sizes: Counter[Size] = Counter()
    for source in sources:
        sizes.update(_first_size(source))
    if not sizes:
        raise NavOffrlError("no image can be decoded", where=sources[0].files[0].parent)
    height, width = sizes.most_common(1)[0][0]
    camera = CameraInfo(height=height, width=width, horizontal_fov=config.horizontal_fov)
    return Layout(
        rate_hz=config.rate_hz or RATE_HZ,
        rate_is_nominal=True,
        cameras={config.camera: camera},
        fields={name: field_info(name, source=POSES) for name in ("position", "yaw")},
    )


def _first_size(source: Source) -> list[Size]:
    for path in _images(source.files[0].parent).values():
        frame = _read_frame(path)
        size = None if frame is None else decoded_size(frame)
        if size is not None:
            return [size]
    return []


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the run: a step for each pose.

    Raises:
        NavOffrlError: the poses cannot be used.
    """
    folder = source.files[0].parent
    position, yaw = read_poses(folder / POSES)
    steps = len(yaw)
    run = Run(
        name=source.name,
        time=np.round(np.arange(steps) * (1e9 / layout.rate_hz)).astype(np.int64),
        fields={"position": position, "yaw": yaw},
    )
    images = _images(folder)
    frames: list[Frame] = []
    for step in range(steps):
        frame = _read_frame(images[step]) if step in images else None
        if frame is None:
            why = "image cannot be read" if step in images else "image is missing"
            run.fault(step, why, f"{step}.jpg: {why}")
        frames.append(frame)
    run.images = dict.fromkeys(layout.cameras, frames)
    surplus = sum(number >= steps for number in images)
    if surplus:
        run.drop("image without a pose", f"{len(images)} images for {steps} poses", surplus)
    yield run


def _read_frame(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
