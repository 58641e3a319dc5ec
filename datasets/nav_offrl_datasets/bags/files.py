"""Files of ROS bags: which belong together, and reading their messages without trusting them.

rosbags reads the three containers (ROS 1 bag, rosbag2 sqlite3 and mcap). Two things of it are not
used: its `AnyReader`, which turns the message definitions that a bag carries into Python code and
runs that (every message read here is a standard one, and its hash is compared instead); and its
decompression, which is bounded here by the size that a chunk declares.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.bags.limits import (
    bound_chunks,
    bounded,
    check_ros1_index,
    check_unlike,
    decompressed,
    limit_of,
    zstd,
)
from nav_offrl_datasets.bags.messages import TRANSFORMS, TYPES, UnusableError
from nav_offrl_datasets.importing.run import Source

SUFFIXES = (".bag", ".db3", ".mcap", ".db3.zstd", ".mcap.zstd", ".bag.active")
METADATA = "metadata.yaml"
MAX_METADATA = 16 << 20  # bytes
# rosbag record --split and ros2 bag record: [NAME_][DATE_]0.bag, [NAME_][DATE_]1.bag, ...
PART = re.compile(r"(?P<stem>.*?)(?P<date>_?\d{4}(-\d\d){5})?_(?P<index>\d{1,6})")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LATEST = 1 << 62  # ns; a later time stamp is none

REMEDIES = {
    ".bag": "if it is a ROS 1 bag that was cut short, `rosbag reindex FILE` mends it",
    ".active": "it was not closed: rename it to .bag and run `rosbag reindex FILE`",
    ".mcap": "if it was cut short, `mcap recover FILE -o NEW.mcap` mends it, then, for a folder, "
    "`ros2 bag reindex FOLDER`",
    ".db3": "if it was cut short, `sqlite3 FILE .recover | sqlite3 NEW.db3` mends it, then "
    "`ros2 bag reindex FOLDER`",
}


@dataclass(frozen=True)
class Topic:
    """One topic of a bag. `standard`: of a type that is read here, by its usual definition."""

    name: str
    type: str
    count: int
    standard: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.type}, {self.count} messages)"


def find_bags(path: Path) -> tuple[list[Source], list[str]]:
    """Return the bags at or under `path` in order of their names, and files that are none.

    A folder with a metadata.yaml is one bag; so are the parts of a recording that was split.

    Raises:
        NavOffrlError: there is no bag.
    """
    if path.is_file():
        if path.name == METADATA:
            return find_bags(path.parent)
        return [Source(_without_suffix(path.name), (path,))], []
    everything = sorted(entry for entry in path.rglob("*") if entry.is_file())
    files = [file for file in everything if _is_bag(file)]
    if not files:
        raise NavOffrlError(
            f"holds no bag ({', '.join(SUFFIXES)})", where=path, remedy="check the path"
        )
    folders = {file.parent for file in everything if file.name == METADATA}
    groups = [
        [file for file in files if file.parent == folder] for folder in sorted(folders)
    ] + _joined([file for file in files if file.parent not in folders])
    sources = [_source(group, path, group[0].parent in folders) for group in groups if group]
    known = {*files, *(folder / METADATA for folder in folders)}
    unknown = [file.relative_to(path).as_posix() for file in everything if file not in known]
    return sorted(sources, key=lambda source: source.name), unknown


def looks_like_bag(path: Path) -> bool:
    """Tell by the file's name, or those under the folder, whether there is a bag at `path`."""
    if path.is_file():
        return _is_bag(path) or path.name == METADATA
    return any(_is_bag(entry) for entry in path.rglob("*"))


def _source(group: list[Path], path: Path, is_folder: bool) -> Source:
    inside = group[0].parent.relative_to(path).as_posix()
    if is_folder:
        name = path.resolve().name if inside == "." else inside
        return Source(name, tuple(group), key=_missing(group[0].parent))
    name = _without_suffix(group[0].name)
    part = PART.fullmatch(name)
    if len(group) > 1 and part:
        name = f"{part['stem']}{part['date'] or ''}"
    return Source(name if inside == "." else f"{inside}/{name}", tuple(group))


def _is_bag(file: Path) -> bool:
    return file.name.lower().endswith(SUFFIXES)


def _without_suffix(name: str) -> str:
    return re.sub(r"(?i)(\.bag|\.db3|\.mcap)(\.zstd|\.active)?$", "", name) or name


def _joined(files: Sequence[Path]) -> list[list[Path]]:
    """Return the files in groups: the parts 0, 1, 2, ... of one recording together."""

    def order(file: Path) -> tuple[str, str, str, int]:
        part = PART.fullmatch(_without_suffix(file.name))
        if part is None:
            return str(file.parent), file.name, "", 0
        return str(file.parent), part["stem"], part["date"] or "", int(part["index"])

    groups: list[list[Path]] = []
    for file in sorted(files, key=order):
        before = groups[-1] if groups else []
        if before and order(file)[:2] == order(before[0])[:2]:
            follows = order(file)[3] == len(before) and order(before[0])[3] == 0
            if follows and file.suffix == before[0].suffix:
                before.append(file)
                continue
        groups.append([file])
    return groups


def _missing(folder: Path) -> str:
    """Return the names of files that a folder's metadata.yaml lists and that are not there."""
    file = folder / METADATA
    try:
        if file.stat().st_size > MAX_METADATA:
            return ""
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        listed = content["rosbag2_bagfile_information"]["relative_file_paths"]
        names = [Path(str(name)).name for name in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return ""  # the files say all that is needed
    present = {entry.name for entry in folder.iterdir()}
    return ", ".join(n for n in names if n not in present and f"{n}.zstd" not in present)


class Bag:
    """The messages of one recording, in one file or several parts; a context manager.

    Raises:
        NavOffrlError: on entering and reading, for any damage; names the file and the remedy.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._stack = ExitStack()
        self._readers: list[tuple[Path, Any]] = []
        self.ros1 = files[0].name.lower().endswith((".bag", ".active"))
        self.topics: dict[str, Topic] = {}
        self.duration = 0.0  # s

    def __enter__(self) -> "Bag":
        try:
            for file in self._files:
                with _damage_named(file):
                    self._readers.append((file, self._stack.enter_context(self._opened(file))))
            with _damage_named(self._files[0]):
                self._list_topics()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _opened(self, file: Path) -> Any:
        if file.stat().st_size == 0:
            raise NavOffrlError("is empty", where=file, remedy="leave it out")
        if file.name.lower().endswith(".active"):
            raise NavOffrlError("is no closed bag", where=file, remedy=_remedy(file))
        if self.ros1:
            check_ros1_index(file)
            return rosbag1.Reader(file)
        journal = file.with_name(file.name + "-wal")
        if journal.is_file() and journal.stat().st_size:
            raise NavOffrlError(
                f"has messages in {journal.name} that are not in the file yet",
                where=file,
                remedy=f"sqlite3 {file.name} 'PRAGMA wal_checkpoint(TRUNCATE)'",
            )
        if file.suffix.lower() == ".zstd":
            folder = self._stack.enter_context(TemporaryDirectory())
            file = decompressed(file, Path(folder) / _without_zstd(file.name))
        return rosbag2.Reader(file)

    def _list_topics(self) -> None:
        connections = [c for _, reader in self._readers for c in reader.connections]
        for connection in connections:
            name, kind = str(connection.topic), str(connection.msgtype)
            count = int(connection.msgcount)
            known = self.topics.get(name)
            if known is None:
                standard = self._is_standard(kind, str(connection.digest))
                self.topics[name] = Topic(name, kind, count, standard)
            elif known.type == kind:
                self.topics[name] = Topic(name, kind, known.count + count, known.standard)
        for file, reader in self._readers:
            if self.ros1:
                bound_chunks(reader, file.stat().st_size)
            else:
                chunks = getattr(reader.storage, "chunks", [])
                check_unlike([chunk.chunk_start_offset for chunk in chunks])
        counted = [reader for _, reader in self._readers if reader.message_count]
        if counted:
            start = min(reader.start_time for reader in counted)
            self.duration = max(0, max(r.end_time for r in counted) - start) * 1e-9

    def _is_standard(self, kind: str, digest: str) -> bool:
        if not any(kind in types for types in TYPES.values()):
            return False
        return digest in ("", "*", _hash(kind, self.ros1))

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield `(topic, log time ns, serialised message)` of some topics, part after part."""
        for file, reader in self._readers:
            wanted = [
                connection
                for connection in reader.connections
                if connection.topic in names
                and connection.msgtype == self.topics[connection.topic].type
            ]
            if not wanted:
                continue
            with _damage_named(file):
                for connection, time, data in reader.messages(connections=wanted):
                    if type(time) is not int or not -LATEST < time < LATEST:
                        raise ValueError(f"a message's time is {time!r}"[:80])
                    yield connection.topic, time, self._plain(data)

    def _plain(self, data: Any) -> bytes:
        """Return a message decompressed where rosbag2 was told to compress each by itself."""
        if not isinstance(data, bytes):
            raise ValueError(f"a message is {type(data).__name__}, not bytes")
        if self.ros1 or not data.startswith(ZSTD_MAGIC):
            return data
        return bounded(zstd.ZstdDecompressor(), data, limit_of(len(data)))

    def decode(self, topic: str, data: bytes) -> Any:
        """Return a message of a standard type.

        Raises:
            UnusableError: the bytes are no such message.
        """
        store = _typestore(self.ros1)
        kind = self.topics[topic].type
        try:
            if self.ros1:
                return store.deserialize_ros1(data, kind)
            return store.deserialize_cdr(data, kind)
        except Exception as error:  # whatever generated code may raise on damaged bytes
            raise UnusableError(f"cannot be decoded ({error})"[:200]) from error


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn what rosbags raises on damage, which is anything, into an error that names `file`."""
    try:
        yield
    except (NavOffrlError, UnusableError):
        raise
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise NavOffrlError(
            f"cannot be read as a bag ({detail})", where=file, remedy=_remedy(file)
        ) from error


def _remedy(file: Path) -> str:
    name = _without_zstd(file.name).lower()
    fitting = [text for suffix, text in REMEDIES.items() if name.endswith(suffix)]
    return fitting[0] if fitting else "give a .bag, .db3 or .mcap file"


def _without_zstd(name: str) -> str:
    return name[: -len(".zstd")] if name.lower().endswith(".zstd") else name


@cache
def _typestore(ros1: bool) -> Any:
    if not ros1:
        return get_typestore(Stores.ROS2_HUMBLE)
    store = get_typestore(Stores.ROS1_NOETIC)
    # rosbags knows it of ROS 2 alone.
    store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TRANSFORMS))
    return store


@cache
def _hash(kind: str, ros1: bool) -> str:
    """Return the hash of the usual definition of a type: ROS 1's md5 sum, or REP-2011's RIHS01."""
    store = _typestore(ros1)
    return str(store.generate_msgdef(kind)[1] if ros1 else store.hash_rihs01(kind))
