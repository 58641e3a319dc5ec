"""The arrays of a new store: names, chunks, dimensions, attributes (see datasets/README.md)."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from nav_offrl import __version__
from nav_offrl.store.raw_array import LARGE_CHUNK_BYTES, rows_per_chunk
from nav_offrl.store.schema import (
    FORMAT,
    SCHEMA_VERSION,
    SPLITS,
    STEP_FIELDS,
    TEXT_COLUMNS,
    CameraInfo,
    StoreInfo,
)

EPISODE_CHUNK = 256
NUMBER_COLUMNS = {"start": "int64", "length": "int64", "split": "uint8", "complete": "bool"}


def create_arrays(path: Path, info: StoreInfo) -> None:
    """Lay out an empty store in the folder `path`; its root attributes come last."""
    root = zarr.create_group(store=str(path), zarr_format=3)
    for name in info.fields:
        _create_field(root, name, info)
    _create(
        root,
        "data/checksum",
        "uint32",
        (),
        rows_per_chunk(4),
        ("step",),
        {"description": "CRC-32 of the step's fields in name order, then of its frames"},
    )
    for camera, calibration in info.cameras.items():
        _create_camera(root, camera, calibration)
    for name, dtype in NUMBER_COLUMNS.items():
        attributes: dict[str, Any] = {"codes": list(SPLITS)} if name == "split" else {}
        _create(root, f"meta/{name}", dtype, (), EPISODE_CHUNK, ("episode",), attributes)
    for name, width in TEXT_COLUMNS.items():
        _create(
            root,
            f"meta/{name}",
            "uint8",
            (width,),
            EPISODE_CHUNK,
            ("episode", f"{name}_utf8"),
            {"description": "UTF-8, padded with zero bytes"},
        )
    root.attrs.update(
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "written_by": f"nav-offrl {__version__}",
            "info": info.model_dump(mode="json"),
        }
    )


def _create_field(root: zarr.Group, name: str, info: StoreInfo) -> None:
    spec, described = STEP_FIELDS[name], info.fields[name]
    row_bytes = int(np.prod(described.shape)) * np.dtype(spec.dtype).itemsize
    axis_names = [f"{name}_{axis}" for axis in range(len(described.shape))]
    attributes = described.model_dump(mode="json", exclude={"shape"}, exclude_none=True)
    _create(
        root,
        f"data/{name}",
        spec.dtype,
        described.shape,
        rows_per_chunk(row_bytes),
        ("step", *axis_names),
        {"description": spec.description} | attributes,
    )


def _create_camera(root: zarr.Group, camera: str, calibration: CameraInfo) -> None:
    folder = f"data/image/{camera}"
    attributes = calibration.model_dump(mode="json", exclude_none=True)
    if calibration.coding == "raw":
        shape = (calibration.height, calibration.width, 3)
        rows = rows_per_chunk(int(np.prod(shape)), LARGE_CHUNK_BYTES)
        dimensions = ("step", f"{camera}_height", f"{camera}_width", "rgb")
        _create(root, f"{folder}/frames", "uint8", shape, rows, dimensions, attributes)
        return
    attributes["description"] = "JPEG of step i is jpeg[offset[i]:offset[i + 1]]"
    _create(root, f"{folder}/jpeg", "uint8", (), LARGE_CHUNK_BYTES, (f"{camera}_byte",), attributes)
    boundary = (f"{camera}_boundary",)
    offset = _create(
        root, f"{folder}/offset", "uint64", (), rows_per_chunk(8), boundary, {"unit": "byte"}
    )
    offset.resize((1,))  # offset[0] is 0, the fill value


def _create(
    root: zarr.Group,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    chunk_rows: int,
    dimension_names: tuple[str, ...],
    attributes: dict[str, Any],
) -> zarr.Array[Any]:
    # Uncompressed and chunked along the first axis only: `RawArray` appends in place.
    return root.create_array(
        name,
        shape=(0, *shape),
        dtype=dtype,
        chunks=(chunk_rows, *shape),
        compressors=None,
        dimension_names=dimension_names,
        attributes=attributes,
    )
