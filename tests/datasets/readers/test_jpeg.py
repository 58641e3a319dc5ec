"""A frame is whole or it is not, and its size is the one that it decodes to."""

import struct
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl_datasets.readers.jpeg import decoded_size, encode_jpeg, fault_of


def jpeg(height: int = 40, width: int = 56, *options: int) -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", picture, options)[1].tobytes()


def decoded(content: bytes) -> tuple[int, int]:
    height, width = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    return height, width


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.booleans(), st.booleans())
def test_size_is_that_of_the_decoded_picture(
    height: int, width: int, progressive: bool, flat: bool
) -> None:
    picture = np.full((height, width, 3), 90, np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_QUALITY, 1]
    content = cv2.imencode(".jpg", picture, options)[1].tobytes() if flat else jpeg(height, width)
    assert decoded_size(content) == (height, width)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_picture_has_the_size_that_it_decodes_to(orientation: int) -> None:
    tiff = b"II*\0" + struct.pack("<IHHHIIi", 8, 1, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + tiff
    content = jpeg(40, 56)
    turned = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    assert decoded_size(turned) == decoded(turned)
    assert (decoded(turned) == (56, 40)) == (orientation in (6, 8))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8", b"no picture", jpeg()[:-40], jpeg()[: len(jpeg()) // 2], jpeg()[1:]],
)
def test_what_is_not_whole_has_no_size(content: bytes) -> None:
    assert decoded_size(content) is None
    assert fault_of(content, None) == "image is corrupt"


def test_header_that_lies_costs_no_time_and_no_memory() -> None:
    content = bytearray(jpeg(40, 56))
    frame = content.find(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    begin = time.perf_counter()
    assert decoded_size(bytes(content)) is None
    assert time.perf_counter() - begin < 0.1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_never_raise(data: st.DataObject) -> None:
    content = bytearray(jpeg())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    size = decoded_size(bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert size is None or min(size) > 0


def test_encoded_frame_keeps_its_colours() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200  # red, in RGB
    back = cv2.imdecode(np.frombuffer(encode_jpeg(image), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_allclose(back, image, atol=4)


def test_wrong_size_names_both() -> None:
    assert fault_of(jpeg(40, 56), (40, 56)) == ""
    assert fault_of(jpeg(40, 56), (56, 40)) == ("image is 56x40 pixels, the store's are 40x56")
