"""Guarded reading of a LeRobot data set's Parquet tables: whatever the bytes, rows or one error."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.lerobot.meta import (
    EPISODE_COLUMNS,
    NAME,
    SESSION,
    Dataset,
    EpisodeRow,
    VideoPlace,
)

BATCH_ROWS = 1024
PLACE_PARTS = ("chunk_index", "file_index", "from_timestamp")
# Bytes that a table may become for one byte of its file, and what any table may: constant columns
# pack well, but a header that declares more is a lie or a trap.
EXPANSION, ANY_TABLE_BYTES = 200, 64 << 20
Rows = dict[str, Any]  # numeric (T, width) arrays, or lists of T byte strings


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what Arrow raises of a damaged file into one error that names it."""
    try:
        yield
    except NavOffrlError:
        raise
    except FileNotFoundError as error:
        raise NavOffrlError("is missing", where=path, remedy="copy the whole data set") from error
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise NavOffrlError(
            f"cannot be read as Parquet ({type(error).__name__}: {str(error)[:120]})",
            where=path,
            remedy="copy it again",
        ) from error


def read_rows(
    dataset: Dataset, row: EpisodeRow, numeric: Sequence[str], pictures: Sequence[str]
) -> Rows:
    """Return an episode's rows in order: `numeric` features, `pictures`, and the indices.

    Numbers come as (T, width); pictures as the encoded bytes, None where there are none.

    Raises:
        NavOffrlError: the table is damaged, or lacks a feature; names file and feature.
    """
    path = dataset.data_path(row)
    names = [*dict.fromkeys(["frame_index", "timestamp", *numeric]), *pictures]
    with _errors(path):
        table = _episode_table(path, row.index, ["episode_index", *names])
        rows: Rows = {}
        for name in names:
            column = table.column(name)
            if name in pictures:
                rows[name] = _pictures(column, name, path)
                continue
            width = dataset.info["features"][name]["shape"][0] if name in numeric else 1
            rows[name] = _numbers(column, width, name, path)
        return rows


def read_episode_rows(path: Path, videos: Sequence[str]) -> list[EpisodeRow]:
    """Return the rows of one table of episodes.

    Raises:
        NavOffrlError: the table is damaged or lacks a column; names it.
    """
    with _errors(path):
        file = _open(path)
        known = set(file.schema_arrow.names)
        places = {
            key: [
                f"videos/{key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")
            ]
            for key in videos
        }
        places = {key: columns for key, columns in places.items() if set(columns) <= known}
        wanted = [*EPISODE_COLUMNS, *(name for columns in places.values() for name in columns)]
        wanted += [name for name in ("tasks", NAME, SESSION) if name in known]
        return [_episode(row, places, path) for row in _table(file, wanted, path).to_pylist()]


def _episode(row: dict[str, Any], places: dict[str, list[str]], path: Path) -> EpisodeRow:
    for name, value in row.items():
        index = name in EPISODE_COLUMNS or name.endswith("_index")
        if index and (type(value) is not int or not 0 <= value < 1 << 40):
            raise NavOffrlError(f"'{name}' is {str(value)[:20]}, no index", where=path)
    videos = {}
    for key, (chunk, file, start) in places.items():
        begins = float(row[start])
        if not 0 <= begins < 1e9:
            raise NavOffrlError(f"'{start}' is {begins:g} s", where=path)
        videos[key] = VideoPlace(row[chunk], row[file], begins)
    tasks = row.get("tasks")
    return EpisodeRow(
        index=row["episode_index"],
        length=row["length"],
        chunk=row["data/chunk_index"],
        file=row["data/file_index"],
        videos=videos,
        tasks=tuple(str(task) for task in tasks) if isinstance(tasks, list) else (),
        name=str(row.get(NAME) or ""),
        session=str(row.get(SESSION) or ""),
    )


def _open(path: Path) -> pq.ParquetFile:
    """Open a table; what it declares is held against the size of the file.

    The metadata of single columns are not looked at: of a damaged file, Arrow's bindings for them
    end the process where the readers below raise.
    """
    size = path.stat().st_size
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    declared = sum(group.total_byte_size for group in groups)
    rows = sum(group.num_rows for group in groups)
    if rows > size or declared > max(ANY_TABLE_BYTES, EXPANSION * size):
        raise NavOffrlError(
            f"declares {rows} rows and {declared} bytes in a file of {size}",
            where=path,
            remedy="copy it again",
        )
    return file


def _table(file: pq.ParquetFile, columns: Sequence[str], path: Path) -> pa.Table:
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise NavOffrlError(f"has no column {', '.join(missing)}", where=path)
    return file.read(columns=list(columns), use_threads=False)


def _episode_table(path: Path, episode: int, columns: Sequence[str]) -> pa.Table:
    """Return the rows of one episode, reading only the row groups that hold some."""
    file = _open(path)
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise NavOffrlError(f"has no column {', '.join(missing)}", where=path)
    stat = path.stat()
    rows = np.flatnonzero(_episodes_of_rows(path, stat.st_mtime_ns, stat.st_size) == episode)
    lengths = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    groups = np.unique(np.searchsorted(np.cumsum(lengths), rows, side="right")).tolist()
    batches = []
    for batch in file.iter_batches(BATCH_ROWS, groups, list(columns), use_threads=False):
        wanted = batch.filter(pc.equal(batch.column("episode_index"), episode))
        if len(wanted):
            batches.append(wanted)
    if not batches:
        raise NavOffrlError(f"has no row of episode {episode}", where=path)
    return pa.Table.from_batches(batches)


@functools.lru_cache(maxsize=4)  # a table holds many episodes, which are read one by one
def _episodes_of_rows(path: Path, changed: int, size: int) -> NDArray[np.int64]:
    column = _table(_open(path), ["episode_index"], path).column(0)
    return _numbers(column, 1, "episode_index", path)[:, 0].astype(np.int64)


def _numbers(column: pa.ChunkedArray, width: int, name: str, path: Path) -> NDArray[Any]:
    """Return a column of numbers or of lists of `width` numbers as (T, width)."""
    length = len(column)
    if column.null_count:
        raise NavOffrlError(f"'{name}' has {column.null_count} empty rows", where=path)
    if pa.types.is_nested(column.type):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        if lengths != [width]:
            raise NavOffrlError(
                f"'{name}' has lists of length {lengths[:3]}, meta/info.json says {width}",
                where=path,
            )
        column = pc.list_flatten(column)
    values = column.to_numpy()
    if values.dtype.kind not in "buif" or values.size != length * width:
        raise NavOffrlError(f"'{name}' is {column.type}, not {width} numbers a row", where=path)
    return np.asarray(values).reshape(length, width)


def _pictures(column: pa.ChunkedArray, name: str, path: Path) -> list[bytes | None]:
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    if not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type):
        raise NavOffrlError(f"'{name}' is {column.type}, not encoded images", where=path)
    pictures: list[bytes | None] = column.to_pylist()
    return pictures
