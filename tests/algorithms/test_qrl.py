"""QRL: its losses by hand, and distances that count the steps of the shortest way."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.qrl import QRL, QRLConfig
from nav_offrl.store.goal_presets import goal_preset

MakeBatch = Callable[..., Batch]


def make(**changes: Any) -> QRL:
    torch.manual_seed(0)
    settings = {"hidden": (16, 16), "latent_size": 12, "component_size": 4} | changes
    method = QRL(QRLConfig(**settings), Spaces(4, 2))
    torch.nn.init.constant_(method.quasimetric.mean_logit, -1.0)
    torch.nn.init.constant_(method.multiplier.log_value, 0.7)
    return method


@torch.no_grad()
def embedded(method: QRL, *observations: Tensor) -> list[Tensor]:
    return [method.embedding(x) for x in observations]


@torch.no_grad()
def distance(method: QRL, x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """The quasimetric, whose own tests are elsewhere."""
    return method.quasimetric(x, y).double().numpy()


def test_distance_and_dual_losses_by_hand(random_batch: MakeBatch) -> None:
    """Push + lambda violation + dynamics; lambda climbs on violation - epsilon^2."""
    method, batch = make(push_scale=3.0, push_offset=0.5, squared_violation=0.3), random_batch()
    # Steps of the log are 1 or 3 apart.
    batch = replace(batch, discount=0.98 ** torch.tensor([1.0, 3.0]).repeat(8))
    losses, metrics = method.losses(batch)
    here, there, goal = embedded(method, batch.observation, batch.next_observation, batch.goal)
    push = (3.0 * np.log1p(np.exp(0.5 - distance(method, here, goal) / 3.0))).mean()
    excess = np.maximum(distance(method, here, there) - np.tile([1, 3], 8), 0)
    with torch.no_grad():
        predicted = here + method.dynamics(torch.cat([here, batch.action], -1))
    dynamics = distance(method, there, predicted) + distance(method, predicted, there)
    assert (excess > 0).any() and (excess == 0).any()
    violation = (excess**2).mean()
    expected = push + np.exp(0.7) * violation + dynamics.mean() / 2
    assert losses["critic"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["dual"].item() == pytest.approx(-np.exp(0.7) * (violation - 0.3), rel=1e-4)
    assert metrics["critic/violation"].item() == pytest.approx(violation, rel=1e-4)


def test_policy_loss_by_hand(random_batch: MakeBatch) -> None:
    """The policy goes where the dynamics say that the goal is near, tied to the log."""
    method, batch = make(behaviour_weight=0.4), random_batch()
    loss = method.losses(batch)[0]["policy"]
    here, goal = embedded(method, batch.observation, batch.actor_goal)
    with torch.no_grad():
        action = method.policy(method.features(batch.observation, batch.actor_goal))
        predicted = here + method.dynamics(torch.cat([here, action], -1))
    d = distance(method, predicted, goal)
    error = (action.numpy() - batch.action.numpy()) ** 2
    expected = d.mean() / np.abs(d).mean() + 0.4 * error.sum(-1).mean() / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("squared_violation", "sign"), [(1e-6, 1), (1e6, -1)])
def test_lambda_rises_while_the_constraint_is_violated_and_falls_after(
    squared_violation: float, sign: int, random_batch: MakeBatch
) -> None:
    method = make(squared_violation=squared_violation, dual_learning_rate=0.1)
    Learner(method).update(random_batch())
    assert (method.multiplier.log_value.item() - 0.7) * sign > 0.05


INPUTS_OF_LOSS = {
    "critic": {"observation", "action", "next_observation", "goal", "discount"},
    "dual": {"observation", "next_observation", "discount"},
    "policy": {"observation", "action", "actor_goal"},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Batch)])
@pytest.mark.parametrize("loss", INPUTS_OF_LOSS)
def test_each_input_changes_the_losses_that_it_should_and_no_other(
    loss: str, name: str, random_batch: MakeBatch
) -> None:
    method, batch = make(), random_batch()
    changed = replace(batch, **{name: getattr(batch, name) * 0.5 + 0.1})
    before, after = (method.losses(b)[0][loss].item() for b in (batch, changed))
    assert (before != after) == (name in INPUTS_OF_LOSS[loss])


def test_latents_must_split_into_components() -> None:
    with pytest.raises(ValidationError, match="multiple of component_size"):
        QRLConfig(latent_size=20, component_size=8)


def test_goals_are_drawn_as_published() -> None:
    sampling = goal_preset(QRLConfig().goals)
    assert sampling.value_goals.random == 1 and sampling.actor_goals.uniform == 1


def learn(chain: Any) -> QRL:
    config = QRLConfig(
        discount=chain.discount,
        learning_rate=3e-3,
        dual_learning_rate=0.03,
        squared_violation=0.01,
        latent_size=64,
        component_size=4,
        hidden=(48, 48),
    )
    method: QRL = chain.learn(config, 350)
    return method


def distances(chain: Any, method: QRL) -> NDArray[np.float64]:
    with torch.no_grad():
        flat = method.distance(chain.here, chain.goal)
    return flat.reshape(chain.places, chain.places).double().numpy()


@pytest.fixture(scope="module")
def learned(chain: Any) -> QRL:
    return learn(chain)


def test_distances_on_the_chain_are_numbers_of_steps(chain: Any, learned: QRL) -> None:
    """Up to what the constraint lets through: epsilon, a tenth, for each step."""
    exact = np.abs(np.subtract.outer(np.arange(chain.places), np.arange(chain.places)))
    found = distances(chain, learned)
    assert (found >= exact - 0.15).all() and (found <= 1.15 * exact + 0.05).all()


def test_the_constraint_holds_in_the_end(chain: Any, learned: QRL) -> None:
    with torch.no_grad():
        _, metrics = learned.losses(chain.batch())
    assert metrics["critic/violation"].item() < 1.5 * 0.01
    assert metrics["dual/multiplier"].item() > 1.0, "it holds because lambda has risen"


def test_values_are_those_of_the_shortest_way(chain: Any, learned: QRL) -> None:
    assert np.abs(chain.values(learned) - chain.exact_values()).max() < 0.3


def test_the_policy_walks_to_every_goal(chain: Any, learned: QRL) -> None:
    ahead = chain.direction
    assert (chain.actions(learned) * ahead)[ahead != 0].min() > 0.3


def test_one_way_streets_make_distances_differ_there_and_back(chain: Any) -> None:
    """Five places in a ring that is driven one way round: a step there is four steps back."""

    class Ring(type(chain)):  # type: ignore[misc]
        @property
        def moves(self) -> list[tuple[int, int, int]]:
            return [(place, 1, (place + 1) % self.places) for place in range(self.places)]

    ring = Ring(places=5)
    exact = np.subtract.outer(np.arange(5), np.arange(5)).T % 5
    found = distances(ring, learn(ring))
    assert np.abs(found - exact).max() < 0.7
    assert found[1, 0] > 3 * found[0, 1]
