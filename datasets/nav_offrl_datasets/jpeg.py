"""Reading camera frames as they lie on disk, with a check that they are whole."""

from pathlib import Path

import cv2
import numpy as np

Size = tuple[int, int]  # height, width in pixels


def read_jpeg(path: Path, size: Size | None) -> tuple[bytes | None, str]:
    """Return the bytes of a frame as they are and "", or None and the fault.

    `size`: what the frame must have; None admits any.
    """
    try:
        jpeg = path.read_bytes()
    except FileNotFoundError:
        return None, "image is missing"
    except OSError as error:
        return None, f"image cannot be read ({error.strerror})"
    shape = decoded_size(jpeg)
    if shape is None:
        return None, "image is corrupt"
    if size is not None and shape != size:
        return None, f"image is {shape[1]}x{shape[0]} pixels, the store's are {size[1]}x{size[0]}"
    return jpeg, ""


def decoded_size(jpeg: bytes) -> Size | None:
    """Return (height, width) of a whole JPEG, None of anything else.

    libjpeg fills what is missing of a truncated picture with grey and reports success, so the
    end marker after the last start of scan is looked for as well.
    """
    if jpeg[:2] != b"\xff\xd8" or jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda"):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else (image.shape[0], image.shape[1])
