"""Several stores read as one: the same steps, fields and frames, in the shares asked for."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import chi2

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.relabelling import GoalRelabelling, SamplingConfig
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.schema import field_info
from nav_offrl.store.store_mixture import StoreMixture, open_stores

NAMES = ("time", "position", "yaw", "action")
LENGTHS = {"a": (5, 9), "b": (30,), "c": (4, 3, 6)}
RANDOM = GoalRelabelling(current=0.0, geometric=0.0, random=1.0)
NEGATIVE = GoalRelabelling(current=0.0, geometric=0.0, random=0.0, negative=1.0)


def make_info(names: tuple[str, ...] = NAMES, **changes: Any) -> StoreInfo:
    camera = CameraInfo(height=24, width=32, **changes.pop("camera", {}))
    described = {name: field_info(name) for name in names} | changes.pop("fields", {})
    values = {"rate_hz": 4.0, "action_source": "commanded", "cameras": {"front": camera}}
    return StoreInfo(**(values | {"fields": described} | changes))


def make_episode(name: str, length: int, seed: int, split: str, fields: tuple[str, ...]) -> Episode:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (length, 24, 32, 3), dtype=np.uint8)
    values = {
        "time": np.arange(length) * 250_000_000,
        "position": rng.normal(size=(length, 2)),
        "yaw": rng.normal(size=length),
        "action": rng.normal(size=(length, 2)),
        "bumpiness": rng.random(length),
    }
    return Episode(
        name=name,
        images={"front": [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]},
        fields={field: values[field] for field in fields},
        split=split,
    )


def write(
    path: Path,
    lengths: tuple[int, ...],
    info: StoreInfo | None = None,
    splits: tuple[str, ...] = ("train",) * 9,
) -> Store:
    info = info or make_info()
    with StoreWriter.create(path, info) as writer:
        for number, length in enumerate(lengths):
            seed = zlib.crc32(f"{path.name} {number}".encode())
            fields = tuple(info.fields)
            writer.append(make_episode(f"d{number}", length, seed, splits[number], fields))
        writer.finish()
    return Store.open(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("stores")
    return {name: write(folder / f"{name}.zarr", lengths) for name, lengths in LENGTHS.items()}


def test_steps_and_episodes_count_through_the_stores(stores: dict[str, Store]) -> None:
    mixture = StoreMixture(stores)
    assert mixture.steps == 14 + 30 + 13
    assert mixture.episodes.length.tolist() == [5, 9, 30, 4, 3, 6]
    assert mixture.episodes.start.tolist() == [0, 5, 14, 44, 48, 51]
    assert mixture.episodes.store == ["a", "a", "b", "c", "c", "c"]
    assert mixture.episodes.name == ["d0", "d1", "d0", "d0", "d1", "d2"]
    assert mixture.store_of_episode.tolist() == [0, 0, 1, 2, 2, 2]
    assert mixture.steps_of(3) == slice(44, 48)


def test_fields_and_frames_are_those_of_the_stores(stores: dict[str, Store]) -> None:
    mixture = StoreMixture(stores)
    for name in NAMES:
        parts = [store.field(name) for store in stores.values()]
        assert np.array_equal(mixture.field(name), np.concatenate(parts))
    a, b, c = stores.values()
    frames = [store.images("front", slice(0, store.steps)) for store in (a, b, c)]
    assert np.array_equal(mixture.images("front", slice(0, 57)), np.concatenate(frames))
    assert np.array_equal(mixture.images("front", slice(12, 46)), np.concatenate(frames)[12:46])
    assert np.array_equal(mixture.image("front", 44), c.image("front", 0))
    expected = a.jpegs("front", slice(13, 14)) + b.jpegs("front", slice(0, 2))
    assert mixture.jpegs("front", slice(13, 16)) == expected
    assert mixture.frames("front", slice(13, 16)) == expected
    for episode in range(6):
        mixture.verify(episode)
    with pytest.raises(NavOffrlError, match=r"a\.zarr.*c\.zarr.*no camera 'rear'.*front"):
        mixture.images("rear", slice(0, 2))
    with pytest.raises(NavOffrlError, match=r"no field 'lidar'"):
        mixture.field("lidar")


def test_fields_in_common_are_kept(stores: dict[str, Store], tmp_path: Path) -> None:
    info = make_info((*NAMES, "bumpiness"), notes="rough ground", rate_is_nominal=True)
    more = write(tmp_path / "more.zarr", (3,), info)
    for order in ({"more": more, "a": stores["a"]}, {"a": stores["a"], "more": more}):
        mixture = StoreMixture(order)
        assert set(mixture.info.fields) == set(NAMES)
        assert mixture.info.notes == "rough ground" and mixture.info.rate_is_nominal


def test_damage_is_noticed_in_the_store_that_has_it(tmp_path: Path) -> None:
    parts = {name: write(tmp_path / f"{name}.zarr", (4, 3)) for name in ("a", "b")}
    chunk = tmp_path / "b.zarr" / "data/yaw/c/0"
    content = bytearray(chunk.read_bytes())
    content[4 * 5] ^= 0xFF
    chunk.write_bytes(content)
    mixture = StoreMixture({name: Store.open(store.path) for name, store in parts.items()})
    for episode in (0, 1, 2):
        mixture.verify(episode)
    with pytest.raises(NavOffrlError, match=r"b\.zarr.*'d1' is damaged at step 1"):
        mixture.verify(3)


def test_the_fingerprint_knows_content_names_order_and_weights(stores: dict[str, Store]) -> None:
    a, b = stores["a"], stores["b"]
    prints = [
        StoreMixture({"a": a, "b": b}).fingerprint(),
        StoreMixture({"b": b, "a": a}).fingerprint(),
        StoreMixture({"a": a, "c": b}).fingerprint(),
        StoreMixture({"a": a, "b": stores["c"]}).fingerprint(),
        StoreMixture({"a": a, "b": b}, {"a": 1, "b": 1}).fingerprint(),
        StoreMixture({"a": a, "b": b}, {"a": 1, "b": 2}).fingerprint(),
    ]
    assert len(set(prints)) == 6
    assert StoreMixture({"a": a, "b": b}).fingerprint() == prints[0]
    assert StoreMixture({"a": a, "b": b}, {"a": 5, "b": 10}).fingerprint() == prints[5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_hz": 10.0}, r"other\.zarr: has 10 steps per second, .*a\.zarr has 4"),
        ({"camera": {"horizontal_fov": 2.0}}, r"camera 'front' has horizontal_fov 2\.0.*None"),
        ({"cameras": {"front": CameraInfo(height=24, width=48)}}, r"'front' has width 48.* 32"),
        ({"fields": {"action": field_info("action", shape=(3,))}}, r"'action' has shape \(3,\)"),
        ({"fields": {"yaw": field_info("yaw", unit="deg")}}, r"'yaw' has unit 'deg'.*'rad'"),
    ],
)
def test_stores_that_do_not_agree_are_refused(
    stores: dict[str, Store], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with StoreWriter.create(tmp_path / "other.zarr", make_info(**changes)) as writer:
        width = writer.info.cameras["front"].width
        episode = make_episode("d0", 4, 0, "train", NAMES)
        size = writer.info.fields["action"].shape
        fields = {**episode.fields, "action": np.zeros((4, *size))}
        frames = [np.zeros((24, width, 3), np.uint8)] * 4
        jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
        writer.append(Episode(name="d0", images={"front": jpegs}, fields=fields))
        writer.finish()
    other = Store.open(tmp_path / "other.zarr")
    with pytest.raises(NavOffrlError, match=message):
        StoreMixture({"a": stores["a"], "other": other})


def shares(drawn: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted([14, 44], drawn, side="right"), minlength=3)


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    mean = counts.sum() * expected / expected.sum()
    return float(chi2.sf(((counts - mean) ** 2 / mean).sum(), max(1, len(counts) - 1)))


DRAWS = 100_000
TRANSITIONS = np.array([12, 29, 10])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, TRANSITIONS / 51),
        ({"a": 7, "b": 2, "c": 1}, np.array([0.7, 0.2, 0.1])),
        ({"a": 0, "b": 0.5, "c": 0.5}, np.array([0, 0.5, 0.5])),
    ],
)
def test_each_store_gives_its_share_of_transitions(
    stores: dict[str, Store], weights: dict[str, float] | None, expected: np.ndarray
) -> None:
    mixture = StoreMixture(stores, weights)
    drawn = GoalSampler(mixture, "train", SamplingConfig(value_goals=RANDOM), 0).sample(DRAWS, 0)
    assert p_value(shares(drawn.step), expected) > 1e-3
    for store, (first, last) in enumerate([(0, 14), (14, 44), (44, 57)]):
        inside = drawn.step[(drawn.step >= first) & (drawn.step < last)]
        counts = np.bincount(inside - first, minlength=last - first)
        starts = np.ones(last - first)
        starts[np.cumsum(list(LENGTHS.values())[store]) - 1] = 0
        assert not len(inside) or p_value(counts, starts) > 1e-3
    assert np.array_equal(
        np.searchsorted([14, 44], drawn.goal, side="right"),
        np.searchsorted([14, 44], drawn.step, side="right"),
    )


def test_random_goals_cross_stores_only_where_that_is_asked_for(stores: dict[str, Store]) -> None:
    config = SamplingConfig(value_goals=RANDOM, goals_across_stores=True)
    weights = {"a": 1, "b": 1, "c": 0}
    drawn = GoalSampler(StoreMixture(stores, weights), "train", config, 0).sample(DRAWS, 0)
    of_first = drawn.goal[drawn.step < 14]
    assert p_value(np.bincount(of_first, minlength=57), np.ones(57)) > 1e-3
    assert p_value(shares(drawn.step), np.array([0.5, 0.5, 0])) > 1e-3


def test_negatives_of_a_store_with_one_episode(stores: dict[str, Store]) -> None:
    config = SamplingConfig(value_goals=NEGATIVE)
    with pytest.raises(NavOffrlError, match=r"b\.zarr.*one episode only"):
        GoalSampler(StoreMixture(stores), "train", config, 0)
    across = config.model_copy(update={"goals_across_stores": True})
    drawn = GoalSampler(StoreMixture(stores), "train", across, 0).sample(DRAWS, 0)
    of_b = drawn.goal[(drawn.step >= 14) & (drawn.step < 44)]
    others = np.ones(57)
    others[14:44] = 0
    assert p_value(np.bincount(of_b, minlength=57), others) > 1e-3


def test_a_store_without_held_out_episodes_gives_none(tmp_path: Path) -> None:
    parts = {
        "a": write(tmp_path / "a.zarr", (5, 6), splits=("train", "held_out")),
        "b": write(tmp_path / "b.zarr", (7,), splits=("train",)),
    }
    mixture = StoreMixture(parts, {"a": 0.1, "b": 0.9})
    drawn = GoalSampler(mixture, "held_out", SamplingConfig(), 0).sample(500, 0)
    assert set(drawn.step) == {5, 6, 7, 8, 9}
    only_b = StoreMixture(parts, {"a": 0, "b": 1})
    with pytest.raises(NavOffrlError, match=r"held_out.*weigh nothing"):
        GoalSampler(only_b, "held_out", SamplingConfig(), 0)


def test_epochs_go_through_all_stores_but_not_with_weights(stores: dict[str, Store]) -> None:
    config = SamplingConfig(order="epochs")
    drawn = GoalSampler(StoreMixture(stores), "train", config, 0).sample(51, 0)
    assert len(set(drawn.step)) == 51
    with pytest.raises(NavOffrlError, match=r"weights.*epochs"):
        GoalSampler(StoreMixture(stores, {"a": 1, "b": 1, "c": 1}), "train", config, 0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1}, "given for a, the stores are a, b, c"),
        ({"a": 1, "b": 1, "d": 1}, "given for a, b, d"),
        ({"a": -1, "b": 1, "c": 1}, "from 0 on"),
        ({"a": 0, "b": 0, "c": 0}, "not all 0"),
        ({"a": float("nan"), "b": 1, "c": 1}, "from 0 on"),
    ],
)
def test_weights_that_fit_no_stores_are_refused(
    stores: dict[str, Store], weights: dict[str, float], message: str
) -> None:
    with pytest.raises(NavOffrlError, match=message):
        StoreMixture(stores, weights)


def test_stores_are_opened_under_the_names_of_their_folders(
    stores: dict[str, Store], tmp_path: Path
) -> None:
    a, b = stores["a"].path, stores["b"].path
    opened = open_stores([a, f"{b}/"])
    assert isinstance(opened, StoreMixture) and list(opened.stores) == ["a", "b"]
    assert type(open_stores([a])) is Store
    write(tmp_path / "a.zarr", (3,))
    with pytest.raises(NavOffrlError, match=r"same name.*rename"):
        open_stores([a, tmp_path / "a.zarr"])
    with pytest.raises(NavOffrlError, match="given for b, the stores are a"):
        open_stores([a], {"b": 1.0})


def test_a_store_of_every_kind_of_field_reads_alike_alone_and_in_a_mixture(
    write_drives: Callable[[Path], list[Episode]], tmp_path: Path
) -> None:
    write_drives(tmp_path / "one.zarr")
    write_drives(tmp_path / "two.zarr")
    mixture = open_stores([tmp_path / "one.zarr", tmp_path / "two.zarr"])
    alone = Store.open(tmp_path / "one.zarr")
    for name in alone.info.fields:
        assert mixture.field(name).tobytes() == alone.field(name).tobytes() * 2, name
    frames = mixture.frames("rear", slice(10, 14))
    assert np.array_equal(frames[:2], alone.images("rear", slice(10, 12)))
    assert mixture.episodes.of_split("held_out").tolist() == [1, 3]
