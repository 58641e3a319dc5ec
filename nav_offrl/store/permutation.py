"""A pseudo-random permutation that is computed where it is asked for, without being stored."""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8


class Permutation:
    """A permutation of range(`size`) that follows from `key` alone.

    A Feistel network over pairs (x mod a, x div a) whose domain a * b is hardly larger than `size`;
    what falls outside goes through it again (Black and Rogaway 2002, "Ciphers with arbitrary finite
    domains", section 4). Memory does not depend on `size`.
    """

    def __init__(self, size: int, key: tuple[int, ...]) -> None:
        self._size = size
        width = max(1, int(np.ceil(np.sqrt(size))))
        self._width, self._height = np.uint64(width), np.uint64(-(-size // width))
        state = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)
        self._round_keys = [np.uint64(word) for word in state]

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what stands at `positions` (B,), each in range(size)."""
        values = self._encrypt(positions.astype(np.uint64))
        while (outside := values >= self._size).any():
            values[outside] = self._encrypt(values[outside])
        return values.astype(np.int64)

    def _encrypt(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        high, low = np.divmod(values, self._width)
        for number, key in enumerate(self._round_keys):
            if number % 2:
                high = (high + _mixed(low + key)) % self._height
            else:
                low = (low + _mixed(high + key)) % self._width
        result: NDArray[np.uint64] = high * self._width + low
        return result


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64-bit words; the top bit is cleared so that sums do not wrap (splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = (values ^ (values >> np.uint64(31))) >> np.uint64(1)
    return result
