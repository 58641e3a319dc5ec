"""GCIVL: its losses by hand, its values on a chain, and luck that it takes for skill."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.gcivl import GCIVL, GCIVLConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.store.goal_presets import goal_preset

MakeBatch = Callable[..., Batch]
Moves = list[tuple[int, int, int]]


def make(bounds: tuple[float, float] = (-50.0, 0.0), **changes: object) -> GCIVL:
    torch.manual_seed(0)
    config = GCIVLConfig(hidden=(16, 16), **changes)  # type: ignore[arg-type]
    method = GCIVL(config, Spaces(4, 2, return_bounds=bounds))
    for parameter in method.target_value.parameters():
        # A target that is the online network would hide a mix-up of the two.
        parameter.add_(0.3 * torch.randn_like(parameter))
    return method


def test_value_loss_by_hand(random_batch: MakeBatch) -> None:
    """Each twin has its own target and one weight, whose sign is the targets' alone."""
    method, batch = make(bounds=(-1.6, 0.0), expectile=0.8), random_batch()
    loss, metrics = method.value_loss(batch)
    with torch.no_grad():
        here = method.features(batch.observation, batch.goal)
        after = method.features(batch.next_observation, batch.goal)
        value, old = method.value(here).numpy(), method.target_value(here).numpy()
        following = method.target_value(after).numpy()
    raw = batch.reward.numpy() + 0.98 * batch.mask.numpy() * following
    target = np.clip(raw, -1.6, 0.0)
    assert (raw != target).any() and (raw == target).any()
    good = np.minimum(target[0], target[1]) >= (old[0] + old[1]) / 2
    assert good.any() and not good.all()
    assert (good != (target - value > 0)).any(), "the online difference would not be noticed"
    expected = sum((np.where(good, 0.8, 0.2) * (target[k] - value[k]) ** 2).mean() for k in (0, 1))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert metrics["value/mean"].item() == pytest.approx(value.mean(), rel=1e-5)


def test_policy_loss_by_hand(random_batch: MakeBatch) -> None:
    """Weights exp(10 A), clipped; A is the rise of the twins' mean towards the actor's goal."""
    method, batch = make(max_weight=3.0), random_batch()
    loss, metrics = method.policy_loss(batch)
    with torch.no_grad():
        there = method.features(batch.observation, batch.actor_goal)
        after = method.features(batch.next_observation, batch.actor_goal)
        rise = method.value(after).numpy().mean(0) - method.value(there).numpy().mean(0)
        error = (batch.action - method.policy(there)).numpy()
    weight = np.minimum(np.exp(10 * rise), 3.0)
    assert (weight == 3.0).any() and (weight < 3.0).any()
    # The policy's standard deviation begins at 1.
    log_prob = (-0.5 * error**2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    assert loss.item() == pytest.approx(-(weight * log_prob).mean(), rel=1e-5)
    assert metrics["policy/advantage"].item() == pytest.approx(rise.mean(), rel=1e-4)


INPUTS_OF_LOSS = {
    "value_loss": {"observation", "next_observation", "goal", "reward", "discount", "mask"},
    "policy_loss": {"observation", "action", "next_observation", "actor_goal"},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Batch)])
@pytest.mark.parametrize("loss", INPUTS_OF_LOSS)
def test_each_input_changes_the_losses_that_it_should_and_no_other(
    loss: str, name: str, random_batch: MakeBatch
) -> None:
    method, batch = make(), random_batch()
    changed = replace(batch, **{name: getattr(batch, name) * 0.5 + 0.1})
    before, after = (getattr(method, loss)(b)[0].item() for b in (batch, changed))
    assert (before != after) == (name in INPUTS_OF_LOSS[loss])


def test_the_target_follows_by_the_polyak_rate(random_batch: MakeBatch) -> None:
    method = make(target_update_rate=0.25)
    before = [parameter.clone() for parameter in method.target_value.parameters()]
    Learner(method).update(random_batch())
    pairs = zip(method.target_value.parameters(), method.value.parameters(), strict=True)
    for old, (target, online) in zip(before, pairs, strict=True):
        torch.testing.assert_close(target, 0.75 * old + 0.25 * online)


def test_goals_are_drawn_as_published() -> None:
    sampling = goal_preset(GCIVLConfig().goals)
    assert (sampling.value_goals.current, sampling.value_goals.random) == (0.2, 0.3)
    assert sampling.actor_goals.uniform == 1


def config(chain: Any, expectile: float) -> GCIVLConfig:
    return GCIVLConfig(
        discount=chain.discount,
        expectile=expectile,
        learning_rate=3e-3,
        target_update_rate=0.1,
        hidden=(32, 32),
    )


@pytest.mark.parametrize("expectile", [0.5, 0.95])
def test_values_reach_the_fixed_point_where_the_world_is_deterministic(
    chain: Any, expectile: float
) -> None:
    values = chain.values(chain.learn(config(chain, expectile), 350))
    assert np.abs(values - chain.exact_values(expectile)).max() < 0.1


@pytest.mark.parametrize("discrete", [False, True])
def test_the_policy_walks_to_every_goal_though_the_behaviour_wanders(
    chain: Any, discrete: bool
) -> None:
    actions = chain.actions(chain.learn(config(chain, 0.9), 250, discrete=discrete))
    ahead = chain.direction
    assert (actions * ahead)[ahead != 0].min() > 0.3


def test_what_nobody_drove_is_worth_nothing(broken_chain: Any) -> None:
    values = broken_chain.values(broken_chain.learn(config(broken_chain, 0.9), 400))
    assert np.abs(values[:4, 4:] - broken_chain.floor).max() < 0.4


def slippery(chain: Any) -> Any:
    """Return the chain on ice: one move of four goes the other way."""

    class Ice(type(chain)):  # type: ignore[misc]
        @property
        def moves(self) -> Moves:
            return [
                (place, action, min(max(place + step, 0), self.places - 1))
                for place in range(self.places)
                for action in (-1, 1)
                for step in (action, action, action, -action)
            ]

    return Ice()


def best_on_ice(chain: Any) -> NDArray[np.float64]:
    """Solve V = max_a r + gamma E[V(s')] by value iteration."""
    place = np.arange(chain.places)
    left, right = np.maximum(place - 1, 0), np.minimum(place + 1, chain.places - 1)
    values = np.zeros((chain.places, chain.places))
    for _ in range(200):
        go_left = 0.75 * values[left] + 0.25 * values[right]
        go_right = 0.75 * values[right] + 0.25 * values[left]
        values = -1 + chain.discount * np.maximum(go_left, go_right)
        np.fill_diagonal(values, 0.0)
    return values


def test_luck_is_taken_for_skill_where_the_world_is_stochastic(chain: Any) -> None:
    """V comes near that of a way without a slip, which no policy can count on; IQL's does not."""
    ice = slippery(chain)
    best, lucky = best_on_ice(ice), ice.exact_values()
    assert (lucky - best).max() > 0.5, "luck is worth more than half a step"
    gcivl = ice.values(ice.learn(config(chain, 0.98), 300))
    assert np.abs(gcivl - lucky).max() < 0.4
    iql_config = IQLConfig(
        discount=chain.discount, expectile=0.98, learning_rate=3e-3, target_update_rate=0.1,
        hidden=(32, 32), policy_dropout=0.0,
    )  # fmt: skip
    iql = ice.values(ice.learn(iql_config, 300))
    assert (gcivl - best).max() > 0.5 and (iql - best).max() < 0.1
