"""Several stores train as one run, which remembers them and finds them again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nav_offrl.cli import train as train_command
from nav_offrl.cli.train import parse_weights
from nav_offrl.config import dump_yaml, load_yaml, parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.goal_presets import goal_preset
from nav_offrl.store.store_mixture import StoreMixture
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.trained_policy import load_policy
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)


@pytest.fixture
def places(write_store: Callable[..., Store], tmp_path: Path) -> tuple[str, str]:
    one = write_store(tmp_path / "one.zarr", ("train", "held_out"))
    two = write_store(tmp_path / "two.zarr", ("train", "train"))
    return str(one.path), str(two.path)


def test_the_command_trains_on_weighted_stores_and_the_run_finds_them_again(
    places: tuple[str, str], config: TrainConfig, tmp_path: Path
) -> None:
    dump_yaml(config, tmp_path / "mine.yaml")
    args = train_command.Args(
        method="iql",
        stores=places,
        output=tmp_path / "run",
        weights=("one=3", "two=1"),
        config=tmp_path / "mine.yaml",
    )
    train_command.run(args)
    run = RunFolder.open(tmp_path / "run")
    assert run.config.store_weights == {"one": 3.0, "two": 1.0}
    assert run.provenance["store.one"] == places[0] and run.provenance["store.two"] == places[1]
    policy = load_policy(tmp_path / "run")
    assert isinstance(policy.store, StoreMixture)
    assert policy.store.weights is not None and policy.store.weights.tolist() == [0.75, 0.25]
    latents, steps = policy.latents("held_out")
    assert np.array_equal(steps, np.arange(24, 48)) and latents.shape == (24, 8)
    # Resuming needs no weights: the run has them.
    args.resume, args.weights = True, ()
    train_command.run(args)


def test_moved_stores_are_found_in_the_folder_that_holds_them(
    places: tuple[str, str], config: TrainConfig, tmp_path: Path
) -> None:
    mixture = StoreMixture({"one": Store.open(places[0]), "two": Store.open(places[1])})
    Trainer(mixture, start_run(mixture, tmp_path / "run", config), progress=False).run()
    (tmp_path / "elsewhere").mkdir()
    for place in places:
        Path(place).rename(tmp_path / "elsewhere" / Path(place).name)
    with pytest.raises(NavOffrlError, match=r"run.*not at .*one\.zarr.*--store"):
        load_policy(tmp_path / "run")
    assert load_policy(tmp_path / "run", tmp_path / "elsewhere").store.steps == mixture.steps


def test_other_weights_are_another_run(
    places: tuple[str, str], config: TrainConfig, tmp_path: Path
) -> None:
    stores = {"one": Store.open(places[0]), "two": Store.open(places[1])}
    mixture = StoreMixture(stores)
    run = start_run(mixture, tmp_path / "run", config)
    with pytest.raises(NavOffrlError, match=r"one\.zarr.*start a new run"):
        Trainer(StoreMixture(stores, {"one": 1, "two": 1}), run, progress=False)


def test_limits_span_all_stores(write_store: Callable[..., Store], tmp_path: Path) -> None:
    slow = np.tile([0.2, 0.1], (24, 1))
    fast = np.tile([2.0, -1.0], (24, 1))
    parts = {
        "slow": write_store(tmp_path / "slow.zarr", ("train",), action=slow),
        "fast": write_store(tmp_path / "fast.zarr", ("train",), action=fast),
    }
    limits = ActionLimits.of_store(StoreMixture(parts))
    assert limits.high == pytest.approx((2.0, 0.1)) and limits.low == pytest.approx((0.0, -1.0))


@pytest.mark.parametrize("texts", [("one",), ("=2",), ("one=x",), ("one=1", "one=2")])
def test_weights_of_another_form_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(NavOffrlError, match=r"--weights.*NAME=SHARE"):
        parse_weights(texts)


def test_weights_are_read() -> None:
    assert parse_weights(("a=0.7", "b.c=3", "x=y=1")) == {"a": 0.7, "b.c": 3.0, "x=y": 1.0}


def test_no_store_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="no store is given"):
        train_command.run(train_command.Args(method="iql", stores=(), output=tmp_path / "run"))


def test_goals_by_name_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("goals: gciql_stitch\nseed: 4\n")
    config = load_yaml(TrainConfig, path)
    named = goal_preset("gciql_stitch")
    assert config.seed == 4
    assert config.sampling.value_goals == named.value_goals
    assert config.sampling.actor_goals == named.actor_goals
    dump_yaml(config, tmp_path / "saved.yaml")
    assert load_yaml(TrainConfig, tmp_path / "saved.yaml") == config
    own = {"goals": "qrl", "actor_goals": {"geometric": 1.0, "current": 0.0, "random": 0.0}}
    mixed = parse_config(TrainConfig, own, path)
    assert mixed.value_goals.random == 1.0 and mixed.actor_goals.geometric == 1.0
    with pytest.raises(NavOffrlError, match=r"mine\.yaml.*'gcq'.*gciql"):
        parse_config(TrainConfig, {"goals": "gcq"}, path)
