"""When a candidate is promoted: the truth table, and what must hold for any outcome."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nav_offrl.evaluation.rollouts import Drive
from nav_offrl.finetuning.gate import judge


def drives(outcomes: str, collisions: int = 0) -> list[Drive]:
    """One drive a letter, 's' for success; the first one has all collisions."""
    return [
        Drive(
            success=letter == "s",
            false_arrival=False,
            shortest=4.0,
            driven=5.0,
            closest=0.5,
            collisions=collisions if number == 0 else 0,
            seconds=9.0,
            path=np.zeros((2, 3)),
            goal=(4.0, 0.0, 0.0),
        )
        for number, letter in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("incumbent", "candidate", "promoted", "gained", "lost", "reason"),
    [
        ("----", "---s", True, 1, 0, "reaches 1 goals more"),
        ("s---", "-ss-", True, 2, 1, "reaches 1 goals more"),
        ("s---", "---s", False, 1, 1, "is no better"),
        ("ssss", "ssss", False, 0, 0, "is no better"),
        ("----", "----", False, 0, 0, "is no better"),
        ("ss--", "--s-", False, 1, 2, "reaches 1 goals fewer"),
    ],
)
def test_reached_goals_decide(
    incumbent: str, candidate: str, promoted: bool, gained: int, lost: int, reason: str
) -> None:
    verdict = judge(drives(incumbent), drives(candidate))
    assert verdict.promoted is promoted
    assert (verdict.gained, verdict.lost) == (gained, lost)
    assert verdict.reason == f"the candidate {reason}"


@pytest.mark.parametrize(
    ("before", "after", "promoted"), [(0, 0, True), (0, 1, False), (3, 3, True), (3, 4, False)]
)
def test_more_contacts_forbid_promotion(before: int, after: int, promoted: bool) -> None:
    verdict = judge(drives("-" * 10, before), drives("s" * 10, after))
    assert verdict.promoted is promoted
    assert (verdict.incumbent_collisions, verdict.candidate_collisions) == (before, after)
    if not promoted:
        assert verdict.reason == (
            f"the candidate touches things {after} times, the incumbent {before} times"
        )
    assert judge(drives("-" * 10, before), drives("s" * 10, before + 1), 0.1).promoted
    assert not judge(drives("-" * 10, before), drives("s" * 10, before + 2), 0.1).promoted


def test_drives_of_other_pairs_cannot_be_compared() -> None:
    with pytest.raises(ValueError):
        judge(drives("ss"), drives("sss"))


outcome = st.tuples(st.sampled_from("s-"), st.sampled_from("s-"))


@given(st.lists(outcome, min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_never_are_both_promoted(pairs: list[tuple[str, str]], first: int, second: int) -> None:
    one, other = ("".join(side) for side in zip(*pairs, strict=True))
    there = judge(drives(one, first), drives(other, second))
    back = judge(drives(other, second), drives(one, first))
    assert not (there.promoted and back.promoted)
    assert (there.gained, there.lost) == (back.lost, back.gained)
    assert not there.promoted or other.count("s") > one.count("s")
    assert not judge(drives(one, first), drives(one, first)).promoted
