"""Bags of all three containers, written by rosbags from a few lines."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import bag
from nav_offrl_datasets.importing.run import Layout, Run

Fields = dict[str, Any]
Row = tuple[str, str, int, Fields]


@cache
def _store(container: str) -> Any:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    if container != "ros1":
        return get_typestore(Stores.ROS2_JAZZY)
    store = get_typestore(Stores.ROS1_NOETIC)
    transforms = "geometry_msgs/TransformStamped[] transforms"
    store.register(get_types_from_msg(transforms, "tf2_msgs/msg/TFMessage"))
    return store


def _zero(store: Any, kind: str) -> Any:
    """Return a message of a type with every field zero or empty."""
    from rosbags.interfaces import Nodetype

    values = {}
    for name, (node, detail) in store.fielddefs[kind][1]:
        if node == Nodetype.NAME:
            values[name] = _zero(store, detail)
        elif node == Nodetype.BASE:
            values[name] = "" if detail[0] == "string" else False if detail[0] == "bool" else 0
        else:
            (inner, inner_detail), length = detail
            dtype = {"byte": "uint8", "char": "uint8"}.get(inner_detail[0], inner_detail[0])
            length = length if node == Nodetype.ARRAY else 0
            plain = inner == Nodetype.BASE and dtype != "string"
            values[name] = np.zeros(length, dtype) if plain else []
    return store.types[kind](**values)


def build(container: str, kind: str, fields: Fields) -> Any:
    """Return a message; `fields` maps dotted names to values, `stamp` to the header's time, ns."""
    message = _zero(_store(container), kind)
    for name, value in fields.items():
        if name == "stamp":
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(value, 10**9)
            continue
        *path, last = name.split(".")
        target = message
        for part in path:
            target = getattr(target, part)
        assert hasattr(target, last), f"{kind} has no {name}"
        setattr(target, last, value)
    return message


@pytest.fixture
def write_bag(tmp_path: Path) -> Callable[..., Path]:
    """Return `write(container, rows, name="run", **options) -> path of the bag`.

    `rows` are (topic, type, log time ns, fields) in any order.
    """

    def write(container: str, rows: Sequence[Row], name: str = "run", **options: Any) -> Path:
        from rosbags import rosbag1, rosbag2

        store = _store(container)
        if container == "ros1":
            path = tmp_path / f"{name}.bag"
            writer: Any = rosbag1.Writer(path)
            if "compression" in options:
                writer.set_compression(options["compression"])
        else:
            path = tmp_path / name
            plugin = getattr(rosbag2.StoragePlugin, container.upper())
            writer = rosbag2.Writer(path, version=9, storage_plugin=plugin)
            if "compression" in options:
                writer.set_compression(options["compression"], rosbag2.CompressionFormat.ZSTD)
        with writer:
            connections: dict[str, Any] = {}
            for topic, kind, time, fields in sorted(rows, key=lambda row: row[2]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=store)
                message = build(container, kind, fields)
                dump = store.serialize_ros1 if container == "ros1" else store.serialize_cdr
                writer.write(connections[topic], time, dump(message, kind))
        return path

    return write


@pytest.fixture
def drive() -> Callable[..., list[Row]]:
    """Return `drive(seconds, jpeg)`: rows of a bag of a robot that drives along x at 1 m/s.

    From 100 s on: frames at 10 Hz, odometry and commands at 20 Hz, IMU at 100 Hz; logged 5 ms
    after the header's stamp.
    """

    def rows(seconds: float, jpeg: bytes) -> list[Row]:
        start, late = 100 * 10**9, 5_000_000
        found: list[Row] = []

        def add(topic: str, kind: str, rate: int, fields: Callable[[float], Fields]) -> None:
            for index in range(round(seconds * rate)):
                time = start + index * 10**9 // rate
                stamp = {} if kind.endswith("/Twist") else {"stamp": time}
                found.append((topic, kind, time + late, stamp | fields(index / rate)))

        picture = {"format": "jpeg", "data": np.frombuffer(jpeg, np.uint8)}
        image, odometry = "sensor_msgs/msg/CompressedImage", "nav_msgs/msg/Odometry"
        add("/camera/image_raw/compressed", image, 10, lambda t: picture)
        pose = {"pose.pose.orientation.w": 1.0, "twist.twist.linear.x": 1.0}
        add("/odom", odometry, 20, lambda t: pose | {"pose.pose.position.x": t})
        add("/cmd_vel", "geometry_msgs/msg/Twist", 20, lambda t: {"linear.x": 1.0, "angular.z": t})
        reading = {"angular_velocity.x": 0.2, "linear_acceleration.z": 9.8}
        add("/imu/data", "sensor_msgs/msg/Imu", 100, lambda t: reading)
        return found

    return rows


@pytest.fixture
def jpeg() -> bytes:
    """A picture of 32x24 pixels as JPEG."""
    import cv2

    ramp = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (24, 1, 3))
    return cv2.imencode(".jpg", ramp)[1].tobytes()


@pytest.fixture(name="build")
def build_message() -> Callable[..., Any]:
    """Return `build(container, type, fields)`: a message."""
    return build


@pytest.fixture
def import_bag() -> Callable[..., tuple[Layout, list[Run]]]:
    """Return `import_bag(path, **settings)`: the layout and the runs."""

    def read(path: Path, **settings: Any) -> tuple[Layout, list[Run]]:
        config = ImportConfig(**settings)
        sources, _ = bag.sources(path, config)
        layout = bag.layout(sources, config)
        return layout, [run for source in sources for run in bag.read(source, layout, config)]

    return read


@pytest.fixture
def import_one(
    import_bag: Callable[..., tuple[Layout, list[Run]]],
) -> Callable[..., tuple[Layout, Run]]:
    """Return `import_one(path, **settings)`: the layout and the only run."""

    def read(path: Path, **settings: Any) -> tuple[Layout, Run]:
        layout, (run,) = import_bag(path, **settings)
        return layout, run

    return read
