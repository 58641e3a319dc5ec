"""Several stores read as one: their episodes one behind the other, each with its store's name."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import EpisodeTable, Store
from nav_offrl.store.schema import StoreInfo

# What one encoder, and the robot's camera after it, must be able to count on.
_SAME_CAMERA = ("height", "width", "coding", "horizontal_fov", "intrinsics", "distortion")
_SAME_FIELD = ("shape", "unit", "axes", "frame")


@dataclass(frozen=True)
class MixedEpisodes(EpisodeTable):
    """The episodes of all stores; `store` names the one that each comes from."""

    store: list[str]


class StoreMixture(Store):
    """Stores that train as one, read through the interface of a single `Store`.

    Flat steps and episodes count through the stores in the order given; fields and cameras are
    those that all have. `weights` (stores,) are the shares of transitions to draw from each, None
    where every transition of every store is as likely as any other.
    """

    def __init__(
        self, stores: Mapping[str, Store], weights: Mapping[str, float] | None = None
    ) -> None:
        """Put stores together under their names.

        Raises:
            NavOffrlError: rates, fields or cameras do not agree, or a weight names no store.
        """
        self.stores = dict(stores)
        parts = list(self.stores.values())
        self.where = " + ".join(store.where for store in parts)
        self.path = Path(self.where)  # no folder: what is derived lies with each store
        self.info = _common_info(self.stores)
        self.weights = _weights(self.stores, weights or {})
        self.steps = sum(store.steps for store in parts)
        self.first_steps = np.cumsum([0, *(store.steps for store in parts)])
        self._first_rows = np.cumsum([0, *(len(store.episodes) for store in parts)])
        self.episodes = _episodes(self.stores, self.first_steps)
        self._fields: dict[str, NDArray[Any]] = {}

    @property
    def store_of_episode(self) -> NDArray[np.int64]:
        """Number of the store of every episode (episodes,), ascending."""
        return np.repeat(np.arange(len(self.stores)), np.diff(self._first_rows))

    def _whole(self, name: str) -> NDArray[Any]:
        if name not in self._fields:
            values = np.concatenate([store._whole(name) for store in self.stores.values()])
            values.flags.writeable = False
            self._fields[name] = values
        return self._fields[name]

    def frames(self, camera: str, steps: slice) -> list[bytes] | NDArray[np.uint8]:
        """Return what is stored of a range of steps; see `Store.frames`."""
        self.calibration(camera)
        frames = [store.frames(camera, part) for store, part in self._parts(steps)]
        if isinstance(frames[0], np.ndarray):
            return np.concatenate(frames)
        return [jpeg for part in frames for jpeg in part]

    def jpegs(self, camera: str, steps: slice) -> list[bytes]:
        """Return the JPEG bytes of a range of steps, as recorded."""
        self.calibration(camera)
        return [jpeg for store, part in self._parts(steps) for jpeg in store.jpegs(camera, part)]

    def images(self, camera: str, steps: slice) -> NDArray[np.uint8]:
        """Return decoded frames `(T, H, W, 3)`, RGB."""
        self.calibration(camera)
        return np.concatenate([store.images(camera, part) for store, part in self._parts(steps)])

    def verify(self, episode: int) -> None:
        """Compare every step of an episode with its checksum; see `Store.verify`."""
        number = int(self.store_of_episode[episode])
        store = list(self.stores.values())[number]
        store.verify(episode - int(self._first_rows[number]))

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes with any store's content, name or weight."""
        prints = {name: store.fingerprint() for name, store in self.stores.items()}
        weights = None if self.weights is None else self.weights.tolist()
        return hashlib.sha256(json.dumps([list(prints.items()), weights]).encode()).hexdigest()

    def _parts(self, steps: slice) -> list[tuple[Store, slice]]:
        """Return the stores that a range of steps lies in, each with its own part."""
        parts = []
        for number, store in enumerate(self.stores.values()):
            first = int(self.first_steps[number])
            begin, end = max(0, steps.start - first), min(store.steps, steps.stop - first)
            if begin < end:
                parts.append((store, slice(begin, end)))
        return parts


def store_parts(store: Store) -> list[Store]:
    """Return the stores of a mixture, or the one store."""
    return list(store.stores.values()) if isinstance(store, StoreMixture) else [store]


def open_stores(places: Sequence[str | Path], weights: Mapping[str, float] | None = None) -> Store:
    """Open one store as itself, several as a mixture under the names of their folders.

    `places` are paths or URLs; the folder `/data/husky.zarr` is called husky.

    Raises:
        NavOffrlError: two have the same name, they do not agree, or a weight names none of them.
    """
    stores: dict[str, Store] = {}
    for place in places:
        name = str(place).rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr")
        if name in stores:
            raise NavOffrlError(
                f"has the same name as {stores[name].where}", where=place, remedy="rename one"
            )
        stores[name] = Store.open(place)
    if len(stores) == 1 and not weights:
        return next(iter(stores.values()))
    return StoreMixture(stores, weights)


def _weights(
    stores: Mapping[str, Store], weights: Mapping[str, float]
) -> NDArray[np.float64] | None:
    if not weights:
        return None
    if set(weights) != set(stores):
        raise NavOffrlError(
            f"weights are given for {', '.join(weights)}, the stores are {', '.join(stores)}",
            where="store_weights",
            remedy="give each store one weight, by the name of its folder without .zarr",
        )
    shares = np.array([weights[name] for name in stores], np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise NavOffrlError(
            f"weights are {dict(weights)}; they must be numbers from 0 on, and not all 0",
            where="store_weights",
        )
    shares /= shares.sum()
    return shares


def _common_info(stores: Mapping[str, Store]) -> StoreInfo:
    """Return what holds for all stores."""
    first, *others = stores.values()
    common, cameras = dict(first.info.fields), dict(first.info.cameras)
    for store in others:
        if store.info.rate_hz != first.info.rate_hz:
            raise NavOffrlError(
                f"has {store.info.rate_hz:g} steps per second, {first.where} has "
                f"{first.info.rate_hz:g}",
                where=store.where,
                remedy="import both at one rate",
            )
        common = {key: value for key, value in common.items() if key in store.info.fields}
        cameras = {key: value for key, value in cameras.items() if key in store.info.cameras}
        for key, field in common.items():
            _check_same(store, first, f"field '{key}'", _SAME_FIELD, store.info.fields[key], field)
        for key, camera in cameras.items():
            other = store.info.cameras[key]
            _check_same(store, first, f"camera '{key}'", _SAME_CAMERA, other, camera)
    infos = [store.info for store in stores.values()]
    return first.info.model_copy(
        update={
            "fields": common,
            "cameras": cameras,
            "action_source": ", ".join(dict.fromkeys(info.action_source for info in infos)),
            "rate_is_nominal": any(info.rate_is_nominal for info in infos),
            "notes": "\n".join(dict.fromkeys(info.notes for info in infos if info.notes)),
        }
    )


def _check_same(
    store: Store, first: Store, what: str, keys: Sequence[str], mine: Config, other: Config
) -> None:
    for key in keys:
        if getattr(mine, key) != getattr(other, key):
            raise NavOffrlError(
                f"{what} has {key} {getattr(mine, key)!r}, that of {first.where} "
                f"{getattr(other, key)!r}",
                where=store.where,
                remedy="train on stores that agree, or import one of them anew",
            )


def _episodes(stores: Mapping[str, Store], first_steps: NDArray[np.int64]) -> MixedEpisodes:
    tables = [store.episodes for store in stores.values()]
    columns: dict[str, Any] = {}
    for column in fields(EpisodeTable):
        values = [getattr(table, column.name) for table in tables]
        if column.name == "start":
            values = [start + first for start, first in zip(values, first_steps, strict=False)]
        is_array = isinstance(values[0], np.ndarray)
        columns[column.name] = (
            np.concatenate(values) if is_array else list(itertools.chain.from_iterable(values))
        )
    names = [name for name, store in stores.items() for _ in range(len(store.episodes))]
    return MixedEpisodes(**columns, store=names)
