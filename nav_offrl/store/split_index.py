"""The steps and transitions of a split's episodes by number, without an array over all steps."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class SplitIndex:
    """E episodes in groups; groups are the stores of a mixture, one after the other.

    `start` (E,) are their first flat steps, `last` (E,) their last ones, `transitions` (E,) how
    many steps of each start a transition. `group` (E,) is ascending.
    """

    def __init__(
        self, start: Indices, length: Indices, transitions: Indices, group: Indices
    ) -> None:
        self.start, self.last = start, start + length - 1
        self._length = length
        self._steps_before = np.concatenate([[0], np.cumsum(length)])
        self._transitions_before = np.concatenate([[0], np.cumsum(transitions)])
        # Of every episode: where the steps of its group begin, and how many they are.
        begin = np.searchsorted(group, group, side="left")
        end = np.searchsorted(group, group, side="right")
        self._group_first = self._steps_before[begin]
        self._group_steps = self._steps_before[end] - self._group_first

    @property
    def transitions(self) -> int:
        """How many transitions the split has."""
        return int(self._transitions_before[-1])

    @property
    def has_lonely_episode(self) -> bool:
        """True where the only episode of a group is its only one."""
        return bool((self._group_steps == self._length).any())

    def transition(self, number: Indices) -> tuple[Indices, Indices]:
        """Return the episode and the flat step (B,) of transitions by number."""
        return self._locate(number, self._transitions_before)

    def first_transition(self, episode: int) -> int:
        """Return the number of an episode's first transition; E gives that of all."""
        return int(self._transitions_before[episode])

    def any_step(self, rng: np.random.Generator, episode: Indices) -> Indices:
        """Draw flat steps (B,), uniform over the group of each episode."""
        number = self._group_first[episode] + rng.integers(0, self._group_steps[episode])
        return self._locate(number, self._steps_before)[1]

    def step_of_another_episode(self, rng: np.random.Generator, episode: Indices) -> Indices:
        """Draw flat steps (B,), uniform over the group of each episode without the episode."""
        own = self._length[episode]
        number = self._group_first[episode] + rng.integers(0, self._group_steps[episode] - own)
        number = number + np.where(number >= self._steps_before[episode], own, 0)
        return self._locate(number, self._steps_before)[1]

    def _locate(self, number: Indices, before: Indices) -> tuple[Indices, Indices]:
        episode = np.searchsorted(before, number, side="right") - 1
        return episode, self.start[episode] + number - before[episode]
