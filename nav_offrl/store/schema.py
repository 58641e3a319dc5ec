"""What a log store holds: its fields, their units, and the checks an episode must pass.

Layout (Zarr v3, see datasets/README.md): flat arrays over all steps under `data/`, one row an
episode under `meta/`. A row of `meta/length` greater than zero is the commit of its episode.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError

FORMAT = "nav_offrl.store"
SCHEMA_VERSION = 1
SPLITS = ("train", "held_out")
TEXT_COLUMNS = {"name": 128, "source": 256, "robot": 64, "licence": 64}


@dataclass(frozen=True)
class FieldSpec:
    """One array over all steps: `(steps, *shape)` of `dtype` in `unit`."""

    dtype: str
    shape: tuple[int, ...]
    unit: str
    description: str


STEP_FIELDS: dict[str, FieldSpec] = {
    "time": FieldSpec("int64", (), "ns", "time of the camera frame"),
    "position": FieldSpec("float32", (2,), "m", "x, y in the odometry frame"),
    "yaw": FieldSpec("float32", (), "rad", "heading in the odometry frame, counter-clockwise"),
    "action": FieldSpec("float32", (2,), "m/s, rad/s", "commanded v, omega held until next step"),
    "velocity": FieldSpec("float32", (2,), "m/s, rad/s", "measured v, omega"),
    "collision": FieldSpec("bool", (), "", "touched something during this step"),
    "bumpiness": FieldSpec("float32", (), "rad/s", "rms of the gyro's x and y"),
    "intervention": FieldSpec("bool", (), "", "a person was driving"),
}
REQUIRED_FIELDS = ("time", "position", "yaw", "action")


class CameraInfo(Config):
    """Calibration of one camera."""

    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    horizontal_fov: float | None = Field(
        default=None, gt=0, lt=6.3, description="rad; null where the log does not say"
    )


class StoreInfo(Config):
    """What is true of every step of a store; saved in the root's attributes."""

    rate_hz: float = Field(gt=0, le=1000, description="steps per second")
    rate_is_nominal: bool = Field(default=False, description="true: the log has no timestamps")
    action_source: str = Field(description="'commanded' or 'derived from pose'")
    cameras: dict[str, CameraInfo]
    fields: tuple[str, ...] = REQUIRED_FIELDS
    frame: str = Field(default="odom", description="frame of position and yaw")
    notes: str = ""
    provenance: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """One uninterrupted drive of T steps, as `StoreWriter.append` takes it.

    `images` maps a camera to T JPEG byte strings; `fields` maps a name of `STEP_FIELDS` to an
    array of shape `(T, *spec.shape)`.
    """

    name: str
    images: Mapping[str, Sequence[bytes]]
    fields: Mapping[str, NDArray[np.generic]]
    split: str = "train"
    source: str = ""
    robot: str = ""
    licence: str = ""
    length: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.fields.get("time", ())))


def check_info(info: StoreInfo) -> None:
    """Raise NavOffrlError when `info` names unknown fields or misses required ones."""
    unknown = [name for name in info.fields if name not in STEP_FIELDS]
    missing = [name for name in REQUIRED_FIELDS if name not in info.fields]
    if unknown or missing:
        raise NavOffrlError(
            f"fields unknown: {unknown}, missing: {missing}",
            where="StoreInfo.fields",
            remedy=f"known fields are {', '.join(STEP_FIELDS)}",
        )


def check_episode(episode: Episode, info: StoreInfo) -> dict[str, NDArray[np.generic]]:
    """Return the fields cast to the schema's dtypes.

    Raises:
        NavOffrlError: a field or camera is missing, mis-shaped, not finite or out of order.
    """
    where = f"episode '{episode.name}'"
    if episode.length < 2:
        raise NavOffrlError(f"has {episode.length} steps, needs at least 2", where=where)
    if episode.split not in SPLITS:
        raise NavOffrlError(
            f"unknown split '{episode.split}'", where=where, remedy=f"use one of {SPLITS}"
        )
    for column, width in TEXT_COLUMNS.items():
        if len(getattr(episode, column).encode()) > width:
            raise NavOffrlError(
                f"'{column}' is longer than {width} bytes", where=where, remedy="shorten it"
            )
    _check_images(episode, info, where)
    if set(episode.fields) != set(info.fields):
        raise NavOffrlError(
            f"has fields {sorted(episode.fields)}, the store holds {sorted(info.fields)}",
            where=where,
        )
    cast = {name: _check_field(name, episode, where) for name in info.fields}
    if not (np.diff(cast["time"].astype(np.int64)) > 0).all():
        raise NavOffrlError("'time' does not increase strictly", where=where)
    return cast


def _check_images(episode: Episode, info: StoreInfo, where: str) -> None:
    if set(episode.images) != set(info.cameras):
        raise NavOffrlError(
            f"has cameras {sorted(episode.images)}, the store holds {sorted(info.cameras)}",
            where=where,
        )
    for camera, frames in episode.images.items():
        if len(frames) != episode.length:
            raise NavOffrlError(
                f"camera '{camera}' has {len(frames)} frames for {episode.length} steps",
                where=where,
            )
        bad = [index for index, frame in enumerate(frames) if frame[:2] != b"\xff\xd8"]
        if bad:
            raise NavOffrlError(f"camera '{camera}', frame {bad[0]} is no JPEG", where=where)


def _check_field(name: str, episode: Episode, where: str) -> NDArray[np.generic]:
    spec = STEP_FIELDS[name]
    values = np.asarray(episode.fields[name])
    expected = (episode.length, *spec.shape)
    if values.shape != expected:
        raise NavOffrlError(
            f"field '{name}' has shape {values.shape}, expected {expected}", where=where
        )
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise NavOffrlError(
            f"field '{name}' is not finite at step {step}",
            where=where,
            remedy="split the episode there or drop the step",
        )
    return values.astype(spec.dtype)


def checksum(fields: Mapping[str, NDArray[np.generic]], images: Mapping[str, bytes]) -> int:
    """CRC-32 of an episode's fields and JPEG bytes, in name order."""
    value = 0
    for name in sorted(fields):
        value = zlib.crc32(np.ascontiguousarray(fields[name]).tobytes(), value)
    for camera in sorted(images):
        value = zlib.crc32(images[camera], value)
    return value
