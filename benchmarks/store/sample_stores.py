"""Small stores of both schema versions, and LeRobot data sets that are written from one."""

import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.store.log_damage import Spoiler
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.schema import FORMAT, SPLITS, STEP_FIELDS, field_info

VERSION_1_FIELDS = ("time", "position", "yaw", "action", "collision")


def write_version_1(folder: Path, spoiler: Spoiler, frames: list[bytes]) -> None:
    """Write a store of two drives as schema version 1 laid it out: all frames are one camera's."""
    steps, lengths = len(frames), (len(frames) // 2, len(frames) - len(frames) // 2)
    fields = {name: spoiler.numbers(_field(name, steps)) for name in VERSION_1_FIELDS}
    root = zarr.create_group(store=str(folder), zarr_format=3, overwrite=True)

    def array(name: str, values: Any, chunk_rows: int = 4096, **options: Any) -> None:
        chunks = (chunk_rows, *values.shape[1:])
        made = root.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=chunks, **options
        )
        made[:] = values

    for name, values in fields.items():
        array(f"data/{name}", values)
    array("data/image/front/offset", np.cumsum([0, *map(len, frames)]).astype(np.uint64))
    blob = np.frombuffer(b"".join(frames), np.uint8)
    array("data/image/front/jpeg", blob, 1 << 15, compressors=None)
    starts = np.cumsum((0, *lengths))[:-1]
    array("meta/start", starts)
    array("meta/length", np.array(lengths))
    array("meta/split", np.array((0, 1), np.uint8))
    parts = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    array("meta/checksum", np.array([_sum_1(fields, frames, part) for part in parts], np.uint32))
    for name, width in (("name", 128), ("source", 256), ("robot", 64), ("licence", 64)):
        cells = [f"{name} {row}".encode().ljust(width, b"\0") for row in range(len(lengths))]
        array(f"meta/{name}", np.stack([np.frombuffer(cell, np.uint8) for cell in cells]))
    info: dict[str, Any] = {
        "rate_hz": 5.0,
        "action_source": "derived from pose",
        "cameras": {"front": {"height": 24, "width": 32, "horizontal_fov": 1.5}},
        "fields": list(VERSION_1_FIELDS),
    }
    root.attrs.update({"format": FORMAT, "schema_version": 1, "info": info})


def _sum_1(fields: dict[str, Any], frames: list[bytes], part: slice) -> int:
    value = 0
    for name in sorted(fields):
        value = zlib.crc32(np.ascontiguousarray(fields[name][part]).tobytes(), value)
    return zlib.crc32(b"".join(frames[part]), value)


def _field(name: str, steps: int) -> Any:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    shape = (2,) if name == "action" else STEP_FIELDS[name].shape or ()
    if name == "time":
        return 200_000_000 * np.arange(steps)
    return rng.uniform(0, 1, (steps, *shape)).astype(STEP_FIELDS[name].dtype)


def write_version_2(folder: Path, spoiler: Spoiler, frames: list[bytes]) -> None:
    """Write a store of two drives, all frames of one camera, with a vector and a raw camera."""
    del spoiler  # the writer refuses what is spoilt
    names = ("time", "position", "yaw", "velocity", "action", "collision", "imu", "gps", "reward")
    info = StoreInfo(
        rate_hz=5.0,
        action_source="derived from pose",
        cameras={
            "front": CameraInfo(height=24, width=32),
            "rear": CameraInfo(height=6, width=8, coding="raw"),
        },
        fields={name: field_info(name) for name in names}
        | {"lidar": field_info("lidar", shape=(5,), angle_min=-1.0, angle_max=1.0)},
    )
    half = len(frames) // 2
    path = folder / "drives.zarr"
    with StoreWriter.create(path, info) as writer:
        for number, part in enumerate((frames[:half], frames[half:])):
            fields = {name: _field(name, len(part)) for name in names}
            fields["lidar"] = np.ones((len(part), 5), np.float32)
            images: dict[str, Any] = {
                "front": part,
                "rear": np.full((len(part), 6, 8, 3), 90, np.uint8),
            }
            writer.append(Episode(f"drive {number}", images, fields, SPLITS[number]))
        writer.finish()
    for entry in path.iterdir():
        entry.rename(folder / entry.name)
    path.rmdir()


def write_lerobot(folder: Path, spoiler: Spoiler, frames: list[bytes], images: bool) -> None:
    """Write a data set by the project's own writer, then spoil its tables."""
    from nav_offrl_datasets.lerobot import writer

    made = folder.with_name(folder.name + ".store")
    made.mkdir()
    write_version_2(made, spoiler, frames)
    folder.rmdir()
    writer.write_lerobot(Store.open(made), folder, images=images)
    shutil.rmtree(made)
    for path in sorted(folder.rglob("*.parquet")):
        _spoil_table(path, spoiler)


def _spoil_table(path: Path, spoiler: Spoiler) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for number, name in enumerate(table.column_names):
        column = table.column(number).combine_chunks()
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            spoilt = pa.array(spoiler.numbers(column.to_numpy(zero_copy_only=False)))
        elif pa.types.is_fixed_size_list(column.type) and column.type.value_type == pa.float32():
            values = spoiler.numbers(column.values.to_numpy(zero_copy_only=False))
            spoilt = pa.FixedSizeListArray.from_arrays(pa.array(values), column.type.list_size)
        elif pa.types.is_struct(column.type):
            cells = column.to_pylist()
            for cell in cells:
                cell["bytes"] = spoiler.content(cell["bytes"])
            spoilt = pa.array(cells, column.type)
        else:
            continue
        table = table.set_column(number, name, spoilt)
    pq.write_table(table, path)
