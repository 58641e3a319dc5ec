"""Episodes relabelled for the tasks they serve, and balanced drawing, against the closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.task_balance import TaskBalance, tasks_served

# Three tasks, five episodes. Task 0 is easy, task 1 succeeds once, task 2 never.
SERVED = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 1], [0, 0, 0, 1, 1]], bool)
SUCCEEDED = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)
TRANSITIONS = np.array([10, 30, 20, 0, 40])


def test_an_episode_serves_its_skill_and_whatever_it_succeeded_at() -> None:
    """Tasks 0 and 1 are docking at two docks, task 2 is patrolling."""
    skill = np.array([0, 0, 1])
    collected_for = np.array([0, 2, 2, -1, -1])
    succeeded = np.zeros((3, 5), bool)
    succeeded[1, 2] = succeeded[0, 4] = True
    served = tasks_served(collected_for, succeeded, skill)
    expected = [[1, 0, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 1, 0, 0]]
    assert np.array_equal(served, np.array(expected, bool))


def test_probabilities_are_shares_of_task_then_success_then_transitions() -> None:
    """By hand: task 0 has 40 transitions of successes and 20 others; task 1 has 40 and 40."""
    balance = TaskBalance(
        SERVED, SUCCEEDED, TRANSITIONS, task_shares=np.array([1.0, 2.0, 1.0]), success_share=0.4
    )
    expected = np.zeros((3, 5))
    expected[0] = 0.25 * np.array([0.4 * 10 / 40, 0.4 * 30 / 40, 0.6, 0, 0])
    expected[1] = 0.5 * np.array([0.6 * 10 / 40, 0.6 * 30 / 40, 0, 0, 0.4])
    expected[2] = 0.25 * np.array([0, 0, 0, 0, 1.0])  # no success: all from the rest
    np.testing.assert_allclose(balance.probabilities(), expected, atol=1e-12)


def test_draws_follow_the_probabilities_and_are_uniform_within_an_episode() -> None:
    balance = TaskBalance(SERVED, SUCCEEDED, TRANSITIONS)
    count = 100_000
    task, transition = balance.draw(np.random.default_rng(0), count)
    first = np.concatenate([[0], np.cumsum(TRANSITIONS)])
    episode = np.searchsorted(first, transition, side="right") - 1
    found = np.zeros((3, 5))
    np.add.at(found, (task, episode), 1 / count)
    np.testing.assert_allclose(found, balance.probabilities(), atol=0.006)
    inside = np.bincount(transition[episode == 1] - first[1], minlength=30)
    assert inside.min() > 0.85 * inside.mean() and inside.max() < 1.15 * inside.mean()


def test_the_same_generator_draws_the_same() -> None:
    balance = TaskBalance(SERVED, SUCCEEDED, TRANSITIONS)
    one, other = (balance.draw(np.random.default_rng(3), 50) for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, balance.draw(np.random.default_rng(4), 50))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_every_task_has_its_share_and_only_of_what_serves_it(seed: int, success: float) -> None:
    rng = np.random.default_rng(seed)
    served = rng.random((3, 6)) < 0.5
    served[:, rng.integers(6)] = True
    transitions = rng.integers(1, 20, 6)
    succeeded = served & (rng.random((3, 6)) < 0.3)
    shares = rng.random(3) + 0.1
    balance = TaskBalance(served, succeeded, transitions, task_shares=shares, success_share=success)
    probability = balance.probabilities()
    np.testing.assert_allclose(probability.sum(1), shares / shares.sum())
    assert not probability[~served].any()
    for task in range(3):
        if succeeded[task].any() and (served[task] & ~succeeded[task]).any():
            part = probability[task, succeeded[task]].sum() / probability[task].sum()
            assert part == pytest.approx(success)
    task, transition = balance.draw(rng, 40)
    episode = np.searchsorted(np.cumsum(transitions), transition, side="right")
    assert served[task, episode].all()


def test_a_task_that_nothing_serves_is_named() -> None:
    served = SERVED.copy()
    served[1] = False
    with pytest.raises(NavOffrlError, match="task 1"):
        TaskBalance(served, SUCCEEDED, TRANSITIONS)
    TaskBalance(served, SUCCEEDED, TRANSITIONS, task_shares=np.array([1.0, 0.0, 1.0]))
    with pytest.raises(NavOffrlError, match="share"):
        TaskBalance(served, SUCCEEDED, TRANSITIONS, task_shares=np.zeros(3))


def test_an_episode_without_transitions_serves_nothing() -> None:
    with pytest.raises(NavOffrlError, match="task 2"):
        TaskBalance(SERVED, SUCCEEDED, np.array([10, 30, 20, 0, 0]))
