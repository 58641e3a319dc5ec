"""Procedural textures: every picture is (height, width, 3) uint8 RGB and drawn from `rng`."""

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]
Rng = np.random.Generator


def distinct_colours(rng: Rng, count: int, saturation: float, value: float) -> list[Colour]:
    """`count` colours of evenly spaced hue in random order; `value` and channels in [0, 255]."""
    hues = (rng.uniform() + np.arange(count) / count) % 1.0
    return [
        _hsv(hue, saturation, value / 255 * (0.85 if i % 2 else 1.0))
        for i, hue in zip(range(count), rng.permutation(hues), strict=True)
    ]


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def noise(rng: Rng, height: int, width: int, scale: int) -> NDArray[np.float32]:
    """Smooth noise in about [-1, 1] with features of `scale` pixels, (height, width)."""
    coarse = rng.uniform(-1, 1, (max(2, height // scale + 2), max(2, width // scale + 2)))
    resized = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.float32)


def _cyclic_noise(rng: Rng, height: int, width: int, scale: int) -> NDArray[np.float32]:
    """Noise whose right edge continues at its left edge."""
    overlap = width // 6
    wide = noise(rng, height, width + overlap, scale)
    share = np.linspace(0, 1, overlap, dtype=np.float32)
    wide[:, :overlap] = share * wide[:, :overlap] + (1 - share) * wide[:, width:]
    return wide[:, :width]


def speckled(rng: Rng, height: int, width: int, colour: Colour, amount: float) -> Image:
    """A colour whose brightness varies coarsely and finely by `amount` (0 to 1)."""
    fine = rng.uniform(-1, 1, (height, width)).astype(np.float32)
    variation = 1 + amount * (0.6 * noise(rng, height, width, 24) + 0.4 * fine)
    return to_image(np.asarray(colour, dtype=np.float32) * variation[..., None])


def to_image(values: NDArray[np.floating[Any]]) -> Image:
    """Clip to [0, 255] and round."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, darker (< 1) or lighter (> 1)."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


PATTERNS = ("plaster", "brick", "panels", "planks", "stripes", "checks")


def wall_pattern(rng: Rng, height: int, width: int, colour: Colour, pattern: str) -> Image:
    """A wall surface at about 32 pixels a metre."""
    image = speckled(rng, height, width, colour, 0.10)
    dark, light = shade(colour, 0.68), shade(colour, 1.3)
    if pattern == "brick":
        for row, top in enumerate(range(0, height, 8)):
            cv2.line(image, (0, top), (width, top), dark, 1)
            for left in range(8 * (row % 2), width, 16):
                cv2.line(image, (left, top), (left, top + 8), dark, 1)
    elif pattern == "panels":
        for left in range(0, width, 32):
            cv2.line(image, (left, 0), (left, height), dark, 2)
        for top in range(0, height, 40):
            cv2.line(image, (0, top), (width, top), dark, 2)
    elif pattern == "planks":
        for top in range(0, height, 12):
            cv2.line(image, (0, top), (width, top), dark, 2)
    elif pattern == "stripes":
        for left in range(0, width, 40):
            cv2.rectangle(image, (left, 0), (left + 18, height), light, -1)
    elif pattern == "checks":
        for top in range(0, height, 20):
            for left in range(20 * ((top // 20) % 2), width, 40):
                cv2.rectangle(image, (left, top), (left + 19, top + 19), light, -1)
    return image


def facade(
    rng: Rng, height: int, width: int, colour: Colour, pattern: str, accent: Colour
) -> Image:
    """One side of a building: windows of its own size and spacing, a door or a poster."""
    image = wall_pattern(rng, height, width, colour, pattern)
    cv2.rectangle(image, (0, height - 9), (width, height), shade(colour, 0.45), -1)
    cv2.rectangle(image, (0, 0), (width, 5), accent, -1)
    window_width, window_height = int(rng.integers(16, 34)), int(rng.integers(20, 40))
    step = window_width + int(rng.integers(14, 30))
    glass = shade((110, 150, 185), float(rng.uniform(0.5, 1.2)))
    count = max(1, (width - 10) // step)
    margin = (width - count * step) // 2 + (step - window_width) // 2
    special = int(rng.integers(count))
    for i in range(count):
        left = margin + i * step
        if i == special:
            _door_or_poster(rng, image, left + window_width // 2, accent)
            continue
        top = height - 34 - window_height
        _window(image, (left, top, window_width, window_height), glass, accent)
    for left in range(margin, width - window_width, step):
        if height > 96:
            _window(image, (left, 12, window_width, height - 62 - window_height), glass, accent)
    return image


def _window(image: Image, box: tuple[int, int, int, int], glass: Colour, frame: Colour) -> None:
    left, top, width, height = box
    if height < 8:
        return
    cv2.rectangle(image, (left, top), (left + width, top + height), glass, -1)
    cv2.rectangle(image, (left, top), (left + width, top + height), frame, 2)
    cv2.line(image, (left + width // 2, top), (left + width // 2, top + height), frame, 1)


def _door_or_poster(rng: Rng, image: Image, centre: int, accent: Colour) -> None:
    height, width = image.shape[:2]
    if rng.uniform() < 0.5:
        left = int(np.clip(centre - 15, 0, max(0, width - 31)))
        cv2.rectangle(image, (left, height - 66), (left + 30, height), shade(accent, 0.6), -1)
        cv2.rectangle(image, (left, height - 66), (left + 30, height), (235, 235, 235), 2)
        cv2.circle(image, (left + 24, height - 32), 2, (250, 220, 90), -1)
        return
    paste(image, poster(rng, 44, 36), centre - 18, height - 60)


def paste(image: Image, patch: Image, left: int, top: int) -> None:
    """Draw `patch` into `image`, kept inside its borders."""
    height, width = min(patch.shape[0], image.shape[0]), min(patch.shape[1], image.shape[1])
    left = int(np.clip(left, 0, image.shape[1] - width))
    top = int(np.clip(top, 0, image.shape[0] - height))
    image[top : top + height, left : left + width] = patch[:height, :width]


def poster(rng: Rng, height: int, width: int) -> Image:
    """A framed picture of a few bold shapes or a large letter, (height, width, 3)."""
    hue = rng.uniform()
    ground = _hsv(hue, rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0))
    figure = _hsv((hue + rng.uniform(0.3, 0.7)) % 1.0, rng.uniform(0.3, 1.0), 1.0)
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = np.asarray(ground, dtype=np.uint8)
    centre, radius = (width // 2, height // 2), min(width, height) // 3
    kind = int(rng.integers(6))
    if kind == 0:
        cv2.circle(image, centre, radius, figure, -1, cv2.LINE_AA)
    elif kind == 1:
        corners = [
            (centre[0], centre[1] - radius),
            (centre[0] - radius, centre[1] + radius),
            (centre[0] + radius, centre[1] + radius),
        ]
        cv2.fillPoly(image, [np.array(corners)], figure, cv2.LINE_AA)
    elif kind == 2:
        for left in range(-height, width, max(6, width // 4)):
            thickness = max(3, width // 10)
            cv2.line(image, (left, height), (left + height, 0), figure, thickness, cv2.LINE_AA)
    elif kind == 3:
        cv2.rectangle(image, (0, height // 3), (width, 2 * height // 3), figure, -1)
    else:
        _letter(rng, image, figure)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), (245, 245, 245), 2)
    return image


def _letter(rng: Rng, image: Image, colour: Colour) -> None:
    height, width = image.shape[:2]
    letter = "ABCDEFGHKMNPRSTXZ23456789"[int(rng.integers(25))]
    scale = min(height / 30, width / 24)
    (text_width, text_height), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_DUPLEX, scale, 3)
    origin = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(image, letter, origin, cv2.FONT_HERSHEY_DUPLEX, scale, colour, 3, cv2.LINE_AA)


def panorama(rng: Rng, height: int, width: int) -> Image:
    """Sky as seen from the middle, (elevation 90° to -10°, azimuth): gradient, clouds, hills.

    The hills' colour and the sky's brightness vary with the azimuth, as a far horizon does, so
    that a picture tells something of the heading.
    """
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    azimuth = np.linspace(0, 2 * np.pi, width, dtype=np.float32)
    zenith, horizon = np.array([70, 125, 210]), np.array([205, 222, 235])
    image = (zenith * (1 - rows) + horizon * rows).astype(np.float32) * np.ones((1, width, 1))
    sun = np.exp(3 * (np.cos(azimuth - rng.uniform(0, 2 * np.pi)) - 1))[None, :, None]
    image = image + sun * rows * np.array([45.0, 20.0, -45.0])
    clouds = _cyclic_noise(rng, height, width, 60) + 0.5 * _cyclic_noise(rng, height, width, 22)
    cover = np.clip(clouds - 0.15, 0, 0.8)[..., None] * np.minimum(1, 2.0 * rows)
    sky = to_image((image * (1 - cover) + 250 * cover).astype(np.float32))
    phases = rng.uniform(0, 2 * np.pi, 4)
    ridge = sum(np.sin((k + 2) * azimuth + p) / (k + 1) for k, p in enumerate(phases))
    tops = height * 0.80 - height * 0.035 * np.asarray(ridge)
    hills = np.asarray(distinct_colours(rng, 5, 0.35, 158))
    for column in range(width):
        sky[int(tops[column]) :, column] = _cyclic(hills, column / width)
    return sky


def _cyclic(colours: NDArray[np.float64], position: float) -> NDArray[np.float64]:
    place = position * len(colours)
    first, share = int(place) % len(colours), place % 1.0
    mixed: NDArray[np.float64] = (
        colours[first] * (1 - share) + colours[(first + 1) % len(colours)] * share
    )
    return mixed
