"""Pictures drawn from a random stream: (height, width, 3) uint8 RGB.

Noise is cut from fields that are drawn once in a process, at a random place and turned at random:
drawing it afresh for every surface would be most of the time that a world takes.
"""

import colorsys
import functools

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.uint8]
Colour = tuple[float, float, float]
Rng = np.random.Generator

_FIELD = 1024  # side of a noise field before it is repeated


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour in [0, 255] from hue, saturation and value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, darker (< 1) or lighter (> 1)."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


@functools.cache
def _noise_field(feature: int) -> Field:
    """Noise about 128 with features of `feature` pixels, repeated twice along either axis."""
    rng = np.random.default_rng(feature)
    side = _FIELD // feature
    coarse = rng.uniform(-1, 1, (side, side)).astype(np.float32)
    wrapped = np.pad(coarse, 2, mode="wrap")
    zoomed = cv2.resize(wrapped, None, fx=feature, fy=feature, interpolation=cv2.INTER_CUBIC)
    inner = zoomed[2 * feature : 2 * feature + _FIELD, 2 * feature : 2 * feature + _FIELD]
    values = np.clip(128 + 127 * inner, 0, 255).astype(np.uint8)
    return np.tile(values, (2, 2))


@functools.cache
def _speckle_field() -> Field:
    fine, coarse = _noise_field(1), np.roll(_noise_field(32), 97, axis=1)
    mixed = 0.45 * fine[:_FIELD, :_FIELD] + 0.55 * coarse[:_FIELD, :_FIELD]
    return np.tile(mixed.astype(np.uint8), (2, 2))


def _window(rng: Rng, field: Field, height: int, width: int) -> Field:
    top, left, turns = rng.integers([_FIELD, _FIELD, 4])
    if turns % 2:
        height, width = width, height
    window = field[top : top + height, left : left + width]
    if window.shape != (height, width):  # larger than the field
        rows, columns = top + np.arange(height), left + np.arange(width)
        window = field[np.ix_(rows % _FIELD, columns % _FIELD)]
    return np.ascontiguousarray(np.rot90(window, turns))


def noise(rng: Rng, height: int, width: int, feature: int) -> Field:
    """Smooth noise about 128 with features of `feature` pixels (a power of two)."""
    return _window(rng, _noise_field(feature), height, width)


def speckled(rng: Rng, height: int, width: int, colour: Colour, amount: float) -> Image:
    """A colour whose brightness varies coarsely and finely by `amount` (0 to 1)."""
    field = _window(rng, _speckle_field(), height, width)
    factor = 1 + amount * (np.arange(256) - 128) / 70
    tables = np.clip(np.asarray(colour)[:, None] * factor, 0, 255).astype(np.uint8)
    return np.asarray(cv2.merge([cv2.LUT(field, table) for table in tables]), dtype=np.uint8)


def paste(image: Image, patch: Image, left: int, top: int) -> None:
    """Draw `patch` into `image`, kept inside its borders."""
    height, width = min(patch.shape[0], image.shape[0]), min(patch.shape[1], image.shape[1])
    left = int(np.clip(left, 0, image.shape[1] - width))
    top = int(np.clip(top, 0, image.shape[0] - height))
    image[top : top + height, left : left + width] = patch[:height, :width]


def panorama(rng: Rng, height: int, width: int, clouds: float) -> Image:
    """Sky as seen from the middle, (elevation 90° to -10°, azimuth): gradient, clouds, hills.

    The hills' colour and the sky's brightness vary with the azimuth, as a far horizon does, so
    that a picture tells something of the heading. `clouds` is the clouded share, in [0, 1].
    """
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    azimuth = np.linspace(0, 2 * np.pi, width, endpoint=False, dtype=np.float32)
    zenith, horizon = np.array([70.0, 125.0, 210.0]), np.array([205.0, 222.0, 235.0])
    sun = np.exp(3 * (np.cos(azimuth - rng.uniform(0, 2 * np.pi)) - 1))[None, :, None]
    image = zenith * (1 - rows) + horizon * rows + sun * rows * np.array([45.0, 20.0, -45.0])
    overlap = width // 6
    field = noise(rng, height, width + overlap, 64).astype(np.float32)
    field += 0.5 * noise(rng, height, width + overlap, 16)
    share = np.linspace(0, 1, overlap, dtype=np.float32)
    field[:, :overlap] = share * field[:, :overlap] + (1 - share) * field[:, width:]
    cover = np.clip(field[:, :width] / 96 - 3.0 + 2.0 * clouds, 0, 0.8)[..., None]
    cover = cover * np.minimum(1, 2.0 * rows)
    image = image * (1 - cover) + 250 * cover
    phases = rng.uniform(0, 2 * np.pi, 4)
    ridge = sum(np.sin((k + 2) * azimuth + p) / (k + 1) for k, p in enumerate(phases))
    tops = height * (0.80 - 0.035 * np.asarray(ridge))
    hues = rng.permutation([0.1, 0.22, 0.33, 0.45, 0.58]) + rng.uniform(-0.05, 0.05, 5)
    colours = np.array([hsv(hue, 0.32, rng.uniform(0.45, 0.7)) for hue in hues])
    place = azimuth / (2 * np.pi) * len(colours)
    first, part = place.astype(int) % len(colours), (place % 1.0)[:, None]
    hills = colours[first] * (1 - part) + colours[(first + 1) % len(colours)] * part
    image = np.where(np.arange(height)[:, None, None] >= tops[None, :, None], hills, image)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
