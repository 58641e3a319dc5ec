"""Reads arrays from HDF5 files of unknown origin.

HDF5 may name other files (external links, external storage, virtual datasets), declare shapes that
it does not hold, and unfold without bound: its deflate filter does not stop at the size of a chunk
(HDF5 2.0: a file of 1 MB takes 1 GB to read). Here only numbers and fixed strings that lie in the
file itself are read, after their declared sizes were held against what is stored.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_EXPANSION = 100  # of a gzip-compressed array against the bytes that hold it,
SLACK_BYTES = 1 << 20  # for small arrays, which a flag repeated compresses further
# What h5py raises on damaged files: it turns HDF5's error stack into one of these.
_FAULTS = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError),
    zlib.error,
)
_DEFLATE = h5py.h5z.FILTER_DEFLATE
# Fletcher32, for one, reads beyond a chunk of less than 4 bytes (HDFGroup/hdf5 issue 6488).
_FILTERS = {_DEFLATE, h5py.h5z.FILTER_SHUFFLE}


def is_hdf5(path: Path) -> bool:
    """Tell whether `path` is a file that begins as HDF5 does."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


class Hdf5File:
    """An HDF5 file that is open for reading; a context manager.

    Names are paths from the root, `jackal/imu/angular_velocity`. Every method raises NavOffrlError
    where the file is damaged or asks for something that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._faults_converted("the file"):
            if not is_hdf5(path):
                raise NavOffrlError(
                    "is no HDF5 file", where=path, remedy="copy it again, or name its format"
                )
            self._file_bytes = path.stat().st_size
            self._file = h5py.File(path, "r", locking=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def names(self, group: str = "/") -> list[str]:
        """Return the names of what `group` holds, links included; [] if it is no group."""
        with self._faults_converted(group):
            found = self._find(group)
            names = list(found) if isinstance(found, h5py.Group) else []
            if not all(isinstance(name, str) for name in names):
                raise self._refused(group, "holds a name that is not UTF-8")
            return names

    def is_array(self, name: str) -> bool:
        """Tell whether `name` is there and is an array."""
        with self._faults_converted(name):
            return isinstance(self._find(name), h5py.Dataset)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the declared shape of an array."""
        with self._faults_converted(name):
            return tuple(self._dataset(name).shape)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the declared type of an array."""
        with self._faults_converted(name):
            dtype: np.dtype[Any] = self._dataset(name).dtype
            return dtype

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array: booleans, integers, floats or fixed-length byte strings."""
        with self._faults_converted(name):
            dataset = self._dataset(name)
            self._check_storage(dataset, name)
            return np.asarray(dataset[()])

    @contextmanager
    def _faults_converted(self, name: str) -> Iterator[None]:
        try:
            yield
        except NavOffrlError:
            raise
        except _FAULTS as error:
            raise NavOffrlError(
                f"'{name}' cannot be read from this HDF5 file ({str(error)[:200]})",
                where=self.path,
                remedy="the file is damaged or cut off: copy it again",
            ) from error

    def _find(self, name: str) -> Any:
        """Return the group or dataset at `name` in this very file, None where there is none."""
        found: Any = self._file
        for part in name.strip("/").split("/"):
            if not part:
                continue
            if not isinstance(found, h5py.Group):
                return None
            link = found.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self._refused(name, "is a link to elsewhere", "store the array itself there")
            found = found[part]
        return found

    def _dataset(self, name: str) -> h5py.Dataset:
        found = self._find(name)
        if not isinstance(found, h5py.Dataset):
            raise NavOffrlError(
                f"has no array '{name}'",
                where=self.path,
                remedy="check that the file is of this format and complete",
            )
        if found.shape is None or found.dtype.kind not in "biufS":
            raise self._refused(name, f"holds {found.dtype}, not numbers", "leave it out")
        if found.is_virtual or found.external:
            raise self._refused(name, "lies in another file", "store the array itself there")
        return found

    def _check_storage(self, dataset: h5py.Dataset, name: str) -> None:
        """Raise NavOffrlError unless all that is declared of an array is stored in the file."""
        declared = math.prod(dataset.shape) * dataset.dtype.itemsize
        if dataset.chunks is None:
            stored = dataset.id.get_storage_size()
            if not declared <= stored <= self._file_bytes:
                raise self._refused(name, f"declares {declared} bytes, the file holds {stored}")
            return
        filters = self._filters(dataset, name)
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
        limit = (MAX_EXPANSION if _DEFLATE in filters else 1) * self._file_bytes + SLACK_BYTES
        if max(declared, chunk) > limit:
            raise self._refused(
                name, f"declares {max(declared, chunk)} bytes in a file of {self._file_bytes}"
            )
        places: list[Any] = []
        dataset.id.chunk_iter(places.append)
        lengths = zip(dataset.shape, dataset.chunks, strict=True)
        expected = math.prod(-(-length // step) for length, step in lengths)
        if len(places) != expected:
            raise self._refused(name, f"has {len(places)} of {expected} chunks")
        for place in places:
            self._check_chunk(dataset, place, chunk, filters, name)

    def _filters(self, dataset: h5py.Dataset, name: str) -> list[int]:
        settings = dataset.id.get_create_plist()
        filters = [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]
        if not _FILTERS.issuperset(filters):
            raise self._refused(
                name, f"uses the HDF5 filters {filters}", "store it with gzip alone"
            )
        return filters

    def _check_chunk(
        self, dataset: h5py.Dataset, place: Any, chunk: int, filters: list[int], name: str
    ) -> None:
        """Raise NavOffrlError unless a chunk, unfolded, is as large as a chunk."""
        size = place.size
        if size > self._file_bytes:
            raise self._refused(name, "declares a chunk larger than the file")
        if _DEFLATE in filters and not place.filter_mask >> filters.index(_DEFLATE) & 1:
            _, packed = dataset.id.read_direct_chunk(place.chunk_offset)
            size = len(zlib.decompressobj().decompress(packed, chunk + 1))
        if size != chunk:
            what = "more" if size > chunk else "less"
            raise self._refused(name, f"has a chunk that unfolds to {what} than a chunk")

    def _refused(
        self, name: str, what: str, remedy: str = "the file is damaged: copy it again"
    ) -> NavOffrlError:
        return NavOffrlError(f"'{name}' {what}", where=self.path, remedy=remedy)
