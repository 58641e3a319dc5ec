"""Which sessions are held out: by chance, but always the same, and never all or none."""

from collections import Counter
from typing import Any

import pytest

from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.hold_out import HoldOut


def sessions(count: int) -> list[str]:
    return [f"session_{index}" for index in range(count)]


def splits(
    names: list[str], fixed: dict[str, str] | None = None, **settings: Any
) -> dict[str, str]:
    hold_out = HoldOut(ImportConfig(**settings), fixed or {}, {})
    decided = {name: hold_out.split_of(name) for name in names}
    return decided | hold_out.corrections()


def test_held_out_sessions_depend_on_seed_and_name_alone() -> None:
    chosen = splits(sessions(1000))
    # 200 expected, standard deviation 12.6
    assert Counter(chosen.values())["held_out"] == pytest.approx(200, abs=60)
    assert splits(sessions(1000)[::-1]) == chosen
    assert splits(sessions(1000), seed=1) != chosen
    assert {name: chosen[name] for name in sessions(600)} == splits(sessions(600))


@pytest.mark.parametrize("fraction", [0.001, 0.2, 0.999])
def test_one_of_several_is_held_out_and_never_all(fraction: float) -> None:
    for count in range(2, 12):
        chosen = splits(sessions(count), held_out_fraction=fraction)
        assert set(chosen.values()) == {"train", "held_out"}
        if fraction != 0.2:
            minority = "held_out" if fraction < 0.2 else "train"
            assert Counter(chosen.values())[minority] == 1
    assert splits(["only"], held_out_fraction=fraction) == {"only": "train"}
    assert set(splits(sessions(9), held_out_fraction=0.0).values()) == {"train"}


def test_store_that_grows_keeps_its_decisions() -> None:
    first = splits(sessions(5))
    grown = splits(sessions(50), fixed=first)
    assert {name: grown[name] for name in first} == first
    # A second session makes a hold-out possible; the first one stays what it was.
    assert splits(["new"], fixed={"old": "train"}, held_out_fraction=0.001) == {"new": "held_out"}
    assert splits(["new"], fixed={"old": "held_out"}, held_out_fraction=0.999) == {"new": "train"}


def test_split_that_the_log_says_is_kept() -> None:
    hold_out = HoldOut(ImportConfig(), {}, {})
    for name in sessions(9):
        assert hold_out.split_of(name, "train") == "train"
    assert hold_out.split_of("session_3") == "train" and hold_out.corrections() == {}
