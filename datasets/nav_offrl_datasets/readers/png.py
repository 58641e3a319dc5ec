"""Frames that a log stores as PNG: checked, decoded, and encoded once as JPEG."""

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_datasets.readers.jpeg import encode_jpeg

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Deflate packs at most about a thousand bytes into one (RFC 1951: 258 bytes by two bits).
PIXELS_PER_BYTE = 1032


def is_png(content: bytes) -> bool:
    """Tell a PNG by its signature."""
    return content.startswith(SIGNATURE)


def png_to_jpeg(content: bytes) -> tuple[bytes | None, str]:
    """Return a whole PNG as a JPEG of quality 95 and "", or None and the fault."""
    image = decode_png(content)
    return (encode_jpeg(image), "") if image is not None else (None, "image is corrupt")


def decode_png(content: bytes) -> NDArray[np.uint8] | None:
    """Return a whole PNG as uint8 (H, W, 3) RGB, None of anything else.

    Chunks are checked before anything is decoded: OpenCV's reader allocates what a damaged length
    declares, gigabytes at worst. Animations are refused.
    """
    if not _is_whole(content):
        return None
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if not 0 < width * height <= PIXELS_PER_BYTE * len(content):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    if image is None or image.shape != (height, width, 3):
        return None
    return image.astype(np.uint8, copy=False)


def _is_whole(content: bytes) -> bool:
    """Tell whether chunks with the right checksums lead from IHDR to IEND (RFC 2083, section 3)."""
    at, kind = len(SIGNATURE), b""
    if not is_png(content) or content[at : at + 8] != b"\0\0\0\x0dIHDR":
        return False
    while kind != b"IEND":
        size = int.from_bytes(content[at : at + 4])
        kind, end = content[at + 4 : at + 8], at + 8 + size
        if end + 4 > len(content) or kind == b"acTL":
            return False
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4]):
            return False
        at = end + 4
    return True
