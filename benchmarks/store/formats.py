"""The same frames in other formats, each read at random by its own fastest documented way."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.store.training_tier import TrainingTier

Frames = NDArray[np.uint8]
Gather = Callable[[NDArray[np.int64]], Frames]

BLOCK = 1024  # frames copied at once
VIDEO_EPISODES = 25  # in the LeRobot subset
KEYFRAME_INTERVAL = 2  # LeRobot's default


@dataclass
class Format:
    """One way of keeping frames: what it is called, where it lies, how it is read.

    `steps`: how many of the store's frames it holds; indices beyond are taken modulo. `exact`:
    False where the frames come back changed.
    """

    name: str
    place: Path
    gather: Gather
    steps: int
    exact: bool = True


def blocks(tier: TrainingTier, steps: int) -> Iterator[tuple[int, Frames]]:
    for begin in range(0, steps, BLOCK):
        yield begin, tier.gather(np.arange(begin, min(begin + BLOCK, steps)))


def write_memmap(path: Path, tier: TrainingTier) -> Path:
    """One .npy file of all frames without gaps; kept if it is there."""
    steps, shape = len(tier.row_of_step), tier.frames.shape[1:]
    if not path.exists():
        partial = path.with_suffix(".partial")
        out = np.lib.format.open_memmap(partial, "w+", np.uint8, (steps, *shape))
        for begin, frames in tqdm(blocks(tier, steps), desc="write npy", leave=False):
            out[begin : begin + len(frames)] = frames
        out.flush()
        partial.rename(path)
    return path


def by_zarr(array_folder: Path, tier: TrainingTier) -> Format:
    """Plain zarr-python on the training tier's own array."""
    import zarr

    array = zarr.open_array(str(array_folder), mode="r")

    def gather(steps: NDArray[np.int64]) -> Frames:
        # Sorted and unique is the faster of its ways to read at random.
        rows, back = np.unique(tier.row_of_step[steps], return_inverse=True)
        return np.asarray(array.oindex[rows])[back]

    return Format("zarr-python, training tier", array_folder, gather, len(tier.row_of_step))


def by_tensorstore(array_folder: Path, tier: TrainingTier) -> Format:
    """Tensorstore's zarr3 driver on the training tier's own array."""
    import tensorstore

    location = {"driver": "file", "path": str(array_folder)}
    array = tensorstore.open({"driver": "zarr3", "kvstore": location}, open=True).result()

    def gather(steps: NDArray[np.int64]) -> Frames:
        return array[tier.row_of_step[steps]].read().result()

    return Format("tensorstore, training tier", array_folder, gather, len(tier.row_of_step))


def by_hdf5(path: Path, tier: TrainingTier) -> Format:
    """HDF5 by h5py, contiguous, read frame by frame, which beats its fancy indexing."""
    import h5py

    steps, shape = len(tier.row_of_step), tier.frames.shape[1:]
    if not path.exists():
        partial = path.with_suffix(".partial")
        with h5py.File(partial, "w") as file:
            data = file.create_dataset("frames", (steps, *shape), "u1")
            for begin, frames in tqdm(blocks(tier, steps), desc="write HDF5", leave=False):
                data[begin : begin + len(frames)] = frames
        partial.rename(path)
    data = h5py.File(path, "r")["frames"]

    def gather(wanted: NDArray[np.int64]) -> Frames:
        out = np.empty((len(wanted), *shape), np.uint8)
        for row, step in enumerate(wanted):
            data.read_direct(out, np.s_[step], np.s_[row])
        return out

    return Format("HDF5 contiguous, h5py", path, gather, steps)


def by_lerobot(folder: Path, tier: TrainingTier, episode: int) -> Format:
    """LeRobot v3's video: AV1, yuv420p, a key frame every second frame, decoded by PyAV.

    One file for each of the first episodes, kept open; seek to the key frame, decode forward.
    """
    os.environ.setdefault("SVT_LOG", "1")  # the encoder's errors only
    import av

    steps = min(len(tier.row_of_step), VIDEO_EPISODES * episode)
    files = [folder / f"file-{k:03d}.mp4" for k in range(-(-steps // episode))]
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(tqdm(files, desc="write mp4", leave=False)):
        if not path.exists():
            part = np.arange(number * episode, min((number + 1) * episode, steps))
            _write_video(path, tier.gather(part))
    containers = [av.open(str(path)) for path in files]
    streams = [container.streams.video[0] for container in containers]

    def frame(step: int) -> Frames:
        file, inside = divmod(step, episode)
        stream = streams[file]
        pts = round(inside / float(stream.average_rate * stream.time_base))
        containers[file].seek(pts, stream=stream, backward=True)
        for decoded in containers[file].decode(stream):
            if decoded.pts >= pts:
                return decoded.to_ndarray(format="rgb24")
        raise EOFError(files[file])

    def gather(wanted: NDArray[np.int64]) -> Frames:
        return np.stack([frame(int(step)) for step in wanted])

    return Format("LeRobot v3 (AV1 in mp4, PyAV)", folder, gather, steps, exact=False)


def _write_video(path: Path, frames: Frames) -> None:
    import av

    options = {"g": str(KEYFRAME_INTERVAL), "crf": "30", "preset": "8"}
    partial = path.with_suffix(".partial.mp4")
    with av.open(str(partial), "w") as container:
        stream: Any = container.add_stream("libsvtav1", rate=10, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    partial.rename(path)


def size_on_disk(place: Path) -> int:
    """Return the bytes that files take, without holes."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_blocks * 512 for path in files)
