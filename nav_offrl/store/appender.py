"""The one process that may write a store: rows in place, commits in order, a lock.

A step is committed when `meta/length` of its episode counts it; that number is written after
everything it vouches for. Readers see committed steps only, so that they may read at any time, and
a writer that dies leaves nothing to repair.
"""

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.arrays import open_root, read_info
from nav_offrl.store.layout import EPISODE_CHUNK, NUMBER_COLUMNS
from nav_offrl.store.raw_array import RawArray
from nav_offrl.store.reader import committed_rows, read_texts
from nav_offrl.store.schema import SPLITS, TEXT_COLUMNS, Episode, Frames, checksums

LOCK = "writer.lock"
# Shapes grow ahead of the data by these, so that a live recorder seldom rewrites a `zarr.json`.
STEPS_AHEAD = 4096
BYTES_AHEAD = 64 << 20


class Appender:
    """Holds a store open for writing; see the module's docstring for the guarantees.

    Raises:
        NavOffrlError: no store, one of another schema version, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        root = open_root(path)
        self.path = path
        self.info = read_info(root, path)
        with file_errors(path):
            self._lock = _take_lock(path / LOCK)
            self._data = {
                name: RawArray(path / "data" / name) for name in (*self.info.fields, "checksum")
            }
            self._cameras = {
                name: _open_camera(path / "data" / "image" / name, camera.coding)
                for name, camera in self.info.cameras.items()
            }
            self._meta = {
                name: RawArray(path / "meta" / name) for name in (*NUMBER_COLUMNS, *TEXT_COLUMNS)
            }
        # Only now: what the last writer committed before it let go of the lock.
        lengths = committed_rows(root)
        self.rows, self.steps = len(lengths), int(lengths.sum())
        self._read_names()

    def write_steps(
        self,
        step: int,
        fields: Mapping[str, NDArray[np.generic]],
        images: Mapping[str, Frames],
    ) -> None:
        """Write steps from the flat index `step` on, without committing them."""
        length = len(fields["time"])
        self._grow(self._data.values(), step + length)
        for name, values in fields.items():
            self._data[name].write(step, values)
        self._data["checksum"].write(step, checksums(fields, images))
        for camera, frames in images.items():
            arrays = self._cameras[camera]
            if "frames" in arrays:
                self._grow([arrays["frames"]], step + length)
                arrays["frames"].write(step, np.asarray(frames, np.uint8))
            else:
                self._write_jpegs(arrays, step, [bytes(frame) for frame in frames])

    def _write_jpegs(self, arrays: dict[str, RawArray], step: int, frames: list[bytes]) -> None:
        begin = int(arrays["offset"].read(step, step + 1)[0])
        offsets = begin + np.cumsum([len(frame) for frame in frames], dtype=np.uint64)
        if int(offsets[-1]) > arrays["jpeg"].rows:
            arrays["jpeg"].resize(-(-int(offsets[-1]) // BYTES_AHEAD) * BYTES_AHEAD)
        self._grow([arrays["offset"]], step + 1 + len(frames), 1)
        arrays["jpeg"].write(begin, b"".join(frames))
        arrays["offset"].write(step + 1, offsets)

    @staticmethod
    def _grow(arrays: Iterable[RawArray], rows: int, extra: int = 0) -> None:
        ahead = -(-(rows - extra) // STEPS_AHEAD) * STEPS_AHEAD + extra
        for array in arrays:
            if array.rows < rows:
                array.resize(ahead)

    def write_row(self, row: int, episode: Episode, start: int) -> None:
        """Write an episode's row of the table, with nothing committed yet."""
        if self._meta["length"].rows <= row:
            for array in self._meta.values():
                array.resize(-(-(row + 1) // EPISODE_CHUNK) * EPISODE_CHUNK)
        numbers = {
            "length": 0,
            "start": start,
            "split": SPLITS.index(episode.split),
            "complete": episode.complete,
        }
        for name, value in numbers.items():
            self._meta[name].write(row, np.array([value], self._meta[name].dtype))
        for name, width in TEXT_COLUMNS.items():
            self._meta[name].write(row, getattr(episode, name).encode().ljust(width, b"\0"))

    def commit(self, row: int, lengths: Sequence[int]) -> None:
        """Commit the episodes from `row` on; the first one last, since rows count up to a zero."""
        table = self._meta["length"]
        behind = row + len(lengths)
        if table.read(behind, table.rows).any():  # left by a commit that was cut short
            table.write(behind, np.zeros(table.rows - behind, np.int64))
        for index in reversed(range(len(lengths))):
            table.write(row + index, np.array([lengths[index]], np.int64))

    def cut(self, rows: int) -> None:
        """Take back the episodes from `rows` on."""
        table = self._meta["length"]
        self.steps = int(table.read(0, rows).sum())
        table.write(rows, np.zeros(table.rows - rows, np.int64))
        self.rows = rows
        self._read_names()

    def _read_names(self) -> None:
        root = open_root(self.path)
        self.names: set[str] = set(read_texts(root, "name", self.rows))
        self.source_hashes: set[str] = set(read_texts(root, "source_hash", self.rows)) - {""}

    def mark_complete(self, row: int) -> None:
        """Say that an episode ended as it should."""
        self._meta["complete"].write(row, np.array([True]))

    def sessions(self) -> list[tuple[str, str]]:
        """Return the session and the split of every episode."""
        cells = self._meta["session"].read(0, self.rows).reshape(-1, TEXT_COLUMNS["session"])
        names = [bytes(cell).rstrip(b"\0").decode(errors="replace") for cell in cells]
        codes = self._meta["split"].read(0, self.rows).tolist()
        return [(name, SPLITS[code]) for name, code in zip(names, codes, strict=True)]

    def write_split(self, row: int, split: str) -> None:
        """Put an episode into another split."""
        self._meta["split"].write(row, np.array([SPLITS.index(split)], np.uint8))

    def sync(self, committed: bool = False) -> None:
        """Wait for the disk: the data, or (`committed`) the table of episodes."""
        if committed:
            for array in self._meta.values():
                array.sync()
            return
        for array in self._all_data():
            array.sync()

    def trim(self) -> None:
        """Shrink every array to what is committed."""
        for array in self._data.values():
            array.resize(self.steps)
        for arrays in self._cameras.values():
            if "frames" in arrays:
                arrays["frames"].resize(self.steps)
                continue
            arrays["jpeg"].resize(int(arrays["offset"].read(self.steps, self.steps + 1)[0]))
            arrays["offset"].resize(self.steps + 1)
        for array in self._meta.values():
            array.resize(self.rows)

    def close(self) -> None:
        """Close all files and let another writer in."""
        for array in (*self._all_data(), *self._meta.values()):
            array.close()
        self._lock.close()

    def _all_data(self) -> list[RawArray]:
        cameras = [array for arrays in self._cameras.values() for array in arrays.values()]
        return [*self._data.values(), *cameras]


def _open_camera(folder: Path, coding: str) -> dict[str, RawArray]:
    names = ("frames",) if coding == "raw" else ("jpeg", "offset")
    return {name: RawArray(folder / name) for name in names}


def _take_lock(path: Path) -> BinaryIO:
    """Take the lock that the system frees when this process ends, however it ends."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise NavOffrlError(
            "is being written by another process",
            where=path.parent,
            remedy="wait for it to end, or stop it",
        ) from error
    return file


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn OSError into an error that names the store and what to do."""
    try:
        yield
    except OSError as error:
        raise NavOffrlError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            remedy="check that the folder exists, that it is yours and that the disk has room; "
            "all that was committed before is whole",
        ) from error
