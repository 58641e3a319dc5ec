"""TFRecord framing and tf.Example, against protobuf's own writer and a checksum made here."""

import struct
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.readers.tfrecord import (
    bytes_features,
    is_tfrecord,
    masked_crc,
    read_records,
)

CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, bits reversed


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | (crc & 0x7FFF) << 17) + 0xA282EAD8) % 2**32


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def example_class() -> Any:
    """Return the message class of tensorflow/core/example/example.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    repeated, optional, message = 3, 1, 11
    for name, type_ in (("BytesList", 12), ("FloatList", 2), ("Int64List", 3)):
        file.message_type.add(name=name).field.add(
            name="value", number=1, label=repeated, type=type_
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), 1):
        feature.field.add(
            name=name.lower(),
            number=number,
            label=optional,
            type=message,
            type_name=f".t.{name}",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=optional, type=9)
    entry.field.add(name="value", number=2, label=optional, type=message, type_name=".t.Feature")
    features.field.add(
        name="feature",
        number=1,
        label=repeated,
        type=message,
        type_name=".t.Features.FeatureEntry",
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, label=optional, type=message, type_name=".t.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


Example = example_class()


def test_the_checksum_is_the_published_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4
    assert masked_crc(b"123456789") == masked(b"123456789")
    # 0xe3069283 rotated right by 15 bits is 0x2507c60d.
    assert masked(b"123456789") == 0x2507C60D + 0xA282EAD8


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_records_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    path.write_bytes(b"".join(map(framed, contents)))
    if not contents:
        with pytest.raises(NavOffrlError, match="it is empty"):
            read_records(path)
        return
    records, faults = read_records(path)
    assert [bytes(record) for record in records] == contents and faults == []
    assert is_tfrecord(path)


@pytest.mark.parametrize(
    ("spoil", "kept", "says"),
    [
        (lambda data: data[:-1], [b"one", b"two"], "byte 38: the file ends within a record"),
        (lambda data: data[:40], [b"one", b"two"], "byte 38: no record begins here"),
        (lambda data: data[:32] + b"X" + data[33:], [b"one", b"three"], "byte 19: the checksum"),
        (lambda data: data[:20] + b"X" + data[21:], [b"one"], "byte 19: no record begins here"),
    ],
)
def test_what_is_lost_is_told_of(tmp_path: Path, spoil: Any, kept: list[bytes], says: str) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(spoil(framed(b"one") + framed(b"two") + framed(b"three")))
    records, faults = read_records(path)
    assert [bytes(record) for record in records] == kept
    assert len(faults) == 1 and faults[0].startswith(says)


def test_a_declared_length_never_allocates(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**62)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + struct.pack("<I", masked(length)) + b"short")
    with pytest.raises(NavOffrlError, match="holds no whole TFRecord"):
        read_records(path)


@given(st.dictionaries(st.text(max_size=12), st.binary(max_size=300), max_size=6))
def test_features_are_those_that_protobuf_wrote(features: dict[str, bytes]) -> None:
    example = Example()
    for key, value in features.items():
        example.features.feature[key].byteslist.value.append(value)
    read = bytes_features(memoryview(example.SerializeToString()))
    assert {key: bytes(value) for key, value in read.items()} == features


def test_features_of_other_kinds_are_left_out() -> None:
    example = Example()
    example.features.feature["one"].byteslist.value.append(b"1")
    example.features.feature["two"].byteslist.value.extend([b"1", b"2"])
    example.features.feature["none"].byteslist.SetInParent()
    example.features.feature["number"].int64list.value.append(7)
    example.features.feature["float"].floatlist.value.append(7.5)
    assert bytes_features(memoryview(example.SerializeToString())) == {"one": b"1"}


@given(st.binary(max_size=40), st.integers(0, 60), st.booleans())
def test_damaged_messages_are_refused_or_read(junk: bytes, at: int, overwrite: bool) -> None:
    example = Example()
    example.features.feature["images/rgb_left"].byteslist.value.append(bytes(50))
    whole = example.SerializeToString()
    end = at + len(junk) if overwrite else at
    try:
        features = bytes_features(memoryview(whole[:at] + junk + whole[end:]))
    except NavOffrlError as error:
        assert "is no tf.Example" in str(error)
    else:
        assert all(len(value) <= len(whole) + len(junk) for value in features.values())


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of more than 64 bits
        b"\x0a\x05\x0a",  # a field longer than its message
        b"\x0b",  # a group, which no one writes any more
        b"\x80",  # a number that does not end
    ],
)
def test_malformed_messages_are_refused(message: bytes) -> None:
    with pytest.raises(NavOffrlError, match=r"is no tf\.Example"):
        bytes_features(memoryview(message))


def test_the_number_of_features_is_bounded() -> None:
    example = Example()
    for index in range(1001):
        example.features.feature[str(index)].byteslist.value.append(b"")
    with pytest.raises(NavOffrlError, match="more than 1000 features"):
        bytes_features(memoryview(example.SerializeToString()))
