"""Goal-conditioned minibatches: which transitions, towards which goals.

The sampler deals in step indices only; who trains gathers frames or latents by them. A batch is a
pure function of (seed, number of the batch, rank), so a run that is resumed anywhere, in the middle
of an epoch too, draws what the first would have. Memory grows with the episodes, not the steps.
"""

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.permutation import Permutation
from nav_offrl.store.reader import Store
from nav_offrl.store.relabelling import GoalDrawer, SamplingConfig
from nav_offrl.store.split_index import SplitIndex
from nav_offrl.store.store_mixture import StoreMixture
from nav_offrl.store.transitions import Discounting, Transitions, goal_rewards, log_rewards

Indices = NDArray[np.int64]


class GoalSampler:
    """Draws transitions from the episodes of one split.

    With `ranks` processes, each gives its `rank` and draws batches of its own. In the order
    "epochs" their batches of one size share every epoch out among them, each transition once.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        config: SamplingConfig,
        seed: int,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Prepare to draw.

        Raises:
            NavOffrlError: the split has nothing to draw, or not what the configuration asks for.
        """
        assert 0 <= rank < ranks
        self.config = config
        self._store, self._split = store, split
        self._seed, self._rank, self._ranks = seed, rank, ranks
        self._discounting = Discounting(config.discount, config.n_steps)
        self._starts = store.episodes.start
        self._lasts = self._starts + store.episodes.length - 1
        self._reward, self._terminal = self._rewards_of_log()
        self._index = self._split_index(config.goals_across_stores)
        self._weights, self._bounds = self._shares_of_stores()
        if config.value_goals.negative and self._index.has_lonely_episode:
            raise NavOffrlError(
                f"split '{split}' has one episode only, negative goals need another",
                where=store.where,
                remedy="set value_goals.negative to 0 or import more",
            )
        self._value_goals = GoalDrawer(config.value_goals, self._index, config.discount)
        self._actor_goals = GoalDrawer(config.actor_goals, self._index, config.discount)

    @property
    def transitions(self) -> int:
        """How many transitions an epoch has."""
        return self._index.transitions

    def sample(self, batch_size: int, number: int) -> Transitions:
        """Return batch `number`, the same for the same seed whatever was drawn before."""
        rng = np.random.default_rng((self._seed, number, self._rank))
        if self.config.order == "epochs":
            chosen = self._next_of_epoch(batch_size, number)
        else:
            chosen = self._any(rng, batch_size)
        episode, step = self._index.transition(chosen)
        goal, is_negative = self._value_goals.draw(rng, episode, step)
        actor_goal, _ = self._actor_goals.draw(rng, episode, step)
        last = self._index.last[episode]
        steps_to_goal = np.where((goal >= step) & (goal <= last), goal - step, -1)
        next_step = np.minimum(step + self.config.n_steps, last)
        if self.config.reward == "of_log":
            # A terminal that is the last step ends the task by itself: no successor is needed.
            taken = np.minimum(self.config.n_steps, last - step + self._terminal[last])
            reward, mask = log_rewards(step, taken, self._reward, self._terminal, self._discounting)
        else:
            taken = next_step - step
            arrival = self.config.reward == "one_at_goal"
            reward, mask = goal_rewards(steps_to_goal, taken, arrival, self._discounting)
        return Transitions(
            step=step,
            next_step=next_step,
            goal=goal,
            actor_goal=actor_goal,
            reward=reward,
            discount=self._discounting.powers[taken].astype(np.float32),
            mask=mask,
            steps_to_goal=steps_to_goal,
            is_negative=is_negative,
        )

    def stack(self, steps: Indices) -> Indices:
        """Return the frames of observations at `steps`, (*steps.shape, frame_stack).

        The oldest comes first; at an episode's start its first frame stands in for those before.
        """
        start = self._starts[np.searchsorted(self._starts, steps, side="right") - 1]
        back = np.arange(self.config.frame_stack - 1, -1, -1)
        stacked: Indices = np.maximum(steps[..., None] - back, start[..., None])
        return stacked

    def subgoals(self, drawn: Transitions) -> tuple[Indices, Indices]:
        """Return the subgoals (B,) that HIQL learns towards (Park et al. 2023).

        First the low policy's goal, `subgoal_steps` ahead or the episode's end; then what the high
        policy should say on its way to `actor_goal`: the same, or the goal itself where it is
        nearer.
        """
        last = self._lasts[np.searchsorted(self._starts, drawn.step, side="right") - 1]
        low = np.minimum(drawn.step + self.config.subgoal_steps, last)
        ahead = (drawn.actor_goal >= drawn.step) & (drawn.actor_goal <= last)
        return low, np.where(ahead, np.minimum(low, drawn.actor_goal), low)

    def _rewards_of_log(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if self.config.reward != "of_log":
            # A task that failed must not look as if it had arrived: its terminals do not count.
            return np.empty(0, np.float32), np.empty(0, bool)
        has_terminals = "terminal" in self._store.info.fields
        terminal = self._store.field("terminal") if has_terminals else None
        return self._store.field("reward"), (
            np.zeros(self._store.steps, bool) if terminal is None else terminal
        )

    def _split_index(self, one_group: bool) -> SplitIndex:
        rows = self._store.episodes.of_split(self._split)
        length = self._store.episodes.length[rows]
        # The last step of an episode has no successor, so it starts no transition.
        transitions = length - 1
        if self.config.reward == "of_log":
            transitions = transitions + self._terminal[self._lasts[rows]]
        if not transitions.sum():
            raise NavOffrlError(f"has no episode in split '{self._split}'", where=self._store.where)
        group = np.zeros(len(rows), np.int64)
        if isinstance(self._store, StoreMixture) and not one_group:
            group = self._store.store_of_episode[rows]
        return SplitIndex(self._starts[rows], length, transitions, group)

    def _shares_of_stores(self) -> tuple[Indices | NDArray[np.float64], Indices]:
        """Return cumulated shares of the stores, and the bounds of their transitions' numbers."""
        if not isinstance(self._store, StoreMixture) or self._store.weights is None:
            return np.ones(1), np.array([0, self.transitions])
        if self.config.order == "epochs":
            raise NavOffrlError(
                "weights of stores do not go with the order 'epochs'",
                where=self._store.where,
                remedy="leave out the weights or draw in the order 'random'",
            )
        rows = self._store.episodes.of_split(self._split)
        first_rows = np.searchsorted(
            self._store.store_of_episode[rows], np.arange(len(self._store.weights) + 1)
        )
        bounds = np.array([self._index.first_transition(int(row)) for row in first_rows])
        # A store without episodes in this split has nothing to draw, whatever its weight.
        weights = np.where(np.diff(bounds) > 0, self._store.weights, 0.0)
        if not weights.sum():
            raise NavOffrlError(
                f"the stores with episodes in split '{self._split}' all weigh nothing",
                where=self._store.where,
                remedy="give one of them a weight above 0",
            )
        cumulated = np.cumsum(weights)
        return cumulated / cumulated[-1], bounds  # the last is 1 whatever was rounded before

    def _any(self, rng: np.random.Generator, batch_size: int) -> Indices:
        if len(self._weights) == 1:
            return rng.integers(0, self.transitions, batch_size)
        store = np.searchsorted(self._weights, rng.random(batch_size), side="right")
        return rng.integers(self._bounds[store], self._bounds[store + 1])

    def _next_of_epoch(self, batch_size: int, number: int) -> Indices:
        """Return this rank's part of the endless row of epochs, each shuffled anew.

        A batch may hold the end of one epoch and the start of the next, so none is ever short.
        """
        first = (number * self._ranks + self._rank) * batch_size
        epoch, position = np.divmod(first + np.arange(batch_size), self.transitions)
        chosen = np.empty(batch_size, np.int64)
        for one in range(int(epoch[0]), int(epoch[-1]) + 1):
            mine = epoch == one
            shuffled = Permutation(self.transitions, (self._seed, one))
            chosen[mine] = shuffled(position[mine])
        return chosen
