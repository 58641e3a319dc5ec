"""Recordings for the Rerun viewer, read back and held against the store."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, Store
from nav_offrl.store.schema import field_info

pytest.importorskip("rerun", reason="pip install 'nav-offrl[viz]'")
chunks = pytest.importorskip("rerun.chunk", reason="reading back needs rerun-sdk >= 0.41")

from nav_offrl_datasets.inspection.rerun_view import write_recording  # noqa: E402

MakeEpisode = Callable[..., Episode]
WriteStore = Callable[..., Store]
Columns = dict[str, list[Any]]
HOSTILE = "a/b <script> \x1b[31m"


def read_back(path: Path) -> dict[str, Columns]:
    """Return entity -> column -> one value a row, in the order of the timeline `step`."""
    found: dict[str, Columns] = {}
    for chunk in chunks.RrdReader(path).stream():
        table = chunk.to_record_batch().to_pydict()
        columns = found.setdefault(chunk.entity_path, {})
        for name, values in table.items():
            columns.setdefault(name, []).extend(values)
    for entity, columns in found.items():
        if "step" in columns:
            order = np.argsort(columns["step"], kind="stable")
            rows = len(order)
            found[entity] = {
                name: [values[i] for i in order]
                for name, values in columns.items()
                if len(values) == rows
            }
    return found


@pytest.fixture
def drives(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> Store:
    """Two drives, one after the other, the second of them into a collision at its step 7."""
    into = np.zeros(11, bool)
    into[7] = True
    later = {"time": np.arange(11) * 100_000_000 + 1_700_000_000_000_000_000}
    episodes = []
    for row, name in enumerate(("first", HOSTILE)):
        raw = np.random.default_rng(row).integers(0, 255, (11, 4, 6, 3), dtype=np.uint8)
        images = {"front": drive_straight(name).images["front"], "top": raw}
        changes = {"collision": into if row else ~into & False, "imu": np.ones((11, 6))}
        changes |= {"time": later["time"] + row * 60_000_000_000, "lidar": np.ones((11, 20))}
        changes["imu"][:, 2] = np.nan
        split = ("train", "held_out")[row]
        episodes.append(drive_straight(name, 11, changes, images=images, split=split))
    fields = {name: field_info(name) for name in episodes[0].fields if name != "lidar"}
    fields["lidar"] = field_info("lidar", shape=(20,))
    cameras = {
        "front": CameraInfo(height=24, width=32),
        "top": CameraInfo(height=4, width=6, coding="raw"),
    }
    return write_store(tmp_path / "s.zarr", episodes, fields=fields, cameras=cameras)


def test_recording_holds_what_the_store_holds(drives: Store, tmp_path: Path) -> None:
    write_recording(drives, tmp_path / "s.rrd")
    found = read_back(tmp_path / "s.rrd")
    front = found["/camera/front"]
    assert front["step"] == list(range(22))
    stored = drives.jpegs("front", slice(0, 22))
    blobs = [bytes(cell[0]) for cell in front["EncodedImage:blob"]]
    assert blobs == stored  # not encoded again
    assert {cell[0] for cell in front["EncodedImage:media_type"]} == {"image/jpeg"}
    raw = [bytes(cell[0]) for cell in found["/camera/top"]["Image:buffer"]]
    assert raw == [frame.tobytes() for frame in drives.frames("top", slice(0, 22))]
    for entity, values in {
        "/action/v": drives.field("action")[:, 0],
        "/action/omega": drives.field("action")[:, 1],
        "/collision": drives.field("collision"),
        "/imu/gyro_z": drives.field("imu")[:, 2],
    }.items():
        scalars = [cell[0] for cell in found[entity]["Scalars:scalars"]]
        np.testing.assert_array_equal(scalars, values.astype(float))
    assert not any(entity.startswith("/lidar") for entity in found)


def test_recording_is_on_the_time_of_the_store(drives: Store, tmp_path: Path) -> None:
    write_recording(drives, tmp_path / "s.rrd")
    times = read_back(tmp_path / "s.rrd")["/action/v"]["time"]
    stamps = [np.datetime64(stamp, "ns").astype(np.int64) for stamp in times]
    assert stamps == drives.field("time").tolist()


def test_map_shows_path_and_collisions(drives: Store, tmp_path: Path) -> None:
    write_recording(drives, tmp_path / "s.rrd")
    found = read_back(tmp_path / "s.rrd")
    position = np.column_stack([drives.field("position"), np.zeros(22)])
    robot = found["/map/robot"]
    places = [cell[0] for cell in robot["Transform3D:translation"]]
    np.testing.assert_allclose(places, position, atol=1e-6)
    half = drives.field("yaw")[5] / 2
    turned = robot["Transform3D:quaternion"][5][0]
    np.testing.assert_allclose(turned, [0, 0, np.sin(half), np.cos(half)], atol=1e-6)
    points = found["/map/collisions"]["Points3D:positions"][0]
    np.testing.assert_allclose(points, [position[11 + 7]], atol=1e-6)
    paths = [entity for entity in found if entity.startswith("/map/paths/")]
    assert len(paths) == 2
    strip = found["/map/paths/first"]["LineStrips3D:strips"][0][0]
    np.testing.assert_allclose(strip, position[:11], atol=1e-6)


def test_only_the_episodes_asked_for(drives: Store, tmp_path: Path) -> None:
    write_recording(drives, tmp_path / "s.rrd", episodes=(1, 1))
    found = read_back(tmp_path / "s.rrd")
    assert found["/camera/front"]["step"] == list(range(11, 22))
    assert len([entity for entity in found if entity.startswith("/map/paths/")]) == 1
    about = found["/episode"]["TextLog:text"][0][0]
    assert about == "a/b <script> \ufffd[31m: held_out, 11 steps"
    write_recording(drives, tmp_path / "s.rrd", episodes=(0,))  # over the one before
    assert len(read_back(tmp_path / "s.rrd")["/map/collisions"]["Points3D:positions"][0]) == 0


@pytest.mark.parametrize("row", [2, -1])
def test_unknown_episode_is_refused(row: int, drives: Store, tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match=rf"no episode {row} -> episodes are 0 .. 1"):
        write_recording(drives, tmp_path / "s.rrd", episodes=(0, row))
    assert not (tmp_path / "s.rrd").exists()


def test_time_is_left_out_where_episodes_overlap(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    """As in logs without timestamps, whose runs all begin at zero."""
    store = write_store(tmp_path / "s.zarr", [drive_straight("a"), drive_straight("b")])
    write_recording(store, tmp_path / "both.rrd")
    assert "time" not in read_back(tmp_path / "both.rrd")["/action/v"]
    write_recording(store, tmp_path / "one.rrd", episodes=(1,))
    times = read_back(tmp_path / "one.rrd")["/action/v"]["time"]
    assert [time.total_seconds() for time in times] == pytest.approx(np.arange(11) / 10)


def test_store_of_frames_alone(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    lacking: dict[str, Any] = dict.fromkeys(("position", "yaw", "action"))
    store = write_store(tmp_path / "s.zarr", [drive_straight("a", 11, lacking)])
    write_recording(store, tmp_path / "s.rrd")
    found = read_back(tmp_path / "s.rrd")
    assert set(found) == {"/camera/front", "/episode", "/__properties"}


def test_recording_is_written_whole_or_not_at_all(drives: Store, tmp_path: Path) -> None:
    chunk = drives.path / "data/image/top/frames/c/0/0/0/0"
    chunk.write_bytes(b"short")
    with pytest.raises(NavOffrlError, match="top"):
        write_recording(Store.open(drives.path), tmp_path / "s.rrd")
    with pytest.raises(FileNotFoundError):
        write_recording(drives, tmp_path / "nowhere" / "s.rrd")
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_nothing_but_the_file_is_written(drives: Store, tmp_path: Path) -> None:
    """No settings, no cache, no telemetry left in the user's home."""
    home = tmp_path / "home"
    home.mkdir()
    arguments = ["inspect", str(drives.path), "--rerun", str(tmp_path / "s.rrd"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "nav_offrl.cli.main", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "TMPDIR": str(home)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(home.rglob("*")) == [] and (tmp_path / "s.rrd").stat().st_size > 10_000
