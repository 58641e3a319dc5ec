"""Export for a camera of another size than the one that recorded the drives."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError

ASPECT_TOLERANCE = 0.02  # relative


def fit_camera(
    contract_fields: Mapping[str, Any],
    images: NDArray[np.uint8],
    height: int | None,
    width: int | None,
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Set the camera's size (pixels) in the contract's fields, and bring the frames to it.

    The encoder resizes any frame to its own size inside the graph; the frames, (N, H, W, 3), only
    serve to compare ONNX Runtime with torch, so any resize will do for them.

    Raises:
        NavOffrlError: the picture would be squeezed, and so look unlike the training data.
    """
    camera = dict(contract_fields["camera"])
    wanted = (height or camera["height"], width or camera["width"])
    if wanted == (camera["height"], camera["width"]):
        return dict(contract_fields), images
    recorded_aspect = camera["width"] / camera["height"]
    if wanted[0] < 1 or abs(wanted[1] / wanted[0] / recorded_aspect - 1.0) > ASPECT_TOLERANCE:
        raise NavOffrlError(
            f"{wanted[0]}x{wanted[1]} has another aspect ratio than the drives, "
            f"{camera['height']}x{camera['width']} (height x width)",
            where="--camera-height, --camera-width",
            remedy="give both, and crop the camera's frames to the drives' aspect ratio",
        )
    resized = [cv2.resize(image, (wanted[1], wanted[0])) for image in images]
    camera |= {"height": wanted[0], "width": wanted[1]}
    return {**contract_fields, "camera": camera}, np.stack(resized).astype(np.uint8)
