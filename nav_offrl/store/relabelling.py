"""Goal relabelling in hindsight: which step of the log becomes the goal of a transition.

A mixture of five kinds of goals (Andrychowicz et al. 2017; Ghosh et al. 2021; Park et al. 2024,
OGBench): the state itself, a geometric or uniform future of its episode, any step of the split, and
negatives. A negative is a step of another episode than the transition's, uniform over all of those:
the log never drove from here to there, so methods that learn distances take it for "far" (ViNG,
Shah et al. 2020). Any step, by contrast, may fall into the same episode by chance.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl.store.split_index import SplitIndex

Indices = NDArray[np.int64]

KINDS = ("current", "geometric", "uniform", "random", "negative")


class GoalRelabelling(Config):
    """Shares of the five kinds of goals; the defaults are those of OGBench's value functions."""

    current: float = Field(default=0.2, ge=0, description="share: the state itself")
    geometric: float = Field(
        default=0.5, ge=0, description="share: geometrically ahead; beyond the end: the end"
    )
    uniform: float = Field(default=0.0, ge=0, description="share: anywhere ahead in the episode")
    random: float = Field(default=0.3, ge=0, description="share: any step of any episode")
    negative: float = Field(default=0.0, ge=0, description="share: any step of another episode")
    discount: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="of the geometric distribution; null: that of the returns",
    )
    min_ahead: int = Field(default=1, ge=1, description="steps, of uniform goals")
    max_ahead: int | None = Field(
        default=None, ge=1, description="steps, of uniform goals; null: to the episode's end"
    )

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "GoalRelabelling":
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"{' + '.join(KINDS)} must be 1")
        if self.max_ahead is not None and self.max_ahead < self.min_ahead:
            raise ValueError("max_ahead must not be below min_ahead")
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares in the order of `KINDS`."""
        return (self.current, self.geometric, self.uniform, self.random, self.negative)


Reward = Literal["minus_one_until_goal", "one_at_goal", "of_log"]


class SamplingConfig(Config):
    """How minibatches are drawn: one of these is one method's or paper's way."""

    value_goals: GoalRelabelling = GoalRelabelling()
    actor_goals: GoalRelabelling = GoalRelabelling(
        current=0.0, geometric=0.0, uniform=1.0, random=0.0
    )
    reward: Reward = Field(
        default="minus_one_until_goal",
        description="-1 a step and 0 at the goal; 0 and 1; or the log's own field 'reward'",
    )
    n_steps: int = Field(default=1, ge=1, description="of the n-step return")
    discount: float = Field(default=0.99, gt=0, le=1, description="of the n-step return")
    frame_stack: int = Field(default=1, ge=1, description="frames in an observation")
    subgoal_steps: int = Field(default=25, ge=1, description="how far ahead subgoals lie (HIQL)")
    order: Literal["random", "epochs"] = Field(
        default="random",
        description="draw with replacement, or every transition once before any comes again",
    )
    goals_across_stores: bool = Field(
        default=False, description="random and negative goals from all stores of a mixture"
    )

    @model_validator(mode="after")
    def _goals_can_be_drawn(self) -> "SamplingConfig":
        if self.actor_goals.negative:
            raise ValueError("actor_goals.negative must be 0: there is no way there to imitate")
        for mixture in (self.value_goals, self.actor_goals):
            if self.discount == 1 and mixture.geometric and mixture.discount is None:
                raise ValueError("with discount 1, geometric goals need a discount of their own")
        return self


class GoalDrawer:
    """Draws goals of one mixture for transitions of a `SplitIndex`."""

    def __init__(self, mixture: GoalRelabelling, index: SplitIndex, discount: float) -> None:
        """`discount` is of geometric goals whose mixture does not say its own."""
        self._mixture = mixture
        self._index = index
        self._discount = mixture.discount if mixture.discount is not None else discount
        # Rounding must not leave a sliver for a kind whose share is zero.
        edges = np.cumsum(mixture.shares) / sum(mixture.shares)
        self._edges = np.where(edges > 1 - 1e-9, 1.0, edges)[:-1]

    def draw(
        self, rng: np.random.Generator, episode: Indices, step: Indices
    ) -> tuple[Indices, NDArray[np.bool_]]:
        """Return flat steps (B,) of goals, and which of them are negatives (B,).

        `episode` (B,) are rows of the index, `step` (B,) flat steps in them.
        """
        kind = np.searchsorted(self._edges, rng.random(len(step)), side="right")
        last = self._index.last[episode]
        goal = step
        for number, share in enumerate(self._mixture.shares):
            if number and share:
                drawn = self._of_kind(KINDS[number], rng, episode, step, last)
                goal = np.where(kind == number, drawn, goal)
        return goal, kind == KINDS.index("negative")

    def _of_kind(
        self, kind: str, rng: np.random.Generator, episode: Indices, step: Indices, last: Indices
    ) -> Indices:
        mixture = self._mixture
        goal: Indices
        if kind == "geometric":
            goal = np.minimum(step + rng.geometric(1 - self._discount, len(step)), last)
            return goal
        if kind == "uniform":
            nearest = np.minimum(step + mixture.min_ahead, last)
            farthest = last
            if mixture.max_ahead is not None:
                farthest = np.minimum(step + mixture.max_ahead, last)
            goal = rng.integers(nearest, farthest + 1)
            return goal
        if kind == "random":
            return self._index.any_step(rng, episode)
        return self._index.step_of_another_episode(rng, episode)
