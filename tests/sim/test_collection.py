import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store, StoreWriter
from nav_offrl_sim import EnvConfig, generate_world, load_world_config
from nav_offrl_sim.collection import CollectConfig, Recorder, collect, plan_episodes

ENV = EnvConfig(world="office")
SHORT = CollectConfig(min_length=40, max_length=60)
STEPS = 500


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("collect") / "drives.zarr"
    collect(ENV, 0, path, STEPS, seed=3, progress=False, config=SHORT)
    return Store.open(path)


def test_store_holds_the_expected_fields(store):
    assert store.info.action_source == "commanded"
    assert store.info.rate_hz == pytest.approx(5.0)
    assert int(np.sum(store.episodes.length)) == STEPS
    assert store.image("front", 0).shape == (96, 128, 3)
    action = store.field("action")
    assert action[:, 0].min() >= 0.0 and action[:, 0].max() <= 1.0
    assert np.abs(action[:, 1]).max() <= 1.2 + 1e-6
    assert action.std(axis=0).min() > 0.1
    assert store.field("collision").any() and not store.field("collision").all()
    assert (store.field("bumpiness") > 0).all()


def test_rows_fit_together_in_time(store):
    position, action, time = (store.field(name) for name in ("position", "action", "time"))
    velocity, yaw = store.field("velocity"), store.field("yaw")
    for start, length in zip(store.episodes.start, store.episodes.length, strict=True):
        rows = slice(start, start + length)
        assert (np.diff(time[rows]) == 200_000_000).all()
        steps = np.linalg.norm(np.diff(position[rows], axis=0), axis=1)
        assert steps.max() <= 0.2 * 1.0 * 1.1
        turned = np.angle(np.exp(1j * np.diff(yaw[rows])))
        # The yaw rate follows the command of the same row, not that of the next.
        same = np.abs(turned - 0.2 * action[rows, 1][:-1]).mean()
        following = np.abs(turned - 0.2 * action[rows, 1][1:]).mean()
        assert same < following
        assert np.linalg.norm(velocity[start]) < 0.1


def test_some_whole_episodes_are_held_out(store):
    space = generate_world(load_world_config("office"), 0).free_space(0.25)
    plans = plan_episodes({0: space}, 12_000, 0, CollectConfig())
    share = np.mean([plan.held_out for plan in plans])
    assert 0.1 < share < 0.2
    assert sum(plan.length for plan in plans) == 12_000
    assert 0.55 < np.mean([plan.policy == "teleoperation" for plan in plans]) < 0.65
    assert len(set(np.asarray(store.episodes.split).tolist())) == 2


def test_starts_cover_the_free_space():
    space = generate_world(load_world_config("campus"), 0).free_space(0.25)
    plans = plan_episodes({0: space}, 12_000, 0, CollectConfig())
    starts = np.array([plan.start[:2] for plan in plans])
    centres = (space.cells[:, ::-1] + 0.5) * space.cell
    nearest = np.linalg.norm(centres[::20, None] - starts[None], axis=2).min(axis=1)
    assert nearest.max() < 6.0


def test_result_depends_on_the_seed_but_not_on_the_workers(store, tmp_path):
    parallel = collect(ENV, 0, tmp_path / "a", STEPS, 3, workers=2, progress=False, config=SHORT)
    assert Store.open(parallel).fingerprint() == store.fingerprint()
    other = collect(ENV, 0, tmp_path / "b", STEPS, 4, progress=False, config=SHORT)
    assert Store.open(other).fingerprint() != store.fingerprint()


def test_interrupted_collection_continues_to_the_same_store(store, tmp_path):
    path = tmp_path / "drives.zarr"
    recorder = Recorder(ENV, 0, SHORT)
    plans = plan_episodes({0: recorder.env.space}, STEPS, 3, SHORT)
    with StoreWriter.create(path, store.info) as writer:
        for plan in plans[:3]:
            writer.append_all(recorder.record(plan))
    recorder.close()
    collect(ENV, 0, path, STEPS, 3, progress=False, config=SHORT)
    assert Store.open(path).fingerprint() == store.fingerprint()


def test_random_walk_leaves_what_it_bumps_into(tmp_path):
    config = CollectConfig(oracle_share=0.0)
    path = collect(ENV, 0, tmp_path / "walk", 600, 0, progress=False, config=config)
    walk = Store.open(path)
    assert 0.02 < walk.field("collision").mean() < 0.4
    for start, length in zip(walk.episodes.start, walk.episodes.length, strict=True):
        position = walk.field("position")[start : start + length]
        assert np.ptp(position, axis=0).max() > 1.0


def test_mistakes_are_named(tmp_path):
    with pytest.raises(NavOffrlError, match="at least 20 steps"):
        collect(ENV, 0, tmp_path / "x", 3)
    (tmp_path / "there").mkdir()
    with pytest.raises(NavOffrlError, match="exists"):
        collect(ENV, 0, tmp_path / "there", STEPS, progress=False)
