"""What the ground right in front of the robot looks like, by colour alone.

The detectors of ReViND (Shah et al. 2022, arXiv 2212.08244) as pure functions of frames: they need
no label, and they are crude. Look at some frames of a log before trusting the thresholds with it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nav_offrl.config import Config

Frames = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class TerrainConfig(Config):
    """Thresholds in HSV: hue in degrees, saturation and value from 0 to 1."""

    grass_hue: tuple[float, float] = Field(
        default=(60.0, 170.0), description="deg, from and to: green"
    )
    grass_saturation: float = Field(default=0.2, ge=0, le=1, description="at least")
    grass_value: float = Field(default=0.15, ge=0, le=1, description="at least")
    sunlight_value: float = Field(default=0.8, ge=0, le=1, description="at least")
    share: float = Field(
        default=0.5, ge=0, lt=1, description="of the pixels that must be so, more than this"
    )


def shows_grass(frames: Frames, config: TerrainConfig) -> Flags:
    """Tell of (T, H, W, 3) uint8 RGB frames whether the ground ahead is grass, (T,)."""
    hue, saturation, value = _ground_ahead(frames)
    low, high = config.grass_hue
    green = (hue >= low) & (hue <= high)
    seen = green & (saturation >= config.grass_saturation) & (value >= config.grass_value)
    return _share(seen) > config.share


def shows_sunlight(frames: Frames, config: TerrainConfig) -> Flags:
    """Tell of (T, H, W, 3) uint8 RGB frames whether the ground ahead lies in the sun, (T,)."""
    return _share(_ground_ahead(frames)[2] >= config.sunlight_value) > config.share


def _ground_ahead(frames: Frames) -> NDArray[np.float32]:
    """Return hue (deg), saturation and value of the bottom middle ninth: (3, T, h, w)."""
    height, width = frames.shape[1:3]
    ninth = frames[:, height - height // 3 :, width // 3 : width - width // 3]
    rows = np.ascontiguousarray(ninth, np.float32).reshape(-1, ninth.shape[2], 3) / 255
    hsv = cv2.cvtColor(rows, cv2.COLOR_RGB2HSV)
    return np.moveaxis(hsv.reshape(ninth.shape), -1, 0).astype(np.float32)


def _share(pixels: Flags) -> NDArray[np.floating]:
    share: NDArray[np.floating] = pixels.mean((1, 2))
    return share
