"""Camera frames as JPEG: checked to be whole, encoded where raw."""

import cv2
import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]  # height, width in pixels

QUALITY = 95
# A block of 8x8 pixels takes a bit at least, in progressive files too; with the colours at half
# the resolution that is less than 512 pixels a byte. More is a header that lies.
PIXELS_PER_BYTE = 512
STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD8)}
FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def fault_of(jpeg: bytes, size: Size | None) -> str:
    """Return "" for a whole JPEG of `size` (None: of any), else what is wrong with it."""
    shape = decoded_size(jpeg)
    if shape is None:
        return "image is corrupt"
    if size is not None and shape != size:
        return f"image is {shape[1]}x{shape[0]} pixels, the store's are {size[1]}x{size[0]}"
    return ""


def decoded_size(jpeg: bytes) -> Size | None:
    """Return (height, width) of a whole JPEG as it decodes, None of anything else.

    libjpeg fills what is missing of a truncated picture with grey and reports success, so the
    end marker after the last start of scan is looked for as well. Every byte goes through the
    decoder, but at an eighth of the size: quicker, and a lying header costs little memory.
    """
    if jpeg[:2] != b"\xff\xd8" or jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda"):
        return None
    declared = _declared_size(jpeg)
    if declared is None or not 0 < declared[0] * declared[1] <= PIXELS_PER_BYTE * len(jpeg):
        return None
    try:
        small = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    except cv2.error:
        return None
    if small is None:
        return None
    height, width = declared
    turned = small.shape[:2] != (-(-height // 8), -(-width // 8))  # by its EXIF orientation
    return (width, height) if turned else (height, width)


def _declared_size(jpeg: bytes) -> Size | None:
    """Return (height, width) from the first frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker in FRAME_MARKERS:
            return int.from_bytes(jpeg[at + 5 : at + 7]), int.from_bytes(jpeg[at + 7 : at + 9])
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in STANDALONE_MARKERS:
            at += 2
        else:
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return None


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return `image` (H, W, 3) uint8 RGB as a JPEG of quality 95."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
