"""All shards of an uncompressed Zarr array as one memory-mapped NumPy array.

The sharding codec stores an uncompressed inner chunk as its raw bytes, in row order, with the
index behind them. A shard file is therefore its frames back to back, and mapping the files one
behind the other gives the whole array without a copy or a decode.
"""

import ctypes
import json
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError

_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_EMPTY = 2**64 - 1
_REMEDY = "delete this derived array and run the command again to rebuild it"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def flat_view(*array_folders: Path) -> tuple[NDArray[Any], list[int]]:
    """Map arrays of one row shape one behind the other; all their shards must have been written.

    Rows that a shard's writer left out hold arbitrary bytes, as do those between two arrays.

    Returns:
        A read-only array of the arrays' row shape and dtype, and the row in it at which each of
        them begins. Of one folder, it has the Zarr array's shape.

    Raises:
        NavOffrlError: an array is compressed, its chunks are not one row each, or a shard is
            missing, cut short, or holds rows that its index does not list in order; or the arrays
            differ in the shape of their rows.
    """
    layouts = [_layout(folder) for folder in array_folders]
    first = layouts[0]
    for folder, layout in zip(array_folders, layouts, strict=True):
        if layout.row_shape != first.row_shape or layout.dtype != first.dtype:
            raise NavOffrlError(
                f"has rows of {layout.row_shape} {layout.dtype}, those of {array_folders[0]} are "
                f"{first.row_shape} {first.dtype}",
                where=folder,
                remedy=_REMEDY,
            )
        if layout.shard_bytes % mmap.PAGESIZE:
            raise NavOffrlError("a shard is no whole number of pages", where=folder)
    first_rows = np.cumsum([0, *(layout.shards * layout.shard_rows for layout in layouts)])
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    arena = mmap.mmap(-1, int(first_rows[-1]) * first.row_bytes, flags=flags, prot=mmap.PROT_READ)
    base = np.frombuffer(arena, np.uint8).ctypes.data
    for folder, layout, row in zip(array_folders, layouts, first_rows, strict=False):
        _map_shards(folder, layout, base + int(row) * first.row_bytes)
    view = np.frombuffer(arena, first.dtype).reshape(-1, *first.row_shape)
    return view[: int(first_rows[-2]) + layouts[-1].rows], first_rows[:-1].tolist()


def _map_shards(folder: Path, layout: "_Layout", address: int) -> None:
    for shard in range(layout.shards):
        path = folder.joinpath("c", str(shard), *["0"] * len(layout.row_shape))
        if not path.is_file():
            # Left unmapped, its rows would read as black frames.
            raise NavOffrlError("is missing", where=path, remedy=_REMEDY)
        payload = _rows_in_shard(path, layout.shard_rows, layout.row_bytes) * layout.row_bytes
        _map_file(path, address + shard * layout.shard_bytes, payload)


@dataclass(frozen=True)
class _Layout:
    """Of an array: how many rows of which kind, and how many of them lie in a shard."""

    rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shard_rows: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def shard_bytes(self) -> int:
        return self.shard_rows * self.row_bytes

    @property
    def shards(self) -> int:
        return -(-self.rows // self.shard_rows)


def _layout(array_folder: Path) -> _Layout:
    try:
        meta = json.loads((array_folder / "zarr.json").read_text())
    except (OSError, ValueError) as error:
        raise NavOffrlError(
            f"cannot be read ({error})", where=array_folder / "zarr.json", remedy=_REMEDY
        ) from error
    shape, codecs = meta["shape"], meta["codecs"]
    shard_shape = meta["chunk_grid"]["configuration"]["chunk_shape"]
    inner = codecs[0].get("configuration", {})
    fits = (
        codecs[0]["name"] == "sharding_indexed"
        and inner.get("index_location", "end") == "end"
        and [codec["name"] for codec in inner["codecs"]] == ["bytes"]
        and inner["chunk_shape"] == [1, *shape[1:]]
        and shard_shape[1:] == shape[1:]
    )
    if not fits:
        raise NavOffrlError(
            "is not laid out in raw shards of one row a chunk", where=array_folder, remedy=_REMEDY
        )
    return _Layout(shape[0], tuple(shape[1:]), np.dtype(meta["data_type"]), shard_shape[0])


def _rows_in_shard(path: Path, rows_per_shard: int, row_bytes: int) -> int:
    """Return how many rows lie in order from the start of the shard, checked by its index."""
    index_bytes = 16 * rows_per_shard
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < index_bytes + 4:
            raise NavOffrlError("is cut short", where=path, remedy=_REMEDY)
        file.seek(-(index_bytes + 4), os.SEEK_END)
        index = np.frombuffer(file.read(index_bytes), "<u8").reshape(-1, 2)
    rows = int((index[:, 0] != _EMPTY).sum())
    expected = np.arange(rows, dtype=np.uint64) * row_bytes
    in_order = (index[:rows, 0] == expected).all() and (index[:rows, 1] == row_bytes).all()
    # Not merely long enough: the pixels of a white frame read as an index of no rows.
    if not in_order or size != rows * row_bytes + index_bytes + 4:
        raise NavOffrlError("has rows out of order or missing", where=path, remedy=_REMEDY)
    return rows


def _map_file(path: Path, address: int, payload: int) -> None:
    length = -(-payload // mmap.PAGESIZE) * mmap.PAGESIZE
    with path.open("rb") as file:
        flags = mmap.MAP_SHARED | _MAP_FIXED
        mapped = _libc.mmap(address, length, mmap.PROT_READ, flags, file.fileno(), 0)
    if mapped != address:
        code = ctypes.get_errno()
        raise NavOffrlError(
            f"cannot be mapped ({os.strerror(code)})",
            where=path,
            # Every shard is one mapping, and Linux allows a process 65,530 of them by default.
            remedy="raise the limit: sudo sysctl vm.max_map_count=1000000",
        )
