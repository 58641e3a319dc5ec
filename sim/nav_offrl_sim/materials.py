"""Pictures of materials: what each pattern of a `MaterialConfig` looks like."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl_sim.library import MaterialConfig, Rgb
from nav_offrl_sim.textures import Colour, Field, Image, Rng, hsv, noise, paste, shade, speckled

Painter = Callable[[Rng, int, int, Colour, float], Image]


def paint_variants(rng: Rng, material: MaterialConfig) -> list[Image]:
    """The material's pictures for one world, each (height, width, 3)."""
    width, height = material.pixels
    paint = PAINTERS[material.pattern]
    return [
        paint(rng, height, width, colour, material.contrast)
        for colour in _colours(rng, material, material.variants)
    ]


def paint_area(rng: Rng, material: MaterialConfig, height: int, width: int) -> Image:
    """The material over an area of ground: its colours in large spots, its pattern repeated."""
    colours = _colours(rng, material, max(1, len(material.colours)))
    image = speckled(rng, height, width, colours[0], material.contrast)
    for colour in colours[1:]:
        spots = noise(rng, height, width, 128) > 128 + 40 // len(colours)
        cv2.copyTo(speckled(rng, height, width, colour, material.contrast), _mask(spots), dst=image)
    step_x, step_y = material.pixels
    dark = shade(colours[0], 0.7)
    if material.pattern == "checks":
        other = speckled(rng, height, width, dark, material.contrast)
        rows, columns = np.arange(height) // step_y, np.arange(width) // step_x
        cv2.copyTo(other, _mask((rows[:, None] + columns) % 2 == 0), dst=image)
    if material.pattern in ("tiles", "planks"):
        image[::step_y] = _pixel(dark)
    if material.pattern == "tiles":
        image[:, ::step_x] = _pixel(dark)
    if material.pattern == "stripes":
        image[(np.arange(height) // step_y) % 2 == 0] = _pixel(dark)
    return image


def _mask(where: NDArray[np.bool_]) -> Field:
    return where.astype(np.uint8)


def _pixel(colour: Colour) -> NDArray[np.uint8]:
    return np.array(colour).astype(np.uint8)


def _colours(rng: Rng, material: MaterialConfig, count: int) -> list[Colour]:
    """Colours of `count` pictures: those given, each in turn and slightly off, or any hue."""
    if not material.colours:
        first = rng.uniform()
        hues = first + rng.permutation(count) / count
        return [
            hsv(hue % 1.0, material.saturation, material.value * rng.uniform(0.75, 1.0))
            for hue in hues
        ]
    given: list[Rgb] = [material.colours[i % len(material.colours)] for i in range(count)]
    order = rng.permutation(count) if len(material.colours) >= count else range(count)
    return [_off(rng, given[int(i)]) for i in order]


def _off(rng: Rng, colour: Rgb) -> Colour:
    red, green, blue = np.clip(
        np.array(colour) * rng.uniform(0.9, 1.08) * rng.uniform(0.98, 1.02, 3), 0, 255
    )
    return float(red), float(green), float(blue)


def _plain(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = _pixel(colour)
    return image


def _speckle(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    return speckled(rng, height, width, colour, contrast)


def _bricks(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image, dark = speckled(rng, height, width, colour, contrast), shade(colour, 0.68)
    for row, top in enumerate(range(0, height, 8)):
        cv2.line(image, (0, top), (width, top), dark, 1)
        for left in range(8 * (row % 2), width, 16):
            cv2.line(image, (left, top), (left, top + 8), dark, 1)
    return image


def _panels(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image, dark = speckled(rng, height, width, colour, contrast), shade(colour, 0.68)
    for left in range(0, width, 24):
        cv2.line(image, (left, 0), (left, height), dark, 2)
    for top in range(0, height, 32):
        cv2.line(image, (0, top), (width, top), dark, 2)
    return image


def _planks(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image, dark = speckled(rng, height, width, colour, contrast), shade(colour, 0.68)
    for top in range(0, height, 10):
        cv2.line(image, (0, top), (width, top), dark, 2)
    return image


def _tiles(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image, dark = speckled(rng, height, width, colour, contrast), shade(colour, 0.7)
    image[::12] = image[:, ::12] = _pixel(dark)
    return image


def _stripes(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image, light = speckled(rng, height, width, colour, contrast), shade(colour, 1.3)
    for left in range(0, width, 24):
        cv2.rectangle(image, (left, 0), (left + 11, height), light, -1)
    return image


def _checks(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image, light = speckled(rng, height, width, colour, contrast), shade(colour, 1.3)
    for top in range(0, height, 16):
        for left in range(16 * ((top // 16) % 2), width, 32):
            cv2.rectangle(image, (left, top), (left + 15, top + 15), light, -1)
    return image


def _facade(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """A side of a building: a wall of some pattern, rows of windows, a door or a poster."""
    wall = (_bricks, _panels, _planks, _stripes, _speckle)[int(rng.integers(5))]
    image = wall(rng, height, width, colour, contrast)
    accent = hsv(rng.uniform(), 0.8, 0.75)
    glass = shade((110, 150, 185), float(rng.uniform(0.5, 1.2)))
    cv2.rectangle(image, (0, height - 7), (width, height), shade(colour, 0.45), -1)
    cv2.rectangle(image, (0, 0), (width, 4), accent, -1)
    size = int(rng.integers(11, 20)), int(rng.integers(14, 24))
    step = size[0] + int(rng.integers(8, 18))
    count = max(1, (width - 4) // step)
    margin = (width - count * step + step - size[0]) // 2
    special = int(rng.integers(count))
    for row, top in enumerate(range(height - 22 - size[1], 6, -(size[1] + 12))):
        for i in range(count):
            left = margin + i * step
            if row > 0 or i != special:
                cv2.rectangle(image, (left, top), (left + size[0], top + size[1]), glass, -1)
                cv2.rectangle(image, (left, top), (left + size[0], top + size[1]), accent, 2)
    _door(rng, image, margin + special * step + size[0] // 2, accent)
    return image


def _door(rng: Rng, image: Image, centre: int, accent: Colour) -> None:
    height, width = image.shape[:2]
    if rng.uniform() < 0.5:
        paste(image, _poster(rng, 30, 24, accent, 0.0), centre - 12, height - 44)
        return
    left, top = int(np.clip(centre - 10, 0, max(0, width - 22))), max(2, height - 46)
    cv2.rectangle(image, (left, top), (left + 20, height), shade(accent, 0.6), -1)
    cv2.rectangle(image, (left, top), (left + 20, height), (235, 235, 235), 2)
    cv2.circle(image, (left + 16, height - 22), 2, (250, 220, 90), -1)


def _poster(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """A framed picture of a few bold shapes or a large letter."""
    hue = rng.uniform()
    figure = hsv((hue + rng.uniform(0.3, 0.7)) % 1.0, rng.uniform(0.3, 1.0), 1.0)
    image = _plain(rng, height, width, hsv(hue, rng.uniform(0.5, 1), rng.uniform(0.5, 1)), 0.0)
    (x, y), radius = (width // 2, height // 2), min(width, height) // 3
    kind = int(rng.integers(6))
    if kind == 0:
        cv2.circle(image, (x, y), radius, figure, -1, cv2.LINE_AA)
    elif kind == 1:
        corners = np.array([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)])
        cv2.fillPoly(image, [corners], figure, cv2.LINE_AA)
    elif kind == 2:
        for left in range(-height, width, max(6, width // 4)):
            thickness = max(3, width // 10)
            cv2.line(image, (left, height), (left + height, 0), figure, thickness, cv2.LINE_AA)
    elif kind == 3:
        cv2.rectangle(image, (0, height // 3), (width, 2 * height // 3), figure, -1)
    else:
        _write(image, "ABCDEFGHKMNPRSTXZ23456789"[int(rng.integers(25))], figure)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), (245, 245, 245), 2)
    return image


def _label(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """A letter and a digit on a coloured board, as at the end of an aisle."""
    image = _plain(rng, height, width, colour, 0.0)
    text = "ABCDEFGHKLMNPRSTUX"[int(rng.integers(18))] + str(int(rng.integers(1, 10)))
    bright = sum(colour) > 380
    _write(image, text, (20, 20, 20) if bright else (250, 250, 250))
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), shade(colour, 0.5), 1)
    return image


def _write(image: Image, text: str, colour: Colour) -> None:
    height, width = image.shape[:2]
    scale = min(height / 30, width / (22 * len(text)))
    thick = max(1, round(3 * scale))
    (across, up), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    origin = ((width - across) // 2, (height + up) // 2)
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_DUPLEX, scale, colour, thick, cv2.LINE_AA)


def _window(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image = speckled(rng, height, width, shade((150, 190, 225), rng.uniform(0.8, 1.1)), 0.05)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), colour, 2)
    image[height // 2] = image[:, width // 2] = _pixel(colour)
    return image


def _shelf(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """Four boards with books of all colours."""
    image = _plain(rng, height, width, shade(colour, 0.4), 0.0)
    return _fill_boards(rng, image, colour, boards=4, widths=(3, 7), fill=(0.55, 0.9))


def _boxes(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """Three levels of a rack with boxes of cardboard and of a few colours."""
    image = _plain(rng, height, width, (45, 45, 52), 0.0)
    return _fill_boards(rng, image, colour, boards=3, widths=(9, 22), fill=(0.45, 0.9))


def _fill_boards(
    rng: Rng,
    image: Image,
    colour: Colour,
    boards: int,
    widths: tuple[int, int],
    fill: tuple[float, float],
) -> Image:
    height, width = image.shape[:2]
    step = height // boards
    cardboard = [(178, 138, 92), (160, 120, 78), (196, 160, 112)]
    for bottom in range(step - 1, height, step):
        left = 2
        while left < width - widths[0]:
            across = int(rng.integers(*widths))
            top = bottom - int(step * rng.uniform(*fill))
            plain = boards == 3 and rng.uniform() < 0.6
            paint = cardboard[int(rng.integers(3))] if plain else hsv(rng.uniform(), 0.75, 0.8)
            right = min(left + across, width - 2) - 1
            cv2.rectangle(image, (left, top), (right, bottom), paint, -1)
            left += across + int(rng.integers(0, 3))
        cv2.line(image, (0, bottom), (width, bottom), colour, 2)
    image[:, :2] = image[:, -2:] = _pixel(colour)
    return image


def _drawers(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image = speckled(rng, height, width, colour, contrast)
    for left in (1, width // 2):
        cv2.rectangle(image, (left, 1), (left + width // 2 - 2, height - 2), shade(colour, 0.6), 1)
        knob = width // 2 + (-4 if left == 1 else 4)
        cv2.circle(image, (knob, height // 2), 1, (245, 240, 200), -1)
    return image


def _wheel(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """A spoked wheel, for the flat faces of a thin cylinder."""
    image = _plain(rng, height, width, (150, 152, 150), 0.0)
    centre, radius = (width // 2, height // 2), min(width, height) // 2
    for angle in np.linspace(0, np.pi, 5)[:-1]:
        dx, dy = round(radius * np.cos(angle)), round(radius * np.sin(angle))
        start, end = (centre[0] - dx, centre[1] - dy), (centre[0] + dx, centre[1] + dy)
        cv2.line(image, start, end, (90, 90, 92), 1)
    cv2.circle(image, centre, radius - 1, colour, 3)
    return image


def _thicket(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """Trunks before dark undergrowth, lighter towards the crowns."""
    image = speckled(rng, height, width, colour, contrast).astype(np.float32)
    image *= np.linspace(1.25, 0.55, height, dtype=np.float32)[:, None, None]
    picture = np.clip(image, 0, 255).astype(np.uint8)
    for depth in (0.45, 0.7, 1.0):
        for _ in range(max(2, width // 14)):
            left, bark = int(rng.integers(width)), shade((112, 86, 64), depth)
            lean = int(rng.integers(-4, 5))
            thickness = int(rng.integers(1, 2 + round(4 * depth)))
            cv2.line(picture, (left, height), (left + lean, 0), bark, thickness)
    crowns = speckled(rng, height, width, shade(colour, 1.2), 0.6)
    leafy = noise(rng, height, width, 16) > np.linspace(70, 260, height)[:, None]
    cv2.copyTo(crowns, _mask(leafy), dst=picture)
    return picture


def _rock(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image = speckled(rng, height, width, colour, contrast)
    for _ in range(4):
        points = rng.integers(0, [width, height], (3, 2))
        cv2.polylines(image, [points], False, shade(colour, 0.55), 1)
    return image


def _blade(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    """Dark at the root, bright at the tip."""
    image = speckled(rng, height, width, colour, contrast)
    weight = np.linspace(1.25, 0.45, height)[:, None, None]
    return np.clip(image * weight, 0, 255).astype(np.uint8)


def _ceiling(rng: Rng, height: int, width: int, colour: Colour, contrast: float) -> Image:
    image = speckled(rng, height, width, colour, contrast)
    image[:1] = image[:, :1] = _pixel(shade(colour, 0.75))
    low, high = (width // 3, height // 8), (2 * width // 3, 7 * height // 8)
    cv2.rectangle(image, low, high, (255, 255, 245), -1)
    return image


PAINTERS: dict[str, Painter] = {
    "plain": _plain,
    "speckle": _speckle,
    "bricks": _bricks,
    "panels": _panels,
    "planks": _planks,
    "stripes": _stripes,
    "checks": _checks,
    "tiles": _tiles,
    "facade": _facade,
    "poster": _poster,
    "label": _label,
    "window": _window,
    "shelf": _shelf,
    "boxes": _boxes,
    "drawers": _drawers,
    "wheel": _wheel,
    "thicket": _thicket,
    "rock": _rock,
    "blade": _blade,
    "ceiling": _ceiling,
}
