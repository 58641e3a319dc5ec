"""The store keeps what was committed, refuses what does not fit, and says why."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.raw_array import RawArray

INFO = StoreInfo(
    rate_hz=5.0,
    action_source="commanded",
    cameras={"front": CameraInfo(height=24, width=32, horizontal_fov=1.5)},
    fields=("time", "position", "yaw", "action", "collision"),
)


def make_episode(
    name: str, length: int = 6, seed: int = 0, source_hash: str = "", **changes: object
) -> Episode:
    rng = np.random.default_rng(seed)
    frames = [
        cv2.imencode(".jpg", rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))[1].tobytes()
        for _ in range(length)
    ]
    fields = {
        "time": np.arange(length, dtype=np.int64) * 200_000_000,
        "position": rng.normal(size=(length, 2)),
        "yaw": rng.normal(size=length),
        "action": rng.normal(size=(length, 2)),
        "collision": rng.random(length) < 0.5,
    }
    images = {"front": frames}
    return Episode(name=name, images=images, fields=fields | changes, source_hash=source_hash)


def write_store(path: Path, episodes: int = 3) -> Path:
    with StoreWriter.create(path, INFO) as writer:
        for index in range(episodes):
            writer.append(make_episode(f"drive_{index}", length=5 + index, seed=index))
        return writer.finish()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store = Store.open(write_store(tmp_path / "log.zarr"))
    assert store.episodes.name == ["drive_0", "drive_1", "drive_2"]
    assert store.episodes.start.tolist() == [0, 5, 11]
    assert store.steps == 18
    for index in range(3):
        original = make_episode(f"drive_{index}", length=5 + index, seed=index)
        steps = store.steps_of(index)
        assert store.jpegs("front", steps) == list(original.images["front"])
        for name, values in original.fields.items():
            np.testing.assert_array_equal(
                store.field(name)[steps], np.asarray(values).astype(store.field(name).dtype)
            )
        store.verify(index)


def test_readable_by_plain_zarr_with_units(tmp_path: Path) -> None:
    root = zarr.open_group(str(write_store(tmp_path / "log.zarr")), mode="r")
    assert root["data/action"].attrs["unit"] == "m/s, rad/s"
    offset, jpeg = root["data/image/front/offset"][:], root["data/image/front/jpeg"]
    picture = cv2.imdecode(jpeg[offset[7] : offset[8]], cv2.IMREAD_COLOR)
    assert picture.shape == (24, 32, 3)


def test_append_to_a_finished_store_is_seen_by_a_new_reader(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr")
    before = Store.open(path)
    StoreWriter.append_to(path).append(make_episode("later", seed=9))
    after = Store.open(path)
    assert len(before.episodes) == 3 and len(after.episodes) == 4
    assert before.fingerprint() != after.fingerprint()
    after.verify(3)


def test_unfinished_store_does_not_open_and_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.zarr"
    StoreWriter.create(path, INFO).append(make_episode("a"))
    with pytest.raises(NavOffrlError, match="unfinished"):
        Store.open(path)
    writer = StoreWriter.create(path, INFO)
    assert writer.names == {"a"}
    writer.append(make_episode("b", seed=1))
    assert Store.open(writer.finish()).episodes.name == ["a", "b"]


def test_unfinished_store_of_other_settings_is_refused(tmp_path: Path) -> None:
    StoreWriter.create(tmp_path / "log.zarr", INFO).append(make_episode("a"))
    with pytest.raises(NavOffrlError, match="other settings"):
        StoreWriter.create(tmp_path / "log.zarr", INFO.model_copy(update={"rate_hz": 4.0}))


def test_several_episodes_are_one_transaction(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr", episodes=1)
    writer = StoreWriter.append_to(path)
    bad = make_episode("c", position=np.zeros((6, 3)))
    with pytest.raises(NavOffrlError, match="'position' has shape"):
        writer.append_all([make_episode("a"), make_episode("b", seed=1), bad])
    with pytest.raises(NavOffrlError, match="'a' is in already"):
        writer.append_all([make_episode("a"), make_episode("a", seed=1)])
    assert len(Store.open(path).episodes) == 1
    writer.append_all([make_episode("a"), make_episode("b", seed=1)])
    store = Store.open(path)
    assert store.episodes.name == ["drive_0", "a", "b"]
    for row in range(3):
        store.verify(row)


def test_a_commit_cut_short_leaves_nothing_behind(tmp_path: Path) -> None:
    """Lengths are written back to front; killed in between, the later ones must not reappear."""
    path = write_store(tmp_path / "log.zarr", episodes=1)
    writer = StoreWriter.append_to(path)
    writer.append_all([make_episode("a"), make_episode("b", seed=1)])
    writer.close()
    table = RawArray(path / "meta" / "length")
    table.write(1, np.array([0]))  # as if the kill had come before the first of the two
    table.close()
    assert Store.open(path).episodes.name == ["drive_0"]
    with StoreWriter.append_to(path) as again:
        again.append(make_episode("c", length=3))
    store = Store.open(path)
    assert store.episodes.name == ["drive_0", "c"]
    store.verify(1)


def test_continuing_takes_back_what_a_power_cut_left_half_written(tmp_path: Path) -> None:
    path = tmp_path / "log.zarr"
    with StoreWriter.create(path, INFO) as writer:
        writer.append(make_episode("a", source_hash="1"))
        two = [make_episode(name, seed=2, source_hash="2") for name in ("b", "c")]
        writer.append_all(two)
    yaw = RawArray(tmp_path / "log.zarr.partial-store" / "data" / "yaw")
    yaw.write(15, np.zeros(1, np.float32))  # a step of c
    yaw.close()
    with StoreWriter.create(path, INFO) as writer:
        assert writer.names == {"a"} and writer.source_hashes == {"1"}
        writer.append_all(two)
        store = Store.open(writer.finish())
    assert store.episodes.name == ["a", "b", "c"]
    for row in range(3):
        store.verify(row)


def test_writing_twice_at_a_time_is_refused(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr")
    with StoreWriter.append_to(path), pytest.raises(NavOffrlError, match="another process"):
        StoreWriter.append_to(path)
    StoreWriter.append_to(path).close()


def test_damage_names_the_step(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr")
    jpeg = RawArray(path / "data" / "image" / "front" / "jpeg")
    begin = int(zarr.open_group(str(path), mode="r")["data/image/front/offset"][8])
    jpeg.write(begin + 30, np.array([255], np.uint8))
    jpeg.close()
    store = Store.open(path)
    store.verify(0)
    with pytest.raises(NavOffrlError, match="'drive_1' is damaged at step 3"):
        store.verify(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"yaw": np.array([0, 1, np.nan, 3, 4, 5])}, "'yaw' is not finite at step 2"),
        ({"position": np.zeros((6, 3))}, "'position' has shape"),
        ({"time": np.array([0, 1, 2, 2, 3, 4])}, "does not increase"),
        ({"lidar": np.zeros(6)}, "has fields"),
    ],
)
def test_episode_that_does_not_fit_is_refused_whole(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = write_store(tmp_path / "log.zarr")
    writer = StoreWriter.append_to(path)
    with pytest.raises(NavOffrlError, match=message):
        writer.append(make_episode("bad", **changes))
    assert len(Store.open(path).episodes) == 3


def test_frame_count_must_match(tmp_path: Path) -> None:
    episode = make_episode("a")
    short = Episode(name="a", images={"front": episode.images["front"][:-1]}, fields=episode.fields)
    with pytest.raises(NavOffrlError, match="5 frames for 6 steps"):
        StoreWriter.create(tmp_path / "log.zarr", INFO).append(short)


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr")
    zarr.open_group(str(path), mode="r+").attrs["schema_version"] = 99
    with pytest.raises(NavOffrlError, match=r"schema_version.*99.*upgrade"):
        Store.open(path)


def test_foreign_zarr_and_missing_path_are_refused(tmp_path: Path) -> None:
    zarr.create_group(store=str(tmp_path / "other.zarr"))
    with pytest.raises(NavOffrlError, match="no log store"):
        Store.open(tmp_path / "other.zarr")
    with pytest.raises(NavOffrlError, match=r"no zarr\.json"):
        Store.open(tmp_path / "nothing")


def test_unwritable_output_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NavOffrlError, match="cannot be written"):
        StoreWriter.create(tmp_path / "file" / "log.zarr", INFO)


def test_damage_on_disk_is_found(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr")
    shutil.rmtree(path / "data" / "yaw" / "c")
    with pytest.raises(NavOffrlError, match="damaged"):
        Store.open(path).verify(1)


def test_corrupt_jpeg_names_the_frame(tmp_path: Path) -> None:
    episode = make_episode("a")
    frames = list(episode.images["front"])
    frames[3] = b"\xff\xd8" + b"\0" * 20
    writer = StoreWriter.create(tmp_path / "log.zarr", INFO)
    writer.append(Episode(name="a", images={"front": frames}, fields=episode.fields))
    with pytest.raises(NavOffrlError, match="frame 3 cannot be decoded"):
        Store.open(writer.finish()).images("front", slice(0, 6))


def record_for_ever(path: Path) -> None:
    """Run by the test below as a process of its own: append, acknowledge on stdout, repeat."""
    writer = StoreWriter.append_to(path)
    for index in range(100_000):
        name = f"{os.getpid()}_{index}"
        writer.append(make_episode(name, length=4, seed=index % 7))
        print(name, flush=True)


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    path = write_store(tmp_path / "log.zarr")
    rng = np.random.default_rng(0)
    acknowledged: list[str] = []
    for _ in range(3):
        recorder = subprocess.Popen(
            [sys.executable, __file__, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert recorder.stdout is not None
        acknowledged.append(recorder.stdout.readline().strip())
        time.sleep(rng.uniform(0.0, 0.3))
        recorder.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in recorder.stdout if line.endswith("\n")]
        recorder.wait()
    assert len(acknowledged) > 3
    StoreWriter.append_to(path).append(make_episode("after", seed=3))
    store = Store.open(path)
    assert set(acknowledged) <= set(store.episodes.name)
    assert store.episodes.name[-1] == "after"
    for index in range(len(store.episodes)):
        store.verify(index)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_episodes_tile_the_step_axis(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    path = tmp_path_factory.mktemp("store") / "log.zarr"
    with StoreWriter.create(path, INFO) as writer:
        for index, length in enumerate(lengths):
            writer.append(make_episode(str(index), length=length, seed=index))
        writer.finish()
    store = Store.open(path)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    np.testing.assert_array_equal(store.episodes.start, edges[:-1])
    assert len(store.field("yaw")) == store.steps == edges[-1]


if __name__ == "__main__":
    record_for_ever(Path(sys.argv[1]))
