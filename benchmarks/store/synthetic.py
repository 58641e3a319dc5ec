"""A store of drives whose frames look like photographs to a codec: edges, colours, 1/f detail."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.training_tier import TierSpec

CAMERA = "front"
TEXTURES, TEXTURE_SIZE = 6, 1024
JPEG_QUALITY = 95


def spec(size: int) -> TierSpec:
    """The tier of frames as they are: decoding and resizing are not what is measured here."""
    return TierSpec(CAMERA, (size, size), lambda frames: frames, "as recorded")


def write_store(path: Path, steps: int, episode: int, size: int, seed: int = 0) -> Store:
    """Write drives of `episode` steps, or open what an earlier run wrote to `path`."""
    if path.exists():
        return Store.open(path)
    info = StoreInfo(
        rate_hz=10.0,
        action_source="commanded",
        cameras={CAMERA: CameraInfo(height=size, width=size)},
    )
    rng = np.random.default_rng(seed)
    textures = [_texture(rng) for _ in range(TEXTURES)]
    starts = range(0, steps, episode)
    with StoreWriter.create(path, info) as writer:
        for start in tqdm(starts, desc=f"write {path.name}", unit="episode", leave=False):
            length = min(episode, steps - start)
            frames = _drive(textures[rng.integers(TEXTURES)], length, size, rng)
            writer.append(_episode(f"drive_{start}", frames))
        writer.finish()
    return Store.open(path)


def _episode(name: str, frames: Iterator[NDArray[np.uint8]]) -> Episode:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    jpegs = [cv2.imencode(".jpg", frame, quality)[1].tobytes() for frame in frames]
    length = len(jpegs)
    fields = {
        "time": np.arange(length) * 100_000_000,
        "position": np.zeros((length, 2)),
        "yaw": np.zeros(length),
        "action": np.zeros((length, 2)),
    }
    return Episode(name=name, images={CAMERA: jpegs}, fields=fields)


def _texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with frequency, as in photographs, with some hard-edged boxes."""
    size = TEXTURE_SIZE
    total = np.zeros((size, size, 3), np.float32)
    for octave in range(2, 10):
        grey = rng.normal(size=(1 << octave, 1 << octave, 1))
        colour = rng.normal(scale=0.3, size=(1 << octave, 1 << octave, 3))
        layer = (grey + colour).astype(np.float32)
        total += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC) / (1 << octave)
    total = (total - total.mean()) / total.std() * 45 + 120
    for _ in range(120):
        corner, shape = rng.integers(0, size, 2), rng.integers(10, 150, 2)
        box = tuple(slice(a, a + b) for a, b in zip(corner, shape, strict=True))
        total[box] = 0.3 * total[box] + 0.7 * rng.integers(0, 256, 3)
    return np.clip(total, 0, 255).astype(np.uint8)


def _drive(
    texture: NDArray[np.uint8], length: int, size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Pan and zoom smoothly over a texture, with a sensor's noise."""
    zoom = np.interp(np.linspace(0, 4, length), range(5), rng.uniform(150, 400, 5))
    room = TEXTURE_SIZE - 400
    x, y = (
        np.interp(np.linspace(0, 4, length), range(5), rng.uniform(0, room, 5)) for _ in range(2)
    )
    for step in range(length):
        left, top, width = int(x[step]), int(y[step]), int(zoom[step])
        crop = texture[top : top + width, left : left + width]
        small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        noise = rng.integers(-3, 4, small.shape, dtype=np.int16)
        yield np.clip(small + noise, 0, 255).astype(np.uint8)
