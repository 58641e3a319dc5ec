"""Cal-QL: no value of the policy is pushed below the data's own return."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.cal_ql import CalQL, CalQLConfig
from nav_offrl.algorithms.cql import CQLConfig
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.registry import make_method
from nav_offrl.errors import NavOffrlError

from .conftest import Chain

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]


def make(low: float = -50.0, high: float = 0.0) -> CalQL:
    return CalQL(CalQLConfig(hidden=(8,)), Spaces(4, 2, return_bounds=(low, high)))


def test_the_return_is_the_discounted_sum_of_the_steps_to_the_goal(random_batch: MakeBatch) -> None:
    batch = replace(random_batch(), steps_to_goal=torch.arange(16) - 1.0)
    found = make().behaviour_return(batch)
    assert found[0] == -torch.inf, "a goal that is not ahead says nothing"
    for steps in range(15):
        total = sum(-(0.98**step) for step in range(steps))
        assert found[steps + 1].item() == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_a_reward_at_the_goal_is_worth_its_discount(random_batch: MakeBatch) -> None:
    batch = replace(random_batch(), steps_to_goal=torch.arange(16) - 1.0)
    found = make(0.0, 1.0).behaviour_return(batch)
    np.testing.assert_allclose(found[1:].numpy(), 0.98 ** np.arange(15), rtol=1e-5)


def test_what_lies_below_the_return_is_not_pushed(random_batch: MakeBatch) -> None:
    batch = replace(random_batch(), steps_to_goal=torch.full((16,), 10.0))
    floor = -(1 - 0.98**10) / 0.02
    value = torch.tensor([floor - 1, floor + 1]).repeat(8).expand(2, 3, 16).clone()
    value.requires_grad_()
    pushed = make().calibrated(value, batch)
    pushed.sum().backward()
    np.testing.assert_allclose(value.grad[0, 0].numpy(), np.tile([0.0, 1.0], 8))
    assert pushed.min().item() == pytest.approx(floor, rel=1e-5)


def test_steps_to_the_goal_change_the_gap_and_nothing_else_does_more(
    random_batch: MakeBatch,
) -> None:
    """Where no goal lies ahead, Cal-QL is CQL."""
    method, batch = make(), random_batch()
    cql = make_method(CQLConfig(hidden=(8,)), method.spaces)
    cql.load_state_dict(method.state_dict())

    def gap(of: torch.nn.Module, steps: float) -> float:
        torch.manual_seed(0)
        changed = replace(batch, steps_to_goal=torch.full((16,), steps))
        return of.critic_loss(changed)[1]["critic/gap"].item()

    assert gap(method, -1.0) == gap(cql, -1.0) == gap(cql, 1.0)
    assert gap(method, 0.0) > gap(method, 300.0) == gap(cql, 300.0)


def test_values_stay_above_the_return_where_those_of_cql_sink(chain: Chain) -> None:
    """Under the basic bound, which pushes without end, of a log that went straight."""
    distance = chain.here.argmax(1).sub(chain.goal.argmax(1)).abs().reshape(7, 7).numpy()
    straight = -(1 - chain.discount**distance) / (1 - chain.discount)
    away = distance > 0

    def below(config: CQLConfig) -> NDArray[np.float64]:
        torch.manual_seed(0)
        method = make_method(config, chain.spaces(discrete=True))
        batch = chain.batch(discrete=True)
        between = (batch.observation.argmax(1) - batch.goal.argmax(1)).abs().float()
        batch, learner = replace(batch, steps_to_goal=between), Learner(method)
        for step in range(300):
            learner.update(batch, step)
        return (straight - chain.values(method))[away]

    options = dict(bound="basic", conservative_weight=0.6, discount=chain.discount)
    options |= dict(learning_rate=3e-3, target_update_rate=0.1, hidden=(32, 32))
    assert below(CalQLConfig(**options)).max() < 0.25
    assert below(CQLConfig(**options)).mean() > 0.8


def test_a_reward_without_bounds_is_refused() -> None:
    with pytest.raises(NavOffrlError, match="cql"):
        make(-float("inf"))
