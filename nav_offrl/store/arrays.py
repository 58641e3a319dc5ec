"""Opening the groups and arrays of a store, local or remote; all damage is one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.location import Location
from nav_offrl.store.schema import FORMAT, SCHEMA_VERSION, StoreInfo

COPY_AGAIN = "copy the store again or import the log anew"


def open_root(place: str | Path | Location, older: bool = False) -> zarr.Group:
    """Open the root group for reading after checking format and schema version.

    `older` admits stores of earlier versions, for migration.

    Raises:
        NavOffrlError: not a store, or one of a newer schema.
    """
    location = Location.of(place)
    where = f"{location.text}/zarr.json"
    try:
        # Consolidated metadata would hide what was appended after someone made them.
        root = zarr.open_group(location.for_zarr, mode="r", zarr_format=3, use_consolidated=False)
    except FileNotFoundError as error:
        remedy = "give the path of a store made by 'nav-offrl import' or 'nav-offrl collect'"
        partial = location.folder.with_name(location.folder.name + ".partial-store")
        if partial.exists():
            remedy = f"'{partial}' is unfinished: run the same import again to complete it"
        raise NavOffrlError(
            "is no log store (no zarr.json)", where=location.text, remedy=remedy
        ) from error
    except NavOffrlError:
        raise
    except Exception as error:  # zarr raises a dozen classes on bytes that are not its own
        raise NavOffrlError(
            f"cannot be opened ({error})", where=where, remedy=COPY_AGAIN
        ) from error
    attributes = root.attrs.asdict()
    if attributes.get("format") != FORMAT:
        raise NavOffrlError(
            f"is a Zarr group but no log store (attribute 'format' is "
            f"{attributes.get('format')!r}, expected {FORMAT!r})",
            where=where,
        )
    version = attributes.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise NavOffrlError(
            f"field 'schema_version' is {version!r}, this program reads up to {SCHEMA_VERSION}",
            where=where,
            remedy="upgrade nav-offrl",
        )
    if version < SCHEMA_VERSION and not older:
        raise NavOffrlError(
            f"is a store of schema version {version}; this program works with {SCHEMA_VERSION}",
            where=location.text,
            remedy=f"nav-offrl import {location.text} -o NEW copies it into the present version",
        )
    return root


def read_info(root: zarr.Group, where: str | Path) -> StoreInfo:
    """Return the store's settings from the root's attributes."""
    return parse_config(StoreInfo, root.attrs.asdict().get("info"), f"{where}/zarr.json")


def open_array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of the store.

    Raises:
        NavOffrlError: it is missing, or its description is damaged.
    """
    with _damage(f"array '{name}' is missing or its zarr.json is damaged", root):
        array = root[name]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"'{name}' is a group")
    return array


def read_rows(array: zarr.Array[Any], rows: slice) -> NDArray[Any]:
    """Return rows of an array.

    Raises:
        NavOffrlError: its bytes cannot be decoded.
    """
    with _damage(f"array '{array.path}' cannot be decoded", array):
        return np.asarray(array[rows])


def read_all(array: zarr.Array[Any], rows: int) -> NDArray[Any]:
    """Return the first `rows` rows of an array.

    Raises:
        NavOffrlError: it has fewer, or they cannot be decoded.
    """
    values = read_rows(array, slice(rows))
    if len(values) != rows:
        raise damaged(array, f"{len(values)} rows, {rows} were committed")
    return values


def damaged(array: zarr.Array[Any], what: str) -> NavOffrlError:
    """Return the error that names a damaged array."""
    return NavOffrlError(
        f"array '{array.path}' is damaged ({what})",
        where=str(array.store_path.store),
        remedy=COPY_AGAIN,
    )


@contextmanager
def _damage(what: str, node: "zarr.Array[Any] | zarr.Group") -> Iterator[None]:
    try:
        yield
    except NavOffrlError:
        raise
    except Exception as error:  # zarr and its codecs raise a dozen classes on bytes not theirs
        raise NavOffrlError(
            f"{what} ({type(error).__name__}: {error})",
            where=str(node.store_path.store),
            remedy=COPY_AGAIN,
        ) from error
