"""Goal-conditioned minibatches: which transitions, towards which goals.

The sampler deals in step indices only; who trains gathers frames or latents by them. A batch is a
pure function of (seed, number of the batch), so a resumed run draws what the first would have.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import Store

Indices = NDArray[np.int64]


class GoalRelabelling(Config):
    """Mixture of hindsight goals (Andrychowicz et al. 2017; defaults of OGBench's GCIQL)."""

    current: float = Field(default=0.2, ge=0, description="share: the state itself (reward 0)")
    future: float = Field(default=0.5, ge=0, description="share: later in the same episode")
    random: float = Field(default=0.3, ge=0, description="share: any step of any episode")
    future_distribution: Literal["geometric", "uniform"] = "geometric"
    discount: float = Field(default=0.99, gt=0, lt=1, description="of the geometric distribution")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "GoalRelabelling":
        if abs(self.current + self.future + self.random - 1) > 1e-6:
            raise ValueError("current + future + random must be 1")
        return self


@dataclass(frozen=True)
class Transitions:
    """A minibatch of B transitions as step indices, each field `(B,)`.

    `reward` is -1 until the goal and 0 at it; `mask` is 0 where the goal is reached, so that the
    bootstrap stops there and nowhere else: the end of a log is a timeout, not a terminal.
    """

    step: Indices
    next_step: Indices
    goal: Indices
    actor_goal: Indices
    reward: NDArray[np.float32]
    mask: NDArray[np.float32]


class GoalSampler:
    """Draws transitions from the episodes of one split."""

    def __init__(
        self,
        store: Store,
        split: str,
        value_goals: GoalRelabelling,
        actor_goals: GoalRelabelling,
        seed: int,
    ) -> None:
        episodes = store.episodes.of_split(split)
        if not len(episodes):
            raise NavOffrlError(f"has no episode in split '{split}'", where=store.path)
        self._value_goals = value_goals
        self._actor_goals = actor_goals
        self._seed = seed
        lengths = store.episodes.length[episodes]
        starts = store.episodes.start[episodes]
        # The last step of an episode has no successor, so it starts no transition.
        self._steps = np.concatenate(
            [np.arange(a, a + n - 1) for a, n in zip(starts, lengths, strict=True)]
        )
        self._goals = np.concatenate(
            [np.arange(a, a + n) for a, n in zip(starts, lengths, strict=True)]
        )
        self._last_step = np.zeros(store.steps, np.int64)
        for start, length in zip(starts, lengths, strict=True):
            self._last_step[start : start + length] = start + length - 1

    def sample(self, batch_size: int, number: int) -> Transitions:
        """Return batch `number`, the same for the same seed whatever was drawn before."""
        rng = np.random.default_rng((self._seed, number))
        step = rng.choice(self._steps, batch_size)
        goal = self._draw_goals(rng, step, self._value_goals)
        actor_goal = self._draw_goals(rng, step, self._actor_goals)
        reached = goal == step
        return Transitions(
            step=step,
            next_step=step + 1,
            goal=goal,
            actor_goal=actor_goal,
            reward=np.where(reached, 0.0, -1.0).astype(np.float32),
            mask=np.where(reached, 0.0, 1.0).astype(np.float32),
        )

    def _draw_goals(
        self, rng: np.random.Generator, step: Indices, mixture: GoalRelabelling
    ) -> Indices:
        """Draw a goal for each step; a future goal lies at least one step ahead."""
        last = self._last_step[step]
        if mixture.future_distribution == "geometric":
            ahead = rng.geometric(1 - mixture.discount, len(step))
            future = np.minimum(step + ahead, last)
        else:
            future = rng.integers(step + 1, last + 1)
        anywhere = rng.choice(self._goals, len(step))
        which = rng.random(len(step))
        return np.where(
            which < mixture.current,
            step,
            np.where(which < mixture.current + mixture.future, future, anywhere),
        )
