"""IQL on a chain of seven places, where the right values are known exactly.

Goals are places, actions are -1 and +1, and the log holds every action of every place equally
often: the behaviour walks at random.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.iql import IQL, IQLConfig

torch.set_num_threads(1)

PLACES, DISCOUNT = 7, 0.8
FLOOR = -1 / (1 - DISCOUNT)
EYE = torch.eye(PLACES)
# All pairs of place and goal.
HERE = torch.arange(PLACES).repeat_interleave(PLACES)
GOAL = torch.arange(PLACES).repeat(PLACES)

Moves = list[tuple[int, int, int]]


def moves(without: tuple[int, int] | None = None) -> Moves:
    """Place, action, next place of everything the log holds."""
    everything = [
        (place, action, min(max(place + action, 0), PLACES - 1))
        for place in range(PLACES)
        for action in (-1, 1)
    ]
    return [move for move in everything if move[:2] != without]


def batch_of(log: Moves) -> Batch:
    """Every move towards every goal."""
    place, action, following = (torch.tensor(x).repeat(PLACES) for x in zip(*log, strict=True))
    goal = torch.arange(PLACES).repeat_interleave(len(log))
    reached = (place == goal).float()
    return Batch(
        EYE[place], action.float()[:, None], EYE[following], EYE[goal], EYE[goal],
        reached - 1, 1 - reached,
    )  # fmt: skip


def exact_values(log: Moves, expectile: float) -> NDArray[np.float64]:
    """V(s, g) of IQL's fixed point; the expectile of two numbers lies between them at tau."""
    following = np.full((PLACES, 2), -1)
    for place, action, to in log:
        following[place, (action + 1) // 2] = to
    # Where an action is not in the log, the other one counts alone.
    following = np.where(following < 0, following[:, ::-1], following)
    values = np.zeros((PLACES, PLACES))
    for _ in range(200):
        q = -1 + DISCOUNT * values[following]
        values = expectile * q.max(1) + (1 - expectile) * q.min(1)
        np.fill_diagonal(values, 0.0)
    return values


def train(log: Moves, expectile: float, steps: int = 450) -> IQL:
    torch.manual_seed(0)
    config = IQLConfig(
        discount=DISCOUNT,
        expectile=expectile,
        temperature=3.0,
        max_weight=100.0,
        learning_rate=3e-3,
        target_update_rate=0.1,
        hidden=(32, 32),
    )
    iql, batch = IQL(config, PLACES, 1), batch_of(log)
    for _ in range(steps):
        iql.update(batch)
    return iql


def values_of(iql: IQL) -> NDArray[np.float32]:
    with torch.no_grad():
        return iql.value(iql.features(EYE[HERE], EYE[GOAL]))[0].reshape(PLACES, PLACES).numpy()


@pytest.fixture(scope="module")
def learned() -> dict[float, IQL]:
    return {expectile: train(moves(), expectile) for expectile in (0.5, 0.8, 0.98)}


@pytest.mark.parametrize("expectile", [0.5, 0.8, 0.98])
def test_values_reach_the_fixed_point_of_their_expectile(
    learned: dict[float, IQL], expectile: float
) -> None:
    expected = exact_values(moves(), expectile)
    assert np.abs(values_of(learned[expectile]) - expected).max() < 0.25


def test_a_half_is_the_behaviour_and_one_the_shortest_way(learned: dict[float, IQL]) -> None:
    distance = np.abs(np.subtract.outer(np.arange(PLACES), np.arange(PLACES)))
    shortest = -(1 - DISCOUNT**distance) / (1 - DISCOUNT)
    behaviour = random_walk_values()
    assert np.abs(values_of(learned[0.5]) - behaviour).max() < 0.25
    assert np.abs(values_of(learned[0.98]) - shortest).max() < 0.25
    means = [values_of(learned[tau]).mean() for tau in (0.5, 0.8, 0.98)]
    assert means[0] + 0.3 < means[1] < means[2] - 0.1


def random_walk_values() -> NDArray[np.float64]:
    """Solve V = r + gamma P V of the behaviour, goal by goal."""
    values = np.zeros((PLACES, PLACES))
    for goal in range(PLACES):
        transition = np.zeros((PLACES, PLACES))
        for place, _, following in moves():
            transition[place, following] += 0.5 * (place != goal)
        reward = np.where(np.arange(PLACES) == goal, 0.0, -1.0)
        values[:, goal] = np.linalg.solve(np.eye(PLACES) - DISCOUNT * transition, reward)
    return values


@pytest.mark.parametrize("expectile", [0.5, 0.8, 0.98])
def test_values_stay_between_never_and_now(learned: dict[float, IQL], expectile: float) -> None:
    values = values_of(learned[expectile])
    assert values.max() < 0.15 and values.min() > FLOOR - 0.15


def test_the_policy_walks_to_every_goal_though_the_behaviour_wanders(
    learned: dict[float, IQL],
) -> None:
    action = learned[0.98].act(EYE[HERE], EYE[GOAL])[:, 0]
    ahead = (GOAL - HERE).sign()
    assert (action * ahead)[ahead != 0].min() > 0


def test_an_action_outside_the_data_is_worth_nothing() -> None:
    """Nobody ever went from 3 to 4: what lies behind cannot be reached from before."""
    log = moves(without=(3, 1))
    values = values_of(train(log, 0.95))
    assert np.abs(values[:4, 4:] - FLOOR).max() < 0.3
    assert np.abs(values - exact_values(log, 0.95)).max() < 0.4
    assert (values[4:, 3] > -1.5 - np.arange(3)).all()
