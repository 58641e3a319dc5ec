"""The curves that a run has logged, and how to tell a trend in them from noise."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.run_folder import RunFolder

Floats = NDArray[np.float64]

SMOOTHING = 0.1  # of a curve's length goes into each point of its moving average
NOISE_MARGIN = 4.0  # standard errors of the moving average that a trend must exceed
MAD_TO_STD = 1.4826  # median absolute deviation of a Gaussian to its standard deviation
FALL_BEGINS = 0.1  # of the way down from the peak: what lies above still counts as the peak


@dataclass(frozen=True)
class Curves:
    """Metrics of a method over its gradient steps.

    step: (T,) gradient steps of the method, ascending.
    values: by name of the metric, (T,) each.
    """

    step: NDArray[np.int64]
    values: Mapping[str, Floats]

    @classmethod
    def of_run(cls, run: RunFolder) -> "Curves":
        """Read `metrics.jsonl` without the pre-training of the encoder.

        Raises:
            NavOffrlError: it is not there or cannot be read.
        """
        path, before = run.path / "metrics.jsonl", steps_of_representation(run.config)
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A line without its end was being written when the run was killed.
            rows = [json.loads(line) for line in lines if line.endswith("\n")]
            rows = [row for row in rows if row["step"] > before]
        except (OSError, ValueError, KeyError) as error:
            raise NavOffrlError(f"cannot be read ({error})", where=path) from error
        names = set.intersection(*(set(row) for row in rows)) - {"step"} if rows else set()
        values = {name: np.array([row[name] for row in rows], np.float64) for name in names}
        return cls(np.array([row["step"] - before for row in rows], np.int64), values)

    def first_of(self, *names: str) -> str | None:
        """Return the first name under which something was logged."""
        return next((name for name in names if name in self.values), None)

    def smooth(self, name: str) -> Floats:
        """Return the moving average of a metric, (T,)."""
        return smoothed(self.values[name])


@dataclass(frozen=True)
class Fall:
    """A curve that has risen to a peak and fallen from it for good.

    peak, start: where the peak is, and the last point before the way down.
    depth: from the peak to the end.
    """

    peak: int
    start: int
    depth: float


def steps_of_representation(config: TrainConfig) -> int:
    """Return how many of a run's steps went into the encoder before the method began."""
    return config.representation.steps if config.observation == "images" else 0


def smoothed(values: Floats) -> Floats:
    """Return the moving average of (T,); towards the ends over what there is."""
    half = int(SMOOTHING * len(values)) // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    begin = np.maximum(np.arange(len(values)) - half, 0)
    end = np.minimum(np.arange(len(values)) + half + 1, len(values))
    average: Floats = (total[end] - total[begin]) / (end - begin)
    return average


def noise_of(values: Floats) -> float:
    """Return the standard error of the moving average, from how far the points lie off it."""
    deviation = np.abs(values - smoothed(values))
    points = 2 * (int(SMOOTHING * len(values)) // 2) + 1
    return float(MAD_TO_STD * np.median(deviation) / np.sqrt(points))


def fall_from_peak(values: Floats, least: float) -> Fall | None:
    """Return the fall of a curve (T,) that rose before it, or None.

    Rise and fall must both exceed `least` and what is noise. A curve that only falls has no peak:
    a value that starts at zero sinks to what it should be.
    """
    curve = smoothed(values)
    rise, fall = curve - np.minimum.accumulate(curve), curve - curve[-1]
    lesser = np.minimum(rise, fall)
    peak = int(len(curve) - 1 - lesser[::-1].argmax())
    if lesser[peak] <= max(least, NOISE_MARGIN * noise_of(values)):
        return None
    high = np.flatnonzero(curve[peak:] >= curve[peak] - FALL_BEGINS * fall[peak])
    return Fall(peak, peak + int(high[-1]), float(fall[peak]))
