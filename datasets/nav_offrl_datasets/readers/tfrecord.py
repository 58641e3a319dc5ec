"""Reads TFRecord files of `tf.Example` messages without TensorFlow.

Framing (tensorflow/core/lib/io/record_writer.h): u64 length, u32 masked CRC-32C of the length,
data, u32 masked CRC-32C of the data, all little-endian; no compression. Messages are in the
protobuf wire format (tensorflow/core/example/example.proto):

    Example  { Features features = 1; }
    Features { map<string, Feature> feature = 1; }  // entry: key = 1, value = 2
    Feature  { oneof { BytesList bytes_list = 1; FloatList ...; Int64List ...; } }
    BytesList { repeated bytes value = 1; }

What is returned are views into the file's bytes: a length that a file declares never allocates.
"""

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from nav_offrl.errors import NavOffrlError

HEADER_BYTES, FOOTER_BYTES = 12, 4
MASK_DELTA = 0xA282EAD8
MAX_FEATURES = 1000  # of an example; a view of a feature takes more memory than its bytes
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


def masked_crc(data: memoryview | bytes) -> int:
    """Return the CRC-32C of `data` as record files hold it: rotated by 15 bits, with an offset."""
    crc = int(google_crc32c.value(bytes(data)))
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def is_tfrecord(path: Path) -> bool:
    """Tell by its first bytes whether `path` is a TFRecord file with at least one record."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError:
        return False
    return len(header) == HEADER_BYTES and _length(memoryview(header), 0) is not None


def read_records(path: Path) -> tuple[list[memoryview], list[str]]:
    """Return the whole records of a file, and a line on each place where one is lost.

    Raises:
        NavOffrlError: the file cannot be read, or does not begin with a record.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise NavOffrlError(f"cannot be read ({error.strerror})", where=path) from error
    records, faults, at = [], [], 0
    while at < len(content):
        length = _length(content, at)
        if length is None:
            faults.append(f"byte {at}: no record begins here, the rest of the file is lost")
            break
        start = at + HEADER_BYTES
        at = start + length + FOOTER_BYTES
        if at > len(content):
            faults.append(f"byte {start - HEADER_BYTES}: the file ends within a record")
            break
        record = content[start : start + length]
        if int.from_bytes(content[at - FOOTER_BYTES : at], "little") == masked_crc(record):
            records.append(record)
        else:
            faults.append(f"byte {start - HEADER_BYTES}: the checksum of a record is wrong")
    if not records and (faults or not content):
        raise NavOffrlError(
            f"holds no whole TFRecord ({faults[0] if faults else 'it is empty'})",
            where=path,
            remedy="copy it again",
        )
    return records, faults


def _length(content: memoryview, at: int) -> int | None:
    """Return the length that the record at byte `at` declares, None where no header is."""
    header = content[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
        return None
    length, crc = struct.unpack("<QI", header)
    return int(length) if masked_crc(header[:8]) == crc else None


def bytes_features(example: memoryview) -> dict[str, memoryview]:
    """Return the features of a `tf.Example` that are one byte string; others are left out.

    Raises:
        NavOffrlError: the message is malformed.
    """
    features: dict[str, memoryview] = {}
    try:
        for entry in _entries(example):
            key = b"".join(_submessages(entry, 1)).decode()
            values = list(itertools.islice(_values(entry), 2))
            if len(values) == 1:
                features[key] = values[0]
            if len(features) > MAX_FEATURES:
                raise ValueError(f"more than {MAX_FEATURES} features")
    except (IndexError, ValueError) as error:
        raise NavOffrlError(f"is no tf.Example ({error})") from error
    return features


def _entries(example: memoryview) -> Iterator[memoryview]:
    for features in _submessages(example, 1):
        yield from _submessages(features, 1)


def _values(entry: memoryview) -> Iterator[memoryview]:
    for feature in _submessages(entry, 2):
        for bytes_list in _submessages(feature, 1):
            yield from _submessages(bytes_list, 1)


def _submessages(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the length-delimited fields `number` of a message, in their order."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _LENGTH_DELIMITED:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(message):
            raise ValueError("a field is longer than its message")
        if kind == _LENGTH_DELIMITED and tag >> 3 == number:
            yield message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the base-128 number at byte `at`, and the byte after it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
