"""Against motions whose velocity is a parabola: those are told exactly."""

import itertools

import numpy as np
import pytest

from nav_offrl_sim.interpolation import Interpolation

DURATIONS = (0.05, 0.1, 0.05)


def known(velocity, way):
    """Velocity at begin, at end and in the mean of each substep, from closed forms."""
    ends = np.cumsum([0.0, *DURATIONS])
    return [
        (value,)
        for begin, end in itertools.pairwise(ends)
        for value in (velocity(begin), velocity(end), (way(end) - way(begin)) / (end - begin))
    ]


def test_a_parabola_is_told_exactly():
    told = Interpolation(DURATIONS, 20)(
        known(lambda t: 0.3 - 2 * t + 9 * t**2, lambda t: 0.3 * t - t**2 + 3 * t**3)
    )
    t = (np.arange(20) + 0.5) * 0.01
    assert told[0, :, 0] == pytest.approx(0.3 - 2 * t + 9 * t**2)
    assert told[1, :, 0] == pytest.approx(-2 + 18 * t)
    assert told[2, :, 0] == pytest.approx(0.3 * t - t**2 + 3 * t**3)


def test_instants_know_their_substep():
    assert Interpolation(DURATIONS, 4).substep.tolist() == [0, 1, 1, 2]
    assert Interpolation((0.2,), 3).substep.tolist() == [0, 0, 0]
