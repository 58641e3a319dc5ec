"""Correlations of numbers and of their ranks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's r of (N,) and (N,); 0 where either is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's rho of (N,) and (N,); equal values share their mean rank."""
    return correlation(_mean_ranks(a), _mean_ranks(b))


def _mean_ranks(values: NDArray[Any]) -> Floats:
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count + 1) / 2)[which]
    return ranks
