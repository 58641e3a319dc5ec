"""Importer of RECON: 11,836 drives of a Clearpath Jackal, one HDF5 file each.

The format as visualnav-transformer's `process_recon.py` and ReViND's `hdf2pkl.py` read it: 4 Hz
without timestamps, two fisheye cameras, lidar, IMUs, GPS, commands, odometry and collisions.
`images/rgb_left`, the picture that every reader of this format takes, is imported as the camera
`front` (or what `--camera` says), `images/rgb_right` as `right`.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.run import Frame, Layout, Run, Source, nominal_time
from nav_offrl_datasets.readers.hdf5 import Hdf5File, is_hdf5
from nav_offrl_datasets.readers.jpeg import decoded_size
from nav_offrl_datasets.readers.log_files import find_files, run_name

FORMAT = "recon"
HELP = "RECON: .hdf5 files of a Jackal's drives, 4 Hz, two cameras"
RATE_HZ = 4.0
ROBOT, LICENCE = "jackal", "MIT"
SUFFIXES = (".hdf5", ".h5")
TRIED_FILES = 5  # to recognise a folder by: one may be damaged
FILE_NAME = re.compile(r"(jackal_\d{4}(?:-\d\d){5}_\w+?)_r\d+")
END_SLACK = 3  # steps that the GNM family drops at the end of a run

Values = NDArray[np.float64]

# Of which arrays a field is made; one that lacks an array is not imported.
KEYS: dict[str, tuple[str, ...]] = {
    "position": ("jackal/position",),
    "yaw": ("jackal/yaw",),
    "velocity": ("jackal/linear_velocity", "jackal/angular_velocity"),
    "action": ("commands/linear_velocity", "commands/angular_velocity"),
    "collision": ("collision/any",),
    "imu": ("jackal/imu/angular_velocity", "jackal/imu/linear_acceleration"),
    "gps": ("gps/latlong",),
    "lidar": ("lidar",),
}
# A second IMU, mounted upside down: taken where the robot's own is missing.
SECOND_IMU = ("imu/angular_velocity", "imu/linear_acceleration")
HALF_ROLL = np.array([1.0, -1.0, -1.0] * 2)  # half a turn about the forward axis
COLLISIONS = ("physical", "close", "flipped", "stuck", "outside_geofence")
NOT_IMPORTED = (
    "images/thermal, imu/magnetometer, imu/compass_bearing, gps/velocity, android/illuminance"
)

# For 640x480 pixels. BADGR's code, which rectifies with the same numbers, has cy 240.
CALIBRATED_SIZE = (480, 640)
CALIBRATION: dict[str, Any] = {
    "intrinsics": (272.547, 266.358, 320.0, 220.0),
    "distortion_model": "fisheye",
    "distortion": (-0.038483, -0.010456, 0.003930, -0.001007),
    "mounting": (0.45, 0.0, 0.95, 0.0, 0.0, 0.0),
    "horizontal_fov": 2.55,  # where that model puts the left and right edge
}


def recognises(path: Path) -> bool:
    """Tell whether `path` is, or one of its first HDF5 files is, a drive of this format."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        return any(recognises(file) for file in itertools.islice(files, TRIED_FILES))
    if not is_hdf5(path):
        return False
    try:
        with Hdf5File(path) as file:
            return file.is_array("jackal/position") or file.is_array("images/rgb_left")
    except NavOffrlError:
        return FILE_NAME.fullmatch(path.stem) is not None


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return one source a file; see `nav_offrl_datasets.importing.run.Importer`."""
    files, unknown = find_files(path, SUFFIXES)
    return [Source(run_name(file, path), (file,)) for file in files], unknown


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Describe the drives as the first readable file has them."""
    fault = None
    for source in sources:
        try:
            with Hdf5File(source.files[0]) as file:
                return _describe(file, config)
        except NavOffrlError as error:
            fault = fault or error
    raise fault or NavOffrlError("there is no file to read", where=FORMAT)


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the one drive of a file, with the fields and cameras that `layout` has."""
    with Hdf5File(source.files[0]) as file:
        fields = {name: FIELDS[name](file) for name in layout.fields if _has_field(file, name)}
        frames = {
            camera: _frames(file, key)
            for camera, key in camera_keys(config).items()
            if camera in layout.cameras and file.is_array(key)
        }
        run = _aligned(source, fields, frames, layout)
        run.facts += _facts(file, run, layout)
    yield run


def lidar_info(rays: int = 360, **values: Any) -> FieldInfo:
    """Describe a Jackal's lidar: ray 0 looks ahead, 300-359 and 0-59 are the front third."""
    last = 2 * math.pi * (rays - 1) / rays
    return field_info("lidar", shape=(rays,), angle_min=0.0, angle_max=last, **values)


def camera_keys(config: ImportConfig) -> dict[str, str]:
    """Return which array is which camera: the left one is what `config` calls its camera."""
    other = "right" if config.camera != "right" else "rgb_right"
    return {config.camera: "images/rgb_left", other: "images/rgb_right"}


def _describe(file: Hdf5File, config: ImportConfig) -> Layout:
    keys = dict(KEYS)
    if not _has(file, keys["imu"]):
        keys["imu"] = SECOND_IMU
    present = {name: of for name, of in keys.items() if _has(file, of)}
    fields = {
        name: field_info(name, source=", ".join(of))
        for name, of in present.items()
        if name != "lidar"
    }
    if "lidar" in present:
        fields["lidar"] = lidar_info(_width(file, "lidar"), source="lidar")
    cameras = {
        camera: _camera(file, key, config)
        for camera, key in camera_keys(config).items()
        if file.is_array(key)
    }
    if not present and not cameras:
        raise NavOffrlError("has none of RECON's arrays", where=file.path)
    return Layout(
        rate_hz=config.rate_hz or RATE_HZ,
        rate_is_nominal=True,
        cameras=cameras,
        fields=fields,
        action_source="commanded" if "action" in present else "",
        robot=ROBOT,
        licence=LICENCE,
        notes=_notes(cameras, fields),
    )


def _notes(cameras: dict[str, CameraInfo], fields: dict[str, FieldInfo]) -> tuple[str, ...]:
    notes = [f"not imported: {NOT_IMPORTED}; of the collisions, their kinds (see the facts)"]
    if cameras:
        notes.append(
            "calibration is that published for rgb_left and put down for both cameras; published "
            "readers differ on cy (220 or 240) and on the height (0.95 or about 0.35 m)"
        )
    if "lidar" in fields:
        notes.append(
            "lidar: index 0 looks ahead; that bearings grow to the left is ROS's convention, "
            "not stated by the format"
        )
    if "imu" in fields and fields["imu"].source.startswith("imu/"):
        notes.append(
            "imu is the unit that is mounted upside down, turned by half a roll (y and z negated)"
        )
    return tuple(notes)


def _has(file: Hdf5File, keys: Sequence[str]) -> bool:
    return all(file.is_array(key) for key in keys)


def _has_field(file: Hdf5File, name: str) -> bool:
    return _has(file, KEYS[name]) or (name == "imu" and _has(file, SECOND_IMU))


def _width(file: Hdf5File, key: str) -> int:
    shape = file.shape(key)
    if len(shape) != 2 or not 0 < shape[1] <= 1 << 16:
        raise NavOffrlError(f"'{key}' has shape {shape}, expected (T, rays)", where=file.path)
    return shape[1]


def _camera(file: Hdf5File, key: str, config: ImportConfig) -> CameraInfo:
    for frame in _frames(file, key):
        size = decoded_size(frame) if isinstance(frame, bytes) else None
        if size is not None:
            break
    else:
        raise NavOffrlError(f"'{key}' holds no whole JPEG", where=file.path)
    known = CALIBRATION if size == CALIBRATED_SIZE else {}
    chosen = {"horizontal_fov": config.horizontal_fov} if config.horizontal_fov else {}
    return CameraInfo(height=size[0], width=size[1], **(known | chosen))


def _frames(file: Hdf5File, key: str) -> list[Frame]:
    frames = file.array(key)
    if frames.dtype.kind != "S" or frames.ndim != 1:
        raise NavOffrlError(
            f"'{key}' is {frames.dtype} {frames.shape}, expected byte strings (T,)",
            where=file.path,
        )
    # NumPy takes the NULs, with which HDF5 fills strings up, off the end of each.
    return [bytes(frame) or None for frame in frames]


def _column(file: Hdf5File, key: str, *shape: int) -> Values:
    """Return an array of numbers (T, *shape); one of numbers may be stored as (T, 1)."""
    values = file.array(key)
    admitted = (shape,) if shape else ((), (1,))
    if not values.ndim or values.shape[1:] not in admitted or values.dtype.kind not in "biuf":
        raise NavOffrlError(
            f"'{key}' is {values.dtype} {values.shape}, expected numbers {('T', *shape)}",
            where=file.path,
        )
    return values.reshape(len(values), *shape).astype(np.float64)


def _beside(*columns: Values) -> Values:
    """Return columns (T,) or (T, n) side by side, as long as the shortest."""
    steps = min(map(len, columns))
    return np.column_stack([column[:steps] for column in columns])


def _pair(name: str) -> Callable[[Hdf5File], Values]:
    return lambda file: _beside(*(_column(file, key) for key in KEYS[name]))


def _position(file: Hdf5File) -> Values:
    return _column(file, KEYS["position"][0], 3)[:, :2]


def _imu(file: Hdf5File) -> Values:
    if _has(file, KEYS["imu"]):
        return _beside(*(_column(file, key, 3) for key in KEYS["imu"]))
    return HALF_ROLL * _beside(*(_column(file, key, 3) for key in SECOND_IMU))


def _gps(file: Hdf5File) -> Values:
    """Return latitude, longitude, altitude (T, 3); NaN where there was no fix."""
    place = _column(file, "gps/latlong", 2)
    height = np.full(len(place), np.nan)
    if file.is_array("gps/altitude"):
        height = _column(file, "gps/altitude")
    gps = _beside(place, height)
    if file.is_array("gps/is_fixed"):
        fixed = _column(file, "gps/is_fixed")[: len(gps)]
        gps[: len(fixed)][fixed == 0] = np.nan
    return gps


FIELDS: dict[str, Callable[[Hdf5File], Values]] = {
    "position": _position,
    "yaw": lambda file: _column(file, "jackal/yaw"),
    "velocity": _pair("velocity"),
    "action": _pair("action"),
    "collision": lambda file: _column(file, "collision/any"),
    "imu": _imu,
    "gps": _gps,
    "lidar": lambda file: _column(file, "lidar", _width(file, "lidar")),
}


def _aligned(
    source: Source,
    fields: dict[str, Values],
    frames: dict[str, list[Frame]],
    layout: Layout,
) -> Run:
    """Return the run, as long as its shortest array."""
    lengths = {name: len(values) for name, values in (fields | frames).items()}
    steps = min(lengths.values(), default=0)
    if steps == 0:
        raise NavOffrlError("holds no step", where=source.files[0])
    session = FILE_NAME.fullmatch(source.files[0].stem)
    run = Run(
        source.name,
        nominal_time(steps, layout.rate_hz),
        {name: values[:steps] for name, values in fields.items()},
        {camera: images[:steps] for camera, images in frames.items()},
        session=session[1] if session else "",
    )
    surplus = max(lengths.values()) - steps
    if surplus:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        run.drop("row that not every array has", f"arrays differ in length: {counts}", surplus)
    return run


def _facts(file: Hdf5File, run: Run, layout: Layout) -> list[str]:
    facts = []
    steps = len(run.time)
    for kind in COLLISIONS:
        key = f"collision/{kind}"
        count = int(_column(file, key)[:steps].sum()) if file.is_array(key) else 0
        if count:
            facts.append(f"{key} at {count} of {steps} steps")
    collision = run.fields.get("collision")
    if collision is not None and collision[-END_SLACK:].any():
        facts.append(
            f"ends in a collision; the GNM family drops the last {END_SLACK} steps (end_slack)"
        )
    if "gps" in run.fields:
        lost = int(np.isnan(run.fields["gps"][:, 0]).sum())
        if lost:
            facts.append(f"gps has no fix at {lost} of {steps} steps")
    cameras = list(run.images.values())
    if len(cameras) == 2 and cameras[0] == cameras[1]:
        facts.append(f"cameras {' and '.join(run.images)} hold the very same frames")
    return facts
