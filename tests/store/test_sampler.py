"""Minibatches: n-step returns by hand, nothing across an episode's end, epochs and ranks exact."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.permutation import Permutation
from nav_offrl.store.reader import EpisodeTable
from nav_offrl.store.relabelling import GoalRelabelling, SamplingConfig
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.transitions import Transitions

NONE = {"current": 0.0, "geometric": 0.0, "uniform": 0.0, "random": 0.0}
CURRENT = GoalRelabelling(**(NONE | {"current": 1.0}))
UNIFORM = GoalRelabelling(**(NONE | {"uniform": 1.0}))
RANDOM = GoalRelabelling(**(NONE | {"random": 1.0}))
DEFAULT = SamplingConfig()


def make_sampler(
    lengths: list[int],
    config: SamplingConfig = DEFAULT,
    seed: int = 0,
    split: str = "train",
    held_out: tuple[int, ...] = (),
    fields: dict[str, Any] | None = None,
    **ranks: int,
) -> GoalSampler:
    """Sample from episodes of `lengths`; the sampler reads the episode table and asked fields."""
    length = np.array(lengths, np.int64)
    codes = np.isin(np.arange(len(lengths)), held_out).astype(np.uint8)
    text = [str(row) for row in range(len(lengths))]
    start = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
    complete = np.ones(len(lengths), bool)
    episodes = EpisodeTable(text, text, text, text, text, text, start, length, codes, complete)
    values = {name: np.array(value) for name, value in (fields or {}).items()}
    store = SimpleNamespace(
        episodes=episodes,
        steps=int(length.sum()),
        where=str(Path("log.zarr")),
        info=SimpleNamespace(fields=values),
        field=values.__getitem__,
    )
    return GoalSampler(store, split, config, seed, **ranks)  # type: ignore[arg-type]


def uniform_p_value(counts: np.ndarray) -> float:
    mean = counts.sum() / len(counts)
    return float(chi2.sf(((counts - mean) ** 2 / mean).sum(), len(counts) - 1))


def test_steps_are_uniform_and_the_last_of_an_episode_starts_none() -> None:
    counts = np.bincount(make_sampler([4, 2, 6]).sample(200_000, 0).step, minlength=12)
    assert not counts[[3, 5, 11]].any()
    assert uniform_p_value(np.delete(counts, [3, 5, 11])) > 1e-3


def test_value_and_actor_goals_are_drawn_apart() -> None:
    config = SamplingConfig(value_goals=RANDOM, actor_goals=RANDOM)
    drawn = make_sampler([300], config).sample(2000, 0)
    assert np.mean(drawn.goal == drawn.actor_goal) < 0.05


def test_one_step_rewards_and_masks() -> None:
    drawn = make_sampler([5, 3], SamplingConfig(value_goals=RANDOM)).sample(4000, 0)
    reached = drawn.goal == drawn.step
    assert 0.05 < reached.mean() < 0.3
    assert set(drawn.reward[reached]) == {0.0} and set(drawn.mask[reached]) == {0.0}
    assert set(drawn.reward[~reached]) == {-1.0} and set(drawn.mask[~reached]) == {1.0}
    # One step before the goal is not the goal, and the end of a log is no terminal.
    assert drawn.mask[drawn.goal == drawn.next_step].all()
    assert set(drawn.discount) == {np.float32(0.99)}
    floats = (drawn.reward, drawn.mask, drawn.discount)
    assert all(values.dtype == np.float32 for values in floats)


def of_step(drawn: Transitions, step: int, goal: int) -> tuple[float, ...]:
    """Next step, reward, discount, mask and steps to goal of one transition."""
    row = int(np.flatnonzero((drawn.step == step) & (drawn.goal == goal))[0])
    names = ("next_step", "reward", "discount", "mask", "steps_to_goal")
    return tuple(float(getattr(drawn, name)[row]) for name in names)


@pytest.mark.parametrize(
    ("step", "goal", "until", "arrival"),
    [
        # Episodes 0..5 and 6..9, three steps, discount 1/2: -1 - 1/2 - 1/4, bootstrap by 1/8.
        (0, 5, (3, -1.75, 0.125, 1, 5), 0.0),
        (0, 3, (3, -1.75, 0.125, 1, 3), 0.0),  # the goal is where the bootstrap starts
        (0, 2, (3, -1.5, 0.125, 0, 2), 0.25),  # reached on the way: the sum stops there
        (0, 1, (3, -1.0, 0.125, 0, 1), 0.5),
        (0, 0, (3, 0.0, 0.125, 0, 0), 1.0),
        (1, 0, (4, -1.75, 0.125, 1, -1), 0.0),  # behind: never reached
        (4, 5, (5, -1.0, 0.5, 1, 1), 0.0),  # the log ends one step on: a timeout
        (3, 9, (5, -1.5, 0.25, 1, -1), 0.0),  # in the other episode
        (8, 9, (9, -1.0, 0.5, 1, 1), 0.0),
    ],
)
def test_n_step_returns_by_hand(
    step: int, goal: int, until: tuple[float, ...], arrival: float
) -> None:
    config = SamplingConfig(value_goals=RANDOM, n_steps=3, discount=0.5)
    drawn = make_sampler([6, 4], config).sample(4000, 0)
    assert of_step(drawn, step, goal) == until
    of_arrival = config.model_copy(update={"reward": "one_at_goal"})
    drawn = make_sampler([6, 4], of_arrival).sample(4000, 0)
    assert of_step(drawn, step, goal) == (until[0], arrival, *until[2:])


def test_returns_without_discount() -> None:
    config = SamplingConfig(value_goals=RANDOM, n_steps=4, discount=1.0)
    drawn = make_sampler([9], config).sample(4000, 0)
    assert of_step(drawn, 0, 8) == (4, -4.0, 1.0, 1, 8)


LOG = {
    "reward": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
    "terminal": [False, False, False, True, False, False, False],
}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # Episodes 0..3, which ended by itself, and 4..6, which timed out; discount 1/2.
        (0, (2, 2.0, 0.25, 1)),
        (1, (3, 4.0, 0.25, 1)),
        (2, (3, 8.0, 0.25, 0)),
        (3, (3, 8.0, 0.5, 0)),  # the terminal itself is a transition, with nothing after it
        (4, (6, 32.0, 0.25, 1)),
        (5, (6, 32.0, 0.5, 1)),
    ],
)
def test_rewards_of_the_log_by_hand(step: int, expected: tuple[float, ...]) -> None:
    config = SamplingConfig(reward="of_log", n_steps=2, discount=0.5)
    drawn = make_sampler([4, 3], config, fields=LOG).sample(500, 0)
    row = int(np.flatnonzero(drawn.step == step)[0])
    values = (drawn.next_step, drawn.reward, drawn.discount, drawn.mask)
    assert tuple(float(value[row]) for value in values) == expected
    assert set(drawn.step) == {0, 1, 2, 3, 4, 5}


def test_a_log_without_terminals_has_timeouts_only() -> None:
    config = SamplingConfig(reward="of_log")
    drawn = make_sampler([4, 3], config, fields={"reward": LOG["reward"]}).sample(500, 0)
    assert set(drawn.mask) == {1.0} and set(drawn.step) == {0, 1, 2, 4, 5}


def test_a_terminal_of_the_log_does_not_look_like_an_arrival() -> None:
    drawn = make_sampler([4, 3], fields=LOG).sample(2000, 0)
    assert drawn.mask[drawn.step != drawn.goal].all()
    assert 3 not in drawn.step


def slow_return(
    step: int, goal: int, last: int, config: SamplingConfig
) -> tuple[int, float, float]:
    """Walk along the log one step after the other."""
    reward, mask, at = 0.0, 1.0, step
    for ahead in range(min(config.n_steps, last - step)):
        if at == goal:
            return at, reward, 0.0
        reward -= config.discount**ahead
        at += 1
    return at, reward, mask


samplings = st.builds(
    SamplingConfig,
    value_goals=st.sampled_from([CURRENT, UNIFORM, RANDOM, GoalRelabelling(discount=0.7)]),
    actor_goals=st.sampled_from([UNIFORM, GoalRelabelling(discount=0.9)]),
    n_steps=st.integers(1, 12),
    discount=st.sampled_from([0.5, 0.97, 1.0]),
    frame_stack=st.integers(1, 5),
    subgoal_steps=st.integers(1, 30),
    order=st.sampled_from(["random", "epochs"]),
)
episode_lengths = st.lists(st.integers(2, 30), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    lengths=episode_lengths,
    config=samplings,
    seed=st.integers(0, 2**32),
    number=st.integers(0, 10**6),
)
def test_nothing_crosses_the_end_of_an_episode(
    lengths: list[int], config: SamplingConfig, seed: int, number: int
) -> None:
    sampler = make_sampler(lengths, config, seed)
    drawn = sampler.sample(100, number)
    ends = np.cumsum(lengths)
    episode_of = np.repeat(np.arange(len(lengths)), lengths)
    episode = episode_of[drawn.step]
    last = ends[episode] - 1
    assert np.array_equal(drawn.next_step, np.minimum(drawn.step + config.n_steps, last))
    for other in (drawn.next_step, *sampler.stack(drawn.step).T, *sampler.subgoals(drawn)):
        assert np.array_equal(episode, episode_of[other])
    same = (episode_of[drawn.goal] == episode) & (drawn.goal >= drawn.step)
    expected = np.where(same, drawn.goal - drawn.step, -1)
    assert np.array_equal(drawn.steps_to_goal, expected)
    if config.value_goals != RANDOM and not config.value_goals.random:
        assert same.all()
    for row in range(0, 100, 7):
        goal = int(drawn.goal[row]) if same[row] else -1
        at, reward, mask = slow_return(int(drawn.step[row]), goal, int(last[row]), config)
        assert drawn.reward[row] == pytest.approx(reward, rel=1e-6)
        assert drawn.mask[row] == mask
        assert not mask or at == drawn.next_step[row]


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(2, 12), min_size=2, max_size=8), data=st.data())
def test_no_step_of_the_other_split_is_ever_drawn(lengths: list[int], data: st.DataObject) -> None:
    rows = st.sets(st.integers(0, len(lengths) - 1), min_size=1, max_size=len(lengths) - 1)
    held_out = tuple(data.draw(rows))
    is_held_out = np.repeat(np.isin(np.arange(len(lengths)), held_out), lengths)
    config = SamplingConfig(value_goals=RANDOM)
    for split, allowed in (("train", ~is_held_out), ("held_out", is_held_out)):
        drawn = make_sampler(lengths, config, split=split, held_out=held_out).sample(300, 0)
        for steps in (drawn.step, drawn.next_step, drawn.goal, drawn.actor_goal):
            assert allowed[steps].all()


def test_frame_stacks_by_hand() -> None:
    sampler = make_sampler([3, 4], SamplingConfig(frame_stack=3))
    steps = np.array([[0, 1], [2, 3], [4, 6]])
    expected = [[[0, 0, 0], [0, 0, 1]], [[0, 1, 2], [3, 3, 3]], [[3, 3, 4], [4, 5, 6]]]
    assert sampler.stack(steps).tolist() == expected


def test_subgoals_by_hand() -> None:
    """HIQL's: k ahead, the goal where it is nearer, the end where the episode is over before."""
    config = SamplingConfig(actor_goals=GoalRelabelling(**(NONE | {"random": 1.0})))
    sampler = make_sampler([8, 5], config.model_copy(update={"subgoal_steps": 3}))
    drawn = sampler.sample(4000, 0)
    low, high = sampler.subgoals(drawn)
    table = {  # (step, actor goal): (low policy's goal, high policy's target)
        (1, 7): (4, 4), (1, 3): (4, 3), (1, 1): (4, 1), (1, 0): (4, 4), (1, 9): (4, 4),
        (6, 7): (7, 7), (9, 12): (12, 12), (9, 10): (12, 10), (11, 2): (12, 12),
    }  # fmt: skip
    for (step, goal), expected in table.items():
        row = int(np.flatnonzero((drawn.step == step) & (drawn.actor_goal == goal))[0])
        assert (low[row], high[row]) == expected, (step, goal)


def as_rows(drawn: Transitions) -> list[list[int]]:
    return np.stack([drawn.step, drawn.goal, drawn.actor_goal]).tolist()


@pytest.mark.parametrize("order", ["random", "epochs"])
def test_a_batch_is_a_function_of_seed_number_and_rank_alone(order: str) -> None:
    config = DEFAULT.model_copy(update={"order": order})
    first, second = (make_sampler([20, 30], config, seed=7) for _ in range(2))
    for number in (5, 0, 3):
        second.sample(64, number + 1)
        assert as_rows(first.sample(64, 3)) == as_rows(second.sample(64, 3))
    assert as_rows(first.sample(64, 3)) != as_rows(first.sample(64, 4))
    other = make_sampler([20, 30], config, seed=8)
    assert as_rows(first.sample(64, 3)) != as_rows(other.sample(64, 3))
    ranks = [make_sampler([20, 30], config, seed=7, rank=k, ranks=2) for k in (0, 1)]
    assert as_rows(ranks[0].sample(64, 3)) != as_rows(ranks[1].sample(64, 3))


EPOCHS = SamplingConfig(order="epochs")


@settings(max_examples=60, deadline=None)
@given(
    lengths=episode_lengths,
    batch_size=st.integers(1, 40),
    ranks=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_ranks_share_every_epoch_out_without_overlap(
    lengths: list[int], batch_size: int, ranks: int, seed: int
) -> None:
    """The batches of all ranks in a row are one epoch after the other, each transition once."""
    samplers = [make_sampler(lengths, EPOCHS, seed, rank=k, ranks=ranks) for k in range(ranks)]
    size = samplers[0].transitions
    batches = -(-3 * size // (batch_size * ranks))
    row = [s.sample(batch_size, number).step for number in range(batches) for s in samplers]
    steps = np.concatenate(row)[: 3 * size].reshape(3, size)
    starts = np.setdiff1d(np.arange(sum(lengths)), np.cumsum(lengths) - 1)
    for epoch in steps:
        assert np.array_equal(np.sort(epoch), starts)
    if size > 12:
        assert not np.array_equal(steps[0], steps[1])


def test_an_epoch_is_resumed_in_its_middle() -> None:
    whole = [as_rows(make_sampler([50, 60], EPOCHS).sample(16, k)) for k in range(20)]
    resumed = make_sampler([50, 60], EPOCHS)
    assert [as_rows(resumed.sample(16, k)) for k in range(9, 20)] == whole[9:]


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 5000), key=st.integers(0, 2**63))
def test_permutations_are_permutations(size: int, key: int) -> None:
    shuffled = Permutation(size, (key,))(np.arange(size))
    assert np.array_equal(np.sort(shuffled), np.arange(size))


def test_permutations_of_huge_sets_are_one_to_one_and_quick() -> None:
    size = 10**12
    positions = np.concatenate([np.arange(5000), size - 1 - np.arange(5000)])
    shuffled = Permutation(size, (3,))(positions)
    assert len(np.unique(shuffled)) == 10_000
    assert shuffled.min() >= 0 and shuffled.max() < size
    counts, _ = np.histogram(shuffled, bins=20, range=(0, size))
    assert uniform_p_value(counts) > 1e-3


@pytest.mark.parametrize("size", [2, 7, 12])
def test_shuffles_put_every_item_everywhere_alike(size: int) -> None:
    """Over keys: where each item lands, and where the pair of the first two does."""
    shuffles = np.stack([Permutation(size, (9, k))(np.arange(size)) for k in range(4000)])
    for position in range(size):
        assert uniform_p_value(np.bincount(shuffles[:, position], minlength=size)) > 1e-4
    pairs = shuffles[:, 0] * size + shuffles[:, 1]
    possible = [a * size + b for a in range(size) for b in range(size) if a != b]
    assert uniform_p_value(np.array([(pairs == pair).sum() for pair in possible])) > 1e-4


def test_a_split_without_episodes_is_refused() -> None:
    with pytest.raises(NavOffrlError, match=r"log\.zarr.*held_out"):
        make_sampler([5], split="held_out")


def test_negatives_need_a_second_episode() -> None:
    negatives = GoalRelabelling(**(NONE | {"random": 0.5, "negative": 0.5}))
    config = SamplingConfig(value_goals=negatives)
    with pytest.raises(NavOffrlError, match=r"log\.zarr.*one episode only.*negative"):
        make_sampler([5, 5], config, held_out=(1,))
    drawn = make_sampler([5, 5], config).sample(100, 0)
    assert (drawn.steps_to_goal[drawn.is_negative] == -1).all()
    assert drawn.mask[drawn.is_negative].all()
    assert (drawn.goal // 5 != drawn.step // 5)[drawn.is_negative].all()
