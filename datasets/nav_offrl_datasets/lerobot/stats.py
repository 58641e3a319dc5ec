"""The statistics of LeRobot's `meta/stats.json` and of its table of episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
MOST_FRAMES = 100  # of an episode that its image statistics are made from
LARGEST_SIDE, STATISTICS_SIDE = 300, 150  # pixels; larger frames are sampled down for statistics
Stats = dict[str, NDArray[np.float64]]


def sampled_steps(length: int) -> list[int]:
    """Return the steps of an episode whose frames count, spread evenly."""
    spread = np.linspace(0, length - 1, min(length, MOST_FRAMES))
    return [int(step) for step in np.unique(spread.round())]


def sampled_down(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame (H, W, 3) small enough for statistics, by leaving out pixels."""
    side = max(image.shape[:2])
    stride = max(1, side // STATISTICS_SIDE) if side >= LARGEST_SIDE else 1
    return image[::stride, ::stride]


def vector_stats(values: NDArray[Any]) -> Stats:
    """Return the statistics of (T, n) or (T,) values, each component for itself.

    What is not finite (no fix, no return) does not count; a component without any value gets 0.
    """
    columns = values.reshape(len(values), -1).astype(np.float64)
    parts = [_of(column[np.isfinite(column)]) for column in columns.T]
    stats = {key: np.array([part[key] for part in parts]) for key in parts[0]}
    return stats | {"count": np.array([float(len(values))])}


def image_stats(frames: Sequence[NDArray[np.uint8]]) -> Stats:
    """Return the statistics of frames (H, W, 3) by channel, in 0..1, each (3, 1, 1)."""
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in frames])
    stats = {
        key: value.reshape(3, 1, 1)
        for key, value in vector_stats(pixels / 255.0).items()
        if key != "count"
    }
    return stats | {"count": np.array([float(len(frames))])}


def _of(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return dict.fromkeys(("min", "max", "mean", "std", *QUANTILES), 0.0)
    quantiles = np.quantile(values, list(QUANTILES.values()))
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
    } | dict(zip(QUANTILES, quantiles.tolist(), strict=True))


def aggregate(episodes: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Return the statistics over all episodes from those of each.

    Mean and deviation are exact (Chan et al. 1979); a quantile of the whole cannot be had from
    quantiles of the parts, so the outermost of them stands for it, as in LeRobot.
    """
    return {key: _aggregate([stats[key] for stats in episodes]) for key in episodes[0]}


def _aggregate(parts: Sequence[Stats]) -> Stats:
    def stacked(key: str) -> NDArray[np.float64]:
        return np.stack([part[key] for part in parts])

    mean = stacked("mean")
    share = stacked("count").reshape(len(parts), *[1] * (mean.ndim - 1))
    share = share / share.sum()
    whole = (mean * share).sum(axis=0)
    variance = ((stacked("std") ** 2 + (mean - whole) ** 2) * share).sum(axis=0)
    stats = {
        "min": stacked("min").min(axis=0),
        "max": stacked("max").max(axis=0),
        "mean": whole,
        "std": np.sqrt(variance),
        "count": stacked("count").sum(axis=0),
    }
    for key, quantile in QUANTILES.items():
        outermost = np.min if quantile <= 0.5 else np.max
        stats[key] = outermost(stacked(key), axis=0)
    return stats


def plain(stats: Stats) -> dict[str, Any]:
    """Return statistics as lists, the count as an integer."""
    return {
        key: [int(value[0])] if key == "count" else value.tolist() for key, value in stats.items()
    }
