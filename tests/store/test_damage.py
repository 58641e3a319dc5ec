"""Damage anywhere in a store is one clear error, or leaves every step as it was recorded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode, Store, StoreInfo, StoreWriter

CAMERAS = ("front", "rear")


@pytest.fixture(scope="module")
def pristine(
    tmp_path_factory: pytest.TempPathFactory,
    info_of_every_kind: StoreInfo,
    make_drive: Callable[..., Episode],
) -> Store:
    path = tmp_path_factory.mktemp("damage") / "log.zarr"
    with StoreWriter.create(path, info_of_every_kind) as writer:
        writer.append_all([make_drive("first", 7, seed=0), make_drive("second", 5, seed=1)])
        writer.finish()
    return Store.open(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_flipped_cut_or_deleted_files(pristine: Store, data: st.DataObject) -> None:
    folder = pristine.path.with_name("damaged.zarr")
    if not folder.exists():
        shutil.copytree(pristine.path, folder)
    files = sorted(p for p in pristine.path.rglob("*") if p.is_file() and p.stat().st_size)
    file = data.draw(st.sampled_from(files))
    damaged = folder / file.relative_to(pristine.path)
    try:
        damage(damaged, data)
        check(folder, pristine)
    finally:
        shutil.copy(file, damaged)


def check(folder: Path, pristine: Store) -> None:
    try:
        store = Store.open(folder)
        for row in range(len(store.episodes)):
            store.verify(row)
        images = {camera: store.images(camera, slice(0, store.steps)) for camera in CAMERAS}
        fields = {name: store.field(name) for name in store.info.fields}
    except NavOffrlError:
        return
    assert len(store.episodes) <= 2  # a table cut short hides its last episodes
    for name, values in fields.items():
        np.testing.assert_array_equal(values, pristine.field(name)[: store.steps])
    for camera, frames in images.items():
        whole = pristine.images(camera, slice(0, pristine.steps))
        np.testing.assert_array_equal(frames, whole[: store.steps])


def damage(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    # Chunks are mostly room for later steps: most damage goes to what is in use.
    used = data.draw(st.sampled_from([1, 8, 64, 512, len(content)]))
    position = data.draw(st.integers(0, min(used, len(content)) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "delete"])):
        case "flip":
            content[position] ^= 1 << data.draw(st.integers(0, 7))
            file.write_bytes(bytes(content))
        case "cut":
            file.write_bytes(bytes(content[:position]))
        case "delete":
            file.unlink()


@pytest.mark.parametrize(
    ("array", "row", "value", "message"),
    [
        ("start", 1, 6, r"array 'meta/start' is damaged \(impossible values\)"),
        ("split", 0, 9, r"array 'meta/split' is damaged \(impossible values\)"),
        ("length", 1, 50, r"array 'data/.*' is damaged \(12 rows, 57 were committed\)"),
    ],
)
def test_a_table_that_contradicts_itself(
    pristine: Store, tmp_path: Path, array: str, row: int, value: int, message: str
) -> None:
    shutil.copytree(pristine.path, tmp_path / "log.zarr")
    zarr.open_group(str(tmp_path / "log.zarr"), mode="r+")[f"meta/{array}"][row] = value
    with pytest.raises(NavOffrlError, match=message):
        Store.open(tmp_path / "log.zarr").verify(1)
