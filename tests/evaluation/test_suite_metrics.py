"""Figures of a suite against ones worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nav_offrl.evaluation.rollouts import Drive
from nav_offrl.evaluation.suite_metrics import (
    Scored,
    bootstrap_mean,
    bootstrap_rate,
    fastest_time,
    measure,
)


def scored(success: bool, **values: float) -> Scored:
    """A drive whose shortest way is 8 m and takes at least 10 s."""
    settings = {"driven": 10.0, "seconds": 12.5, "collisions": 0, "interventions": 0} | values
    drive = Drive(
        success=success,
        false_arrival=False,
        shortest=8.0,
        closest=0.5,
        path=np.zeros((2, 3)),
        goal=(0.0, 0.0, 0.0),
        **settings,  # type: ignore[arg-type]
    )
    return Scored(drive, fastest=10.0)


def test_figures_by_hand() -> None:
    figures = measure(
        [
            scored(True, driven=10.0, seconds=12.5, bumpiness=0.1),
            scored(True, driven=4.0, seconds=5.0, bumpiness=0.4),  # better than the best counts 1
            scored(False, driven=26.0, seconds=40.0, collisions=3, interventions=1, bumpiness=0.2),
            scored(False, driven=0.0, seconds=40.0, collisions=1, bumpiness=0.0),
        ]
    )
    values = {name: estimate.value for name, estimate in figures.items()}
    assert values == pytest.approx(
        {
            "success": 0.5,
            "spl": (8 / 10 + 1 + 0 + 0) / 4,
            "sct": (10 / 12.5 + 1 + 0 + 0) / 4,
            "collisions_per_km": 1000 * 4 / 40,
            "interventions_per_km": 1000 * 1 / 40,
            "bumpiness": (0.1 * 10 + 0.4 * 4 + 0.2 * 26) / 40,
            "seconds_to_goal": (12.5 + 5.0) / 2,
            "false_arrivals": 0.0,
        }
    )
    # Wilson 1927 by hand: centre (p + z²/2n) / (1 + z²/n), half z/(1 + z²/n) sqrt(pq/n + z²/4n²).
    z2 = 1.959964**2
    half = math.sqrt(z2) / (1 + z2 / 4) * math.sqrt(0.25 / 4 + z2 / 64)
    assert (figures["success"].low, figures["success"].high) == pytest.approx(
        (0.5 - half, 0.5 + half)
    )


def test_without_a_success_there_is_no_time_and_without_motion_no_rate() -> None:
    figures = measure([scored(False, driven=0.0)])
    assert figures["seconds_to_goal"].value is None
    assert figures["collisions_per_km"].value is None
    assert figures["bumpiness"].value is None


@pytest.mark.parametrize(
    ("distance", "seconds"),
    [
        (0.0, 0.0),
        (0.5, 1.0),  # a t² / 2 with 1 m/s²
        (2.0, 2.0),  # top speed just reached: v²/2a = 2 m
        (12.0, 7.0),  # 2 s for 2 m, then 10 m at 2 m/s
    ],
)
def test_the_fastest_drive_in_closed_form(distance: float, seconds: float) -> None:
    assert fastest_time(distance, speed=2.0, acceleration=1.0) == pytest.approx(seconds)


@given(st.floats(0, 100), st.floats(0.1, 5), st.floats(0.1, 10))
def test_nobody_is_faster_than_top_speed(distance: float, speed: float, slow: float) -> None:
    assert fastest_time(distance, speed, slow) >= distance / speed - 1e-9


def test_success_weighted_by_time_is_nothing_for_a_failure_and_one_at_best() -> None:
    assert scored(False, seconds=1.0).time_efficiency == 0
    assert scored(True, seconds=3.0).time_efficiency == 1
    assert scored(True, seconds=40.0).time_efficiency == pytest.approx(0.25)
    assert Scored(scored(True).drive, fastest=0.0).time_efficiency == 1


def test_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    found = bootstrap_mean(values)
    error = 1.96 * values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.15 * error)


def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        exposure = rng.uniform(0.5, 1.5, 60)
        found = bootstrap_rate(rng.poisson(3.0 * exposure).astype(float), exposure)
        assert found.low is not None and found.high is not None
        held += found.low <= 3.0 <= found.high
    assert 0.90 <= held / 200 <= 0.985


def test_an_event_never_seen_may_still_happen() -> None:
    found = bootstrap_rate(np.zeros(5), np.full(5, 0.2))
    # Poisson: exp(-3.689) = 2.5 % is the chance to see none over 1 km at 3.689 events a km.
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(3.6889, abs=1e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_intervals_hold_their_value(values: list[float]) -> None:
    found = bootstrap_mean(np.array(values))
    assert found.value is not None and found.low is not None and found.high is not None
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
