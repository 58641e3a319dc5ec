"""AWR: returns and losses by hand, goals without a return, and its fixed point."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nav_offrl.algorithms.awr import AWR, AWRConfig, standard_deviation
from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces

MakeBatch = Callable[..., Batch]


def make(bounds: tuple[float, float] = (-50.0, 0.0), **changes: object) -> AWR:
    torch.manual_seed(0)
    config = AWRConfig(hidden=(16, 16), policy_dropout=0.0, **changes)  # type: ignore[arg-type]
    method = AWR(config, Spaces(4, 2, return_bounds=bounds))
    for parameter in method.target_value.parameters():
        # A target that is the online value would hide a mix-up of the two.
        parameter.add_(0.3 * torch.randn_like(parameter))
    return method


def returns_by_hand(method: AWR, batch: Batch, share: float, floor: float) -> np.ndarray:
    with torch.no_grad():
        after = method.features(batch.next_observation, batch.goal)
        following = method.target_value(after)[0].numpy()
    bootstrapped = batch.reward.numpy() + 0.98 * batch.mask.numpy() * following
    bootstrapped = np.clip(bootstrapped, floor, 0.0)
    # -1 now, and gamma times as much with every step that is still to go.
    monte_carlo = [-sum(0.98**i for i in range(int(k))) for k in batch.steps_to_goal]
    mixed = share * np.array(monte_carlo) + (1 - share) * bootstrapped
    return np.where(batch.steps_to_goal.numpy() >= 0, mixed, bootstrapped)


def test_returns_by_hand(random_batch: MakeBatch) -> None:
    method, batch = make((-1.5, 0.0), td_lambda=0.9), random_batch()
    steps = batch.steps_to_goal
    assert (steps > 1).any() and (steps == 0).any() and (steps < 0).any()
    expected = returns_by_hand(method, batch, 0.9, -1.5)
    np.testing.assert_allclose(method.returns(batch).numpy(), expected, rtol=1e-5)


def test_losses_by_hand(random_batch: MakeBatch) -> None:
    """V regresses on all returns; the policy copies towards goals ahead, clipped and normalised."""
    method, batch = make(td_lambda=0.9, temperature=0.8, max_weight=0.5), random_batch()
    losses, metrics = method.losses(batch)
    with torch.no_grad():
        here = method.features(batch.observation, batch.goal)
        value = method.value(here)[0].numpy()
        log_prob = method.policy.log_prob(here, batch.action).numpy()
    returns = returns_by_hand(method, batch, 0.9, -50.0)
    assert losses["value"].item() == pytest.approx(((returns - value) ** 2).mean(), rel=1e-5)
    ahead = batch.steps_to_goal.numpy() > 0
    advantage = (returns - value)[ahead]
    weight = np.minimum(np.exp(advantage / advantage.std() / 0.8), 0.5)
    assert (weight == 0.5).any() and (weight < 0.5).any()
    expected = -(weight * log_prob[ahead]).sum() / 16
    assert losses["policy"].item() == pytest.approx(expected, rel=1e-4)
    share = weight.sum() ** 2 / ((weight**2).sum() * len(weight))
    assert metrics["policy/effective_sample_share"].item() == pytest.approx(share, rel=1e-4)
    assert metrics["policy/log_prob"].item() == pytest.approx(log_prob[ahead].mean(), rel=1e-4)


def test_a_goal_that_is_not_ahead_has_no_monte_carlo_return(random_batch: MakeBatch) -> None:
    """As if it had would be a return of 0 steps: V would say that every strange place is here."""
    batch = replace(random_batch(), steps_to_goal=-torch.ones(16))
    plain, mixed = make(td_lambda=0.0), make(td_lambda=1.0)
    torch.testing.assert_close(mixed.returns(batch), plain.returns(batch))
    losses, metrics = mixed.losses(batch)
    assert (
        losses["policy"].item() == 0 and torch.isfinite(torch.stack(list(metrics.values()))).all()
    )


def test_with_lambda_one_nothing_is_bootstrapped_where_the_goal_is_ahead(
    random_batch: MakeBatch,
) -> None:
    method, batch = make(td_lambda=1.0), random_batch()
    changed = replace(batch, next_observation=batch.next_observation + 1)
    before, after = method.returns(batch), method.returns(changed)
    ahead = batch.steps_to_goal >= 0
    torch.testing.assert_close(before[ahead], after[ahead])
    behind = ~ahead & (batch.mask > 0)
    assert behind.any() and (before[behind] != after[behind]).all()


OF_RETURN = {"next_observation", "goal", "reward", "discount", "mask", "steps_to_goal"}
INPUTS = {"value": {"observation"} | OF_RETURN, "policy": {"observation", "action"} | OF_RETURN}


@pytest.mark.parametrize("name", sorted(OF_RETURN | {"observation", "action", "actor_goal"}))
@pytest.mark.parametrize("loss", INPUTS)
def test_each_input_changes_the_losses_that_it_should_and_no_other(
    random_batch: MakeBatch, loss: str, name: str
) -> None:
    method, batch = make(), random_batch()
    changed = replace(batch, **{name: 0.5 * getattr(batch, name) + 0.1})
    before, after = (method.losses(b)[0][loss].item() for b in (batch, changed))
    assert (before != after) == (name in INPUTS[loss])


def test_standard_deviation_of_some() -> None:
    values, chosen = torch.tensor([1.0, 99.0, 4.0, -2.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    expected = np.std([1.0, 4.0, -2.0])
    assert standard_deviation(values, chosen).item() == pytest.approx(expected, rel=1e-6)
    assert standard_deviation(values, torch.zeros(4)).item() == 0


def drives(grid: Tensor | None) -> Batch:
    """From one place: 6 of 10 drives go left and need 4 steps, 4 go right and need 2."""
    number = torch.tensor([0] * 6 + [1] * 4)
    steps, ones = torch.tensor([4.0, 2.0])[number], torch.ones(10, 1)
    action = number if grid is not None else 2.0 * number[:, None] - 1
    one = ones[:, 0]
    return Batch(ones, action, ones, ones, ones, -one, 0.8 * one, one, steps)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_fixed_point_is_the_behaviour_times_exp_of_the_advantage(temperature: float) -> None:
    grid = torch.tensor([[-1.0], [1.0]])
    torch.manual_seed(0)
    config = AWRConfig(
        discount=0.8, td_lambda=1.0, temperature=temperature, normalise_advantage=False,
        learning_rate=1e-2, hidden=(16,), policy_dropout=0.0,
    )  # fmt: skip
    method = AWR(config, Spaces(1, 1, grid))
    learner, ones = Learner(method), torch.ones(1, 1)
    for step in range(400):
        learner.update(drives(grid), step)
    returns = np.array([-(1 + 0.8 + 0.64 + 0.512), -1.8])
    assert method.state_value(ones, ones).item() == pytest.approx(returns @ [0.6, 0.4], abs=0.02)
    fixed_point = np.array([0.6, 0.4]) * np.exp(returns / temperature)
    with torch.no_grad():
        learned = method.policy.log_probs(method.features(ones, ones)).exp()[0].numpy()
    np.testing.assert_allclose(learned, fixed_point / fixed_point.sum(), atol=0.01)


def test_the_defaults_prefer_the_faster_way() -> None:
    """Imitation would take the mean of both, -0.2; the mean action must turn to the faster."""
    torch.manual_seed(0)
    config = AWRConfig(discount=0.8, learning_rate=1e-2, hidden=(16,), policy_dropout=0.0)
    learner = Learner(AWR(config, Spaces(1, 1)))
    for step in range(300):
        learner.update(drives(None), step)
    assert learner.act(torch.ones(1, 1), torch.ones(1, 1)).item() > 0.3


@pytest.mark.parametrize("td_lambda", [0.0, 0.9])
def test_values_of_the_chain_are_the_fixed_point_of_their_targets(chain, td_lambda: float) -> None:  # type: ignore[no-untyped-def]
    """Where a drive comes to the goal its return counts, where none does what follows."""
    config = AWRConfig(
        discount=chain.discount, td_lambda=td_lambda, learning_rate=3e-3, hidden=(32, 32),
        target_update_rate=0.1, policy_dropout=0.0,
    )  # fmt: skip
    method = chain.learn(config, 350)
    values = np.zeros((chain.places, chain.places))
    for _ in range(200):
        targets = np.zeros((chain.places, chain.places, 2))
        for place, action, following in chain.moves:
            for goal in range(chain.places):
                ahead = (goal - place) * action
                target = -1 + chain.discount * values[following, goal]
                if ahead > 0:
                    straight = -sum(chain.discount**k for k in range(ahead))
                    target = td_lambda * straight + (1 - td_lambda) * target
                targets[place, goal, (action + 1) // 2] = 0 if place == goal else target
        values = targets.mean(-1)
    if td_lambda == 0:
        np.testing.assert_allclose(values, chain.behaviour_values(), atol=1e-6)
    assert np.abs(chain.values(method) - values).max() < 0.25
    toward = chain.actions(method) * chain.direction
    assert toward[chain.direction != 0].min() > 0.5
