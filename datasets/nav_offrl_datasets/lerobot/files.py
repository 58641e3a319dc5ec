"""The files of a LeRobot data set that grow while it is written: tables and videos."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nav_offrl_datasets.lerobot.features import INDEX_FEATURES
from nav_offrl_datasets.lerobot.video import VideoWriter

CHUNK_FILES = 1000  # files a folder
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200  # a file that has grown so large is the last of its episodes
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
INDEX_TYPES = dict(zip(INDEX_FEATURES, ("float32", *["int64"] * 4), strict=True))


def table_schema(features: dict[str, dict[str, Any]]) -> pa.Schema:
    """Return the schema of the tables, with what Hugging Face's `datasets` wants to know of it."""
    types, described = {}, {}
    for key, feature in features.items():
        if feature["dtype"] == "image":
            types[key], described[key] = IMAGE_TYPE, {"_type": "Image"}
        elif feature["dtype"] != "video":
            types[key], described[key] = _type(feature["dtype"], feature["shape"][0])
    for key, dtype in INDEX_TYPES.items():
        types[key], described[key] = _type(dtype, 1)
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pa.schema(list(types.items()), metadata=metadata)


def _type(dtype: str, length: int) -> tuple[pa.DataType, dict[str, Any]]:
    scalar = pa.type_for_alias(dtype)
    value = {"dtype": dtype, "_type": "Value"}
    if length == 1:
        return scalar, value
    return pa.list_(scalar, length), {"feature": value, "length": length, "_type": "Sequence"}


def _cells(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(values.reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pa.array(values.reshape(-1), kind)


def tasks_table(task: str) -> pa.Table:
    """Return the table of tasks as pandas writes a frame whose index holds the texts."""
    column = {"field_name": "task", "name": "task", "metadata": None}
    number = {"field_name": "task_index", "name": "task_index", "metadata": None}
    metadata = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": [
            number | {"pandas_type": "int64", "numpy_type": "int64"},
            column | {"pandas_type": "unicode", "numpy_type": "object"},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": [task]})
    return table.replace_schema_metadata({"pandas": json.dumps(metadata)})


@dataclass
class DataFiles:
    """The tables: one after the other, each of whole episodes."""

    root: Path
    schema: pa.Schema
    file: int = 0
    _writer: pq.ParquetWriter | None = None
    _path: Path = field(default_factory=Path)

    def write(
        self, columns: dict[str, NDArray[Any]], pictures: dict[str, list[dict[str, Any]]]
    ) -> dict[str, int]:
        """Append an episode as one row group; return its place."""
        if self._writer is not None and self._path.stat().st_size >= DATA_FILE_MB << 20:
            self.close()
            self.file += 1
        chunk, file = divmod(self.file, CHUNK_FILES)
        if self._writer is None:
            name = FILE.format(chunk_index=chunk, file_index=file)
            self._path = self.root / f"data/{name}.parquet"
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, self.schema, compression="snappy")
        cells = [
            pa.array(pictures[column.name], column.type)
            if column.name in pictures
            else _cells(columns[column.name], column.type)
            for column in self.schema
        ]
        table = pa.Table.from_arrays(cells, schema=self.schema)
        self._writer.write_table(table, row_group_size=len(table))
        return {"data/chunk_index": chunk, "data/file_index": file}

    def close(self) -> None:
        """Finish the file that is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class VideoFiles:
    """The videos of one camera: one after the other, each of whole episodes."""

    def __init__(self, root: Path, key: str, fps: float, height: int, width: int) -> None:
        self._root, self._key, self._fps, self._size = root, key, fps, (height, width)
        self._file = 0
        self._writer: VideoWriter | None = None
        self._start = 0

    def _path(self, file: int) -> Path:
        chunk, within = divmod(file, CHUNK_FILES)
        name = FILE.format(chunk_index=chunk, file_index=within)
        return Path(f"videos/{self._key}/{name}.mp4")

    @property
    def first(self) -> Path:
        """Where the first of the files is, relative to the data set."""
        return self._path(0)

    def begin_episode(self) -> dict[str, Any]:
        """Return the place of the episode that follows."""
        if self._writer is not None and self._writer.bytes >= VIDEO_FILE_MB << 20:
            self.close()
            self._file += 1
        if self._writer is None:
            path = self._root / self._path(self._file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = VideoWriter(path, self._fps, self._size)
        self._start = self._writer.frames
        chunk, file = divmod(self._file, CHUNK_FILES)
        return self._column("chunk_index", chunk) | self._column("file_index", file)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame (H, W, 3) RGB."""
        assert self._writer is not None
        self._writer.write(image)

    def end_episode(self) -> dict[str, Any]:
        """Return from and to which second of the video the episode lasts."""
        assert self._writer is not None
        begin, end = self._start / self._fps, self._writer.frames / self._fps
        return self._column("from_timestamp", begin) | self._column("to_timestamp", end)

    def _column(self, name: str, value: float) -> dict[str, Any]:
        return {f"videos/{self._key}/{name}": value}

    def close(self) -> None:
        """Finish the file that is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
