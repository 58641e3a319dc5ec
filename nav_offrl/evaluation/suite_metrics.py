"""What drives of a suite are worth: figures with 95 % confidence intervals."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.evaluation.rollouts import Drive, wilson_interval

Floats = NDArray[np.float64]

RESAMPLES = 2000
NO_EVENT = -math.log(0.025)  # events that no sighting still allows: upper end of an exact interval


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; None where nothing was there to measure."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Scored:
    """One drive and the least time (s) in which the robot could have made it."""

    drive: Drive
    fastest: float

    @property
    def time_efficiency(self) -> float:
        """Success weighted by completion time, SCT (Yokoyama et al. 2021), of this drive."""
        if not self.drive.success:
            return 0.0
        return self.fastest / max(self.fastest, self.drive.seconds) if self.fastest > 0 else 1.0


def fastest_time(distance: float, speed: float, acceleration: float) -> float:
    """Least time (s) for `distance` (m) from rest at a top `speed` (m/s), without stopping."""
    ramp = speed**2 / (2 * acceleration)
    if distance < ramp:
        return math.sqrt(2 * max(distance, 0.0) / acceleration)
    return distance / speed + speed / (2 * acceleration)


def measure(scored: Sequence[Scored]) -> dict[str, Estimate]:
    """Every figure of a suite's table over some drives.

    A share has Wilson's interval; the others come from a bootstrap over the drives.
    """
    drives = [one.drive for one in scored]
    successes = sum(drive.success for drive in drives)
    reached = np.array([drive.seconds for drive in drives if drive.success])
    metres = np.array([drive.driven for drive in drives])
    collisions = np.array([float(drive.collisions) for drive in drives])
    interventions = np.array([float(drive.interventions) for drive in drives])
    return {
        "success": Estimate(successes / len(drives), *wilson_interval(successes, len(drives))),
        "spl": bootstrap_mean(np.array([drive.path_efficiency for drive in drives])),
        "sct": bootstrap_mean(np.array([one.time_efficiency for one in scored])),
        "collisions_per_km": bootstrap_rate(collisions, metres / 1000),
        "interventions_per_km": bootstrap_rate(interventions, metres / 1000),
        "bumpiness": _bootstrap(np.array([drive.bumpiness for drive in drives]) * metres, metres),
        "seconds_to_goal": bootstrap_mean(reached),
        "false_arrivals": Estimate(
            *_share_with_interval(sum(drive.false_arrival for drive in drives), len(drives))
        ),
    }


def _share_with_interval(count: int, total: int) -> tuple[float, float, float]:
    return (count / total, *wilson_interval(count, total))


def bootstrap_mean(values: Floats) -> Estimate:
    """Mean of `values` (N,) with a percentile bootstrap interval (Efron 1979)."""
    return _bootstrap(values, np.ones(len(values)))


def bootstrap_rate(events: Floats, exposure: Floats) -> Estimate:
    """Events per exposure, both (N,) and summed over drives, which are resampled together.

    Resampling cannot show an event that never happened, so then the interval is Poisson's.
    """
    if events.sum() == 0 and exposure.sum() > 0:
        return Estimate(0.0, 0.0, NO_EVENT / float(exposure.sum()))
    return _bootstrap(events, exposure)


def _bootstrap(values: Floats, weights: Floats) -> Estimate:
    if weights.sum() <= 0:
        return Estimate(None, None, None)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(values), (RESAMPLES, len(values)))
    totals = weights[drawn].sum(1)
    ratios = values[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Estimate(float(values.sum() / weights.sum()), float(low), float(high))


def as_figures(estimates: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    """Estimates as plain numbers for JSON."""
    return {name: asdict(estimate) for name, estimate in estimates.items()}
