"""Shaking by the ground under the wheels, and the inertial sensor that feels it.

The ground has a random profile along the way that the robot drives. Its curvature has the rms
`roughness` (rad/m) and wavelengths between `SHORTEST` (wheels bridge shorter ones) and `LONGEST`
(longer ones are no bumps but hills); the robot follows it as a point does. So the gyro's x and y
each have the rms roughness times speed, and shake faster at higher speed.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nav_offrl_sim.geometry import FloatArray
from nav_offrl_sim.robot_configuration import ImuConfig

BLOCK = 64  # periods for which noise is drawn at once
GRAVITY = 9.80665  # m/s²
SHORTEST, LONGEST = 0.1, 0.6  # wavelengths of the profile, m
SPACING = 0.01  # between two nodes of the profile, m
NODES = 8192  # after 82 m the profile repeats


class GroundProfile:
    """Two unit processes along the way: one rolls the robot, the other pitches it."""

    def __init__(self, rng: np.random.Generator) -> None:
        """`rng` is the profile's alone: it is drawn from when the robot first moves."""
        self._rng = rng

    @cached_property
    def _nodes(self) -> FloatArray:
        """Roll's and pitch's curvature, then their slopes, (NODES, 4)."""
        length = NODES * SPACING
        first, last = math.ceil(length / LONGEST), math.floor(length / SHORTEST)
        spectrum = np.zeros((2, NODES // 2 + 1), dtype=np.complex128)
        parts = self._rng.normal(size=(2, 2, last + 1 - first))
        spectrum[:, first : last + 1] = parts[0] + 1j * parts[1]
        curvature = np.fft.irfft(spectrum, NODES)
        scale = np.sqrt(np.mean(curvature**2, axis=1, keepdims=True))
        waves = 2j * np.pi * np.arange(first, last + 1) / length
        spectrum[:, first : last + 1] /= waves
        slope = np.fft.irfft(spectrum, NODES)
        return np.concatenate([curvature / scale, slope / scale]).T.copy()

    def at(self, distance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Curvature (2, N) of unit rms and slope (2, N) m at distances (N,) m along the way."""
        nodes = (distance * (1 / SPACING)).astype(np.int64) % NODES
        both = self._nodes.take(nodes, axis=0).T
        return both[:2], both[2:]


@dataclass(frozen=True)
class Shaking:
    """How a robot moved at N instants of a control period; arrays (N,).

    Attributes:
        speed: forward, m/s.
        turning: yaw rate, rad/s.
        acceleration: forward, m/s².
        roughness: of the ground, (rad/s)/(m/s).
        rates: (2, N), roll and pitch rate, rad/s.
        tilts: (2, N), roll and pitch, rad.
    """

    speed: FloatArray
    turning: FloatArray
    acceleration: FloatArray
    roughness: FloatArray
    rates: FloatArray
    tilts: FloatArray

    @staticmethod
    def of(
        profile: GroundProfile,
        distance: FloatArray,
        motion: tuple[FloatArray, FloatArray, FloatArray],
        roughness: FloatArray,
    ) -> "Shaking":
        """Shake by `profile`; `motion` is speed, yaw rate and acceleration."""
        speed, turning, acceleration = motion
        curvature, slope = profile.at(distance)
        rates = curvature * (roughness * speed)
        return Shaking(speed, turning, acceleration, roughness, rates, slope * roughness)

    def bumpiness(self) -> float:
        """True rms of roll and pitch rate over the period as the ground's roughness has it."""
        rates = self.roughness * self.speed
        return math.sqrt(float(rates @ rates) / len(rates))


class Imu:
    """Samples of angular velocity and acceleration with noise, a bias a drive, and gravity."""

    def __init__(self, config: ImuConfig, rng: np.random.Generator) -> None:
        """`rng` draws the drive's biases, then the noise."""
        self._rng = rng
        self._noise = np.repeat([config.gyro_noise, config.acceleration_noise], 3)
        biases = np.repeat([config.gyro_bias, config.acceleration_bias], 3)
        self._bias = rng.normal(size=6) * biases
        self._drawn: list[FloatArray] = []

    def samples(self, shaking: Shaking, fallen: float = 0.0) -> FloatArray:
        """(N, 6): gyro x, y, z rad/s and acceleration x, y, z m/s² in the robot's axes.

        `fallen`: 0 upright, 1 or -1 on the right or the left side.
        """
        values = self._errors(len(shaking.speed))
        values[:, :2] += shaking.rates.T
        values[:, 2] += shaking.turning
        if fallen:
            values[:, 4] += fallen * GRAVITY
            return values
        # Of small tilts: nose down is positive pitch, right side down is positive roll.
        values[:, 3] += shaking.acceleration - GRAVITY * shaking.tilts[1]
        values[:, 4] += shaking.speed * shaking.turning + GRAVITY * shaking.tilts[0]
        values[:, 5] += GRAVITY - shaking.speed * shaking.rates[1]
        return values

    def _errors(self, count: int) -> FloatArray:
        """Noise and bias of one period's samples, (count, 6)."""
        if not self._drawn:
            noise = self._rng.standard_normal((BLOCK, count, 6)) * self._noise + self._bias
            self._drawn = list(noise[::-1])
        return self._drawn.pop()
