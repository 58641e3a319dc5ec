"""Cached latents are those the encoder would give now, of all steps or not at all."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store import latents as latents_module
from nav_offrl.store.latents import Encoder, find_latents, open_latents
from nav_offrl.store.store_mixture import StoreMixture

MakeDrive = Callable[..., Episode]


class Means:
    """Latents are the mean red, green and blue of a frame; counts the episodes encoded."""

    def __init__(self) -> None:
        self.episodes: list[int] = []

    def __call__(self, store: Store, episode: int) -> NDArray[np.float32]:
        self.episodes.append(episode)
        frames = store.images("front", store.steps_of(episode))
        return frames.mean((1, 2), dtype=np.float32)


@pytest.fixture
def means() -> Means:
    return Means()


@pytest.fixture
def encoder(means: Means) -> Encoder:
    return Encoder("mean colours", "front", 3, means)


@pytest.fixture
def store(write_drives: Callable[[Path], list[Episode]], tmp_path: Path) -> Store:
    write_drives(tmp_path / "log.zarr")  # of 7 and 5 steps
    return Store.open(tmp_path / "log.zarr")


def expected(store: Store) -> NDArray[np.float32]:
    return store.images("front", slice(0, store.steps)).mean((1, 2), dtype=np.float32)


def test_encodes_once(store: Store, encoder: Encoder, means: Means) -> None:
    assert find_latents(store, encoder) is None
    for _ in range(2):
        latents = open_latents(store, encoder)
        np.testing.assert_array_equal(latents, expected(store))
        assert latents.dtype == np.float32
    assert means.episodes == [0, 1]
    found = find_latents(Store.open(store.path), encoder)
    np.testing.assert_array_equal(found, expected(store))


def test_any_zarr_reader_sees_them(store: Store, encoder: Encoder) -> None:
    open_latents(store, encoder)
    [folder] = [p for p in (store.path / "derived").iterdir() if p.is_dir()]
    assert folder.name.startswith("latents_")
    array = zarr.open_array(str(folder), mode="r")
    np.testing.assert_array_equal(array[:], expected(store))
    assert array.metadata.dimension_names == ("step", "latent")
    assert array.attrs["encoder"] == "mean colours" and array.attrs["camera"] == "front"


def test_another_encoder_or_camera_has_a_cache_of_its_own(store: Store, encoder: Encoder) -> None:
    open_latents(store, encoder)
    for other in (replace(encoder, fingerprint="another"), replace(encoder, camera="rear")):
        assert find_latents(store, other) is None
        assert other.folder(store) != encoder.folder(store)


def test_of_a_store_that_grew_only_what_is_new_is_encoded(
    store: Store, encoder: Encoder, means: Means, make_drive: MakeDrive
) -> None:
    open_latents(store, encoder)
    with StoreWriter.append_to(store.path) as writer:
        writer.append_all([make_drive("third", 4, seed=2), make_drive("fourth", 6, seed=3)])
    grown = Store.open(store.path)
    assert find_latents(grown, encoder) is None
    np.testing.assert_array_equal(open_latents(grown, encoder), expected(grown))
    assert means.episodes == [0, 1, 2, 3]


def test_an_episode_that_changed_is_encoded_anew_with_all_after_it(
    store: Store,
    encoder: Encoder,
    means: Means,
    info_of_every_kind: StoreInfo,
    make_drive: MakeDrive,
) -> None:
    open_latents(store, encoder)
    shutil.move(store.path / "derived", store.path.parent / "kept")
    shutil.rmtree(store.path)
    with StoreWriter.create(store.path, info_of_every_kind) as writer:
        first = make_drive("first", 7, seed=0, session="monday", robot="rover", licence="CC0-1.0")
        writer.append_all([first, make_drive("second", 3, seed=9)])
        writer.finish()
    shutil.move(store.path.parent / "kept", store.path / "derived")
    changed = Store.open(store.path)
    np.testing.assert_array_equal(open_latents(changed, encoder), expected(changed))
    assert means.episodes == [0, 1, 1]


def test_interrupted_it_goes_on(store: Store, encoder: Encoder, means: Means) -> None:
    def stop(episodes: Iterable[int]) -> Iterator[int]:
        for episode in episodes:
            if episode == 1:
                raise KeyboardInterrupt
            yield episode

    with pytest.raises(KeyboardInterrupt):
        open_latents(store, encoder, stop)
    assert find_latents(store, encoder) is None
    np.testing.assert_array_equal(open_latents(store, encoder), expected(store))
    assert means.episodes == [0, 1]


def test_after_a_kill_nothing_unfinished_counts(
    store: Store, encoder: Encoder, means: Means, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(latents_module, "COMMIT_SECONDS", -1.0)

    def copy_at_second(episodes: Iterable[int]) -> Iterator[int]:
        for episode in episodes:
            if episode == 1:  # what a kill at this moment leaves
                shutil.copytree(store.path, tmp_path / "killed.zarr")
            yield episode

    open_latents(store, encoder, copy_at_second)
    killed = Store.open(tmp_path / "killed.zarr")
    assert find_latents(killed, encoder) is None
    means.episodes.clear()
    np.testing.assert_array_equal(open_latents(killed, encoder), expected(store))
    assert means.episodes == [1]


def test_damage_of_the_cache_is_found(store: Store, encoder: Encoder) -> None:
    open_latents(store, encoder)
    chunk = encoder.folder(store) / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[50] ^= 1
    chunk.write_bytes(bytes(content))
    for read in (open_latents, find_latents):
        with pytest.raises(NavOffrlError, match="latents is damaged -> delete it"):
            read(store, encoder)
    chunk.unlink()
    with pytest.raises(NavOffrlError, match="latents is damaged"):
        open_latents(store, encoder)
    shutil.rmtree(encoder.folder(store))
    np.testing.assert_array_equal(open_latents(store, encoder), expected(store))


def test_a_cache_without_its_description_is_made_anew(store: Store, encoder: Encoder) -> None:
    open_latents(store, encoder)
    for text in ("", "{", json.dumps({"attributes": {"episodes": 3}})):
        (encoder.folder(store) / "zarr.json").write_text(text)
        assert find_latents(store, encoder) is None
        np.testing.assert_array_equal(open_latents(store, encoder), expected(store))


def test_an_encoder_that_fails_leaves_what_was_whole(store: Store, encoder: Encoder) -> None:
    def fails(store: Store, episode: int) -> NDArray[np.float32]:
        if episode == 1:
            raise NavOffrlError("no more")
        return encoder.encode(store, episode)

    with pytest.raises(NavOffrlError, match="no more"):
        open_latents(store, replace(encoder, encode=fails))
    assert find_latents(store, encoder) is None
    np.testing.assert_array_equal(open_latents(store, encoder), expected(store))


def test_each_store_of_a_mixture_has_its_own(
    store: Store,
    encoder: Encoder,
    means: Means,
    info_of_every_kind: StoreInfo,
    make_drive: MakeDrive,
    tmp_path: Path,
) -> None:
    with StoreWriter.create(tmp_path / "other.zarr", info_of_every_kind) as writer:
        writer.append(make_drive("elsewhere", 8, seed=5))
        writer.finish()
    other = Store.open(tmp_path / "other.zarr")
    open_latents(other, encoder)
    mixture = StoreMixture({"log": store, "other": other})
    assert find_latents(mixture, encoder) is None
    both = np.concatenate([expected(store), expected(other)])
    np.testing.assert_array_equal(open_latents(mixture, encoder), both)
    np.testing.assert_array_equal(find_latents(mixture, encoder), both)
    assert means.episodes == [0, 0, 1]


def test_a_store_that_cannot_be_written_to_says_so(store: Store, encoder: Encoder) -> None:
    (store.path / "derived").write_text("a file in the way")
    with pytest.raises(NavOffrlError, match="cache of latents cannot be written"):
        open_latents(store, encoder)
