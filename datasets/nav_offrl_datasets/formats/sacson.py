"""One training sample of SACSoN / HuRoN (Hirose et al. 2023): seven moments of one drive.

A sample is a pickle of arrays: `cur_img` (6, 128, 128) uint8, the front and the rear fisheye view
at the present moment; `next_img` (36, 128, 128), the same two views at six more moments, which
lead away from the present; `robot_traj` (16,), places of the robot at eight moments from the
present on, first all x (to the right, m), then all z (forward, m), in the axes of the present
camera. `goal_img` and `goal_pose` belong to the goal, `ped_traj` to a pedestrian.

The sample has no clock, no headings and no commands, and nothing in it says whether `next_img`
leads into the future or into the past. The robot is taken to drive forward only: places behind the
present one were passed before it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.readers.restricted_pickle import load_plain

FORMAT = "sacson"
HELP = "SACSoN / HuRoN: .pkl sample files"
CAMERAS = ("front", "rear")
CHANNELS = 3 * len(CAMERAS)  # of the two views of one moment
DEFAULT_RATE_HZ = 3.0  # of SACSoN's waypoints, 0.333 s apart
LARGEST_IMAGE = 4096  # pixels a side
STANDING = 0.02  # m between the first place and the last: too little to tell a direction
NOTES = (
    "one training sample, not a drive: a few moments of one",
    "positions are relative to the sample's present place; no headings, no commands, no clock",
)


def recognises(path: Path) -> bool:
    """Tell a sample by the names of its arrays, which stand in the clear in any pickle."""
    return bool(_samples(path))


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the samples at `path`, and other files beside them."""
    found = _samples(path)
    if not found:
        raise NavOffrlError(
            "is no SACSoN sample", where=path, remedy="give a .pkl with cur_img and robot_traj"
        )
    others = [] if path.is_file() else sorted(set(path.iterdir()) - set(found))
    return [Source(file.stem, (file,)) for file in found], [file.name for file in others]


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Take the size of the views from the first sample that can be read."""
    first_fault = None
    for source in sources:
        try:
            views, _ = _load(source.files[0])
        except NavOffrlError as error:
            first_fault = first_fault or error
            continue
        height, width = views.shape[2:4]
        camera = CameraInfo(height=height, width=width, coding="raw")
        frame = "the sample's present place"
        return Layout(
            rate_hz=config.rate_hz or DEFAULT_RATE_HZ,
            rate_is_nominal=True,
            cameras=dict.fromkeys(CAMERAS, camera),
            fields={"position": field_info("position", source="robot_traj", frame=frame)},
            frame=frame,
            notes=NOTES,
        )
    raise first_fault or NavOffrlError("no sample to read")


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the sample's moments, the earliest first."""
    views, places = _load(source.files[0])
    steps = min(len(views), len(places))
    run = Run(
        name=source.name,
        time=np.rint(np.arange(steps) * (1e9 / layout.rate_hz)).astype(np.int64),
        fields={},
        session=source.name,
        facts=["goal_img, goal_pose and ped_traj belong to the task, not to the drive: left out"],
    )
    order = np.arange(steps)
    ahead = places[steps - 1, 0] - places[0, 0]
    if ahead <= -STANDING:
        order = order[::-1]
        run.facts.append("the moments lead back behind the present one: their order is reversed")
    elif ahead < STANDING:
        run.facts.append("the robot hardly moved: the moments are in the file's order")
    run.fields = {"position": places[order]}
    run.images = {camera: list(views[order, number]) for number, camera in enumerate(CAMERAS)}
    counts = f"{len(places)} places, {len(views)} moments with images"
    if len(places) > steps:
        run.drop("place without an image", counts, len(places) - steps)
    if len(views) > steps:
        run.drop("image without a place", counts, len(views) - steps)
    yield run


def _samples(path: Path) -> list[Path]:
    candidates = [path] if path.is_file() else sorted(path.glob("*.pkl"))
    return [file for file in candidates if file.suffix == ".pkl" and _is_sample(file)]


def _is_sample(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            head = opened.read(1 << 20)
            opened.seek(0, 2)
            opened.seek(max(0, opened.tell() - (1 << 14)))
            tail = opened.read()
    except OSError:
        return False
    return b"cur_img" in head and b"robot_traj" in head + tail


def _load(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the views (T, 2, H, W, 3) uint8 and places (N, 2) m forward and left."""
    sample = load_plain(path)
    if not isinstance(sample, dict):
        raise NavOffrlError("is no dictionary of arrays", where=path)
    present, others = _views(sample, "cur_img", path), _views(sample, "next_img", path)
    if present.shape[1:] != others.shape[1:]:
        raise NavOffrlError("'cur_img' and 'next_img' differ in size", where=path)
    views = np.concatenate([present, others])
    places = _array(sample, "robot_traj", path)
    if places.ndim != 1 or places.dtype.kind != "f" or len(places) < 4 or len(places) % 2:
        raise NavOffrlError(
            f"'robot_traj' is {places.dtype} {places.shape}, no list of x, then z", where=path
        )
    right, forward = places.astype(np.float64).reshape(2, -1)
    return views, np.stack([forward, 0.0 - right], axis=1)


def _views(sample: dict[Any, Any], key: str, path: Path) -> NDArray[np.uint8]:
    """Return the views (T, 2, H, W, 3) that lie in an array (6 T, H, W)."""
    array = _array(sample, key, path)
    fits = array.ndim == 3 and array.dtype == np.uint8 and not array.shape[0] % CHANNELS
    if not fits or not all(0 < side <= LARGEST_IMAGE for side in array.shape):
        raise NavOffrlError(
            f"'{key}' is {array.dtype} {array.shape}, expected uint8 (6 T, H, W)",
            where=path,
            remedy="front and rear view of each moment, channels first",
        )
    moments = array.reshape(-1, len(CAMERAS), 3, *array.shape[1:])
    return np.ascontiguousarray(moments.transpose(0, 1, 3, 4, 2))


def _array(sample: dict[Any, Any], key: str, path: Path) -> NDArray[Any]:
    array = sample.get(key)
    if not isinstance(array, np.ndarray):
        raise NavOffrlError(f"has no array '{key}'", where=path)
    return array
