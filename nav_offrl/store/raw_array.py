"""Appending to an uncompressed Zarr v3 array in place, with the durability of a journal.

A chunk without compressor is its rows as raw bytes, so new rows are written behind the old ones
with one `pwrite`, and no byte that was committed is ever written again. Any Zarr reader opens the
result. Chunk files are sparse: what is not written takes no room on the disk.
"""

import json
import math
import os
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL_CHUNK_BYTES = 1 << 18
LARGE_CHUNK_BYTES = 1 << 22


def rows_per_chunk(row_bytes: int, chunk_bytes: int = SMALL_CHUNK_BYTES) -> int:
    """Return a power of two of rows that fills about `chunk_bytes`; at most 16,384, at least 1."""
    fitting = max(1, chunk_bytes // row_bytes)
    return min(16384, 1 << (fitting.bit_length() - 1))


class RawArray:
    """One array below `folder`, split into chunks along its first axis only.

    Not safe for use by two threads at once. Raises OSError when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._meta: dict[str, Any] = json.loads((folder / "zarr.json").read_text())
        shape: list[int] = self._meta["shape"]
        self.dtype = np.dtype(self._meta["data_type"])
        self.rows = shape[0]
        self._row_bytes = math.prod(shape[1:]) * self.dtype.itemsize
        self._chunk_rows: int = self._meta["chunk_grid"]["configuration"]["chunk_shape"][0]
        self._key_tail = ["0"] * (len(shape) - 1)
        self._open: tuple[int, FileIO] | None = None  # the chunk last used, by its number
        self._unsynced: set[Path] = set()
        self._new_folders: set[Path] = set()

    def write(self, start: int, values: NDArray[Any] | bytes) -> None:
        """Write rows from `start` on; the shape is left to `resize`."""
        data = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        position = start * self._row_bytes
        chunk_bytes = self._chunk_rows * self._row_bytes
        written = 0
        while written < len(data):
            chunk, offset = divmod(position + written, chunk_bytes)
            part = memoryview(data)[written : written + chunk_bytes - offset]
            descriptor = self._descriptor(chunk, chunk_bytes)
            written += os.pwrite(descriptor, part, offset)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows as flat values; rows never written read as zero."""
        parts = []
        begin, end = start * self._row_bytes, stop * self._row_bytes
        chunk_bytes = self._chunk_rows * self._row_bytes
        while begin < end:
            chunk, offset = divmod(begin, chunk_bytes)
            count = min(end - begin, chunk_bytes - offset)
            parts.append(os.pread(self._descriptor(chunk, chunk_bytes), count, offset))
            begin += count
        return np.frombuffer(b"".join(parts), self.dtype)

    def _descriptor(self, chunk: int, chunk_bytes: int) -> int:
        path = self._folder.joinpath("c", str(chunk), *self._key_tail)
        self._unsynced.add(path)
        if self._open is not None and self._open[0] == chunk:
            return self._open[1].fileno()
        self.close()
        for folder in (path.parent, *path.parent.parents):
            if folder == self._folder:
                break
            if not folder.is_dir():
                self._new_folders.update((folder, folder.parent))
        path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
        self._open = (chunk, file)
        if os.fstat(file.fileno()).st_size != chunk_bytes:
            # A reader takes a shorter file for a damaged chunk.
            os.ftruncate(file.fileno(), chunk_bytes)
            self._new_folders.add(path.parent)
        return file.fileno()

    def resize(self, rows: int, **attributes: Any) -> None:
        """Set the length of the first axis, and attributes with it, whole or not at all."""
        if rows == self.rows and not attributes:
            return
        self._meta["shape"][0] = rows
        self._meta["attributes"] |= attributes
        replace_file(self._folder / "zarr.json", json.dumps(self._meta, indent=2).encode())
        self.rows = rows

    def sync(self) -> None:
        """Return when all that was written lies on the disk, names of new files included."""
        for path in self._unsynced:
            sync_path(path)
        for folder in self._new_folders:
            sync_path(folder)
        self._unsynced.clear()
        self._new_folders.clear()

    def close(self) -> None:
        """Close the file that is kept open between writes."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by new content that is on the disk before it takes the name."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Wait until a file's data, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path.is_dir():
            os.fsync(descriptor)
        else:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
