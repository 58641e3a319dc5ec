"""Reading a log store: plain arrays in memory, camera frames on demand."""

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.arrays import (
    COPY_AGAIN,
    damaged,
    open_array,
    open_root,
    read_all,
    read_info,
    read_rows,
)
from nav_offrl.store.location import Location
from nav_offrl.store.schema import (
    SPLITS,
    TEXT_COLUMNS,
    CameraInfo,
    Frames,
    checksums,
)

STEPS_AT_ONCE = 256  # of frames held in memory when checking


@dataclass(frozen=True)
class EpisodeTable:
    """One row an episode: steps `start[i] : start[i] + length[i]` of the flat arrays.

    `complete` is False where the recorder ended in the middle: a crash, a full disk, or it is still
    recording.
    """

    name: list[str]
    session: list[str]
    source: list[str]
    source_hash: list[str]
    robot: list[str]
    licence: list[str]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    split: NDArray[np.uint8]
    complete: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.length)

    def of_split(self, split: str) -> NDArray[np.int64]:
        """Return the indices of the episodes of `split` ('train' or 'held_out')."""
        return np.flatnonzero(self.split == SPLITS.index(split))


class Store:
    """What a store held when it was opened; other processes may append meanwhile.

    `where` names it in messages: its path or URL. `path` is the folder for what is derived from
    it: the store itself, or the cache of a remote one.
    """

    def __init__(self, root: zarr.Group, location: Location) -> None:
        self._root = root
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._fields: dict[str, NDArray[Any]] = {}
        self._offsets: dict[str, NDArray[Any]] = {}
        self.location = location
        self.where, self.path = location.text, location.folder
        self.info = read_info(root, self.where)
        self.episodes = _read_episodes(root)
        self.steps = int(self.episodes.length.sum())
        if not len(self.episodes):
            raise NavOffrlError("holds no episode", where=self.where, remedy="import a log into it")

    @classmethod
    def open(cls, place: str | Path) -> Self:
        """Open the store at a path or URL (`s3://bucket/drives.zarr`, see `location.py`).

        Raises:
            NavOffrlError: there is no finished store, a newer version wrote it, or the server
                refuses.
            ImportError: a URL was given and obstore is not installed.
        """
        location = Location.of(place)
        return cls(open_root(location), location)

    def field(self, name: str) -> NDArray[Any]:
        """Return the whole array of a step field, `(steps, ...)`, cached in memory."""
        if name not in self.info.fields:
            raise NavOffrlError(
                f"holds no field '{name}'",
                where=self.where,
                remedy=f"it has {', '.join(self.info.fields)}",
            )
        return self._whole(name)

    def _whole(self, name: str) -> NDArray[Any]:
        if name not in self._fields:
            values = read_all(self._array(name), self.steps)
            values.flags.writeable = False
            self._fields[name] = values
        return self._fields[name]

    def _array(self, name: str) -> zarr.Array[Any]:
        # What an array's own metadata say once is enough: committed rows stay where they are.
        if name not in self._arrays:
            self._arrays[name] = open_array(self._root, f"data/{name}")
        return self._arrays[name]

    @property
    def checksums(self) -> NDArray[np.uint32]:
        """CRC-32 of every step (steps,), as written with it."""
        return self._whole("checksum")

    def steps_of(self, episode: int) -> slice:
        """Return the range of flat steps of one episode."""
        start = int(self.episodes.start[episode])
        return slice(start, start + int(self.episodes.length[episode]))

    def jpegs(self, camera: str, steps: slice) -> list[bytes]:
        """Return the JPEG bytes of a contiguous range of steps, as recorded."""
        if self.calibration(camera).coding != "jpeg":
            raise NavOffrlError(f"camera '{camera}' is not coded as JPEG", where=self.where)
        offset = self._offset(camera)[steps.start : steps.stop + 1]
        begin, end = int(offset[0]), int(offset[-1])
        blob = self._rows(self._array(f"image/{camera}/jpeg"), begin, end).tobytes()
        edges = offset - offset[0]
        return [blob[a:b] for a, b in itertools.pairwise(edges)]

    def _offset(self, camera: str) -> NDArray[np.int64]:
        """Return where the JPEGs of all steps begin and end, (steps + 1,)."""
        if camera not in self._offsets:
            array = self._array(f"image/{camera}/offset")
            offset = read_all(array, self.steps + 1).astype(np.int64)
            if (np.diff(offset, prepend=0) < 0).any():
                raise damaged(array, "offsets fall")
            self._offsets[camera] = offset
        return self._offsets[camera]

    def _rows(self, array: zarr.Array[Any], start: int, stop: int) -> NDArray[Any]:
        """Return rows of a large uncompressed array; of a few, no more than their own bytes.

        zarr reads whole chunks, which for a single frame is 4 MiB, but reads several at a time.
        """
        chunk, stop = array.chunks[0], min(stop, array.shape[0])
        row_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
        if array.compressors or array.chunks[1:] != array.shape[1:] or stop - start > chunk:
            return read_rows(array, slice(start, stop))
        parts = []
        while start < stop:
            number, begin = divmod(start, chunk)
            end = min(chunk, stop - number * chunk)
            key = array.metadata.encode_chunk_key((number, *[0] * (array.ndim - 1)))
            span = begin * row_bytes, end * row_bytes
            part = self.location.read_range(f"{array.path}/{key}", *span)
            if part is not None and len(part) != span[1] - span[0]:
                raise damaged(array, "a chunk is cut short")
            parts.append(bytes(span[1] - span[0]) if part is None else part)
            start += end - begin
        return np.frombuffer(bytearray().join(parts), array.dtype).reshape(-1, *array.shape[1:])

    def frames(self, camera: str, steps: slice) -> list[bytes] | NDArray[np.uint8]:
        """Return what is stored of a range of steps: JPEG bytes, or raw (T, H, W, 3) uint8."""
        if self.calibration(camera).coding == "jpeg":
            return self.jpegs(camera, steps)
        return self._rows(self._array(f"image/{camera}/frames"), steps.start, steps.stop)

    def calibration(self, camera: str) -> CameraInfo:
        """Return what is known of a camera.

        Raises:
            NavOffrlError: the store has none of that name; names those that it has.
        """
        if camera not in self.info.cameras:
            raise NavOffrlError(
                f"holds no camera '{camera}'",
                where=self.where,
                remedy=f"it has {', '.join(self.info.cameras) or 'none'}",
            )
        return self.info.cameras[camera]

    def images(self, camera: str, steps: slice) -> NDArray[np.uint8]:
        """Return decoded frames `(T, H, W, 3)`, RGB.

        Raises:
            NavOffrlError: a frame cannot be decoded; names the step.
        """
        frames = self.frames(camera, steps)
        if isinstance(frames, np.ndarray):
            return frames
        return decode_jpegs(frames, f"{self.where}, camera '{camera}'", first=steps.start)

    def image(self, camera: str, step: int) -> NDArray[np.uint8]:
        """Return one decoded frame `(H, W, 3)`, RGB."""
        frame: NDArray[np.uint8] = self.images(camera, slice(step, step + 1))[0]
        return frame

    def verify(self, episode: int) -> None:
        """Compare every step of an episode with the checksum written with it.

        Raises:
            NavOffrlError: the bytes on disk are not those that were written; names the step.
        """
        steps = self.steps_of(episode)
        for begin in range(steps.start, steps.stop, STEPS_AT_ONCE):
            part = slice(begin, min(begin + STEPS_AT_ONCE, steps.stop))
            fields = {name: self.field(name)[part] for name in self.info.fields}
            images: dict[str, Frames] = {
                camera: self.frames(camera, part) for camera in self.info.cameras
            }
            wrong = np.flatnonzero(checksums(fields, images) != self.checksums[part])
            if len(wrong):
                raise NavOffrlError(
                    f"episode '{self.episodes.name[episode]}' is damaged at step "
                    f"{begin - steps.start + int(wrong[0])} (checksum differs)",
                    where=self.where,
                    remedy=COPY_AGAIN,
                )

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes with any step's content or with the settings."""
        digest = hashlib.sha256()
        digest.update(self.info.model_dump_json(exclude={"provenance"}).encode())
        for row, name in enumerate(self.episodes.name):
            digest.update(f"{name} {self.episodes.split[row]}\n".encode())
            digest.update(self.checksums[self.steps_of(row)].tobytes())
        return digest.hexdigest()


def decode_jpegs(frames: Sequence[bytes], where: str, first: int = 0) -> NDArray[np.uint8]:
    """Decode JPEG byte strings of one size into `(T, H, W, 3)` RGB.

    Raises:
        NavOffrlError: a frame is damaged or of another size; names it by `first` + its index.
    """
    decoded: list[NDArray[Any]] = []
    for index, frame in enumerate(frames):
        buffer = np.frombuffer(frame, np.uint8)
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB) if len(buffer) else None
        if image is None or (decoded and image.shape != decoded[0].shape):
            raise NavOffrlError(
                f"frame {first + index} cannot be decoded or differs in size",
                where=where,
                remedy="run 'nav-offrl inspect --verify' and import the log anew",
            )
        decoded.append(image)
    return np.stack(decoded).astype(np.uint8, copy=False)


def committed_rows(root: zarr.Group) -> NDArray[np.int64]:
    """Return the lengths of the committed episodes (those before the first empty row)."""
    lengths = read_rows(open_array(root, "meta/length"), slice(None)).astype(np.int64)
    empty = np.flatnonzero(lengths <= 0)
    return lengths[: empty[0]] if len(empty) else lengths


def _read_episodes(root: zarr.Group) -> EpisodeTable:
    lengths = committed_rows(root)
    rows = len(lengths)

    def column(name: str) -> NDArray[Any]:
        return read_all(open_array(root, f"meta/{name}"), rows)

    start, split = column("start").astype(np.int64), column("split").astype(np.uint8)
    for name, good in {
        "start": (start == np.cumsum(lengths) - lengths).all(),
        "split": (split < len(SPLITS)).all(),
    }.items():
        if not good:
            raise damaged(open_array(root, f"meta/{name}"), "impossible values")
    texts = {name: read_texts(root, name, rows) for name in TEXT_COLUMNS}
    return EpisodeTable(
        name=texts["name"],
        session=texts["session"],
        source=texts["source"],
        source_hash=texts["source_hash"],
        robot=texts["robot"],
        licence=texts["licence"],
        start=start,
        length=lengths,
        split=split,
        complete=column("complete").astype(np.bool_),
    )


def read_texts(root: zarr.Group, name: str, rows: int) -> list[str]:
    """Return the first `rows` texts of a column of the episode table."""
    cells = read_all(open_array(root, f"meta/{name}"), rows)
    return [bytes(cell).rstrip(b"\0").decode(errors="replace") for cell in cells]
