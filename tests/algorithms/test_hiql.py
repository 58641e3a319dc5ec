"""HIQL: its losses by hand, who learns from which, and subgoals that lead to the goal."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nav_offrl.algorithms.batch import Batch, join
from nav_offrl.algorithms.hiql import HIQL, HIQLConfig
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Method, Spaces
from nav_offrl.store.goal_presets import goal_preset

MakeBatch = Callable[..., Batch]


def make(bounds: tuple[float, float] = (-50.0, 0.0), **changes: object) -> HIQL:
    torch.manual_seed(0)
    config = HIQLConfig(hidden=(16, 16), **changes)  # type: ignore[arg-type]
    method = HIQL(config, Spaces(4, 2, return_bounds=bounds))
    for parameter in method.target_value.parameters():
        # A target that is the online network would hide a mix-up of the two.
        parameter.add_(0.3 * torch.randn_like(parameter))
    return method


@torch.no_grad()
def value_of(method: HIQL, observation: Tensor, goal: Tensor, *, target: bool = False) -> Any:
    """Both twins on the observation and a representation scaled to length sqrt(10) by hand."""
    raw = method.representation.network(method.features(observation, goal))[0]
    phi = raw / raw.norm(dim=-1, keepdim=True) * 10**0.5
    network = method.target_value if target else method.value
    return network(torch.cat([observation, phi], -1)).numpy()


def test_value_loss_by_hand(random_batch: MakeBatch) -> None:
    method, batch = make(bounds=(-1.6, 0.0), expectile=0.8), random_batch()
    loss, _ = method.value_loss(batch)
    value = value_of(method, batch.observation, batch.goal)
    old = value_of(method, batch.observation, batch.goal, target=True)
    following = value_of(method, batch.next_observation, batch.goal, target=True)
    raw = batch.reward.numpy() + 0.98 * batch.mask.numpy() * following
    target = np.clip(raw, -1.6, 0.0)
    good = np.minimum(target[0], target[1]) >= (old[0] + old[1]) / 2
    assert good.any() and not good.all()
    expected = sum((np.where(good, 0.8, 0.2) * (target[k] - value[k]) ** 2).mean() for k in (0, 1))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_high_policy_loss_by_hand(random_batch: MakeBatch) -> None:
    """It says phi(s, subgoal), weighted by what the subgoal gains towards the goal."""
    method, batch = make(high_temperature=7.0, max_weight=2.0), random_batch()
    assert batch.actor_subgoal is not None
    loss, _ = method.high_policy_loss(batch)
    there = value_of(method, batch.actor_subgoal, batch.actor_goal).mean(0)
    weight = np.exp(7.0 * (there - value_of(method, batch.observation, batch.actor_goal).mean(0)))
    assert (weight > 2.0).any() and (weight < 2.0).any()
    with torch.no_grad():
        raw = method.representation.network(
            method.features(batch.observation, batch.actor_subgoal)
        )[0].numpy()
        said = method.high_policy(method.features(batch.observation, batch.actor_goal)).numpy()
    phi = raw / np.linalg.norm(raw, axis=-1, keepdims=True) * np.sqrt(10)
    log_prob = (-0.5 * (phi - said) ** 2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    expected = -(np.minimum(weight, 2.0) * log_prob).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_low_policy_loss_by_hand(random_batch: MakeBatch) -> None:
    """It goes towards phi(s, subgoal), weighted by what the step gains towards the subgoal."""
    method, batch = make(low_temperature=7.0, max_weight=2.0), random_batch()
    assert batch.subgoal is not None
    loss, _ = method.low_policy_loss(batch)
    after = value_of(method, batch.next_observation, batch.subgoal).mean(0)
    weight = np.exp(7.0 * (after - value_of(method, batch.observation, batch.subgoal).mean(0)))
    assert (weight > 2.0).any() and (weight < 2.0).any()
    with torch.no_grad():
        phi = method.representation(method.features(batch.observation, batch.subgoal))
        error = (batch.action - method.low_policy(torch.cat([batch.observation, phi], -1))).numpy()
    log_prob = (-0.5 * error**2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    expected = -(np.minimum(weight, 2.0) * log_prob).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


INPUTS_OF_LOSS = {
    "value_loss": {"observation", "next_observation", "goal", "reward", "discount", "mask"},
    "high_policy_loss": {"observation", "actor_goal", "actor_subgoal"},
    "low_policy_loss": {"observation", "action", "next_observation", "subgoal"},
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


def test_only_the_value_moves_the_representation(random_batch: MakeBatch) -> None:
    method, batch = make(), random_batch()
    parameters = list(method.representation.parameters())
    losses, _ = method.losses(batch)
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        assert all((g is not None) == (name == "value") for g in gradients), name


def test_acting_hands_the_normalised_subgoal_from_the_high_to_the_low_policy(
    random_batch: MakeBatch,
) -> None:
    method, batch = make().eval(), random_batch()
    with torch.no_grad():
        said = method.high_policy(method.features(batch.observation, batch.goal))
        subgoal = said / said.norm(dim=-1, keepdim=True) * 10**0.5
        expected = method.low_policy(torch.cat([batch.observation, subgoal], -1))
        torch.testing.assert_close(method.act(batch.observation, batch.goal), expected)


def test_a_representation_of_the_goal_alone_is_the_same_from_everywhere(
    random_batch: MakeBatch,
) -> None:
    batch = random_batch()
    for kind, same in (("goal", True), ("state_and_goal", False)):
        method = make(representation_of=kind)
        phi = [method.represent(x, batch.goal) for x in (batch.observation, batch.next_observation)]
        assert torch.equal(*phi) == same


def test_goals_are_drawn_as_published_with_subgoals_as_far_ahead_as_configured() -> None:
    sampling = goal_preset(HIQLConfig().goals)
    assert sampling.subgoal_steps == HIQLConfig().subgoal_steps == 25


def config(chain: Any, **changes: Any) -> HIQLConfig:
    settings: dict[str, Any] = {
        "discount": chain.discount, "learning_rate": 5e-3, "target_update_rate": 0.1,
        "hidden": (32, 32),
    }  # fmt: skip
    return HIQLConfig(**settings | changes)


def test_values_reach_the_fixed_point_of_their_expectile(chain: Any) -> None:
    method = chain.learn(config(chain, expectile=0.9), 300)
    assert np.abs(chain.values(method) - chain.exact_values(0.9)).max() < 0.3


def straight_on(chain: Any, steps: int, *, discrete: bool = False) -> Batch:
    """The chain's moves, each by a robot that keeps going its way for `steps`."""
    batch = chain.batch(discrete=discrete)
    way = 2 * batch.action - 1 if discrete else batch.action[:, 0]
    place, goal = batch.observation.argmax(1), batch.goal.argmax(1)
    ahead = (place + steps * way.long()).clamp(0, chain.places - 1)
    passed = ((goal - place) * way > 0) & ((goal - ahead) * way <= 0)
    eye = torch.eye(chain.places)
    return replace(batch, subgoal=eye[ahead], actor_subgoal=eye[torch.where(passed, goal, ahead)])


def learn(method: Method, batch: Batch, steps: int) -> Method:
    learner = Learner(method)
    for step in range(steps):
        learner.update(batch, step)
    return method.eval()


@pytest.mark.parametrize("discrete", [False, True])
def test_subgoals_lead_to_every_goal_from_everywhere(chain: Any, discrete: bool) -> None:
    """With phi(g): to the value of this chain, phi(s, g) may forget the side, and then does."""
    torch.manual_seed(0)
    method = HIQL(config(chain, representation_of="goal"), chain.spaces(discrete=discrete))
    near, far = (straight_on(chain, steps, discrete=discrete) for steps in (1, 2))
    learn(method, join(near, far), 250)
    ahead = chain.direction
    assert (chain.actions(method) * ahead)[ahead != 0].min() > 0
