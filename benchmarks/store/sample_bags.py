"""Small ROS bags of the three containers, packed and not, with a topic of every kind."""

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from benchmarks.store.log_damage import Spoiler

START, LATE = 100 * 10**9, 5_000_000  # ns
SECONDS = 2.5
RECIPE = "recipe.yaml"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
RECIPE_TEXT = """\
robot: tester
licence: CC0-1.0
rate_hz: 5.0
cameras:
  front: {topics: [/none, /front/image_raw/compressed], info_topics: [/front/camera_info]}
  rear: {topics: [/rear/image_raw], horizontal_fov: 1.5}
  left: {topics: [/left/image_raw/compressed]}
odometry: [/odom]
command: [/cmd_vel]
imu: [/imu/data]
gps: [/gps/fix]
lidar: [/scan]
collision: [/bumper]
heading_offset: 0.1
max_command_age: 0.5
labels: {close_range: 0.5, jolt: 20.0}
"""
Row = tuple[str, str, int, dict[str, Any]]  # topic, type, ns, dotted name of a field -> value


def write_ros1(folder: Path, spoiler: Spoiler, picture: bytes) -> None:
    write_recipe(folder)
    for number, compression in enumerate((None, rosbag1.Writer.CompressionFormat.BZ2)):
        writer = rosbag1.Writer(folder / f"drive_{'ab'[number]}.bag")
        if compression is not None:
            writer.set_compression(compression)
        _write(writer, Stores.ROS1_NOETIC, spoiler, picture, number)


def write_sqlite3(folder: Path, spoiler: Spoiler, picture: bytes) -> None:
    modes = (rosbag2.CompressionMode.NONE, rosbag2.CompressionMode.MESSAGE)
    _write_ros2(folder, spoiler, picture, rosbag2.StoragePlugin.SQLITE3, modes)


def write_mcap(folder: Path, spoiler: Spoiler, picture: bytes) -> None:
    modes = (rosbag2.CompressionMode.NONE, rosbag2.CompressionMode.STORAGE)
    _write_ros2(folder, spoiler, picture, rosbag2.StoragePlugin.MCAP, modes)


def write_recipe(folder: Path) -> None:
    """Write the recipe that names all topics beside the bags."""
    (folder / RECIPE).write_text(RECIPE_TEXT)


def write_packed(folder: Path, spoiler: Spoiler, picture: bytes) -> None:
    """Whole files under zstd: of sqlite3 and of mcap."""
    write_recipe(folder)
    for number, plugin in enumerate(rosbag2.StoragePlugin):
        writer = rosbag2.Writer(folder / f"drive_{number}", version=9, storage_plugin=plugin)
        writer.set_compression(rosbag2.CompressionMode.FILE, rosbag2.CompressionFormat.ZSTD)
        _write(writer, Stores.ROS2_JAZZY, spoiler, picture, number)


def _write_ros2(
    folder: Path,
    spoiler: Spoiler,
    picture: bytes,
    plugin: rosbag2.StoragePlugin,
    modes: tuple[rosbag2.CompressionMode, ...],
) -> None:
    write_recipe(folder)
    for number, mode in enumerate(modes):
        writer = rosbag2.Writer(folder / f"drive_{number}", version=9, storage_plugin=plugin)
        if mode != rosbag2.CompressionMode.NONE:
            writer.set_compression(mode, rosbag2.CompressionFormat.ZSTD)
        _write(writer, Stores.ROS2_JAZZY, spoiler, picture, number)


def _write(writer: Any, store: Stores, spoiler: Spoiler, picture: bytes, number: int) -> None:
    types = _types(store)
    dump = types.serialize_ros1 if store == Stores.ROS1_NOETIC else types.serialize_cdr
    with writer:
        connections: dict[str, Any] = {}
        for topic, kind, time, fields in sorted(_drive(spoiler, picture, number), key=_time):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=types)
            message = _message(types, kind, fields)
            content = spoiler.content(bytes(dump(message, kind)))
            writer.write(connections[topic], time, content)


def _time(row: Row) -> int:
    return row[2]


@cache
def _types(store: Stores) -> Any:
    types = get_typestore(store)
    if store == Stores.ROS1_NOETIC:
        types.register(
            get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TRANSFORMS)
        )
    return types


def _drive(spoiler: Spoiler, picture: bytes, number: int) -> list[Row]:
    """A robot that drives along x at 1 m/s; everything that an importer may look for."""
    rows: list[Row] = []

    def add(topic: str, kind: str, rate: int, fields: dict[str, Any]) -> None:
        for index in range(round(SECONDS * rate)):
            time = START + index * 10**9 // rate
            values = {
                name: of[index] if isinstance(of, list) else of for name, of in fields.items()
            }
            stamp = {} if kind.endswith(("/Twist", "/Bool")) else {"stamp": time}
            rows.append((topic, kind, time + LATE, stamp | values))

    def series(rate: int, slope: float, first: float = 0.0) -> list[Any]:
        steps = np.arange(round(SECONDS * rate))
        return list(spoiler.numbers(first + slope / rate * steps).tolist())

    jpeg = {
        "header.frame_id": "camera_optical",
        "format": "jpeg",
        "data": np.frombuffer(picture, np.uint8),
    }
    pixels = np.full(6 * 8 * 3, 40 + number, np.uint8)
    raw = {"height": 6, "width": 8, "encoding": "rgb8", "step": 24, "data": pixels}
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    png = {"format": "rgb8; png", "data": cv2.imencode(".png", gray)[1].reshape(-1)}
    lidar = {"angle_min": -1.0, "angle_increment": 0.5, "range_max": 30.0}
    ranges = [spoiler.numbers(np.linspace(1, 2, 5, dtype=np.float32)) for _ in range(25)]
    add("/front/image_raw/compressed", "sensor_msgs/msg/CompressedImage", 10, jpeg)
    add("/rear/image_raw", "sensor_msgs/msg/Image", 10, raw)
    add("/left/image_raw/compressed", "sensor_msgs/msg/CompressedImage", 10, png)
    add("/front/camera_info", "sensor_msgs/msg/CameraInfo", 1, {"height": 24, "width": 32})
    place = {"pose.pose.orientation.w": 1.0, "pose.pose.position.x": series(20, 1.0, number)}
    add("/odom", "nav_msgs/msg/Odometry", 20, place | {"twist.twist.linear.x": series(20, 0, 1)})
    add("/cmd_vel", "geometry_msgs/msg/Twist", 20, {"linear.x": series(20, 0, 1)})
    forces = {"linear_acceleration.z": series(50, 0, 9.8), "angular_velocity.x": series(50, 1)}
    add("/imu/data", "sensor_msgs/msg/Imu", 50, forces)
    add("/scan", "sensor_msgs/msg/LaserScan", 10, lidar | {"ranges": ranges})
    fix = {"latitude": series(5, 1e-6, 50), "longitude": series(5, 1e-6, 8)}
    add("/gps/fix", "sensor_msgs/msg/NavSatFix", 5, fix)
    add("/bumper", "std_msgs/msg/Bool", 10, {"data": False})
    mast = {"header.frame_id": "base_link", "child_frame_id": "mast", "transform.rotation.w": 1.0}
    optical = {"header.frame_id": "mast", "child_frame_id": "camera_optical", "stamp": START}
    optical |= dict(zip(("transform.rotation.x", "transform.rotation.w"), (-0.7, 0.7), strict=True))
    rows.append(("/tf_static", TRANSFORMS, START, {"transforms": [mast, optical]}))
    return rows


def _message(types: Any, kind: str, fields: dict[str, Any]) -> Any:
    message = _zero(types, kind)
    for name, value in fields.items():
        if name == "transforms":
            stamped = "geometry_msgs/msg/TransformStamped"
            message.transforms = [_message(types, stamped, each) for each in value]
            continue
        if name == "stamp":
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(value, 10**9)
            continue
        *path, last = name.split(".")
        target = message
        for part in path:
            target = getattr(target, part)
        setattr(target, last, value)
    return message


def _zero(types: Any, kind: str) -> Any:
    """Return a message of a type with every field zero or empty."""
    values = {}
    for name, (node, detail) in types.fielddefs[kind][1]:
        if node == Nodetype.NAME:
            values[name] = _zero(types, detail)
        elif node == Nodetype.BASE:
            values[name] = "" if detail[0] == "string" else False if detail[0] == "bool" else 0
        else:
            (inner, inner_detail), length = detail
            dtype = {"byte": "uint8", "char": "uint8"}.get(inner_detail[0], inner_detail[0])
            length = length if node == Nodetype.ARRAY else 0
            plain = inner == Nodetype.BASE and dtype != "string"
            values[name] = np.zeros(length, dtype) if plain else []
    return types.types[kind](**values)
