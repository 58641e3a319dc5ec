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


def flat_view(array_folder: Path) -> NDArray[Any]:
    """Map the array in `array_folder`, all of whose shards must have been written.

    Rows that a shard's writer left out hold arbitrary bytes.

    Returns:
        A read-only array of the Zarr array's shape and dtype.

    Raises:
        NavOffrlError: the array is compressed, its chunks are not one row each, or a shard is
            missing, cut short, or holds rows that its index does not list in order.
    """
    shape, dtype, rows_per_shard = _layout(array_folder)
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    shard_bytes = rows_per_shard * row_bytes
    if shard_bytes % mmap.PAGESIZE:
        raise NavOffrlError("a shard is no whole number of pages", where=array_folder)
    shards = -(-shape[0] // rows_per_shard)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    arena = mmap.mmap(-1, shards * shard_bytes, flags=flags, prot=mmap.PROT_READ)
    base = np.frombuffer(arena, np.uint8).ctypes.data
    for shard in range(shards):
        path = array_folder.joinpath("c", str(shard), *["0"] * (len(shape) - 1))
        if not path.is_file():
            # Left unmapped, its rows would read as black frames.
            raise NavOffrlError("is missing", where=path, remedy=_REMEDY)
        payload = _rows_in_shard(path, rows_per_shard, row_bytes) * row_bytes
        _map_file(path, base + shard * shard_bytes, payload)
    view = np.frombuffer(arena, dtype).reshape(shards * rows_per_shard, *shape[1:])
    return view[: shape[0]]


def _layout(array_folder: Path) -> tuple[list[int], np.dtype[Any], int]:
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
    return shape, np.dtype(meta["data_type"]), shard_shape[0]


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
        raise NavOffrlError(f"cannot be mapped ({os.strerror(code)})", where=path)
