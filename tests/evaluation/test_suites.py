"""What a suite's file may say, and who is kept out of its worlds."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nav_offrl.cli import collect as collect_verb
from nav_offrl.cli import finetune as finetune_verb
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.suites import (
    SuiteConfig,
    load_suite,
    refuse_suite_worlds,
    shipped_suites,
    simulated_source,
    world_list,
    worlds_in,
    worlds_of_list,
)
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trainer import start_run
from nav_offrl_sim import EnvConfig
from nav_offrl_sim.collection import collect

FAMILIES = {"campus", "forest", "office", "open", "warehouse"}
WORLDS = st.tuples(st.from_regex(r"\A[a-z][a-z_0-9 -]{0,12}[a-z]\Z"), st.integers(0, 10**9))


def test_there_is_a_suite_for_every_family() -> None:
    suites = shipped_suites()
    assert set(suites) == FAMILIES
    for name, suite in suites.items():
        assert suite.name == suite.world == name and load_suite(name) is suite
        assert suite.distances == ((5, 10), (10, 20), (20, 50))


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    values = {"name": "mine", "world": "campus", "world_seeds": [3]}
    path.write_text(yaml.safe_dump(values))
    assert load_suite(path).world_seeds == (3,)
    path.write_text(yaml.safe_dump(values | {"world_sedes": [3]}))
    with pytest.raises(NavOffrlError, match="world_sedes"):
        load_suite(path)
    with pytest.raises(NavOffrlError, match="one of campus, forest"):
        load_suite("campsu")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"world_seeds": (1, 1)}, "each seed once"),
        ({"world_seeds": (-1,)}, "none negative"),
        ({"world_seeds": ()}, "world_seeds"),
        ({"distances": ((5, 5),)}, "nearest < farthest"),
        ({"time_factor": 0.5}, "time_factor"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], complaint: str) -> None:
    values: dict[str, object] = {"name": "x", "world": "open", "world_seeds": (1,)}
    with pytest.raises(ValueError, match=complaint):
        SuiteConfig.model_validate(values | change)


@given(st.sets(WORLDS, max_size=5), st.text(max_size=20))
def test_a_store_names_its_worlds_and_they_are_found_again(
    worlds: set[tuple[str, int]], other: str
) -> None:
    sources = [simulated_source(family, seed, "badgr, at noon") for family, seed in worlds]
    assert worlds_in([*sources, f"bag {other}"]) == worlds
    assert worlds_of_list(world_list(worlds)) == worlds


def test_the_suite_that_holds_a_world_is_named() -> None:
    held = shipped_suites()["forest"].world_seeds[0]
    with pytest.raises(NavOffrlError, match=f"forest {held} is held out: the suite 'forest'"):
        refuse_suite_worlds([("forest", 0), ("forest", held)], "here")
    refuse_suite_worlds([("forest", 0), ("courtyard", held)], "here")


def test_collect_refuses_a_suites_world(tmp_path: Path) -> None:
    held = shipped_suites()["office"].world_seeds[-1]
    with pytest.raises(NavOffrlError, match=f"office {held} .* suite 'office'"):
        collect(EnvConfig(world="office"), held, tmp_path / "x", 100)
    arguments = collect_verb.Args(
        world="office", output=tmp_path / "x", world_seed=held - 3, worlds=4
    )
    with pytest.raises(NavOffrlError, match=f"office {held - 3} .* suite 'office'"):
        collect_verb.run(arguments)
    assert list(tmp_path.iterdir()) == []


def test_finetune_refuses_a_suites_world(tmp_path: Path) -> None:
    held = shipped_suites()["campus"].world_seeds[0]
    arguments = finetune_verb.Args(
        run=tmp_path / "run", output=tmp_path / "out", world="campus", world_seed=held
    )
    with pytest.raises(NavOffrlError, match="suite 'campus'"):
        finetune_verb.run(arguments)


def test_train_refuses_a_store_that_holds_a_suites_world(
    tmp_path: Path, drive_straight, write_store
) -> None:
    def store(name: str, *seeds: int) -> Store:
        episodes = [
            drive_straight(f"drive_{seed}", source=simulated_source("campus", seed, "badgr"))
            for seed in seeds
        ]
        return write_store(tmp_path / name, episodes)

    held = shipped_suites()["campus"].world_seeds[2]
    with pytest.raises(NavOffrlError, match=f"campus {held} is held out: the suite 'campus'"):
        start_run(store("mixed.zarr", 0, 1, held), tmp_path / "run", TrainConfig())
    assert not (tmp_path / "run").exists()
    run = start_run(store("fine.zarr", 0, 1), tmp_path / "run", TrainConfig())
    assert run.provenance["simulated_worlds"] == "campus 0, campus 1"
