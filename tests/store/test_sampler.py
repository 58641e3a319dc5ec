"""The goal sampler draws what its mixture says, inside one episode and one split."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import EpisodeTable
from nav_offrl.store.sampler import GoalRelabelling, GoalSampler, Transitions

DRAWS = 40_000
ONLY_CURRENT = GoalRelabelling(current=1.0, future=0.0, random=0.0)
ONLY_FUTURE = GoalRelabelling(current=0.0, future=1.0, random=0.0, discount=0.8)
ONLY_RANDOM = GoalRelabelling(current=0.0, future=0.0, random=1.0)
UNIFORM_FUTURE = GoalRelabelling(current=0.0, future=1.0, random=0.0, future_distribution="uniform")


def make_sampler(
    lengths: list[int],
    value_goals: GoalRelabelling = ONLY_FUTURE,
    actor_goals: GoalRelabelling = UNIFORM_FUTURE,
    seed: int = 0,
    split: str = "train",
    held_out: tuple[int, ...] = (),
) -> GoalSampler:
    """Sample from episodes of `lengths`; the sampler reads only the episode table."""
    length = np.array(lengths, np.int64)
    codes = np.isin(np.arange(len(lengths)), held_out).astype(np.uint8)
    text = [str(row) for row in range(len(lengths))]
    start = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
    crc = np.zeros(len(lengths), np.uint32)
    episodes = EpisodeTable(text, text, text, text, start, length, codes, crc)
    store = SimpleNamespace(episodes=episodes, steps=int(length.sum()), path=Path("log.zarr"))
    return GoalSampler(store, split, value_goals, actor_goals, seed)  # type: ignore[arg-type]


def assert_close_to(counts: np.ndarray, expected: np.ndarray) -> None:
    """Chi-square at six standard deviations: a right sampler fails once in a billion."""
    assert counts.sum() == pytest.approx(expected.sum())
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(counts) - 1
    assert statistic < freedom + 6 * np.sqrt(2 * freedom) + 12


def geometric_clipped(room: int, discount: float) -> np.ndarray:
    """P(goal is k + 1 steps ahead) when only `room` steps are left."""
    ahead = np.arange(1, room + 1)
    probability = (1 - discount) * discount ** (ahead - 1)
    probability[-1] = discount ** (room - 1)
    return probability


def test_geometric_goals_follow_the_discount_and_pile_up_at_the_end() -> None:
    drawn = make_sampler([9]).sample(DRAWS, 0)
    for step in (0, 3, 6, 7):
        of_step = drawn.goal[drawn.step == step] - step
        room = 8 - step
        counts = np.bincount(of_step, minlength=room + 1)
        expected = np.concatenate([[0], geometric_clipped(room, 0.8)]) * len(of_step)
        assert_close_to(counts, expected)


def test_uniform_goals_are_uniform_over_what_lies_ahead() -> None:
    drawn = make_sampler([9]).sample(DRAWS, 0)
    for step in (0, 4, 7):
        of_step = drawn.actor_goal[drawn.step == step]
        expected = np.where(np.arange(9) > step, len(of_step) / (8 - step), 0.0)
        assert_close_to(np.bincount(of_step, minlength=9), expected)


def test_steps_are_uniform_and_the_last_of_an_episode_starts_none() -> None:
    drawn = make_sampler([4, 2, 6]).sample(DRAWS, 0)
    starts = np.ones(12)
    starts[[3, 5, 11]] = 0
    expected = starts / starts.sum() * DRAWS
    assert_close_to(np.bincount(drawn.step, minlength=12), expected)


def test_random_goals_are_uniform_over_the_split_and_do_not_depend_on_the_step() -> None:
    drawn = make_sampler([4, 2, 6], ONLY_RANDOM, ONLY_RANDOM).sample(DRAWS, 0)
    for goals in (drawn.goal, drawn.actor_goal, drawn.goal[drawn.step == 0]):
        assert_close_to(np.bincount(goals, minlength=12), np.full(12, len(goals) / 12))


def test_mixture_shares_are_those_of_the_settings() -> None:
    """In a long episode a goal behind is random, the state itself current, ahead either."""
    mixture = GoalRelabelling(current=0.2, future=0.5, random=0.3, discount=0.5)
    drawn = make_sampler([2, 2000], mixture, mixture).sample(DRAWS, 0)
    for goal in (drawn.goal, drawn.actor_goal):
        near = (goal > drawn.step) & (goal < drawn.step + 20)
        shares = np.array([np.mean(goal == drawn.step), near.mean()])
        tolerance = 6 * np.sqrt(0.25 / DRAWS) + 20 / 2000
        assert np.abs(shares - [0.2, 0.5]).max() < tolerance


def test_value_and_actor_goals_are_drawn_apart() -> None:
    drawn = make_sampler([300], ONLY_RANDOM, ONLY_RANDOM).sample(2000, 0)
    assert np.mean(drawn.goal == drawn.actor_goal) < 0.05


def test_reward_is_zero_and_the_bootstrap_stops_at_the_goal_alone() -> None:
    mixture = GoalRelabelling(current=0.3, future=0.4, random=0.3, discount=0.8)
    drawn = make_sampler([5, 3], mixture).sample(4000, 0)
    reached = drawn.goal == drawn.step
    assert 0.3 < reached.mean() < 0.5
    assert set(drawn.reward[reached]) == {0.0} and set(drawn.mask[reached]) == {0.0}
    assert set(drawn.reward[~reached]) == {-1.0} and set(drawn.mask[~reached]) == {1.0}
    # One step before the goal is not the goal, and the end of a log is no terminal.
    assert drawn.mask[drawn.goal == drawn.next_step].all()
    assert drawn.reward.dtype == drawn.mask.dtype == np.float32


def test_current_goals_are_the_state_itself() -> None:
    drawn = make_sampler([5, 3], ONLY_CURRENT).sample(500, 0)
    assert np.array_equal(drawn.goal, drawn.step)


episode_lengths = st.lists(st.integers(2, 30), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(lengths=episode_lengths, seed=st.integers(0, 2**32), number=st.integers(0, 10**6))
def test_nothing_crosses_the_end_of_an_episode(lengths: list[int], seed: int, number: int) -> None:
    drawn = make_sampler(lengths, seed=seed).sample(200, number)
    episode_of = np.repeat(np.arange(len(lengths)), lengths)
    assert np.array_equal(drawn.next_step, drawn.step + 1)
    for other in (drawn.next_step, drawn.goal, drawn.actor_goal):
        assert np.array_equal(episode_of[drawn.step], episode_of[other])
        assert (other > drawn.step).all()


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(2, 12), min_size=2, max_size=8), data=st.data())
def test_no_step_of_the_other_split_is_ever_drawn(lengths: list[int], data: st.DataObject) -> None:
    rows = st.sets(st.integers(0, len(lengths) - 1), min_size=1, max_size=len(lengths) - 1)
    held_out = tuple(data.draw(rows))
    is_held_out = np.repeat(np.isin(np.arange(len(lengths)), held_out), lengths)
    for split, allowed in (("train", ~is_held_out), ("held_out", is_held_out)):
        sampler = make_sampler(lengths, ONLY_RANDOM, split=split, held_out=held_out)
        drawn = sampler.sample(300, 0)
        for steps in (drawn.step, drawn.next_step, drawn.goal, drawn.actor_goal):
            assert allowed[steps].all()


def as_rows(drawn: Transitions) -> list[list[int]]:
    return np.stack([drawn.step, drawn.goal, drawn.actor_goal]).tolist()


def test_a_batch_is_a_function_of_seed_and_number_alone() -> None:
    first, second = make_sampler([20, 30], seed=7), make_sampler([20, 30], seed=7)
    for number in (5, 0, 3):
        second.sample(64, number + 1)
        assert as_rows(first.sample(64, 3)) == as_rows(second.sample(64, 3))
    assert as_rows(first.sample(64, 3)) != as_rows(first.sample(64, 4))
    other = make_sampler([20, 30], seed=8)
    assert as_rows(first.sample(64, 3)) != as_rows(other.sample(64, 3))


def test_a_split_without_episodes_is_refused() -> None:
    with pytest.raises(NavOffrlError, match=r"log\.zarr.*held_out"):
        make_sampler([5], split="held_out")


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    values = {"current": 0.5, "future": 0.5, "random": 0.5}
    with pytest.raises(NavOffrlError, match=r"mine\.yaml.*must be 1"):
        parse_config(GoalRelabelling, values, "mine.yaml")
