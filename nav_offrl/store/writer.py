"""Crash-safe writing of a log store, an episode at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl import __version__
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import committed_rows, open_root, read_info
from nav_offrl.store.schema import (
    FORMAT,
    SCHEMA_VERSION,
    SPLITS,
    STEP_FIELDS,
    TEXT_COLUMNS,
    Episode,
    StoreInfo,
    check_episode,
    check_info,
    checksum,
)

STEP_CHUNK = 65536
EPISODE_CHUNK = 4096
JPEG_CHUNK_BYTES = 4 << 20


class StoreWriter:
    """Appends episodes; each `append` is a transaction committed by `meta/length`.

    A new store grows beside its final path under the suffix `.partial-store` and takes its name
    only in `finish()`, so that an interrupted import never opens as if complete. Creating the
    same store again continues it: `names` says which episodes are in.
    """

    def __init__(self, root: zarr.Group, path: Path, final_path: Path | None) -> None:
        self._root = root
        self._path = path
        self._final_path = final_path
        self.info = read_info(root, path)
        self._lengths = committed_rows(root)
        self._roll_back()
        self.names: set[str] = set(_texts(root, "name", len(self._lengths)))

    @classmethod
    def create(cls, path: str | Path, info: StoreInfo) -> Self:
        """Start a store that will appear at `path` on `finish()`, or continue one.

        Raises:
            NavOffrlError: `path` exists, cannot be written, or an unfinished store of other
                settings stands beside it.
        """
        check_info(info)
        final_path = Path(path)
        partial = final_path.with_name(final_path.name + ".partial-store")
        if final_path.exists():
            raise NavOffrlError(
                "exists already", where=final_path, remedy="choose another path or delete it"
            )
        if (partial / "zarr.json").exists():
            return cls._continue(partial, final_path, info)
        with _file_errors(final_path):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            root = _create_arrays(partial, info)
        return cls(root, partial, final_path)

    @classmethod
    def _continue(cls, partial: Path, final_path: Path, info: StoreInfo) -> Self:
        writer = cls(open_root(partial, mode="r+"), partial, final_path)
        if writer.info.model_dump(exclude={"provenance"}) != info.model_dump(
            exclude={"provenance"}
        ):
            raise NavOffrlError(
                "is an unfinished store of other settings", where=partial, remedy="delete it"
            )
        return writer

    @classmethod
    def append_to(cls, path: str | Path) -> Self:
        """Open a finished store for more episodes."""
        return cls(open_root(Path(path), mode="r+"), Path(path), None)

    def append(self, episode: Episode) -> None:
        """Write and commit one episode.

        Raises:
            NavOffrlError: the episode does not fit the store, or the disk refuses. What was
                committed before stays whole.
        """
        if episode.name in self.names:
            raise NavOffrlError(f"episode '{episode.name}' is in already", where=self._path)
        fields = check_episode(episode, self.info)
        start, row = int(self._lengths.sum()), len(self._lengths)
        blobs = {camera: b"".join(frames) for camera, frames in episode.images.items()}
        with _file_errors(self._path):
            for name, values in fields.items():
                _write_rows(_array(self._root, f"data/{name}"), start, values)
            for camera, frames in episode.images.items():
                self._write_jpegs(camera, start, [len(frame) for frame in frames], blobs[camera])
            self._write_meta(episode, row, start, checksum(fields, blobs))
            # The commit: readers trust only rows whose length is greater than zero.
            _write_rows(_array(self._root, "meta/length"), row, np.array([episode.length]))
        self._lengths = np.append(self._lengths, episode.length)
        self.names.add(episode.name)

    def _write_jpegs(self, camera: str, start: int, sizes: list[int], blob: bytes) -> None:
        offset = _array(self._root, f"data/image/{camera}/offset")
        jpeg = _array(self._root, f"data/image/{camera}/jpeg")
        begin = int(np.asarray(offset[start]))
        _write_rows(jpeg, begin, np.frombuffer(blob, np.uint8))
        _write_rows(offset, start + 1, begin + np.cumsum(sizes))

    def _write_meta(self, episode: Episode, row: int, start: int, crc: int) -> None:
        columns = {"start": start, "split": SPLITS.index(episode.split), "checksum": crc}
        for name, value in columns.items():
            _write_rows(_array(self._root, f"meta/{name}"), row, np.array([value]))
        for name, width in TEXT_COLUMNS.items():
            padded = getattr(episode, name).encode().ljust(width, b"\0")
            cell = np.frombuffer(padded, np.uint8)[None]
            _write_rows(_array(self._root, f"meta/{name}"), row, cell)

    def _roll_back(self) -> None:
        """Cut off what an interrupted append left beyond the last commit."""
        rows, steps = len(self._lengths), int(self._lengths.sum())
        for partial_object in self._path.rglob("*.partial"):
            partial_object.unlink()
        for name in self.info.fields:
            _shrink(_array(self._root, f"data/{name}"), steps)
        for camera in self.info.cameras:
            offset = _array(self._root, f"data/image/{camera}/offset")
            _shrink(offset, steps + 1)
            _shrink(_array(self._root, f"data/image/{camera}/jpeg"), int(np.asarray(offset[steps])))
        for name in ("start", "split", "checksum", "length", *TEXT_COLUMNS):
            _shrink(_array(self._root, f"meta/{name}"), rows)

    def finish(self) -> Path:
        """Give a new store its final name; returns that path.

        Raises:
            NavOffrlError: the store holds no episode.
        """
        if not len(self._lengths):
            raise NavOffrlError("nothing was written: no episode", where=self._path)
        if self._final_path is None:
            return self._path
        with _file_errors(self._final_path):
            self._path.rename(self._final_path)
        self._path, self._final_path = self._final_path, None
        return self._path

    def discard(self) -> None:
        """Delete an unfinished store."""
        if self._final_path is not None:
            shutil.rmtree(self._path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave an unfinished store where it is: the same command continues it."""


def _create_arrays(path: Path, info: StoreInfo) -> zarr.Group:
    root = zarr.create_group(store=str(path), zarr_format=3)
    for name in info.fields:
        spec = STEP_FIELDS[name]
        root.create_array(
            f"data/{name}",
            shape=(0, *spec.shape),
            dtype=spec.dtype,
            chunks=(STEP_CHUNK, *spec.shape),
            dimension_names=("step", *(f"{name}_{axis}" for axis in range(len(spec.shape)))),
            attributes={"unit": spec.unit, "description": spec.description, "frame": info.frame},
        )
    for camera, calibration in info.cameras.items():
        jpeg = {"description": "JPEG of step i is jpeg[offset[i]:offset[i + 1]]"}
        root.create_array(
            f"data/image/{camera}/jpeg",
            shape=(0,),
            dtype="uint8",
            chunks=(JPEG_CHUNK_BYTES,),
            compressors=None,
            dimension_names=(f"{camera}_byte",),
            attributes=jpeg | calibration.model_dump(mode="json"),
        )
        offset = root.create_array(
            f"data/image/{camera}/offset",
            shape=(1,),
            dtype="uint64",
            chunks=(STEP_CHUNK,),
            dimension_names=(f"{camera}_boundary",),
            attributes={"unit": "byte"},
        )
        offset[0] = 0
    for name, dtype in {
        "start": "int64",
        "length": "int64",
        "split": "uint8",
        "checksum": "uint32",
    }.items():
        root.create_array(
            f"meta/{name}",
            shape=(0,),
            dtype=dtype,
            chunks=(EPISODE_CHUNK,),
            dimension_names=("episode",),
            attributes={"codes": list(SPLITS)} if name == "split" else {},
        )
    for name, width in TEXT_COLUMNS.items():
        root.create_array(
            f"meta/{name}",
            shape=(0, width),
            dtype="uint8",
            chunks=(EPISODE_CHUNK, width),
            dimension_names=("episode", f"{name}_utf8"),
            attributes={"description": "UTF-8, padded with zero bytes"},
        )
    root.attrs.update(
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "written_by": f"nav-offrl {__version__}",
            "info": info.model_dump(mode="json"),
        }
    )
    return root


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    assert isinstance(array, zarr.Array)
    return array


def _write_rows(array: zarr.Array[Any], start: int, values: NDArray[np.generic]) -> None:
    stop = start + len(values)
    if array.shape[0] != stop:
        array.resize((stop, *array.shape[1:]))
    array[start:stop] = values.astype(array.dtype)


def _shrink(array: zarr.Array[Any], rows: int) -> None:
    if array.shape[0] > rows:
        array.resize((rows, *array.shape[1:]))


def _texts(root: zarr.Group, column: str, rows: int) -> list[str]:
    cells = np.asarray(_array(root, f"meta/{column}")[:rows], np.uint8)
    return [bytes(cell).rstrip(b"\0").decode() for cell in cells]


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NavOffrlError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            remedy="check that the folder exists, that it is yours and that the disk has room",
        ) from error
