"""Reading a log store: plain arrays in memory, camera frames on demand."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.schema import (
    FORMAT,
    SCHEMA_VERSION,
    SPLITS,
    TEXT_COLUMNS,
    CameraInfo,
    Frames,
    StoreInfo,
    checksums,
)

STEPS_AT_ONCE = 256  # of frames held in memory when checking


@dataclass(frozen=True)
class EpisodeTable:
    """One row an episode: steps `start[i] : start[i] + length[i]` of the flat arrays.

    `complete` is False where the recorder ended in the middle: a crash, a full disk, or it is still
    recording.
    """

    name: list[str]
    session: list[str]
    source: list[str]
    source_hash: list[str]
    robot: list[str]
    licence: list[str]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    split: NDArray[np.uint8]
    complete: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.length)

    def of_split(self, split: str) -> NDArray[np.int64]:
        """Return the indices of the episodes of `split` ('train' or 'held_out')."""
        return np.flatnonzero(self.split == SPLITS.index(split))


class Store:
    """A finished store, opened for reading; other processes may append meanwhile."""

    def __init__(self, root: zarr.Group, path: Path) -> None:
        self._root = root
        self._fields: dict[str, NDArray[Any]] = {}
        self.path = path
        self.info = read_info(root, path)
        self.episodes = _read_episodes(root)
        self.steps = int(self.episodes.length.sum())
        if not len(self.episodes):
            raise NavOffrlError("holds no episode", where=path, remedy="import a log into it")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the store at `path`.

        Raises:
            NavOffrlError: there is no finished store, or a newer version wrote it.
        """
        return cls(open_root(Path(path)), Path(path))

    def field(self, name: str) -> NDArray[Any]:
        """Return the whole array of a step field, `(steps, ...)`, cached in memory."""
        if name not in self.info.fields:
            raise NavOffrlError(
                f"holds no field '{name}'",
                where=self.path,
                remedy=f"it has {', '.join(self.info.fields)}",
            )
        return self._whole(name)

    def _whole(self, name: str) -> NDArray[Any]:
        if name not in self._fields:
            values = _read(_array(self._root, f"data/{name}"), slice(self.steps))
            values.flags.writeable = False
            self._fields[name] = values
        return self._fields[name]

    @property
    def checksums(self) -> NDArray[np.uint32]:
        """CRC-32 of every step (steps,), as written with it."""
        return self._whole("checksum")

    def steps_of(self, episode: int) -> slice:
        """Return the range of flat steps of one episode."""
        start = int(self.episodes.start[episode])
        return slice(start, start + int(self.episodes.length[episode]))

    def jpegs(self, camera: str, steps: slice) -> list[bytes]:
        """Return the JPEG bytes of a contiguous range of steps, as recorded."""
        if self._calibration(camera).coding != "jpeg":
            raise NavOffrlError(f"camera '{camera}' is not coded as JPEG", where=self.path)
        offsets = _array(self._root, f"data/image/{camera}/offset")
        offset = _read(offsets, slice(steps.start, steps.stop + 1)).astype(np.int64)
        if (np.diff(offset) < 0).any():
            raise NavOffrlError(
                f"array '{offsets.path}' is damaged (offsets fall)",
                where=self.path,
                remedy="copy the store again or import the log anew",
            )
        jpeg = _array(self._root, f"data/image/{camera}/jpeg")
        blob = bytes(_read(jpeg, slice(int(offset[0]), int(offset[-1]))))
        edges = offset - offset[0]
        return [blob[a:b] for a, b in itertools.pairwise(edges)]

    def frames(self, camera: str, steps: slice) -> list[bytes] | NDArray[np.uint8]:
        """Return what is stored of a range of steps: JPEG bytes, or raw (T, H, W, 3) uint8."""
        if self._calibration(camera).coding == "jpeg":
            return self.jpegs(camera, steps)
        return _read(_array(self._root, f"data/image/{camera}/frames"), steps)

    def _calibration(self, camera: str) -> CameraInfo:
        if camera not in self.info.cameras:
            raise NavOffrlError(
                f"holds no camera '{camera}'",
                where=self.path,
                remedy=f"it has {', '.join(self.info.cameras) or 'none'}",
            )
        return self.info.cameras[camera]

    def images(self, camera: str, steps: slice) -> NDArray[np.uint8]:
        """Return decoded frames `(T, H, W, 3)`, RGB.

        Raises:
            NavOffrlError: a frame cannot be decoded; names the step.
        """
        frames = self.frames(camera, steps)
        if isinstance(frames, np.ndarray):
            return frames
        return decode_jpegs(frames, f"{self.path}, camera '{camera}'", first=steps.start)

    def image(self, camera: str, step: int) -> NDArray[np.uint8]:
        """Return one decoded frame `(H, W, 3)`, RGB."""
        frame: NDArray[np.uint8] = self.images(camera, slice(step, step + 1))[0]
        return frame

    def verify(self, episode: int) -> None:
        """Compare every step of an episode with the checksum written with it.

        Raises:
            NavOffrlError: the bytes on disk are not those that were written; names the step.
        """
        steps = self.steps_of(episode)
        for begin in range(steps.start, steps.stop, STEPS_AT_ONCE):
            part = slice(begin, min(begin + STEPS_AT_ONCE, steps.stop))
            fields = {name: self.field(name)[part] for name in self.info.fields}
            images: dict[str, Frames] = {
                camera: self.frames(camera, part) for camera in self.info.cameras
            }
            wrong = np.flatnonzero(checksums(fields, images) != self.checksums[part])
            if len(wrong):
                raise NavOffrlError(
                    f"episode '{self.episodes.name[episode]}' is damaged at step "
                    f"{begin - steps.start + int(wrong[0])} (checksum differs)",
                    where=self.path,
                    remedy="copy the store again or import the log anew",
                )

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes with any step's content or with the settings."""
        digest = hashlib.sha256()
        digest.update(self.info.model_dump_json(exclude={"provenance"}).encode())
        for row, name in enumerate(self.episodes.name):
            digest.update(f"{name} {self.episodes.split[row]}\n".encode())
            digest.update(self.checksums[self.steps_of(row)].tobytes())
        return digest.hexdigest()


def decode_jpegs(frames: Sequence[bytes], where: str, first: int = 0) -> NDArray[np.uint8]:
    """Decode JPEG byte strings of one size into `(T, H, W, 3)` RGB.

    Raises:
        NavOffrlError: a frame is damaged or of another size; names it by `first` + its index.
    """
    decoded: list[NDArray[Any]] = []
    for index, frame in enumerate(frames):
        buffer = np.frombuffer(frame, np.uint8)
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB) if len(buffer) else None
        if image is None or (decoded and image.shape != decoded[0].shape):
            raise NavOffrlError(
                f"frame {first + index} cannot be decoded or differs in size",
                where=where,
                remedy="run 'nav-offrl inspect --verify' and import the log anew",
            )
        decoded.append(image)
    return np.stack(decoded).astype(np.uint8, copy=False)


def open_root(path: Path, older: bool = False) -> zarr.Group:
    """Open the root group for reading after checking format and schema version.

    `older` admits stores of earlier versions, for migration.

    Raises:
        NavOffrlError: not a store, or one of a newer schema.
    """
    if not (path / "zarr.json").is_file():
        partial = path.with_name(path.name + ".partial-store")
        remedy = "give the path of a store made by 'nav-offrl import' or 'nav-offrl collect'"
        if partial.exists():
            remedy = f"'{partial}' is unfinished: run the same import again to complete it"
        raise NavOffrlError("is no log store (no zarr.json)", where=path, remedy=remedy)
    try:
        root = zarr.open_group(store=str(path), mode="r", zarr_format=3)
    except (ValueError, KeyError, OSError) as error:
        raise NavOffrlError(f"cannot be opened ({error})", where=path / "zarr.json") from error
    attributes = root.attrs.asdict()
    if attributes.get("format") != FORMAT:
        raise NavOffrlError(
            f"is a Zarr group but no log store (attribute 'format' is "
            f"{attributes.get('format')!r}, expected {FORMAT!r})",
            where=path / "zarr.json",
        )
    version = attributes.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise NavOffrlError(
            f"field 'schema_version' is {version!r}, this program reads up to {SCHEMA_VERSION}",
            where=path / "zarr.json",
            remedy="upgrade nav-offrl",
        )
    if version < SCHEMA_VERSION and not older:
        raise NavOffrlError(
            f"is a store of schema version {version}; this program works with {SCHEMA_VERSION}",
            where=path,
            remedy=f"nav-offrl import {path} -o NEW_STORE copies it into the present version",
        )
    return root


def read_info(root: zarr.Group, path: Path) -> StoreInfo:
    """Return the store's settings from the root's attributes."""
    return parse_config(StoreInfo, root.attrs.asdict().get("info"), path / "zarr.json")


def committed_rows(root: zarr.Group) -> NDArray[np.int64]:
    """Return the lengths of the committed episodes (those before the first empty row)."""
    lengths = _read(_array(root, "meta/length"), slice(None)).astype(np.int64)
    empty = np.flatnonzero(lengths <= 0)
    return lengths[: empty[0]] if len(empty) else lengths


def _read_episodes(root: zarr.Group) -> EpisodeTable:
    lengths = committed_rows(root)
    rows = len(lengths)

    def column(name: str) -> NDArray[Any]:
        return _read(_array(root, f"meta/{name}"), slice(rows))

    texts = {name: read_texts(root, name, rows) for name in TEXT_COLUMNS}
    return EpisodeTable(
        name=texts["name"],
        session=texts["session"],
        source=texts["source"],
        source_hash=texts["source_hash"],
        robot=texts["robot"],
        licence=texts["licence"],
        start=column("start").astype(np.int64),
        length=lengths,
        split=column("split").astype(np.uint8),
        complete=column("complete").astype(np.bool_),
    )


def read_texts(root: zarr.Group, name: str, rows: int) -> list[str]:
    """Return the first `rows` texts of a column of the episode table."""
    cells = _read(_array(root, f"meta/{name}"), slice(rows))
    return [bytes(cell).rstrip(b"\0").decode(errors="replace") for cell in cells]


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    try:
        array = root[name]
    except KeyError as error:
        raise NavOffrlError(
            f"array '{name}' is missing", where=str(root.store_path), remedy="the store is damaged"
        ) from error
    assert isinstance(array, zarr.Array)
    return array


def _read(array: zarr.Array[Any], rows: slice) -> NDArray[Any]:
    try:
        return np.asarray(array[rows])
    except (RuntimeError, ValueError) as error:  # what codecs raise on bytes that are not theirs
        raise NavOffrlError(
            f"array '{array.path}' cannot be decoded ({error})",
            where=str(array.store_path),
            remedy="the store is damaged: copy it again or import the log anew",
        ) from error
