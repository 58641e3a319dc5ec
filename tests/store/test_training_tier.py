"""The training tier equals the resized frames, and what is damaged or out of date is noticed."""

import mmap
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.flat_view import flat_view
from nav_offrl.store.store_mixture import StoreMixture
from nav_offrl.store.training_tier import (
    ROWS_PER_SHARD,
    Resize,
    TierSpec,
    TrainingTier,
    open_training_tier,
)

HEIGHT, WIDTH = 32, 48
SIZE = (16, 32)
INFO = StoreInfo(
    rate_hz=4.0,
    action_source="commanded",
    cameras={"front": CameraInfo(height=HEIGHT, width=WIDTH)},
)


def halve(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frames[:, ::2, :32].copy()


def must_not_resize(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    raise AssertionError("the tier was built again")


def smooth_frames(length: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (length, 4, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT)) for frame in coarse])


def episode(name: str, frames: NDArray[np.uint8]) -> Episode:
    length = len(frames)
    fields = {
        "time": np.arange(length) * 250_000_000,
        "position": np.zeros((length, 2)),
        "yaw": np.zeros(length),
        "action": np.ones((length, 2)),
    }
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    return Episode(name=name, images={"front": jpegs}, fields=fields)


def write_store(path: Path, *frames: NDArray[np.uint8]) -> Store:
    with StoreWriter.create(path, INFO) as writer:
        for row, of_episode in enumerate(frames):
            writer.append(episode(f"drive_{row}", of_episode))
        writer.finish()
    return Store.open(path)


def open_tier(store: Store, resize: Resize = halve, preprocessing: str = "halve") -> TrainingTier:
    return open_training_tier(store, TierSpec("front", SIZE, resize, preprocessing))


class CountedResize:
    """Halves frames and keeps how many it was given at a time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.sizes.append(len(frames))
        return halve(frames)


def resized(store: Store) -> NDArray[np.uint8]:
    return halve(store.images("front", slice(0, store.steps)))


def shard(store: Store, number: int) -> Path:
    return store.path / "derived" / "front_16x32" / "frames" / "c" / str(number) / "0/0/0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_store(tmp_path / "log.zarr", smooth_frames(5, 0), smooth_frames(3, 1))


def test_tier_equals_the_resized_frames_also_when_read_by_zarr(store: Store) -> None:
    tier = open_tier(store)
    expected = resized(store)
    assert np.array_equal(tier.gather(np.arange(store.steps)), expected)
    by_zarr = zarr.open_array(str(shard(store, 0).parents[4]), mode="r")
    assert np.array_equal(np.asarray(by_zarr[:])[tier.row_of_step], expected)


def test_gather_takes_any_shape_of_steps_in_any_order(store: Store) -> None:
    steps = np.array([[7, 0, 7], [5, 4, 1]])
    gathered = open_tier(store).gather(steps)
    assert gathered.shape == (2, 3, *SIZE, 3)
    assert np.array_equal(gathered, resized(store)[steps])


def test_black_frames_do_not_move_those_behind_them(tmp_path: Path) -> None:
    frames = smooth_frames(6, 0)
    frames[[0, 2, 3]] = 0
    store = write_store(tmp_path / "log.zarr", frames, np.zeros_like(frames), frames)
    tier = open_tier(store)
    assert np.array_equal(tier.gather(np.arange(18)), resized(store))
    assert not tier.gather(np.array([0, 2, 3])).any() and tier.gather(np.array([1])).any()


def test_episodes_longer_than_a_shard_and_exactly_one(tmp_path: Path) -> None:
    lengths = (ROWS_PER_SHARD + 9, ROWS_PER_SHARD, 2)
    store = write_store(
        tmp_path / "log.zarr", *(smooth_frames(length, length) for length in lengths)
    )
    tier = open_tier(store)
    assert np.array_equal(tier.gather(np.arange(store.steps)), resized(store))
    starts = tier.row_of_step[store.episodes.start]
    assert starts.tolist() == [0, 2 * ROWS_PER_SHARD, 3 * ROWS_PER_SHARD]


def test_decoding_needs_no_more_memory_than_a_shard(tmp_path: Path) -> None:
    store = write_store(tmp_path / "log.zarr", smooth_frames(2 * ROWS_PER_SHARD + 1, 0))
    resize = CountedResize()
    open_tier(store, resize)
    assert resize.sizes == [ROWS_PER_SHARD, ROWS_PER_SHARD, 1]


def test_frames_cannot_be_written_through_the_view(store: Store) -> None:
    frames = open_tier(store).frames
    assert not frames.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        frames.flags.writeable = True


def test_a_current_tier_is_not_built_again(store: Store) -> None:
    open_tier(store)
    tier = open_tier(Store.open(store.path), must_not_resize)
    assert np.array_equal(tier.gather(np.arange(8)), resized(store))


def test_another_preprocessing_rebuilds_the_tier(store: Store) -> None:
    open_tier(store)

    def inverted(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return 255 - halve(frames)

    tier = open_tier(store, inverted, "inverted")
    assert np.array_equal(tier.gather(np.arange(8)), 255 - resized(store))


def files(store: Store) -> dict[Path, tuple[int, int]]:
    found = (store.path / "derived" / "front_16x32" / "frames" / "c").rglob("*")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found if path.is_file()}


def test_an_appended_episode_is_added_and_no_file_is_written_again(store: Store) -> None:
    before, files_before = open_tier(store), files(store)
    expected_before = resized(store)
    StoreWriter.append_to(store.path).append(episode("late", smooth_frames(4, 9)))
    longer, resize = Store.open(store.path), CountedResize()
    after = open_tier(longer, resize)
    assert resize.sizes == [4]
    assert np.array_equal(after.gather(np.arange(12)), resized(longer))
    assert np.array_equal(before.gather(np.arange(8)), expected_before)
    assert np.array_equal(after.row_of_step[:8], before.row_of_step)
    assert len(files(longer)) == 3 and files(longer).items() >= files_before.items()


def test_an_episode_that_grew_is_decoded_again_and_spares_the_open_tier(store: Store) -> None:
    """As a recorder leaves it: the last episode is longer than when the tier was made."""
    before, expected_before = open_tier(store), resized(store)
    shutil.rmtree(store.path / "data")
    shutil.rmtree(store.path / "meta")
    grown = write_store(store.path.parent / "grown.zarr", smooth_frames(5, 0), smooth_frames(6, 1))
    shutil.copytree(grown.path, store.path, dirs_exist_ok=True)
    longer, resize = Store.open(store.path), CountedResize()
    after = open_tier(longer, resize)
    assert resize.sizes == [6]
    assert np.array_equal(after.gather(np.arange(11)), resized(longer))
    assert np.array_equal(before.gather(np.arange(8)), expected_before)


def test_a_shorter_store_leaves_no_row_of_the_longer_one(tmp_path: Path) -> None:
    long = write_store(tmp_path / "long.zarr", smooth_frames(5, 0), smooth_frames(3, 1))
    open_tier(long)
    short = write_store(tmp_path / "short.zarr", smooth_frames(5, 0))
    shutil.copytree(long.path / "derived", short.path / "derived")
    resize = CountedResize()
    tier = open_tier(short, resize)
    assert resize.sizes == [] and len(tier.frames) == 5
    assert np.array_equal(tier.gather(np.arange(5)), resized(short))


def test_an_interrupted_build_goes_on_where_it_was_stopped(store: Store) -> None:
    def stopped(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(frames) == 3:
            raise KeyboardInterrupt
        return halve(frames)

    with pytest.raises(KeyboardInterrupt):
        open_tier(store, stopped)
    resize = CountedResize()
    assert np.array_equal(open_tier(store, resize).gather(np.arange(8)), resized(store))
    assert resize.sizes == [3]


def test_a_build_that_was_killed_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    """Killed in the second of three shards of an episode, by a signal that nothing can catch."""
    store = write_store(tmp_path / "log.zarr", smooth_frames(2 * ROWS_PER_SHARD + 1, 0))
    child = os.fork()
    if child == 0:
        calls: list[int] = []

        def killed(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
            calls.append(len(frames))
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return halve(frames)

        open_tier(store, killed)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert shard(store, 0).exists()
    tier = open_tier(store)
    assert np.array_equal(tier.gather(np.arange(store.steps)), resized(store))


def test_two_processes_that_build_at_once_wait_for_each_other(tmp_path: Path) -> None:
    store = write_store(tmp_path / "log.zarr", *(smooth_frames(40, k) for k in range(6)))
    expected = resized(store)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            right = np.array_equal(open_tier(store).gather(np.arange(store.steps)), expected)
            os._exit(0 if right else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]


def test_frames_are_gathered_into_a_given_buffer(store: Store) -> None:
    steps, tier = np.array([[7, 0], [5, 4]]), open_tier(store)
    out = np.zeros((2, 2, *SIZE, 3), np.uint8)
    assert tier.gather(steps, out=out) is out
    assert np.array_equal(out, resized(store)[steps])
    with pytest.raises(IndexError):
        tier.gather(np.array([8]))


def test_gathered_frames_begin_at_a_page_as_those_of_the_tier_do(store: Store) -> None:
    tier = open_tier(store)
    gathered = tier.gather(np.array([[3, 1], [4, 1]]))
    assert gathered.ctypes.data % mmap.PAGESIZE == tier.frames.ctypes.data % mmap.PAGESIZE == 0
    assert gathered.shape == (2, 2, *tier.frames.shape[1:]) and gathered.flags.c_contiguous


def test_the_tiers_of_several_stores_are_one_array(tmp_path: Path) -> None:
    stores = {
        "a": write_store(tmp_path / "a.zarr", smooth_frames(5, 0), smooth_frames(260, 1)),
        "b": write_store(tmp_path / "b.zarr", smooth_frames(7, 2)),
        "c": write_store(tmp_path / "c.zarr", smooth_frames(3, 3), smooth_frames(4, 4)),
    }
    tier = open_tier(StoreMixture(stores))
    expected = np.concatenate([resized(store) for store in stores.values()])
    assert np.array_equal(tier.gather(np.arange(len(expected))), expected)
    open_tier(stores["b"], must_not_resize)


def test_a_damaged_episode_is_noticed_before_it_is_learned_from(store: Store) -> None:
    chunk = store.path / "data/image/front/jpeg/c/0"
    content = bytearray(chunk.read_bytes())
    content[len(store.jpegs("front", slice(0, 1))[0]) // 2] ^= 0xFF
    chunk.write_bytes(content)
    with pytest.raises(NavOffrlError, match=r"log\.zarr.*drive_0.*damaged"):
        open_tier(Store.open(store.path))


@pytest.mark.parametrize("level", [0, 120, 255], ids=["black", "grey", "white"])
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.99])
def test_a_truncated_shard_is_noticed(tmp_path: Path, level: int, kept: float) -> None:
    """White frames look like an empty index, black ones like an index of zeros."""
    frames = np.full((5, HEIGHT, WIDTH, 3), level, np.uint8)
    store = write_store(tmp_path / "log.zarr", frames)
    open_tier(store)
    path = shard(store, 0)
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(NavOffrlError, match=r"derived.*c/0/0/0/0.*delete"):
        open_tier(store)


def test_a_missing_shard_is_noticed(store: Store) -> None:
    """Otherwise its frames would all be black."""
    open_tier(store)
    shard(store, 1).unlink()
    with pytest.raises(NavOffrlError, match=r"derived.*c/1/0/0/0.*delete"):
        open_tier(store)


def test_a_tier_of_unreadable_metadata_is_built_again(store: Store) -> None:
    open_tier(store)
    (store.path / "derived" / "front_16x32" / "zarr.json").write_text("{ torn")
    assert np.array_equal(open_tier(store).gather(np.arange(8)), resized(store))


def test_a_read_only_folder_is_said_so(store: Store) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    store.path.chmod(0o500)
    try:
        with pytest.raises(NavOffrlError, match=r"cannot be written.*writable"):
            open_tier(store)
    finally:
        store.path.chmod(0o700)


def make_array(path: Path, **changes: object) -> Path:
    options: dict[str, object] = {
        "shape": (4, 16, 32, 3),
        "dtype": "uint8",
        "chunks": (1, 16, 32, 3),
        "shards": (256, 16, 32, 3),
        "compressors": None,
    }
    array = zarr.create_array(str(path), **(options | changes))  # type: ignore[arg-type]
    array[:] = np.arange(array.size, dtype="uint8").reshape(array.shape)
    return path


def test_flat_view_of_a_plain_array_is_the_array(tmp_path: Path) -> None:
    path = make_array(tmp_path / "plain", shape=(300, 16, 32, 3))
    view, first_rows = flat_view(path)
    assert np.array_equal(view, np.asarray(zarr.open_array(path, mode="r")[:]))
    assert first_rows == [0]


def test_flat_view_of_several_arrays_starts_each_at_a_shard(tmp_path: Path) -> None:
    paths = [
        make_array(tmp_path / "one", shape=(300, 16, 32, 3)),
        make_array(tmp_path / "two", shape=(2, 16, 32, 3), shards=(8, 16, 32, 3)),
        make_array(tmp_path / "three", shape=(9, 16, 32, 3)),
    ]
    view, first_rows = flat_view(*paths)
    assert first_rows == [0, 512, 520] and len(view) == 529
    for path, first in zip(paths, first_rows, strict=True):
        rows = np.asarray(zarr.open_array(path, mode="r")[:])
        assert np.array_equal(view[first : first + len(rows)], rows)


def test_arrays_of_different_rows_are_not_mapped_together(tmp_path: Path) -> None:
    one = make_array(tmp_path / "one")
    other = {"shape": (4, 16, 16, 3), "chunks": (1, 16, 16, 3), "shards": (256, 16, 16, 3)}
    two = make_array(tmp_path / "two", **other)
    with pytest.raises(NavOffrlError, match=r"two.*\(16, 16, 3\).*one.*\(16, 32, 3\)"):
        flat_view(one, two)


@pytest.mark.parametrize(
    "changes",
    [
        {"compressors": "auto"},
        {"shards": None},
        {"chunks": (2, 16, 32, 3)},
        {"chunks": (1, 8, 32, 3)},
    ],
    ids=["compressed", "unsharded", "two rows a chunk", "half a row a chunk"],
)
def test_other_layouts_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = make_array(tmp_path / "other", **changes)
    with pytest.raises(NavOffrlError, match=r"other.*raw shards.*delete"):
        flat_view(path)


def test_a_shard_of_no_whole_pages_is_refused(tmp_path: Path) -> None:
    path = make_array(tmp_path / "odd", shards=(3, 16, 32, 3))
    with pytest.raises(NavOffrlError, match="pages"):
        flat_view(path)
