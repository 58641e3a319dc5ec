"""Which episodes serve which tasks, and how to draw from them so that no task starves.

Kalashnikov et al. 2021, *MT-Opt: Continuous Multi-Task Robotic Reinforcement Learning at Scale*
(arXiv 2104.08212), section V: an episode that was collected for one task is relabelled for every
task that it can serve, and batches are balanced, between tasks and, within each, between episodes
that succeeded and those that did not. Otherwise easy tasks fill every batch, and the rare success
of a hard one is hardly ever seen.
"""

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def tasks_served(collected_for: Indices, succeeded: Flags, skill: Indices) -> Flags:
    """Return which task (K,) each of E episodes serves, (K, E).

    The paper's f_skill: the task it was collected for, every task of the same skill (there it shows
    success or failure at much the same thing), and every task that it happened to succeed at.

    Args:
        collected_for: (E,) number of the task, -1 where there was none.
        succeeded: (K, E) whether the episode counts as a success of the task.
        skill: (K,) number of the skill that each task belongs to.
    """
    # The -1 is a skill that no task has.
    skill_of_episode = np.where(collected_for >= 0, skill[collected_for], -1)
    served: Flags = (skill[:, None] == skill_of_episode) | succeeded
    return served


class TaskBalance:
    """Draws pairs of task and transition: tasks by their shares, successes by theirs.

    Transitions are numbered through the episodes in their order. Memory grows with tasks times
    episodes, not with transitions.
    """

    def __init__(
        self,
        served: Flags,
        succeeded: Flags,
        transitions: Indices,
        *,
        task_shares: Floats | None = None,
        success_share: float = 0.5,
    ) -> None:
        """Prepare to draw.

        Args:
            served: (K, E) which episode serves which task.
            succeeded: (K, E) which of them as a success.
            transitions: (E,) how many transitions each episode has.
            task_shares: (K,) of a batch; by default all the same.
            success_share: of a task's part of the batch, in [0, 1]; a task that has successes only,
                or none, has all of its part from what there is.

        Raises:
            NavOffrlError: a task that has a share is served by nothing, or no task has one.
        """
        shares = np.ones(len(served)) if task_shares is None else np.asarray(task_shares, float)
        useful = served & (transitions > 0)
        starving = np.flatnonzero((shares > 0) & ~useful.any(1))
        if len(starving):
            raise NavOffrlError(
                f"no episode serves task {int(starving[0])}",
                where="task_shares",
                remedy="give it the share 0 or record episodes for it",
            )
        if not shares.sum():
            raise NavOffrlError("no task has a share above 0", where="task_shares")
        # Row 2k is task k's successes, row 2k + 1 the rest of what serves it.
        kinds = np.stack([useful & succeeded, useful & ~succeeded], 1).reshape(-1, len(transitions))
        weights = np.where(kinds, transitions, 0)
        self._before = np.concatenate([np.zeros((len(kinds), 1), int), weights.cumsum(1)], 1)
        self._first = np.concatenate([[0], np.cumsum(transitions)])
        self._kind_share = self._shares(shares / shares.sum(), success_share)

    def _shares(self, task_shares: Floats, success_share: float) -> Floats:
        """Return the share of a batch of each task's successes and others, (2K,)."""
        wanted = np.array([success_share, 1 - success_share])
        present = self._before[:, -1].reshape(-1, 2) > 0
        split = np.where(present, wanted, 0.0)
        # What is there takes the part of what is not, also where its own share is zero.
        split = np.where(split.sum(1, keepdims=True) > 0, split, present)
        total = split.sum(1, keepdims=True)
        split = np.divide(split, total, out=np.zeros_like(split), where=total > 0)
        shares: Floats = (task_shares[:, None] * split).reshape(-1)
        return shares

    def probabilities(self) -> Floats:
        """Return how often a draw is of each task and episode, (K, E); they sum to 1."""
        weights = np.diff(self._before, axis=1)
        total = np.maximum(self._before[:, -1:], 1)
        share = self._kind_share[:, None] * weights / total
        summed: Floats = share.reshape(-1, 2, share.shape[1]).sum(1)
        return summed

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Indices, Indices]:
        """Return tasks and numbers of transitions, (B,) each."""
        kind = rng.choice(len(self._kind_share), count, p=self._kind_share)
        number = rng.integers(0, self._before[kind, -1])
        transition = np.empty(count, np.int64)
        for one in np.unique(kind):
            mine = kind == one
            before = self._before[one]
            episode = np.searchsorted(before, number[mine], side="right") - 1
            transition[mine] = self._first[episode] + number[mine] - before[episode]
        return kind // 2, transition
