"""AWAC: its losses by hand, its weights, and its fixed point pi_beta exp(A / lambda) / Z."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nav_offrl.algorithms.awac import AWAC, AWACConfig
from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces

MakeBatch = Callable[..., Batch]
GRID = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


def make(
    grid: Tensor | None = None, bounds: tuple[float, float] = (-50.0, 0.0), **changes: object
) -> AWAC:
    torch.manual_seed(0)
    config = AWACConfig(hidden=(16, 16), policy_dropout=0.0, **changes)  # type: ignore[arg-type]
    method = AWAC(config, Spaces(4, 2, grid, return_bounds=bounds))
    for parameter in method.target_critic.parameters():
        # A target that is the online critic would hide a mix-up of the two.
        parameter.add_(0.3 * torch.randn_like(parameter))
    return method


def test_discrete_losses_by_hand(random_batch: MakeBatch) -> None:
    """V is the exact expectation of the lower twin over the policy's distribution."""
    method, batch = (
        make(GRID, (-1.1, 0.0), temperature=0.5, max_weight=1.5),
        random_batch(actions=3),
    )
    critic_loss, _ = method.critic_loss(batch)
    policy_loss, metrics = method.policy_loss(batch)
    with torch.no_grad():
        here = method.features(batch.observation, batch.goal)
        there = method.features(batch.observation, batch.actor_goal)
        after = method.features(batch.next_observation, batch.goal)
        next_q = method.target_critic.of_every_action(after).numpy().min(0)
        next_pi = np.exp(method.policy.log_probs(after).numpy())
        q_here = method.critic.of_every_action(here).numpy()
        q_there = method.critic.of_every_action(there).numpy().min(0)
        log_pi = method.policy.log_probs(there).numpy()
    rows, action = np.arange(16), batch.action.numpy()
    target = batch.reward.numpy() + 0.98 * batch.mask.numpy() * (next_pi * next_q).sum(1)
    target = np.clip(target, -1.1, 0.0)
    expected = sum(((q[rows, action] - target) ** 2).mean() for q in q_here)
    assert critic_loss.item() == pytest.approx(expected, rel=1e-5)
    advantage = q_there[rows, action] - (np.exp(log_pi) * q_there).sum(1)
    weight = np.minimum(np.exp(advantage / 0.5), 1.5)
    assert (weight == 1.5).any() and (weight < 1.5).any()
    assert policy_loss.item() == pytest.approx(-(weight * log_pi[rows, action]).mean(), rel=1e-5)
    assert metrics["policy/advantage"].item() == pytest.approx(advantage.mean(), rel=1e-4)


def test_continuous_losses_by_hand(random_batch: MakeBatch) -> None:
    """V is the mean of the lower twin over the policy's own actions."""
    method, batch = make(action_samples=3), random_batch()
    with torch.no_grad():
        method.policy.log_std.fill_(-1.0)

    def value_by_hand(critic: torch.nn.Module, features: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            mean = method.policy(features)
            torch.manual_seed(5)
            actions = (mean + np.exp(-1.0) * torch.randn(3, 16, 2)).clamp(-1, 1)
            each = [critic(features, action).numpy().min(0) for action in actions]
        return np.mean(each, 0)

    after = method.features(batch.next_observation, batch.goal)
    torch.manual_seed(5)
    _, metrics = method.critic_loss(batch)
    following = value_by_hand(method.target_critic, after)
    target = batch.reward.numpy() + 0.98 * batch.mask.numpy() * following
    assert metrics["critic/target"].item() == pytest.approx(np.minimum(target, 0).mean(), rel=1e-4)

    there = method.features(batch.observation, batch.actor_goal)
    torch.manual_seed(5)
    loss, _ = method.policy_loss(batch)
    with torch.no_grad():
        q = method.critic(there, batch.action).numpy().min(0)
        mean = method.policy(there).numpy()
    weight = np.minimum(np.exp((q - value_by_hand(method.critic, there)) / 0.3), 100.0)
    scaled = (batch.action.numpy() - mean) / np.exp(-1.0)
    log_prob = (-0.5 * scaled**2 + 1.0 - 0.5 * np.log(2 * np.pi)).sum(1)
    assert loss.item() == pytest.approx(-(weight * log_prob).mean(), rel=1e-4)


ADVANTAGE = torch.tensor([-2.0, 0.0, 1.0, 40.0])


def test_clipped_weights() -> None:
    weight = make(temperature=0.5, max_weight=10.0).weight(ADVANTAGE)
    torch.testing.assert_close(weight, torch.tensor([np.exp(-4.0), 1, np.exp(2.0), 10]).float())


def test_softmax_weights_average_one_and_keep_their_ratios() -> None:
    weight = make(weighting="softmax", temperature=0.5).weight(ADVANTAGE[:3])
    assert weight.mean().item() == pytest.approx(1.0)
    assert (weight[2] / weight[1]).item() == pytest.approx(np.exp(2.0), rel=1e-5)


def test_huge_advantages_stay_finite() -> None:
    for method in (make(), make(weighting="softmax"), make(normalise_advantage=True)):
        assert torch.isfinite(method.weight(1e6 * ADVANTAGE)).all()
        assert torch.isfinite(method.weight(torch.zeros(4))).all()


def test_normalised_advantages_make_the_scale_of_the_reward_irrelevant() -> None:
    method = make(normalise_advantage=True, temperature=1.0)
    torch.testing.assert_close(method.weight(ADVANTAGE), method.weight(50 * ADVANTAGE))
    by_hand = np.exp(ADVANTAGE.numpy() / ADVANTAGE.numpy().std())
    torch.testing.assert_close(method.weight(ADVANTAGE), torch.from_numpy(by_hand))


OF_TARGET = {"next_observation", "goal", "reward", "discount", "mask"}
INPUTS = {
    "critic_loss": {"observation", "action"} | OF_TARGET,
    "policy_loss": {"observation", "action", "actor_goal"},
}


@pytest.mark.parametrize("name", sorted(set.union(*INPUTS.values())))
@pytest.mark.parametrize("loss", INPUTS)
def test_each_input_changes_the_losses_that_it_should_and_no_other(
    random_batch: MakeBatch, loss: str, name: str
) -> None:
    method, batch = make(), random_batch()
    values = []
    for each in (batch, replace(batch, **{name: 0.5 * getattr(batch, name) + 0.1})):
        torch.manual_seed(3)
        values.append(getattr(method, loss)(each)[0].item())
    assert (values[0] != values[1]) == (name in INPUTS[loss])


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_policy_of_a_bandit_is_the_behaviour_times_exp_of_the_advantage(
    temperature: float,
) -> None:
    """Three actions taken 5, 3 and 2 times of 10, worth -1, 0 and -0.5."""
    action = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    reward, ones = torch.tensor([-1.0, 0.0, -0.5])[action], torch.ones(10, 1)
    batch = Batch(
        ones, action, ones, ones, ones, reward, ones[:, 0],
        mask=torch.zeros(10), steps_to_goal=-torch.ones(10),
    )  # fmt: skip
    torch.manual_seed(0)
    config = AWACConfig(
        temperature=temperature, learning_rate=1e-2, hidden=(16,), policy_dropout=0.0
    )
    method = AWAC(config, Spaces(1, 1, GRID[:, :1]))
    learner = Learner(method)
    for step in range(300):
        learner.update(batch, step)
    with torch.no_grad():
        learned = method.policy.log_probs(method.features(ones[:1], ones[:1])).exp()[0].numpy()
    fixed_point = np.array([0.5, 0.3, 0.2]) * np.exp(np.array([-1.0, 0.0, -0.5]) / temperature)
    np.testing.assert_allclose(learned, fixed_point / fixed_point.sum(), atol=0.01)


def fixed_point_of_chain(
    temperature: float, discount: float, places: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Iterate Q = r + gamma V and pi = pi_beta exp(Q / lambda) / Z over a table, goal by goal."""
    step = np.array([-1, 1])
    following = np.clip(np.arange(places)[:, None] + step, 0, places - 1)
    value = np.zeros((places, places))
    for _ in range(300):
        q = -1 + discount * value[following]  # (place, action, goal)
        odds = 0.5 * np.exp(q / temperature)
        policy = odds / odds.sum(1, keepdims=True)
        value = (policy * q).sum(1)
        np.fill_diagonal(value, 0.0)
    return value, policy[:, 1]


def test_the_chain_reaches_the_fixed_point_that_a_table_gives(chain) -> None:  # type: ignore[no-untyped-def]
    config = AWACConfig(
        discount=chain.discount, temperature=0.5, learning_rate=3e-3, hidden=(32, 32),
        target_update_rate=0.1, policy_dropout=0.0,
    )  # fmt: skip
    method = chain.learn(config, 400, discrete=True)
    value, right = fixed_point_of_chain(0.5, chain.discount, chain.places)
    elsewhere = ~np.eye(chain.places, dtype=bool)
    assert np.abs(chain.values(method) - value)[elsewhere].max() < 0.25
    with torch.no_grad():
        learned = method.policy.log_probs(method.features(chain.here, chain.goal)).exp()
    learned_right = learned[:, 1].reshape(chain.places, chain.places).numpy()
    assert np.abs(learned_right - right)[elsewhere].max() < 0.1


def test_continuous_actions_find_the_way_on_the_chain(chain) -> None:  # type: ignore[no-untyped-def]
    config = AWACConfig(
        discount=chain.discount, temperature=0.1, learning_rate=3e-3, hidden=(32, 32),
        target_update_rate=0.1, policy_dropout=0.0,
    )  # fmt: skip
    method = chain.learn(config, 300)
    toward = chain.actions(method) * chain.direction
    assert toward[chain.direction != 0].min() > 0.5
    error = np.abs(chain.values(method) - chain.exact_values())
    assert error[~np.eye(chain.places, dtype=bool)].max() < 0.6


def test_nobody_walks_where_the_log_never_did(broken_chain) -> None:  # type: ignore[no-untyped-def]
    """The weighted copy holds no action that is not in the data, whatever the critic says."""
    config = AWACConfig(
        discount=broken_chain.discount, temperature=0.1, learning_rate=3e-3, hidden=(32, 32),
        policy_dropout=0.0,
    )  # fmt: skip
    method = broken_chain.learn(config, 200, discrete=True)
    assert (broken_chain.actions(method).reshape(7, 7)[3] == -1).all()
