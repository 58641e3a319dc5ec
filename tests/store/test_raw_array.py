"""Rows written in place are what any Zarr reader sees."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.store.raw_array import RawArray, rows_per_chunk


def make_array(folder: Path, chunk_rows: int, width: int) -> None:
    zarr.create_array(
        str(folder), shape=(0, width), dtype="int32", chunks=(chunk_rows, width), compressors=None
    )


@settings(max_examples=40, deadline=None)
@given(
    chunk_rows=st.integers(1, 9),
    width=st.integers(1, 3),
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=6),
)
def test_equals_a_numpy_array(
    tmp_path_factory: pytest.TempPathFactory, chunk_rows: int, width: int, lengths: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("array") / "a"
    make_array(folder, chunk_rows, width)
    array = RawArray(folder)
    expected = np.zeros((0, width), np.int32)
    for number, length in enumerate(lengths):
        rows = np.full((length, width), number + 1, np.int32) + np.arange(width, dtype=np.int32)
        array.write(len(expected), rows)
        expected = np.concatenate([expected, rows])
        array.resize(len(expected))
        array.sync()
    np.testing.assert_array_equal(np.asarray(zarr.open_array(str(folder), mode="r")), expected)
    np.testing.assert_array_equal(array.read(0, len(expected)), expected.ravel())
    array.close()


def test_rows_never_written_read_as_zero(tmp_path: Path) -> None:
    make_array(tmp_path / "a", 4, 2)
    array = RawArray(tmp_path / "a")
    array.write(5, np.array([[7, 8]], np.int32))
    array.resize(12)
    array.close()
    values = np.asarray(zarr.open_array(str(tmp_path / "a"), mode="r"))
    assert values[5].tolist() == [7, 8] and values.sum() == 15


def test_committed_bytes_are_not_written_again(tmp_path: Path) -> None:
    make_array(tmp_path / "a", 4, 1)
    array = RawArray(tmp_path / "a")
    array.write(0, np.array([[1], [2]], np.int32))
    first = (tmp_path / "a" / "c" / "0" / "0").stat().st_ino
    array.write(2, np.array([[3], [4], [5]], np.int32))
    assert (tmp_path / "a" / "c" / "0" / "0").stat().st_ino == first  # no file was replaced
    array.close()


def test_chunks_hold_about_a_quarter_of_a_mebibyte() -> None:
    assert rows_per_chunk(8) == 16384
    assert rows_per_chunk(360 * 4) == 128
    assert rows_per_chunk(1 << 30) == 1
