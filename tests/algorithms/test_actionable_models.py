"""Actionable Models: negatives at the floor, and values that pass from one drive to the next."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nav_offrl.algorithms.actionable_models import (
    ActionableModels,
    ActionableModelsConfig,
    other_action,
)
from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import MethodConfig, Spaces
from nav_offrl.algorithms.qt_opt import QTOpt, QTOptConfig
from nav_offrl.algorithms.registry import make_method
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.heads import GoalCritic

from .conftest import Chain

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]
FLOOR = -2.0
PAIR = torch.tensor([[-1.0], [1.0]])
TABLE = torch.tensor([[-1.0, -0.5], [-0.7, -1.5]])  # Q of the twins, whatever the state
LEARNING = {"learning_rate": 3e-3, "target_update_rate": 0.1, "hidden": (32, 32)}


class Slope(GoalCritic):
    """Q(s, a, g) = k a, with k of its own for each twin."""

    def __init__(self, *slopes: float) -> None:
        super().__init__(4, 1, (4,))
        self.slopes = nn.Parameter(torch.tensor(slopes)[:, None, None])

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        return self.of_actions(features, action[None])[:, 0]

    def of_actions(self, features: Tensor, actions: Tensor) -> Tensor:
        return self.slopes * actions[..., 0]


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_loss_by_hand(weight: float, random_batch: MakeBatch) -> None:
    """With two actions the negative is the one that the log did not take."""
    config = ActionableModelsConfig(hidden=(4,), negative_weight=weight)
    method = ActionableModels(config, Spaces(4, 1, PAIR, return_bounds=(FLOOR, 0.0)))
    with torch.no_grad():
        method.critic.network.last.weight.zero_()
        method.critic.network.last.bias.copy_(TABLE[:, None])
    batch = random_batch(actions=2)
    following = method.features(batch.next_observation, batch.goal)
    target = method.target(following, batch).numpy()
    loss, metrics = method.critic_loss(following, following, batch)
    taken, table = batch.action.numpy(), TABLE.numpy()
    td_error = np.square(table[:, taken] - target).mean(-1)
    negative = np.square(table[:, 1 - taken] - FLOOR).mean(-1)
    assert loss.item() == pytest.approx((td_error + weight * negative).sum(), rel=1e-5)
    assert metrics["critic/td_error"].item() == pytest.approx(td_error.mean(), rel=1e-5)
    assert metrics["critic/negative_value"].item() == pytest.approx(
        table[:, 1 - taken].mean(), rel=1e-5
    )


def test_negatives_on_a_grid_follow_exp_q_and_are_never_the_logs_action() -> None:
    torch.manual_seed(0)
    score = torch.tensor([0.0, 1.0, -1.0, 0.5])
    every, action = score.expand(2, 20_000, 4), torch.arange(20_000) % 2
    drawn = other_action(every, action)
    for taken in (0, 1):
        weight = np.exp(score.double().numpy())
        weight[taken] = 0
        found = np.bincount(drawn[action == taken].numpy(), minlength=4) / 10_000
        np.testing.assert_allclose(found, weight / weight.sum(), atol=0.02)
        assert found[taken] == 0


def test_continuous_negatives_follow_exp_q() -> None:
    """Of slopes 1 and 3, mean 2: the mean of exp(2 a) on [-1, 1] is coth 2 - 1/2."""
    torch.manual_seed(0)
    config = ActionableModelsConfig(hidden=(4,), negative_candidates=200)
    method = ActionableModels(config, Spaces(4, 1, return_bounds=(FLOOR, 0.0)))
    method.critic = Slope(1.0, 3.0)
    drawn = method.negative_action(torch.zeros(4000, 4))
    assert drawn.shape == (4000, 1) and bool((drawn.abs() <= 1).all())
    assert drawn.mean().item() == pytest.approx(1 / np.tanh(2) - 0.5, abs=0.03)


INPUTS = {"observation", "action", "next_observation", "goal", "reward", "discount", "mask"}


@pytest.mark.parametrize("name", [f.name for f in fields(Batch) if "subgoal" not in f.name])
def test_each_input_changes_the_loss_if_it_should(name: str, random_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    config, spaces = ActionableModelsConfig(hidden=(8,)), Spaces(4, 2, return_bounds=(-50.0, 0.0))
    method, batch = ActionableModels(config, spaces), random_batch()

    def loss(changed: Batch) -> float:
        torch.manual_seed(1)
        return method.losses(changed)[0]["critic"].item()

    changed = replace(batch, **{name: getattr(batch, name) * 0.5})
    assert (loss(batch) != loss(changed)) == (name in INPUTS)


def test_an_action_outside_the_log_is_worth_the_floor_where_qt_opt_thinks_well_of_it() -> None:
    """Everybody drives at 0.5 and gets -1; what would come of -0.5 nobody knows."""
    torch.manual_seed(0)
    count, zeros = 32, torch.zeros(32, 2)
    action = 0.5 + 0.1 * torch.randn(count, 1)
    batch = Batch(
        zeros, action, zeros, zeros, zeros,
        reward=torch.full((count,), -1.0), discount=torch.full((count,), 0.8),
        mask=torch.zeros(count), steps_to_goal=torch.zeros(count),
    )  # fmt: skip

    def learned(config: MethodConfig) -> tuple[float, float]:
        torch.manual_seed(0)
        method = make_method(config, Spaces(2, 1, return_bounds=(-5.0, 0.0)))
        assert isinstance(method, QTOpt)
        learner = Learner(method)
        for step in range(150):
            learner.update(batch, step)
        here = method.features(torch.zeros(1, 2), torch.zeros(1, 2))
        with torch.no_grad():
            q = method.critic.of_actions(here, torch.tensor([[[0.5]], [[-0.5]]])).mean(0)
        return q[0].item(), q[1].item()

    few = {"cem_samples": 4, "cem_elites": 2}
    taken, never = learned(QTOptConfig(**few, **LEARNING))
    assert abs(taken + 1) < 0.2 and never > taken
    taken, never = learned(ActionableModelsConfig(**few, **LEARNING))
    assert taken > -2.5 and never < -4


def three_drives(chain: Chain, *, chaining: bool, arrival: bool) -> Batch:
    """From 0 to 3, from 3 to 6 and from 6 to 0, all to the right (action 1), towards every goal.

    Without chaining, a drive that ends short of its goal has failed.
    """
    place, goal = np.mgrid[:7, :7].reshape(2, -1)
    following = (place + 1) % 7
    ends = np.isin(following, [3, 6, 0]) & (goal != following) & (goal != place)
    fails = torch.from_numpy(ends & (not chaining))
    reached = torch.from_numpy(goal == place).float()
    reward = reached if arrival else reached - 1
    eye = torch.eye(7)
    return Batch(
        observation=eye[place],
        action=torch.ones(49, dtype=torch.int64),
        next_observation=eye[following],
        goal=eye[goal],
        actor_goal=eye[goal],
        reward=torch.where(fails, 0.0 if arrival else chain.floor, reward),
        discount=torch.full((49,), chain.discount),
        mask=torch.where(fails, 0.0, 1 - reached),
        steps_to_goal=torch.full((49,), -1.0),
    )


def learn_drives(
    chain: Chain, *, chaining: bool = True, arrival: bool = True
) -> tuple[Tensor, Tensor]:
    """Return Q(place, goal) of the log's action and of the other one."""
    torch.manual_seed(0)
    bounds = (0.0, 1.0) if arrival else (chain.floor, 0.0)
    config = ActionableModelsConfig(discount=chain.discount, **LEARNING)
    method = make_method(config, Spaces(chain.places, 1, PAIR, return_bounds=bounds))
    assert isinstance(method, ActionableModels)
    batch = three_drives(chain, chaining=chaining, arrival=arrival)
    learner = Learner(method)
    for step in range(250):
        learner.update(batch, step)
    with torch.no_grad():
        q = method.critic.of_every_action(method.features(batch.observation, batch.goal)).mean(0)
    other, taken = q.reshape(7, 7, 2).unbind(-1)
    return taken, other


STEPS = np.subtract.outer(-np.arange(7), -np.arange(7)) % 7  # from a place to a goal, around


def test_values_pass_from_one_drive_to_the_next_where_they_meet(chain: Chain) -> None:
    taken, other = learn_drives(chain)
    np.testing.assert_allclose(taken.numpy(), chain.discount**STEPS, atol=0.1)
    assert other.abs().max() < 0.15, "what the log never did must be worth the floor"


def test_without_chaining_the_goals_of_other_drives_are_out_of_reach(chain: Chain) -> None:
    taken, _ = learn_drives(chain, chaining=False)
    assert taken[:3, 4:].abs().max() < 0.1
    assert taken[3, 6].item() == pytest.approx(chain.discount**3, abs=0.1)


def test_with_a_cost_a_step_the_floor_is_that_of_never_arriving(chain: Chain) -> None:
    taken, other = learn_drives(chain, arrival=False)
    exact = -(1 - chain.discount**STEPS) / (1 - chain.discount)
    np.testing.assert_allclose(taken.numpy(), exact, atol=0.5)
    assert (other - chain.floor).abs().max() < 0.7


def test_a_reward_without_a_floor_is_refused() -> None:
    with pytest.raises(NavOffrlError, match="least return"):
        ActionableModels(ActionableModelsConfig(), Spaces(4, 2))
