"""IQL on a chain of seven places, where the right values are known exactly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nav_offrl.algorithms.iql import IQL, IQLConfig

EXPECTILES = (0.5, 0.8, 0.98)


def config(expectile: float, discount: float) -> IQLConfig:
    return IQLConfig(
        discount=discount,
        expectile=expectile,
        temperature=3.0,
        learning_rate=3e-3,
        target_update_rate=0.1,
        hidden=(32, 32),
        policy_dropout=0.0,
    )


@pytest.fixture(scope="module")
def learned(chain: Any) -> Callable[[float], IQL]:
    methods = {tau: chain.learn(config(tau, chain.discount), 450) for tau in EXPECTILES}
    return methods.__getitem__


@pytest.mark.parametrize("expectile", EXPECTILES)
def test_values_reach_the_fixed_point_of_their_expectile(
    chain: Any, learned: Callable[[float], IQL], expectile: float
) -> None:
    values = chain.values(learned(expectile))
    assert np.abs(values - chain.exact_values(expectile)).max() < 0.25


def test_a_half_is_the_behaviour_and_one_the_shortest_way(
    chain: Any, learned: Callable[[float], IQL]
) -> None:
    places = np.arange(chain.places)
    distance = np.abs(np.subtract.outer(places, places))
    shortest = -(1 - chain.discount**distance) / (1 - chain.discount)
    assert np.abs(chain.values(learned(0.5)) - chain.behaviour_values()).max() < 0.25
    assert np.abs(chain.values(learned(0.98)) - shortest).max() < 0.25
    means = [chain.values(learned(tau)).mean() for tau in EXPECTILES]
    assert means[0] + 0.3 < means[1] < means[2] - 0.1


@pytest.mark.parametrize("expectile", EXPECTILES)
def test_values_stay_between_never_and_now(
    chain: Any, learned: Callable[[float], IQL], expectile: float
) -> None:
    values = chain.values(learned(expectile))
    assert values.max() < 0.15 and values.min() > chain.floor - 0.15


def test_the_policy_walks_to_every_goal_though_the_behaviour_wanders(
    chain: Any, learned: Callable[[float], IQL]
) -> None:
    action, ahead = chain.actions(learned(0.98)), chain.direction
    assert (action * ahead)[ahead != 0].min() > 0


def test_discrete_actions_reach_the_same_values_and_walk_to_every_goal(chain: Any) -> None:
    method = chain.learn(config(0.98, chain.discount), 450, discrete=True)
    assert np.abs(chain.values(method) - chain.exact_values(0.98)).max() < 0.25
    ahead = chain.direction
    assert (chain.actions(method) * ahead)[ahead != 0].min() > 0


def test_an_action_outside_the_data_is_worth_nothing(broken_chain: Any) -> None:
    """Nobody ever went from 3 to 4: what lies behind cannot be reached from before."""
    values = broken_chain.values(broken_chain.learn(config(0.95, broken_chain.discount), 450))
    assert np.abs(values[:4, 4:] - broken_chain.floor).max() < 0.3
    assert np.abs(values - broken_chain.exact_values(0.95)).max() < 0.4
    assert (values[4:, 3] > -1.5 - np.arange(3)).all()
