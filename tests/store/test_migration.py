"""A store of version 1, written here as that version wrote it, becomes one of the present version.

Version 1's layout is spelled out in `write_version_1`: nothing of today's writer is used.
"""

import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.cli.main import main
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.migration import migrate

LENGTHS = (4, 6, 5)
NAMES = ("drive_0", "drive_1", "tour d'été")
SPLITS = (0, 1, 0)
FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "time": ("int64", ()),
    "position": ("float32", (2,)),
    "yaw": ("float32", ()),
    "action": ("float32", (2,)),
    "collision": ("bool", ()),
}
INFO_1 = {
    "rate_hz": 4.0,
    "rate_is_nominal": True,
    "action_source": "derived from pose",
    "cameras": {
        "front": {"height": 24, "width": 32, "horizontal_fov": 1.5},
        "rear": {"height": 24, "width": 32, "horizontal_fov": None},
    },
    "fields": list(FIELDS),
    "frame": "odom",
    "notes": "kept",
    "provenance": {"importer": "gnm"},
}


def contents() -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    """Return what all steps hold: fields (15, ...), and 15 JPEGs of each camera."""
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        name: rng.normal(size=(sum(LENGTHS), *shape)).astype(dtype)
        for name, (dtype, shape) in FIELDS.items()
    }
    fields["time"] = np.concatenate([np.arange(length) * 250_000_000 for length in LENGTHS])
    fields["collision"] = rng.random(sum(LENGTHS)) < 0.5
    noise = rng.integers(0, 255, (2, sum(LENGTHS), 24, 32, 3), dtype=np.uint8)
    images = {
        camera: [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
        for camera, frames in zip(INFO_1["cameras"], noise, strict=True)
    }
    return fields, images


def write_version_1(path: Path) -> Path:
    fields, images = contents()
    root = zarr.create_group(store=str(path), zarr_format=3)

    def array(name: str, values: Any, chunk_rows: int, **options: Any) -> None:
        values = np.asarray(values)
        chunks = (chunk_rows, *values.shape[1:])
        made = root.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=chunks, **options
        )
        made[:] = values

    for name, values in fields.items():
        array(f"data/{name}", values, 65536)
    for camera, frames in images.items():
        ends = np.cumsum([0, *map(len, frames)]).astype(np.uint64)
        array(f"data/image/{camera}/offset", ends, 65536)
        blob = np.frombuffer(b"".join(frames), np.uint8)
        array(f"data/image/{camera}/jpeg", blob, 4 << 20, compressors=None)
    starts = np.cumsum((0, *LENGTHS))[:-1]
    crcs = []
    for start, length in zip(starts, LENGTHS, strict=True):
        value = 0
        for name in sorted(fields):
            value = zlib.crc32(fields[name][start : start + length].tobytes(), value)
        for camera in sorted(images):
            value = zlib.crc32(b"".join(images[camera][start : start + length]), value)
        crcs.append(value)
    array("meta/start", starts.astype(np.int64), 4096)
    array("meta/length", np.array(LENGTHS, np.int64), 4096)
    array("meta/split", np.array(SPLITS, np.uint8), 4096)
    array("meta/checksum", np.array(crcs, np.uint32), 4096)
    for name, width, texts in (
        ("name", 128, NAMES),
        ("source", 256, ("a.bag", "b.bag", "c.bag")),
        ("robot", 64, ("husky",) * 3),
        ("licence", 64, ("CC-BY-4.0",) * 3),
    ):
        cells = [np.frombuffer(text.encode().ljust(width, b"\0"), np.uint8) for text in texts]
        array(f"meta/{name}", np.stack(cells), 4096)
    root.attrs.update({"format": "nav_offrl.store", "schema_version": 1, "info": INFO_1})
    return path


def folder_contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_everything_arrives_and_the_old_store_is_untouched(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old.zarr")
    before = folder_contents(old)
    store = Store.open(migrate(old, tmp_path / "new.zarr"))
    fields, images = contents()
    for name, values in fields.items():
        np.testing.assert_array_equal(store.field(name), values)
        assert store.field(name).dtype == values.dtype
    for camera, frames in images.items():
        assert store.jpegs(camera, slice(0, store.steps)) == frames
    table = store.episodes
    assert table.name == list(NAMES) and table.source == ["a.bag", "b.bag", "c.bag"]
    assert table.robot == ["husky"] * 3 and table.licence == ["CC-BY-4.0"] * 3
    assert table.length.tolist() == list(LENGTHS) and table.split.tolist() == list(SPLITS)
    assert table.complete.all() and table.session == ["", "", ""]
    assert (store.info.rate_hz, store.info.rate_is_nominal) == (4.0, True)
    assert store.info.action_source == "derived from pose" and store.info.notes == "kept"
    assert store.info.cameras["front"].horizontal_fov == 1.5
    assert store.info.cameras["rear"].coding == "jpeg"
    assert store.info.fields["position"].unit == "m"
    assert store.info.provenance == {"importer": "gnm", "migrated_from_schema_version": "1"}
    for row in range(3):
        store.verify(row)
    assert folder_contents(old) == before


def test_what_an_unfinished_append_left_behind_stays_behind(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old.zarr")
    root = zarr.open_group(str(old), mode="r+")
    root["data/yaw"].resize((40,))  # version 1 grew its arrays before it committed
    root["meta/start"].resize((4,))
    store = Store.open(migrate(old, tmp_path / "new.zarr"))
    assert store.steps == sum(LENGTHS) and len(store.episodes) == 3


def test_an_interrupted_migration_is_continued(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old.zarr")

    def stop_at_second(rows: Iterable[int]) -> Iterator[int]:
        for row in rows:
            if row == 1:
                raise KeyboardInterrupt
            yield row

    with pytest.raises(KeyboardInterrupt):
        migrate(old, tmp_path / "new.zarr", stop_at_second)
    assert not (tmp_path / "new.zarr").exists()
    seen: list[int] = []
    store = Store.open(
        migrate(old, tmp_path / "new.zarr", lambda rows: (seen.append(r) or r for r in rows))
    )
    assert seen == [1, 2] and store.episodes.name == list(NAMES)


def test_a_damaged_episode_is_refused_by_name(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old.zarr")
    yaw = zarr.open_group(str(old), mode="r+")["data/yaw"]
    yaw[7] = yaw[7] + np.float32(1e-3)  # of the second episode, steps 4 to 9
    with pytest.raises(NavOffrlError, match=r"old\.zarr: episode 'drive_1' is damaged"):
        migrate(old, tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


def test_version_1_says_how_to_migrate_it(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old.zarr")
    with pytest.raises(NavOffrlError, match=rf"version 1; .* nav-offrl import {old} -o NEW"):
        Store.open(old)


def test_the_command_copies_and_takes_no_option_it_would_ignore(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new = write_version_1(tmp_path / "old.zarr"), tmp_path / "new.zarr"
    with pytest.raises(SystemExit) as stopped:
        main(["import", str(old), "-o", str(new), "--label"])
    assert stopped.value.code == 2 and "is a store" in capfd.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["import", str(old), "-o", str(new)])
    assert stopped.value.code == 0 and f"store: {new}" in capfd.readouterr().out
    assert Store.open(new).episodes.name == list(NAMES)


@pytest.mark.parametrize("version", [3, 99, "2", None, 0])
def test_unknown_versions_are_refused(tmp_path: Path, version: object) -> None:
    old = write_version_1(tmp_path / "old.zarr")
    zarr.open_group(str(old), mode="r+").attrs["schema_version"] = version
    with pytest.raises(NavOffrlError, match=r"'schema_version' is .*reads up to 2"):
        migrate(old, tmp_path / "new.zarr")
    assert not list(tmp_path.glob("new*"))


def test_the_present_version_needs_no_migration(tmp_path: Path) -> None:
    present = migrate(write_version_1(tmp_path / "old.zarr"), tmp_path / "new.zarr")
    with pytest.raises(NavOffrlError, match="present version 2 already"):
        migrate(present, tmp_path / "newer.zarr")


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old.zarr")
    migrate(old, tmp_path / "new.zarr")
    before = folder_contents(tmp_path / "new.zarr")
    with pytest.raises(NavOffrlError, match="exists already"):
        migrate(old, tmp_path / "new.zarr")
    assert folder_contents(tmp_path / "new.zarr") == before


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version_1(tmp_path_factory.mktemp("pristine") / "old.zarr")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damage_anywhere_is_an_error_or_changes_no_step(
    pristine: Path, data: st.DataObject
) -> None:
    """Flip, cut or delete: what arrives under a name is what was recorded under it, or nothing."""
    folder = pristine.with_name("damaged.zarr")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(pristine.with_name("new.zarr.partial-store"), ignore_errors=True)
    shutil.rmtree(pristine.with_name("new.zarr"), ignore_errors=True)
    shutil.copytree(pristine, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, max(0, len(content) - 1)))
    match data.draw(st.sampled_from(["flip", "cut", "delete"])):
        case "flip":
            content[position] ^= 1 << data.draw(st.integers(0, 7))
            file.write_bytes(bytes(content))
        case "cut":
            file.write_bytes(bytes(content[:position]))
        case "delete":
            file.unlink()
    try:
        store = Store.open(migrate(folder, pristine.with_name("new.zarr")))
    except NavOffrlError:
        assert not pristine.with_name("new.zarr").exists()
        return
    fields, images = contents()
    starts = np.cumsum((0, *LENGTHS))
    for row, length in enumerate(store.episodes.length):
        assert length == LENGTHS[row]
        for name, values in fields.items():
            got = store.field(name)[store.steps_of(row)]
            np.testing.assert_array_equal(got, values[starts[row] : starts[row + 1]])
        for camera, frames in images.items():
            if camera in store.info.cameras:
                want = frames[starts[row] : starts[row + 1]]
                assert store.jpegs(camera, store.steps_of(row)) == want
