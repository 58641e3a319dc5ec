"""Conservative Q-learning: its losses by hand, its bounds, and its fixed points on a chain."""

import math
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.cql import CQL, CQLConfig, sampled_log_integral_exp
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Method, Spaces
from nav_offrl.networks.heads import GoalCritic

from .conftest import Chain

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]
GRID = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
TABLE = np.array([[0.0, -1.0, 0.5], [0.3, -2.0, 0.1]])  # Q of the twins, whatever the state
TARGET = np.array([[-0.5, -3.0, -0.2], [-0.1, -1.0, -0.4]])


class Bowl(GoalCritic):
    """Q(s, a, g) = -k (a - c)^2, with k of its own for each twin: (1, 2), whatever the state."""

    def __init__(self, centre: float) -> None:
        super().__init__(4, 1, (4,))
        self.centre = nn.Parameter(torch.tensor(centre))
        self.steepness = torch.tensor([1.0, 2.0])

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        return self.of_actions(features, action[None])[:, 0]

    def of_actions(self, features: Tensor, actions: Tensor) -> Tensor:
        return -self.steepness[:, None, None] * (actions[..., 0] - self.centre).square()


def set_table(critic: nn.Module, table: NDArray[np.float64]) -> None:
    last = critic.network.last
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.from_numpy(table)[:, None].float())


def tabular(**changes: object) -> CQL:
    """Three actions, whose values no state moves; returns lie in [-2, 0]."""
    spaces = Spaces(4, 2, GRID, return_bounds=(-2.0, 0.0))
    method = CQL(CQLConfig(hidden=(4,), conservative_weight=0.7, **changes), spaces)  # type: ignore[arg-type]
    set_table(method.critic, TABLE)
    set_table(method.target_critic, TARGET)
    return method


def bowls(**changes: object) -> CQL:
    torch.manual_seed(0)
    method = CQL(CQLConfig(hidden=(4,), **changes), Spaces(4, 1))  # type: ignore[arg-type]
    method.critic, method.target_critic = Bowl(0.4), Bowl(-0.2)
    return method


def scalar_actions(batch: Batch) -> Batch:
    return replace(batch, action=batch.action[:, :1])


def expected_td_error(batch: Batch) -> NDArray[np.float64]:
    """Of each twin: the greedy value of the lower target twin is -0.4."""
    target = np.clip(batch.reward.numpy() + 0.98 * batch.mask.numpy() * -0.4, -2.0, 0.0)
    return np.square(TABLE[:, batch.action.numpy()] - target).mean(-1)


def test_the_soft_bound_by_hand(random_batch: MakeBatch) -> None:
    batch = random_batch(actions=3)
    loss, metrics = tabular().critic_loss(batch)
    soft = np.log(np.exp(TABLE).sum(1))
    gap = soft - TABLE[:, batch.action.numpy()].mean(-1)
    expected = expected_td_error(batch) + 0.7 * gap
    assert loss.item() == pytest.approx(expected.sum(), rel=1e-5)
    assert metrics["critic/gap"].item() == pytest.approx(gap.mean(), rel=1e-5)


@pytest.mark.parametrize("bound", ["basic", "better"])
def test_the_hard_bounds_by_hand(bound: str, random_batch: MakeBatch) -> None:
    """The policy is greedy by the lower twin: its action is the third, worth 0.5 and 0.1."""
    batch = random_batch(actions=3)
    pushed = TABLE[:, 2]
    pulled = TABLE[:, batch.action.numpy()].mean(-1) if bound == "better" else 0.0
    expected = expected_td_error(batch) + 0.7 * (pushed - pulled)
    assert tabular(bound=bound).critic_loss(batch)[0].item() == pytest.approx(expected.sum())


def test_the_gap_moves_the_critic_by_softmax_minus_data(random_batch: MakeBatch) -> None:
    """A regulariser that did nothing would pass every test of shapes."""
    batch, method = random_batch(actions=3), tabular()
    method.critic_loss(batch)[1]["critic/gap"].backward()
    data = np.bincount(batch.action.numpy(), minlength=3) / len(batch)
    softmax = np.exp(TABLE) / np.exp(TABLE).sum(1, keepdims=True)
    gradient = method.critic.network.last.bias.grad
    np.testing.assert_allclose(gradient[:, 0].numpy(), (softmax - data) / 2, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_importance_sampling_matches_quadrature(temperature: float) -> None:
    """In one dimension, from two proposals of which one misses half of the integrand's mass."""
    generator = torch.Generator().manual_seed(0)
    count, rows = 50_000, 3
    uniform = 2 * torch.rand(count, rows, generator=generator) - 1
    right = torch.rand(count, rows, generator=generator).sqrt()  # density 2a on [0, 1]
    left = -torch.rand(count, rows, generator=generator).sqrt()
    mixed = torch.where(torch.rand(count, rows, generator=generator) < 0.5, left, right)
    action = torch.cat([uniform, mixed])
    density = torch.cat([torch.full_like(uniform, 0.5), mixed.abs()])
    centres = (-0.5, 0.0, 0.8)
    waves = temperature * torch.cos(3 * (action - torch.tensor(centres)))
    value = torch.stack([waves, -action.square()])
    found = sampled_log_integral_exp(value, density.log())
    grid = np.linspace(-1, 1, 10_001)
    exact = np.stack(
        [
            [np.trapezoid(np.exp(temperature * np.cos(3 * (grid - c))), grid) for c in centres],
            [np.trapezoid(np.exp(-np.square(grid)), grid)] * rows,
        ]
    )
    np.testing.assert_allclose(found.numpy(), np.log(exact), atol=0.02)


def test_the_whole_soft_maximum_matches_quadrature(random_batch: MakeBatch) -> None:
    """Uniform, pi(.|s) and pi(.|s'), their densities and their number, as the method puts them."""
    method, batch = bowls(sampled_actions=20_000), scalar_actions(random_batch())
    here = method.features(batch.observation, batch.goal)
    following = method.features(batch.next_observation, batch.goal)
    values = method.sampled_values(here, following, batch)
    grid = np.linspace(-1, 1, 10_001)
    exact = [np.log(np.trapezoid(np.exp(-k * (grid - 0.4) ** 2), grid)) for k in (1.0, 2.0)]
    np.testing.assert_allclose(
        values.pushed.detach().numpy(), np.repeat(exact, 16).reshape(2, 16), atol=0.05
    )
    data = -np.array([[1.0], [2.0]]) * (batch.action[:, 0].numpy() - 0.4) ** 2
    np.testing.assert_allclose(values.data.detach().numpy(), data, rtol=1e-4, atol=1e-6)


def test_the_target_is_one_action_of_the_policy_or_the_best_of_several() -> None:
    actions = torch.tensor([[[0.8], [-0.2]], [[-0.2], [0.3]]])
    log_prob = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    features = torch.zeros(2, 4)
    one = bowls().backup(features, actions, log_prob)
    best = bowls(max_target_backup=True).backup(features, actions, log_prob)
    soft = bowls(entropy_in_backup=True).backup(features, actions, log_prob)
    # The lower twin is the steep one: -2 (a + 0.2)^2.
    torch.testing.assert_close(one, torch.tensor([-2.0, 0.0]))
    torch.testing.assert_close(best, torch.tensor([0.0, 0.0]))
    torch.testing.assert_close(soft, torch.tensor([-2.1, -0.2]))


def test_the_policy_climbs_the_lower_critic_and_keeps_its_entropy(random_batch: MakeBatch) -> None:
    method, batch = bowls(), scalar_actions(random_batch())
    there = method.features(batch.observation, batch.actor_goal)
    with torch.no_grad():
        method.temperature.log_value.fill_(math.log(0.5))
    torch.manual_seed(3)
    action, log_prob = method.policy.sample(there)
    torch.manual_seed(3)
    loss, metrics = method.policy_loss(method.policy, batch)
    expected = 0.5 * log_prob + 2 * (action[..., 0] - 0.4).square()
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-5)
    assert metrics["policy/entropy"].item() == pytest.approx(-log_prob.mean().item(), rel=1e-5)


@pytest.mark.parametrize(("entropy", "sign"), [(-3.0, -1), (2.0, 1)])
def test_the_temperature_rises_where_the_entropy_is_too_low(entropy: float, sign: int) -> None:
    method = bowls()
    method.temperature_loss(torch.tensor(entropy)).backward()
    # One action dimension: the target is -1, and the gradient is descended.
    assert method.temperature.log_value.grad.item() == pytest.approx(entropy + 1)
    assert math.copysign(1, method.temperature.log_value.grad.item()) == sign


@pytest.mark.parametrize(("threshold", "rises"), [(-50.0, True), (50.0, False)])
def test_alpha_follows_the_gap_and_stays_in_its_range(
    threshold: float, rises: bool, random_batch: MakeBatch
) -> None:
    method = tabular(lagrange_threshold=threshold, multiplier_learning_rate=2.0)
    learner, batch, start = Learner(method), random_batch(actions=3), method.multiplier().item()
    learner.update(batch, 0)
    assert (method.multiplier().item() > start) == rises
    for step in range(1, 15):
        learner.update(batch, step)
    limit = 1e6 if rises else 1e-4
    assert method.multiplier().item() == pytest.approx(limit, rel=1e-4)


def test_alpha_comes_back_from_the_end_of_its_range() -> None:
    """A clamp inside the loss would have no gradient there."""
    method = tabular(lagrange_threshold=1.0)
    with torch.no_grad():
        method.multiplier.log_value.fill_(100.0)
    method.after_step()
    method.multiplier.loss(torch.tensor(-3.0)).backward()
    assert method.multiplier.log_value.grad.item() == pytest.approx(3e6, rel=1e-4)


def test_the_basic_bound_has_no_gap_to_hold() -> None:
    with pytest.raises(ValidationError, match="basic"):
        CQLConfig(bound="basic", lagrange_threshold=1.0)


INPUTS_OF_CRITIC = {"observation", "action", "next_observation", "goal", "reward", "discount"}
INPUTS_OF_CRITIC |= {"mask"}


@pytest.mark.parametrize("name", [f.name for f in fields(Batch) if "subgoal" not in f.name])
def test_each_input_changes_the_losses_that_it_should(name: str, random_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    method, batch = CQL(CQLConfig(hidden=(8,)), Spaces(4, 2)), random_batch()

    def losses(changed: Batch) -> tuple[float, float]:
        torch.manual_seed(1)
        critic = method.critic_loss(changed)[0].item()
        torch.manual_seed(1)
        return critic, method.policy_loss(method.policy, changed)[0].item()

    before, after = losses(batch), losses(replace(batch, **{name: getattr(batch, name) * 0.5}))
    assert (before[0] != after[0]) == (name in INPUTS_OF_CRITIC)
    assert (before[1] != after[1]) == (name in {"observation", "actor_goal"})


# On the chain every action of every place is in the log equally often, so that the tabular fixed
# point of each bound is known: Q = y - alpha (mu - pi_beta) / (2 pi_beta), with pi_beta = 1/2.
ALPHA = 0.3


def fixed_point(chain: Chain, bound: str) -> NDArray[np.float64]:
    """Q(place, goal, action) of the bound, with mu the greedy policy or the softmax."""
    places = np.arange(chain.places)
    following = np.stack([np.maximum(places - 1, 0), np.minimum(places + 1, chain.places - 1)], 1)
    arrived = np.eye(chain.places, dtype=bool)[..., None]
    q = np.zeros((chain.places, chain.places, 2))
    for _ in range(2000):
        ahead = -1 + chain.discount * q.max(-1)[following].swapaxes(1, 2)
        y = np.where(arrived, 0.0, ahead).clip(chain.floor, 0)
        if bound == "max_entropy":
            mu = np.exp(q) / np.exp(q).sum(-1, keepdims=True)
        else:
            mu = (q == q.max(-1, keepdims=True)).astype(float)
            mu /= mu.sum(-1, keepdims=True)
        pulled = 0.0 if bound == "basic" else 0.5
        q += 0.1 * (y - ALPHA * (mu - pulled) - q)
    return q


def value_of_policy(chain: Chain, method: Method) -> NDArray[np.float64]:
    """The true V of what the method does, by solving for it goal by goal."""
    action = chain.actions(method).sign().long().reshape(chain.places, chain.places).numpy()
    values = np.zeros((chain.places, chain.places))
    for goal in range(chain.places):
        transition = np.zeros((chain.places, chain.places))
        for place in set(range(chain.places)) - {goal}:
            to = min(max(place + action[place, goal], 0), chain.places - 1)
            transition[place, to] = 1
        reward = np.where(np.arange(chain.places) == goal, 0.0, -1.0)
        values[:, goal] = np.linalg.solve(np.eye(len(reward)) - chain.discount * transition, reward)
    return values


def learn(chain: Chain, *, discrete: bool, steps: int, **changes: object) -> CQL:
    config = CQLConfig(
        discount=chain.discount,
        learning_rate=3e-3,
        policy_learning_rate=3e-3,
        target_update_rate=0.1,
        hidden=(32, 32),
        **changes,  # type: ignore[arg-type]
    )
    method = chain.learn(config, steps, discrete=discrete)
    assert isinstance(method, CQL)
    return method


@pytest.mark.parametrize("bound", ["basic", "better", "max_entropy"])
def test_values_are_the_fixed_point_and_below_those_of_the_policy(bound: str, chain: Chain) -> None:
    method = learn(chain, discrete=True, steps=350, bound=bound, conservative_weight=ALPHA)
    with torch.no_grad():
        q = method.critic.of_every_action(method.features(chain.here, chain.goal)).mean(0)
    learned = q.reshape(chain.places, chain.places, 2).numpy()
    expected = fixed_point(chain, bound)
    away = ~np.eye(chain.places, dtype=bool)  # at the goal the two actions tie
    assert np.abs(learned - expected)[away].max() < 0.3
    true = value_of_policy(chain, method)
    estimated = chain.values(method)
    assert (estimated - true)[away].max() < 0.05, "the policy's value is no lower bound"
    assert (estimated - true)[away].mean() < -0.1
    if bound == "basic":
        assert (learned.max(-1) - true)[away].max() < 0.05


def test_an_action_outside_the_log_is_never_taken(broken_chain: Chain) -> None:
    """Nobody ever went from 3 to 4, though that is the way to goals 4 to 6."""
    method = learn(broken_chain, discrete=True, steps=200)
    with torch.no_grad():
        q = method.critic.of_every_action(method.features(broken_chain.here, broken_chain.goal))
    left, right = q.amin(0).reshape(7, 7, 2)[3].unbind(-1)
    assert bool((right < left - 0.5).all())


def test_continuous_actions_find_every_goal_with_values_below_the_true_ones(chain: Chain) -> None:
    method = learn(chain, discrete=False, steps=300, conservative_weight=0.1, sampled_actions=4)
    ahead = chain.direction != 0
    assert bool((chain.actions(method) * chain.direction > 0)[ahead].all())
    away = ~np.eye(chain.places, dtype=bool)
    values, exact = chain.values(method)[away], chain.exact_values()[away]
    assert (values - exact).max() < 0, "the policy's value is no lower bound"
    assert np.corrcoef(values, exact)[0, 1] > 0.8, "values have sunk until they say nothing"
