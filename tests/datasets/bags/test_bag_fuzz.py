"""Damaged bags are read or refused: no other error, no hang, no runaway memory."""

import bz2
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.bags import limits
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import bag

Write = Callable[..., Path]
Drive = Callable[..., list[tuple[str, str, int, dict[str, Any]]]]


@pytest.mark.parametrize(
    ("container", "cases"), [("ros1", 150), ("sqlite3", 150), ("mcap", 150), ("packed mcap", 50)]
)
def test_damage_is_named(
    container: str,
    cases: int,
    write_bag: Write,
    drive: Drive,
    jpeg: bytes,
    make_damaged: Callable[..., Any],
    check_damaged: Callable[..., tuple[int, int]],
) -> None:
    from rosbags.rosbag2 import CompressionMode

    packed = {"compression": CompressionMode.STORAGE} if container == "packed mcap" else {}
    path = write_bag(container.split()[-1], drive(0.5, jpeg), **packed)
    file = path if path.is_file() else next(f for f in path.iterdir() if f.suffix != ".yaml")
    contents = make_damaged(file.read_bytes(), cases)
    read, refused = check_damaged(bag, file, ImportConfig(), contents)
    assert read + refused == cases
    assert refused > cases // 10


def test_a_damaged_metadata_file_does_not_matter(
    write_bag: Write, drive: Drive, jpeg: bytes, make_damaged: Callable[..., Any]
) -> None:
    path = write_bag("mcap", drive(0.5, jpeg))
    config = ImportConfig()
    metadata = path / "metadata.yaml"
    for content in make_damaged(metadata.read_bytes(), 40):
        metadata.write_bytes(content)
        (source,), _ = bag.sources(path, config)
        if not source.key:
            layout = bag.layout([source], config)
            assert len(next(bag.read(source, layout, config)).time) > 0


def import_file(path: Path) -> None:
    config = ImportConfig()
    sources, _ = bag.sources(path, config)
    layout = bag.layout(sources, config)
    for source in sources:
        list(bag.read(source, layout, config))


def test_a_chunk_that_would_fill_the_memory_is_refused(
    write_bag: Write, drive: Drive, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rosbags.rosbag1 import Writer

    path = write_bag("ros1", drive(0.5, jpeg), compression=Writer.CompressionFormat.BZ2)
    content = path.read_bytes()
    start = content.index(b"BZh")
    (size,) = struct.unpack_from("<I", content, start - 4)
    bomb = bz2.compress(b"\0" * (100 << 20))
    assert len(bomb) < size
    content = content[:start] + bomb.ljust(size, b"\0") + content[start + size :]
    path.write_bytes(content)
    with pytest.raises(NavOffrlError, match="becomes more than 67108864 bytes"):
        import_file(path)


def test_an_index_that_names_a_chunk_again_and_again_is_refused(
    write_bag: Write, drive: Drive, jpeg: bytes
) -> None:
    path = write_bag("ros1", drive(0.5, jpeg))
    content = bytearray(path.read_bytes())
    count = content.index(b"chunk_count=") + len(b"chunk_count=")
    assert content[count : count + 4] == struct.pack("<I", 1)
    content[count : count + 4] = struct.pack("<I", 1000)
    at = content.index(b"index_pos=") + len(b"index_pos=")
    start, after = 0, struct.unpack_from("<Q", content, at)[0]
    while after < len(content):  # records are a header and data, each with its length before it
        start = after
        for _ in range(2):
            after += 4 + struct.unpack_from("<I", content, after)[0]
    path.write_bytes(content + content[start:] * 999)
    with pytest.raises(NavOffrlError, match=r"names the chunk at byte \d+ twice"):
        import_file(path)


def test_an_mcap_chunk_is_bounded_by_the_size_that_it_declares() -> None:
    packed = limits.zstd.compress(b"\0" * (100 << 20))
    unpack = limits.storage_mcap.DECOMPRESSORS["zstd"]
    with pytest.raises(ValueError, match="becomes more than 1000 bytes"):
        unpack(packed, 1000)
    with pytest.raises(ValueError, match="claims to be"):
        unpack(packed, 100 << 20)
    assert unpack(limits.zstd.compress(b"abc"), 3) == b"abc"


@pytest.mark.parametrize(
    ("container", "before"), [("mcap", b"\x89MCAP0\r\n"), ("ros1", b"#ROSBAG V2.0\n")]
)
def test_a_record_longer_than_the_file_asks_for_no_memory(
    container: str, before: bytes, write_bag: Write, drive: Drive, jpeg: bytes
) -> None:
    path = write_bag(container, drive(0.5, jpeg))
    file = path if path.is_file() else next(path.glob("*.mcap"))
    content = file.read_bytes()
    if container == "mcap":  # the first record of the summary: its length is 8 bytes
        start = struct.unpack_from("<Q", content, len(content) - 28)[0] + 1
        size = struct.pack("<Q", 1 << 40)
    else:  # the header of the first record: its length is 4 bytes
        start, size = len(before), struct.pack("<I", 0xFFFFFFFF)
    file.write_bytes(content[:start] + size + content[start + len(size) :])
    with pytest.raises(NavOffrlError, match=r"bytes are declared at byte \d+, \d+ are left"):
        import_file(file)


def test_a_packed_file_that_grows_without_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap.zstd"
    path.write_bytes(limits.zstd.compress(b"\0" * (100 << 20)))
    with pytest.raises(NavOffrlError, match="grows more than 256-fold"):
        import_file(path)


@pytest.mark.parametrize("value", ["'text'", "NULL", "9223372036854775807", "1e300"])
def test_times_that_are_none(value: str, write_bag: Write, drive: Drive, jpeg: bytes) -> None:
    path = write_bag("sqlite3", drive(0.5, jpeg)) / "run.db3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA ignore_check_constraints = 1")
        database.execute("CREATE TABLE m AS SELECT * FROM messages")
        database.execute("DROP TABLE messages")
        database.execute("ALTER TABLE m RENAME TO messages")
        database.execute(f"UPDATE messages SET timestamp = {value} WHERE id = 9")
    with pytest.raises(NavOffrlError, match="cannot be read as a bag"):
        import_file(path)
