"""How the features of a LeRobot data set and the fields of a store correspond; both directions.

By names alone: `observation.images.<camera>` is a camera, `observation.state` holds pose, velocity
and whatever else, `action` the action, `next.reward` the reward. Every other field of a store is a
feature of its own name. A state is a planar pose only where its names say x, y and yaw and no z,
roll or pitch; an action is (v, omega) in m/s and rad/s only where they say so: LeRobot states no
units, and robots of the same names differ in them (Earth Rover's linear_velocity is -1..1).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nav_offrl.store import CameraInfo, StoreInfo
from nav_offrl.store.schema import STEP_FIELDS, FieldInfo, field_info

STATE, ACTION, REWARD = "observation.state", "action", "next.reward"
DERIVED = "derived from pose"
IMAGES, IMAGE = "observation.images.", "observation.image"
CLOCK = "time"  # a feature of this name holds int64 ns; LeRobot itself keeps no clock
INDEX_FEATURES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
VISUAL = ("image", "video")
NUMERIC = {"bool", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"}
YAW_NAMES = ("yaw", "theta", "heading")
NOT_PLANAR = {"z", "roll", "pitch", "rx", "ry", "rz"}
LARGEST_SIDE = 1 << 13  # pixels of an image
LONGEST_VECTOR = 1 << 16
# What `observation.state` holds, in this order; the observation brings its own names.
STATE_FIELDS: dict[str, tuple[str, ...]] = {
    "position": ("x", "y"),
    "yaw": ("yaw",),
    "velocity": ("v", "omega"),
    "observation": (),
}
STATE_UNITS = {"x": "m", "y": "m", "yaw": "rad", "v": "m/s", "omega": "rad/s"}
# Of a camera's calibration, what `features[...]["info"]["calibration"]` carries.
STATED = ("unit", "angle_min", "angle_max")  # of a field, what `features[...]["info"]` carries
NOT_CALIBRATION = {"height", "width", "coding", "rate_hz"}


@dataclass(frozen=True)
class Columns:
    """Where a field comes from: some components of a feature, or the feature itself (None)."""

    feature: str
    components: tuple[int, ...] | None = None


@dataclass
class Correspondence:
    """What a data set's features become: fields, cameras (name -> feature), the rest named."""

    columns: dict[str, Columns] = field(default_factory=dict)
    fields: dict[str, FieldInfo] = field(default_factory=dict)
    cameras: dict[str, CameraInfo] = field(default_factory=dict)
    feature_of_camera: dict[str, str] = field(default_factory=dict)
    clock: bool = False  # there is a feature CLOCK,
    nominal: bool = True  # whose times, or LeRobot's own, are counted and not measured
    action_source: str = ""
    left_out: list[str] = field(default_factory=list)

    def add(self, name: str, columns: Columns, info: FieldInfo) -> None:
        """Take a field, unless another feature gave it already."""
        if name in self.columns:
            self.left_out.append(f"{columns.feature} (there is a '{name}' already)")
        else:
            self.columns[name], self.fields[name] = columns, info


def correspond(features: Mapping[str, Any], camera: str, fps: float) -> Correspondence:
    """Return what the features of `meta/info.json` become; `camera` names one that has no name."""
    found = Correspondence()
    for key, feature in features.items():
        if key in INDEX_FEATURES:
            continue
        shape = _shape(feature)
        dtype = feature.get("dtype") if isinstance(feature, dict) else None
        if shape is None or not isinstance(dtype, str):
            found.left_out.append(f"{key} (no dtype or shape)")
        elif dtype in VISUAL:
            _add_camera(found, key, feature, shape, camera, fps)
        elif dtype not in NUMERIC or len(shape) != 1:
            found.left_out.append(f"{key} ({dtype} {list(shape)})")
        elif key == STATE:
            _add_state(found, feature, shape[0], fps)
        elif key == ACTION:
            _add_action(found, feature, shape[0], fps)
        else:
            _add_own(found, key, feature, shape[0], fps)
    return found


def names_of(feature: Mapping[str, Any], length: int) -> tuple[str, ...]:
    """Return the names of a vector's components, () where they are missing or do not fit."""
    names = feature.get("names")
    if isinstance(names, dict):  # {"motors": [...]}
        lists = [value for value in names.values() if isinstance(value, list)]
        names = [name for value in lists for name in value]
    if not isinstance(names, list) or len(names) != length:
        return ()
    return tuple(str(name)[:64] for name in names)


def _shape(feature: Any) -> tuple[int, ...] | None:
    shape = feature.get("shape") if isinstance(feature, dict) else None
    if not isinstance(shape, (list, tuple)) or not 1 <= len(shape) <= 3:
        return None
    limit = LONGEST_VECTOR if len(shape) == 1 else LARGEST_SIDE
    if not all(type(length) is int and 0 < length <= limit for length in shape):
        return None
    return tuple(shape)


def _add_camera(
    found: Correspondence,
    key: str,
    feature: Mapping[str, Any],
    shape: tuple[int, ...],
    camera: str,
    fps: float,
) -> None:
    size = _image_size(feature, shape)
    if size is None:
        found.left_out.append(f"{key} ({feature.get('dtype')} {list(shape)}: no colour image)")
        return
    name = camera if key == IMAGE else _camera_name(key)
    if name in found.cameras:
        found.left_out.append(f"{key} (there is a camera '{name}' already)")
        return
    known = _info(feature).get("calibration")
    found.feature_of_camera[name] = key
    found.cameras[name] = _calibrated(size, known if isinstance(known, dict) else {}, fps)


def _calibrated(size: tuple[int, int], known: dict[str, Any], fps: float) -> CameraInfo:
    plain: dict[str, Any] = {"height": size[0], "width": size[1], "rate_hz": fps}
    try:
        return CameraInfo.model_validate(known | plain)
    except ValueError:  # another program's idea of a calibration
        return CameraInfo.model_validate(plain)


def _image_size(feature: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return (height, width) of a colour image, None of anything else (depth, grey)."""
    info = _info(feature)
    if info.get("is_depth_map") or info.get("video.is_depth_map") or len(shape) != 3:
        return None
    names = [str(name) for name in feature.get("names") or ()]
    channels_first = names[0].startswith("channel") if len(names) == 3 else shape[2] != 3
    height, width, channels = (*shape[1:], shape[0]) if channels_first else shape
    return (height, width) if channels == 3 else None


def _camera_name(key: str) -> str:
    name = re.sub(r"[^a-z0-9_]", "_", key.removeprefix(IMAGES).lower())
    return name if name[:1].isalpha() else f"camera_{name}"


def _add_state(found: Correspondence, feature: Mapping[str, Any], length: int, fps: float) -> None:
    names = names_of(feature, length)
    place = {name.lower(): index for index, name in reversed(list(enumerate(names)))}
    taken: set[int] = set()

    def add(field: str, components: Sequence[int]) -> None:
        taken.update(components)
        info = field_info(field, source=STATE, rate_hz=fps)
        found.add(field, Columns(STATE, tuple(components)), info)

    yaw = [place[name] for name in YAW_NAMES if name in place][:1]
    in_metres = str(_stated(feature).get("unit")).startswith("m, m")
    if {"x", "y"} <= set(place) and (yaw or in_metres) and not NOT_PLANAR & set(place):
        add("position", (place["x"], place["y"]))
        if yaw:
            add("yaw", yaw)
    if {"v", "omega"} <= set(place):
        add("velocity", (place["v"], place["omega"]))
    rest = tuple(index for index in range(length) if index not in taken)
    if rest:
        found.add(
            "observation",
            Columns(STATE, rest),
            field_info(
                "observation",
                shape=(len(rest),),
                axes=tuple(names[index] for index in rest) if names else (),
                source=STATE,
                rate_hz=fps,
            ),
        )


def _add_action(found: Correspondence, feature: Mapping[str, Any], length: int, fps: float) -> None:
    names = names_of(feature, length)
    derived = _info(feature).get("action_source") == DERIVED
    found.action_source = DERIVED if derived else "commanded"
    if names == ("v", "omega"):
        found.add("action", Columns(ACTION), field_info("action", source=ACTION, rate_hz=fps))
        return
    found.add(
        "action",
        Columns(ACTION),
        field_info(
            "action",
            **{"unit": ""} | _stated(feature),
            shape=(length,),
            axes=names,
            source=ACTION,
            rate_hz=fps,
        ),
    )


def _info(feature: Mapping[str, Any]) -> dict[str, Any]:
    info = feature.get("info")
    return info if isinstance(info, dict) else {}


def _stated(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a feature's `info` says as `features_of` writes it."""
    info = _info(feature)
    known = {key: info[key] for key in STATED if key in info}
    try:
        FieldInfo.model_validate({"shape": (1,)} | known)
    except ValueError:  # another program's idea of these words
        return {}
    return known


def _add_own(
    found: Correspondence, key: str, feature: Mapping[str, Any], length: int, fps: float
) -> None:
    name = "reward" if key == REWARD else key
    spec = STEP_FIELDS.get(name)
    fits = spec is not None and (spec.shape is None or length == max(1, *spec.shape, 1))
    if not fits or name in ("position", "yaw", "velocity", "action"):
        found.left_out.append(key)
        return
    if name == CLOCK:
        found.clock = True
        found.nominal = _info(feature).get("nominal") is True
        return
    assert spec is not None
    values: dict[str, Any] = {"source": key, "rate_hz": fps}
    if spec.shape is None:
        values |= {"shape": (length,), "axes": names_of(feature, length)} | _stated(feature)
    found.add(name, Columns(key), field_info(name, **values))


def features_of(info: StoreInfo, images: bool) -> dict[str, dict[str, Any]]:
    """Return the features of a data set that holds a store: `correspond` read backwards.

    `images`: cameras become images within the tables, else video.
    """
    features: dict[str, dict[str, Any]] = {}
    for name, camera in info.cameras.items():
        calibration = camera.model_dump(mode="json", exclude=NOT_CALIBRATION, exclude_defaults=True)
        features[IMAGES + name] = {
            "dtype": "image" if images else "video",
            "shape": [camera.height, camera.width, 3],
            "names": ["height", "width", "channels"],
            "info": {"calibration": calibration},
        }
    state = state_names(info.fields)
    if state:
        features[STATE] = {
            "dtype": "float32",
            "shape": [len(state)],
            "names": state,
            "info": {"unit": ", ".join(STATE_UNITS[name] for name in state if name in STATE_UNITS)},
        }
    for name, described in info.fields.items():
        if name not in STATE_FIELDS:
            features[feature_of(name)] = _own_feature(name, described)
    features[CLOCK]["info"]["nominal"] = info.rate_is_nominal
    if ACTION in features:
        features[ACTION]["info"]["action_source"] = info.action_source
    return features


def state_names(fields: Mapping[str, FieldInfo]) -> list[str]:
    """Return the names of `observation.state`'s components: pose, velocity, then the rest."""
    names = [name for key, axes in STATE_FIELDS.items() if key in fields for name in axes]
    if "observation" in fields:
        (length,) = fields["observation"].shape
        axes = fields["observation"].axes
        own = axes if len(axes) == length else tuple(str(index) for index in range(length))
        # A benchmark's "x" must not be read as the pose.
        known = {name for axes in STATE_FIELDS.values() for name in axes} | {
            *YAW_NAMES,
            *NOT_PLANAR,
        }
        names += [f"observation_{a}" if a.lower() in known or a.isdigit() else a for a in own]
    return names


def feature_of(name: str) -> str:
    """Return the key under which a field that is no part of the state is written."""
    return REWARD if name == "reward" else name


def _own_feature(name: str, described: FieldInfo) -> dict[str, Any]:
    spec = STEP_FIELDS[name]
    length = described.shape[0] if described.shape else 1
    axes = list(described.axes) if len(described.axes) == length else None
    feature: dict[str, Any] = {"dtype": spec.dtype, "shape": [length], "names": axes}
    info = {key: getattr(described, key) for key in STATED}
    return feature | {
        "info": {key: value for key, value in info.items() if value not in (None, "")}
    }
