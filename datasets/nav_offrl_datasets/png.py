"""Frames that a log stores as PNG: checked, decoded, and encoded once as JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_datasets.jpeg import encode_jpeg

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

    What the header declares is held against the file's size before anything is decoded, and the
    end chunk is looked for: libpng fills what is missing of a truncated picture.
    """
    if not is_png(content) or content[12:16] != b"IHDR" or b"IEND" not in content[-12:]:
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
