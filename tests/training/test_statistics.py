"""Rank correlation against SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from nav_offrl.training.statistics import rank_correlation


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-5, 5)), min_size=3, max_size=60))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, float]]) -> None:
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert rank_correlation(a, b) == 0
    else:
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
