"""Reads .npz files of unknown origin, whole arrays or some of their rows.

Nothing is unpickled. Before anything is read, the sizes that the archive declares are held against
its own: a small archive may unfold to any size.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError

MAX_EXPANSION = 100  # of all arrays together against the file,
SLACK_BYTES = 16 << 20  # for small files, whose flags compress further
COPY_BYTES = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class ArrayInfo:
    """What an archive declares of one array; `begin` is the byte at which its numbers begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begin: int

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row of the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class NpzFile:
    """An .npz file that is open for reading; a context manager.

    `arrays` says what it declares. Every method raises NavOffrlError where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays: dict[str, ArrayInfo] = {}
        with self._faults_converted():
            self._zip = zipfile.ZipFile(path)
            self._members = {
                info.filename.removesuffix(".npy"): info
                for info in self._zip.infolist()
                if info.filename.endswith(".npy")
            }
            self._check_sizes()
            for key in self._members:
                with self._open(key) as stream:
                    self.arrays[key] = self._info(key, stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def array(self, key: str) -> NDArray[Any]:
        """Return a whole array of at least one axis."""
        if key not in self.arrays or not self.arrays[key].shape:
            raise self._refused(f"has no array '{key}'", "check that the file is of this format")
        return self.rows(key, 0, self.arrays[key].shape[0])

    def rows(self, key: str, first: int, count: int) -> NDArray[Any]:
        """Return `count` rows of an array from row `first` on.

        The rest is unfolded as well, a little at a time: the checksum is that of the whole array.
        """
        info = self.arrays[key]
        with self._faults_converted(), self._open(key) as stream:
            skipped = info.begin + first * info.row_bytes
            while skipped:
                skipped -= len(stream.read(min(skipped, COPY_BYTES))) or skipped
            content = stream.read(count * info.row_bytes)
            while stream.read(COPY_BYTES):
                pass
            return np.frombuffer(content, info.dtype).reshape(count, *info.shape[1:])

    def _open(self, key: str) -> IO[bytes]:
        return self._zip.open(self._members[key])

    def _check_sizes(self) -> None:
        declared = sum(info.file_size for info in self._members.values())
        size = self.path.stat().st_size
        if declared > MAX_EXPANSION * size + SLACK_BYTES:
            raise self._refused(
                f"is {size} bytes and declares {declared}", "do not trust this file"
            )
        for info in self._members.values():
            if info.compress_type not in _METHODS or info.flag_bits & 1:
                raise self._refused(
                    f"'{info.filename}' is encrypted or not compressed as NumPy does",
                    "save it again with numpy.savez_compressed",
                )

    def _info(self, key: str, stream: IO[bytes]) -> ArrayInfo:
        head = io.BytesIO(stream.read(1 << 16))
        shape, column_major, dtype = _HEADERS[np.lib.format.read_magic(head)](head)
        info = ArrayInfo(shape, dtype, head.tell())
        if dtype.kind not in "biufSU" or (column_major and len(shape) > 1):
            raise self._refused(
                f"'{key}' is {dtype}{', column by column' if column_major else ''}",
                "save it again as an array of numbers in C order",
            )
        if info.begin + math.prod(shape) * dtype.itemsize != self._members[key].file_size:
            raise self._refused(
                f"'{key}' declares {shape} {dtype}, which is not what it holds", "copy it again"
            )
        return info

    @contextmanager
    def _faults_converted(self) -> Iterator[None]:
        try:
            yield
        except NavOffrlError:
            raise
        # zipfile, zlib and NumPy's header parser fail on damaged bytes with nearly any exception.
        except Exception as error:
            raise self._refused(
                f"is no readable .npz file ({type(error).__name__}: {str(error)[:100]})",
                "copy it again",
            ) from error

    def _refused(self, what: str, remedy: str) -> NavOffrlError:
        return NavOffrlError(what, where=self.path, remedy=remedy)
