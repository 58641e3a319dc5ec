"""A folder of numbered images without poses: a topological map, or frames cut from a video.

ViNT and NoMaD write their maps so (`create_topomap.py`: `0.png 1.png ...`, one a second). There
is no clock, no pose and no command: the store holds frames in their order and nothing else.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.readers.jpeg import Size, decoded_size
from nav_offrl_datasets.readers.png import decode_png, png_to_jpeg

FORMAT = "images"
HELP = "folder of numbered images, no pose"
DEFAULT_RATE_HZ = 1.0  # of ViNT's and NoMaD's maps
SUFFIXES = (".jpg", ".jpeg", ".png")
FEWEST = 2  # images that make a list
_NUMBER = re.compile(r"(\d{1,19})\D*$", re.ASCII)
NOTES = ("an image list: no pose, no command, no clock",)


def recognises(path: Path) -> bool:
    """Tell whether `path`, or a folder in it, holds numbered images and no poses."""
    return bool(_lists(path))


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return `path` or the folders of images in it, and other files that lie in them."""
    found, unknown = [], []
    for folder in _lists(path):
        images = _images(folder)
        found.append(Source(folder.resolve().name, tuple(images)))
        taken = set(images)
        unknown += [
            str(file.relative_to(path))
            for file in sorted(folder.iterdir())
            if file.is_file() and file not in taken
        ]
    if not found:
        raise NavOffrlError(
            "holds no numbered images",
            where=path,
            remedy="name them 0000.jpg, 0001.jpg ... (.jpg or .png)",
        )
    return found, unknown


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Take the size from the first image that can be decoded."""
    for file in itertools.chain.from_iterable(source.files for source in sources):
        size = _size(file)
        if size is not None:
            break
    else:
        raise NavOffrlError("no image can be decoded", where=sources[0].files[0].parent)
    camera = CameraInfo(height=size[0], width=size[1], horizontal_fov=config.horizontal_fov)
    return Layout(
        rate_hz=config.rate_hz or DEFAULT_RATE_HZ,
        rate_is_nominal=True,
        cameras={config.camera: camera},
        fields={},
        notes=NOTES,
    )


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield one run: the images in the order of their numbers."""
    files = source.files
    period = 1e9 / layout.rate_hz
    run = Run(
        name=source.name,
        time=np.rint(np.arange(len(files)) * period).astype(np.int64),
        fields={},
        session=source.name,
    )
    frames = [_frame(run, step, file) for step, file in enumerate(files)]
    run.images = {config.camera: frames}
    converted = sum(file.suffix.lower() == ".png" for file in files)
    if converted:
        run.facts.append(f"{converted} PNG images were encoded once as JPEG of quality 95")
    _break_at_missing(run, files)
    yield run


def _frame(run: Run, step: int, file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except OSError as error:
        run.fault(step, "image cannot be read", f"{file.name}: {error.strerror}")
        return None
    if file.suffix.lower() != ".png":
        return content
    jpeg, fault = png_to_jpeg(content)
    if fault:
        run.fault(step, fault, f"{file.name}: {fault}")
    return jpeg


def _break_at_missing(run: Run, files: Sequence[Path]) -> None:
    """Begin anew where numbers are missing: most step by one amount, the others show a hole."""
    numbers = [_number(file) for file in files]
    steps = [new - old for old, new in itertools.pairwise(numbers)]
    if not steps:
        return
    usual = sorted(steps)[len(steps) // 2]
    holes = [step for step, by in enumerate(steps, 1) if by != usual]
    run.breaks = tuple(holes)
    run.facts += [
        f"numbers jump from {files[step - 1].name} to {files[step].name}" for step in holes
    ]


def _lists(path: Path) -> list[Path]:
    return [
        folder
        for folder in [path, *sorted(path.glob("*/"))]
        if len(_images(folder)) >= FEWEST and not (folder / "traj_data.pkl").exists()
    ]


def _images(folder: Path) -> list[Path]:
    """Return the numbered images of a folder in the order of their numbers."""
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES]
    except OSError:
        return []
    numbered = [file for file in files if _NUMBER.search(file.stem) and file.is_file()]
    return sorted(numbered, key=lambda file: (_number(file), file.name))


def _number(file: Path) -> int:
    match = _NUMBER.search(file.stem)
    return int(match[1]) if match else 0


def _size(file: Path) -> Size | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    if file.suffix.lower() == ".png":
        image = decode_png(content)
        return None if image is None else (image.shape[0], image.shape[1])
    return decoded_size(content)
