"""What a bag's containers may declare: sizes and indices that rosbags would take on trust.

Importing this bounds, for the whole process, rosbags' decompression of mcap chunks and its reading
of records from a file.
"""

import bz2
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap

zstd: Any = vars(storage_mcap)["zstd"]  # the standard library's from Python 3.14, else a backport
COPY_SIZE = 1 << 20  # bytes


def limit_of(compressed: int) -> int:
    """Return how many bytes some compressed bytes may become: camera data never shrinks so far."""
    return max(64 << 20, 256 * compressed)


def bounded(decompressor: Any, data: bytes, limit: int) -> bytes:
    """Decompress one frame of at most `limit` bytes; ValueError where it is more, or cut short."""
    plain = bytes(decompressor.decompress(data, max_length=limit + 1))
    if len(plain) > limit or not decompressor.eof:
        raise ValueError(f"compressed data is damaged or becomes more than {limit} bytes")
    return plain


def check_ros1_index(file: Path) -> None:
    """Refuse an index that names a chunk twice, whose messages rosbags would list every time."""
    with file.open("rb") as source:
        if not source.readline(64).startswith(b"#ROSBAG V2.0\n"):
            return  # rosbags will say so
        header = rosbag1_reader.Header.read(source)
        if header.get_uint64("index_pos") == 0:
            return
        source.seek(header.get_uint64("index_pos"))
        for _ in range(header.get_uint32("conn_count")):
            _skip_record(source)
        check_unlike(
            _skip_record(source).get_uint64("chunk_pos")
            for _ in range(header.get_uint32("chunk_count"))
        )


def _skip_record(source: Any) -> Any:
    """Return the header of a ROS 1 record and go to the end of its data."""
    header = rosbag1_reader.Header.read(source)
    source.seek(rosbag1_reader.read_uint32(source), os.SEEK_CUR)
    return header


def check_unlike(chunks: Iterable[int]) -> None:
    """Raise ValueError when a chunk is named twice."""
    seen = set()
    for chunk in chunks:
        if chunk in seen:
            raise ValueError(f"the index names the chunk at byte {chunk} twice")
        seen.add(chunk)


def bound_chunks(reader: Any, size: int) -> None:
    """Bound what the chunks of an opened ROS 1 bag may become; `size`: of the file, bytes."""
    makers: dict[Any, Callable[[], Any]] = {
        bz2.decompress: bz2.BZ2Decompressor,
        lz4.frame.decompress: lz4.frame.LZ4FrameDecompressor,
    }
    for at, chunk in reader.chunks.items():
        if chunk.datapos + chunk.datasize > size:
            raise ValueError(f"chunk at byte {at} reaches beyond the end of the file")
        maker = makers.get(chunk.decompressor)
        if maker is not None:
            checked = partial(_decompress_chunk, maker=maker)
            reader.chunks[at] = chunk._replace(decompressor=checked)


def _decompress_chunk(data: bytes, maker: Callable[[], Any]) -> bytes:
    return bounded(maker(), data, limit_of(len(data)))


def _decompress_mcap(data: bytes, size: int, maker: Callable[[], Any]) -> bytes:
    if size > limit_of(len(data)):
        raise ValueError(f"a chunk of {len(data)} bytes claims to be {size}")
    return bounded(maker(), data, size)


def _within_file(read: Any) -> Any:
    """Return a `read(file, size)` that asks for no memory for what the file does not hold."""

    def read_within(file: Any, size: int) -> Any:
        if size > COPY_SIZE:  # smaller ones are not worth the look
            at = file.tell()
            left = file.seek(0, os.SEEK_END) - at
            file.seek(at)
            if size > left:
                raise ValueError(f"{size} bytes are declared at byte {at}, {left} are left")
        return read(file, size)

    return read_within


storage_mcap.read_exact = _within_file(storage_mcap.read_exact)
rosbag1_reader.read_bytes = _within_file(rosbag1_reader.read_bytes)
# rosbags hands over the declared size and ignores it.
storage_mcap.DECOMPRESSORS["zstd"] = partial(_decompress_mcap, maker=zstd.ZstdDecompressor)
storage_mcap.DECOMPRESSORS["lz4"] = partial(_decompress_mcap, maker=lz4.frame.LZ4FrameDecompressor)


def decompressed(file: Path, target: Path) -> Path:
    """Write the content of a .zstd file to `target`, and refuse one that grows without measure."""
    left = limit_of(file.stat().st_size)
    with file.open("rb") as packed, zstd.open(packed, "rb") as source, target.open("wb") as sink:
        while block := source.read(COPY_SIZE):
            left -= len(block)
            if left < 0:
                raise ValueError("grows more than 256-fold when decompressed")
            sink.write(block)
    return target
