"""Copying a store of an earlier schema version into a new store of the present one.

Version 1 had compressed arrays, JPEG cameras only, and one CRC-32 an episode (`meta/checksum`): of
its fields, then of its JPEG bytes, each in name order.
"""

import itertools
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.arrays import open_array, open_root, read_info, read_rows
from nav_offrl.store.location import Location
from nav_offrl.store.reader import committed_rows, read_texts
from nav_offrl.store.schema import SCHEMA_VERSION, SPLITS, Episode, StoreInfo
from nav_offrl.store.writer import StoreWriter

TEXTS = ("name", "source", "robot", "licence")


def migrate(
    old: str | Path, new: str | Path, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Path:
    """Copy the store `old` to `new`, checking every episode against its old checksum.

    `old` is only read. An interrupted copy is continued by the same call. `progress` wraps the
    loop over episodes.

    Raises:
        NavOffrlError: `old` is damaged (names the episode), of the present version or of a newer
            one; `new` exists or cannot be written.
    """
    location = Location.of(old)
    root = open_root(location, older=True)
    version = root.attrs.asdict()["schema_version"]
    if version == SCHEMA_VERSION:
        raise NavOffrlError(
            f"is a store of the present version {SCHEMA_VERSION} already",
            where=location.text,
            remedy="use it as it is",
        )
    info = read_info(root, location.text)
    provenance = info.provenance | {"migrated_from_schema_version": str(version)}
    with StoreWriter.create(new, info.model_copy(update={"provenance": provenance})) as writer:
        table = _Table(root, location.text)
        done = len(writer.names)
        if writer.names != set(table.texts["name"][:done]):
            raise NavOffrlError(
                "is unfinished and was begun from another store", where=new, remedy="delete it"
            )
        for row in progress(range(done, len(table.lengths))):
            writer.append(table.episode(row, info))
        return writer.finish()


class _Table:
    """The episodes of a store of version 1."""

    def __init__(self, root: zarr.Group, where: str) -> None:
        self._root, self._where = root, where
        self.lengths = committed_rows(root)
        rows = len(self.lengths)
        self.texts = {name: read_texts(root, name, rows) for name in TEXTS}
        self._split = self._rows("meta/split", slice(rows))
        self._checksum = self._rows("meta/checksum", slice(rows))
        self._start = np.cumsum(self.lengths) - self.lengths

    def _rows(self, name: str, rows: slice) -> NDArray[Any]:
        return read_rows(open_array(self._root, name), rows)

    def episode(self, row: int, info: StoreInfo) -> Episode:
        """Return an episode whole.

        Raises:
            NavOffrlError: its checksum differs.
        """
        start = int(self._start[row])
        steps = slice(start, start + int(self.lengths[row]))
        fields = {name: self._rows(f"data/{name}", steps) for name in info.fields}
        images = {camera: self._jpegs(camera, steps) for camera in info.cameras}
        split = int(self._split[row])
        if _checksum(fields, images) != int(self._checksum[row]) or split >= len(SPLITS):
            raise NavOffrlError(
                f"episode '{self.texts['name'][row]}' is damaged (checksum differs)",
                where=self._where,
                remedy="copy the store from its source again, or import the logs anew",
            )
        texts: dict[str, Any] = {name: values[row] for name, values in self.texts.items()}
        return Episode(images=images, fields=fields, split=SPLITS[split], **texts)

    def _jpegs(self, camera: str, steps: slice) -> list[bytes]:
        offset = self._rows(f"data/image/{camera}/offset", slice(steps.start, steps.stop + 1))
        edges = [int(edge) for edge in offset] or [0]  # damaged ones make a wrong checksum
        blob = self._rows(f"data/image/{camera}/jpeg", slice(edges[0], edges[-1])).tobytes()
        return [blob[a - edges[0] : b - edges[0]] for a, b in itertools.pairwise(edges)]


def _checksum(fields: dict[str, NDArray[Any]], images: dict[str, list[bytes]]) -> int:
    value = 0
    for name in sorted(fields):
        value = zlib.crc32(np.ascontiguousarray(fields[name]).tobytes(), value)
    for camera in sorted(images):
        value = zlib.crc32(b"".join(images[camera]), value)
    return value
