"""What a log store holds: its fields, their units, and the checks that steps must pass.

Layout (Zarr v3, see datasets/README.md): flat arrays over all steps under `data/`, one row an
episode under `meta/`. A row of `meta/length` says how many steps of its episode are committed.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError

FORMAT = "nav_offrl.store"
SCHEMA_VERSION = 2
SPLITS = ("train", "held_out")
TEXT_COLUMNS = {
    "name": 128,
    "session": 128,
    "source": 256,
    "source_hash": 64,
    "robot": 64,
    "licence": 64,
}


@dataclass(frozen=True)
class FieldSpec:
    """One array over all steps: `(steps, *shape)` of `dtype` in `unit`.

    `shape` None: one vector a step, whose length each store chooses. `finite`: NaN and infinity
    are refused; where they are not, they mean "no reading".
    """

    dtype: str
    shape: tuple[int, ...] | None
    unit: str
    description: str
    axes: tuple[str, ...] = ()
    finite: bool = True


STEP_FIELDS: dict[str, FieldSpec] = {
    "time": FieldSpec("int64", (), "ns", "time of the step: that of its camera frame"),
    "position": FieldSpec("float32", (2,), "m", "place in the odometry frame", ("x", "y")),
    "yaw": FieldSpec("float32", (), "rad", "heading in the odometry frame, counter-clockwise"),
    "action": FieldSpec(
        "float32", None, "m/s, rad/s", "held from this step to the next", ("v", "omega")
    ),
    "velocity": FieldSpec("float32", (2,), "m/s, rad/s", "measured", ("v", "omega")),
    "collision": FieldSpec("bool", (), "", "touched something, stuck or flipped"),
    "bumpiness": FieldSpec("float32", (), "rad/s", "rms of the gyro's x and y"),
    "intervention": FieldSpec("bool", (), "", "a person was driving"),
    "imu": FieldSpec(
        "float32",
        (6,),
        "rad/s, m/s^2",
        "angular velocity and linear acceleration in the robot's axes",
        ("gyro_x", "gyro_y", "gyro_z", "acceleration_x", "acceleration_y", "acceleration_z"),
        finite=False,
    ),
    "gps": FieldSpec(
        "float64",
        (3,),
        "deg, deg, m",
        "WGS 84; NaN: no fix",
        ("latitude", "longitude", "altitude"),
        finite=False,
    ),
    "lidar": FieldSpec(
        "float32", None, "m", "ranges; not finite: no return", ("bearing",), finite=False
    ),
    "observation": FieldSpec("float32", None, "", "state vector, for state-based benchmarks"),
    "reward": FieldSpec("float32", (), "", "of the log's own task, if it has one"),
    "terminal": FieldSpec("bool", (), "", "the log's own task ended here; a timeout is none"),
}
DEFAULT_SHAPES: dict[str, tuple[int, ...]] = {"action": (2,)}
REQUIRED_FIELDS = ("time",)

# T frames: JPEG bytes, or uint8 (H, W, 3) RGB where the camera is coded "raw".
Frames = Sequence[bytes] | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


class FieldInfo(Config):
    """What one store says of one of its fields."""

    shape: tuple[int, ...] = Field(description="of one step")
    unit: str = ""
    axes: tuple[str, ...] = Field(default=(), description="what the components of a vector are")
    frame: str = Field(default="", description="coordinate frame, where that has a meaning")
    rate_hz: float | None = Field(
        default=None, gt=0, description="at which the sensor delivered, before resampling"
    )
    source: str = Field(default="", description="topic or key of the log, or 'derived from ...'")
    angle_min: float | None = Field(
        default=None, description="lidar: bearing of the first ray, rad"
    )
    angle_max: float | None = Field(default=None, description="lidar: bearing of the last ray, rad")


def field_info(name: str, **values: Any) -> FieldInfo:
    """Describe the field `name` as the schema does, but for `values`.

    Raises:
        NavOffrlError: the schema has no such field, or leaves its shape to you.
    """
    spec = STEP_FIELDS.get(name)
    if spec is None:
        raise NavOffrlError(
            f"unknown field '{name}'",
            where="StoreInfo.fields",
            remedy=f"known fields are {', '.join(STEP_FIELDS)}",
        )
    shape = spec.shape if spec.shape is not None else DEFAULT_SHAPES.get(name)
    if shape is None and "shape" not in values:
        raise NavOffrlError(f"field '{name}' needs its shape", where="StoreInfo.fields")
    axes = spec.axes if "shape" not in values or tuple(values["shape"]) == shape else ()
    frame = "odom" if name in ("position", "yaw") else ""
    known: dict[str, Any] = {"shape": shape, "unit": spec.unit, "axes": axes, "frame": frame}
    return FieldInfo(**(known | values))


class CameraInfo(Config):
    """Calibration and coding of one camera."""

    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    coding: Literal["jpeg", "raw"] = Field(
        default="jpeg", description="jpeg: bytes as recorded; raw: uint8 (H, W, 3) RGB"
    )
    horizontal_fov: float | None = Field(
        default=None, gt=0, lt=6.3, description="rad; null where the log does not say"
    )
    intrinsics: tuple[float, float, float, float] | None = Field(
        default=None, description="fx, fy, cx, cy in pixels"
    )
    distortion_model: str = Field(default="", description="plumb_bob, fisheye, ...; empty: unknown")
    distortion: tuple[float, ...] = Field(default=(), description="coefficients of that model")
    mounting: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="x, y, z m and roll, pitch, yaw rad of the camera in base_link"
    )
    frame: str = Field(default="", description="name of the camera's coordinate frame")
    rate_hz: float | None = Field(
        default=None, gt=0, description="at which the camera delivered, before resampling"
    )


class StoreInfo(Config):
    """What is true of every step of a store; saved in the root's attributes.

    `fields` may be given as a sequence of names where the schema's description of them will do.
    """

    rate_hz: float = Field(gt=0, le=1000, description="steps per second")
    rate_is_nominal: bool = Field(default=False, description="true: the log has no timestamps")
    action_source: str = Field(
        default="", description="'commanded' or 'derived from pose'; empty: no actions"
    )
    cameras: dict[str, CameraInfo] = Field(default_factory=dict)
    fields: dict[str, FieldInfo] = Field(
        default_factory=lambda: {
            name: field_info(name) for name in ("time", "position", "yaw", "action")
        }
    )
    frame: str = Field(default="odom", description="frame of position and yaw")
    notes: str = ""
    provenance: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _describe_names(cls, values: Any) -> Any:
        fields = values.get("fields") if isinstance(values, dict) else None
        if isinstance(fields, (tuple, list)):
            try:
                return values | {"fields": {name: field_info(name) for name in fields}}
            except NavOffrlError as error:
                raise ValueError(str(error)) from error
        return values


@dataclass(frozen=True)
class Episode:
    """One uninterrupted drive of T steps, as `StoreWriter.append` takes it.

    `images` maps a camera to T JPEG byte strings (or, where the camera is coded "raw", uint8
    (H, W, 3) RGB arrays); `fields` maps a name of `STEP_FIELDS` to an array (T, *shape).
    `session` groups episodes that were driven in one go: splits never cut through it.
    """

    name: str
    images: Mapping[str, Frames]
    fields: Mapping[str, NDArray[np.generic]]
    split: str = "train"
    session: str = ""
    source: str = ""
    source_hash: str = ""
    robot: str = ""
    licence: str = ""
    complete: bool = True
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
    for name, described in info.fields.items():
        shape = STEP_FIELDS[name].shape
        if shape is not None and described.shape != shape:
            raise NavOffrlError(
                f"field '{name}' is declared with shape {described.shape}, the schema's is {shape}",
                where="StoreInfo.fields",
            )
        if len(described.shape) > 1 or 0 in described.shape:
            raise NavOffrlError(
                f"field '{name}' is declared with shape {described.shape}; a step holds a number "
                "or a vector",
                where="StoreInfo.fields",
            )


def check_episode(episode: Episode, info: StoreInfo) -> dict[str, NDArray[np.generic]]:
    """Return the fields cast to the schema's dtypes.

    Raises:
        NavOffrlError: a field or camera is missing, mis-shaped, not finite or out of order.
    """
    where = f"episode '{episode.name}'"
    if episode.length < 2:
        raise NavOffrlError(f"has {episode.length} steps, needs at least 2", where=where)
    check_texts(episode, where)
    cast = check_steps(episode.fields, episode.images, info, where)
    if not (np.diff(cast["time"].astype(np.int64)) > 0).all():
        raise NavOffrlError("'time' does not increase strictly", where=where)
    return cast


def check_texts(episode: Episode, where: str) -> None:
    """Raise NavOffrlError when the split is unknown or a text does not fit its column."""
    if episode.split not in SPLITS:
        raise NavOffrlError(
            f"unknown split '{episode.split}'", where=where, remedy=f"use one of {SPLITS}"
        )
    if not episode.name or "\0" in episode.name:
        raise NavOffrlError("the episode has no name, or a zero byte in it", where=where)
    for column, width in TEXT_COLUMNS.items():
        if len(getattr(episode, column).encode()) > width:
            raise NavOffrlError(
                f"'{column}' is longer than {width} bytes", where=where, remedy="shorten it"
            )


def check_steps(
    fields: Mapping[str, NDArray[np.generic]],
    images: Mapping[str, Frames],
    info: StoreInfo,
    where: str,
) -> dict[str, NDArray[np.generic]]:
    """Return the fields of some steps cast to the schema's dtypes; see `check_episode`."""
    if set(fields) != set(info.fields):
        raise NavOffrlError(
            f"has fields {sorted(fields)}, the store holds {sorted(info.fields)}", where=where
        )
    length = len(fields["time"])
    _check_images(images, info, length, where)
    return {name: _check_field(name, fields[name], length, info, where) for name in info.fields}


def _check_images(images: Mapping[str, Frames], info: StoreInfo, length: int, where: str) -> None:
    if set(images) != set(info.cameras):
        raise NavOffrlError(
            f"has cameras {sorted(images)}, the store holds {sorted(info.cameras)}", where=where
        )
    for camera, frames in images.items():
        if len(frames) != length:
            raise NavOffrlError(
                f"camera '{camera}' has {len(frames)} frames for {length} steps", where=where
            )
        calibration = info.cameras[camera]
        if calibration.coding == "jpeg":
            bad = [i for i, frame in enumerate(frames) if bytes(frame[:2]) != b"\xff\xd8"]
            what = "is no JPEG"
        else:
            shape = (calibration.height, calibration.width, 3)
            bad = [
                i
                for i, frame in enumerate(frames)
                if np.shape(frame) != shape or frame.dtype != np.uint8
            ]
            what = f"is not uint8 {shape}"
        if bad:
            raise NavOffrlError(f"camera '{camera}', frame {bad[0]} {what}", where=where)


def _check_field(
    name: str, given: NDArray[np.generic], length: int, info: StoreInfo, where: str
) -> NDArray[np.generic]:
    spec = STEP_FIELDS[name]
    values = np.asarray(given)
    expected = (length, *info.fields[name].shape)
    if values.shape != expected:
        raise NavOffrlError(
            f"field '{name}' has shape {values.shape}, expected {expected}", where=where
        )
    if not np.issubdtype(values.dtype, np.number) and values.dtype != np.bool_:
        raise NavOffrlError(f"field '{name}' is {values.dtype}, not numbers", where=where)
    if spec.finite and np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise NavOffrlError(
            f"field '{name}' is not finite at step {step}",
            where=where,
            remedy="split the episode there or drop the step",
        )
    return values.astype(spec.dtype)


def checksums(
    fields: Mapping[str, NDArray[np.generic]], images: Mapping[str, Frames]
) -> NDArray[np.uint32]:
    """Return the CRC-32 of each step (T,): its fields, then its frames, each in name order."""
    length = len(fields["time"])
    columns = [
        np.ascontiguousarray(fields[name]).reshape(length, -1).view(np.uint8).reshape(length, -1)
        for name in sorted(fields)
    ]
    in_order: list[tuple[str, Any]] = sorted(images.items())
    sums = np.empty(length, np.uint32)
    for step, row in enumerate(np.concatenate(columns, axis=1)):
        value = zlib.crc32(row)
        for _, frames in in_order:
            value = zlib.crc32(frames[step], value)
        sums[step] = value
    return sums
