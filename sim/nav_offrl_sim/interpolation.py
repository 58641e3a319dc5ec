"""A motion that is known at a few substeps, told at the many instants of an inertial sensor."""

from collections.abc import Sequence

import numpy as np

from nav_offrl_sim.geometry import FloatArray


class Interpolation:
    """Between the ends of a substep runs the parabola that has the substep's mean velocity.

    Attributes:
        substep: (N,) index of the substep that each instant lies in.
    """

    def __init__(self, durations: Sequence[float], count: int) -> None:
        """`count` instants, evenly spaced over substeps of these durations (K,) s."""
        lengths, instants = np.array(durations), np.arange(count) + 0.5
        ends = np.cumsum(lengths)
        instants *= ends[-1] / count
        self.substep = np.searchsorted(ends[:-1], instants, side="right")
        length = lengths[self.substep]
        s = 1 - (ends[self.substep] - instants) / length
        # Weights of the velocities at the begin, at the end and in the mean of a substep.
        velocity = [(1 - s) * (1 - 3 * s), s * (3 * s - 2), 6 * s * (1 - s)]
        acceleration = [(6 * s - 4) / length, (6 * s - 2) / length, (6 - 12 * s) / length]
        way = [s * (1 - s) ** 2 * length, s**2 * (s - 1) * length, s**2 * (3 - 2 * s) * length]
        weights = np.zeros((3, count, len(lengths), 3))
        own = np.array([velocity, acceleration, way]).transpose(0, 2, 1)
        weights[:, np.arange(count), self.substep] = own
        earlier = np.arange(len(lengths)) < self.substep[:, None]
        weights[2, :, :, 2] += earlier * lengths
        self._weights = weights.reshape(3 * count, 3 * len(lengths))

    def __call__(self, velocities: Sequence[tuple[float, ...]]) -> FloatArray:
        """Velocity, acceleration and way since the first substep's begin at the instants (3, N, C).

        `velocities` (3 K, C): of each substep at its begin, at its end, and its mean.
        """
        told: FloatArray = self._weights @ np.array(velocities)
        return told.reshape(3, len(self.substep), -1)
