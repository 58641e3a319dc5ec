"""IQL's three losses, against numbers worked out by hand."""

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.iql import IQL, IQLConfig
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces

torch.set_num_threads(1)


class TableValue(nn.Module):
    """V[s, g]; pair features of latents (B, 1) begin with the numbers of state and goal."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))

    def forward(self, features: Tensor) -> Tensor:
        return self.table[features[:, 0].long(), features[:, 1].long()][None]


class TableCritic(nn.Module):
    """Q[member, s, g], whatever the action."""

    def __init__(self, table: list[list[list[float]]]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        return self.table[:, features[:, 0].long(), features[:, 1].long()]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


BATCH = Batch(
    observation=column(0, 1, 2),
    action=column(1.0, 0.0, -2.0),
    next_observation=column(1, 2, 0),
    goal=column(2, 1, 1),
    actor_goal=column(1, 2, 0),
    reward=torch.tensor([-1.0, 0.0, -1.0]),
    discount=torch.full((3,), 0.5),
    mask=torch.tensor([1.0, 0.0, 1.0]),
    steps_to_goal=torch.tensor([-1.0, 0.0, -1.0]),
)


@pytest.fixture
def tabular() -> IQL:
    """Three states, discount 1/2, a policy of mean 0 and standard deviation 1."""
    config = IQLConfig(discount=0.5, expectile=0.8, temperature=10.0, max_weight=100.0, hidden=(4,))
    iql = IQL(config, Spaces(1, 1, return_bounds=(-2.0, 0.0)))
    iql.value = TableValue([[0.0, -3.0, -1.0], [0.0, -1.0, -0.8], [-1.0, -2.5, 0.0]])
    iql.critic = TableCritic(
        [
            [[0.0, 0.0, -1.0], [0.0, -0.5, 0.0], [0.0, -2.0, 0.0]],
            [[0.0, 0.0, -1.2], [0.0, 0.25, 0.0], [0.0, -1.5, 0.0]],
        ]
    )
    iql.target_critic = TableCritic(
        [
            [[0.0, -2.9, -1.0], [0.0, -0.5, -0.4], [5.0, -2.0, 0.0]],
            [[0.0, -2.0, -1.5], [0.0, 0.0, -1.0], [2.0, -1.8, 0.0]],
        ]
    ).requires_grad_(False)
    for parameter in iql.policy.parameters():
        nn.init.zeros_(parameter)
    return iql


def here(iql: IQL, batch: Batch = BATCH) -> Tensor:
    return iql.features(batch.observation, batch.goal)


def test_value_loss_is_the_expectile_of_the_lower_target_critic(tabular: IQL) -> None:
    """The lower Q' is -1.5, -0.5, -2 and V is -1, -1, -2.5, so u = -0.5, 0.5, 0.5."""
    loss, metrics = tabular.value_loss(here(tabular), BATCH)
    assert loss.item() == pytest.approx((0.2 + 0.8 + 0.8) * 0.25 / 3)
    assert metrics["value/mean"].item() == pytest.approx(-1.5)


def test_critic_loss_bootstraps_from_v_stops_at_the_goal_and_clips(tabular: IQL) -> None:
    """Targets: -1 + 0.5 * -0.8; 0 at the goal, whatever V(s') is; -1 + 0.5 * -3 clipped to -2."""
    loss, metrics = tabular.critic_loss(here(tabular), BATCH)
    targets = np.array([-1.4, 0.0, -2.0])
    first, second = np.array([-1.0, -0.5, -2.0]), np.array([-1.2, 0.25, -1.5])
    expected = ((first - targets) ** 2).mean() + ((second - targets) ** 2).mean()
    assert loss.item() == pytest.approx(expected)
    assert metrics["critic/target"].item() == pytest.approx(targets.mean())


def test_a_positive_target_is_clipped_to_zero(tabular: IQL) -> None:
    with torch.no_grad():
        tabular.value.table.fill_(10.0)
    _, metrics = tabular.critic_loss(here(tabular), BATCH)
    assert metrics["critic/target"].item() == 0.0


def test_policy_loss_weighs_log_probability_by_the_clipped_advantage(tabular: IQL) -> None:
    """At the actor's goals A = -2.9+3, -1+0.8, 2+1: weights e, e^-2 and e^30 clipped to 100."""
    loss, metrics = tabular.policy_loss(BATCH)
    weight = np.array([np.exp(1.0), np.exp(-2.0), 100.0])
    log_prob = -0.5 * np.array([1.0, 0.0, -2.0]) ** 2 - 0.5 * np.log(2 * np.pi)
    assert loss.item() == pytest.approx(-(weight * log_prob).mean(), rel=1e-5)
    share = weight.sum() ** 2 / (3 * (weight**2).sum())
    assert metrics["policy/effective_sample_share"].item() == pytest.approx(share, rel=1e-5)
    assert metrics["policy/advantage"].item() == pytest.approx((0.1 - 0.2 + 3.0) / 3, rel=1e-5)


def test_a_huge_advantage_stays_finite(tabular: IQL) -> None:
    with torch.no_grad():
        tabular.target_critic.table.fill_(1e4)
    assert torch.isfinite(tabular.policy_loss(BATCH)[0])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # u = -0.5, 0.5, 0.5
        ("quantile", (0.2 * 0.5 + 0.8 * 0.5 + 0.8 * 0.5) / 3),
        ("exponential", (np.exp(-0.25) - 0.75 + 2 * (np.exp(0.25) - 1.25)) / 3),
    ],
)
def test_other_asymmetric_losses(tabular: IQL, loss: str, expected: float) -> None:
    tabular.config = tabular.config.model_copy(update={"value_loss": loss})
    found, _ = tabular.value_loss(here(tabular), BATCH)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "minimiser"),
    [
        # Of the values 0 (three times) and 1 (once), by hand: the expectile v solves
        # .9 (1 - v) = .1 * 3 v; the .9-quantile is 1; the soft maximum 2 log mean exp(q / 2).
        ("expectile", 0.75),
        ("quantile", 1.0),
        ("exponential", 2 * np.log((3 + np.exp(0.5)) / 4)),
    ],
)
def test_what_v_becomes_under_each_loss(tabular: IQL, loss: str, minimiser: float) -> None:
    changes = {"value_loss": loss, "expectile": 0.9, "exponential_scale": 2.0}
    tabular.config = tabular.config.model_copy(update=changes)
    values = torch.linspace(-0.5, 1.5, 2001)
    losses = tabular.asymmetric_loss(torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None] - values)
    assert values[losses.mean(0).argmin()].item() == pytest.approx(minimiser, abs=2e-3)


def test_ddpg_bc_climbs_q_in_units_of_its_size_and_stays_near_the_data() -> None:
    iql, batch = make_iql(extraction="ddpg_bc", behaviour_weight=0.7), random_batch()
    loss, _ = iql.policy_loss(batch)
    there = iql.features(batch.observation, batch.actor_goal)
    with torch.no_grad():
        mean = iql.policy(there)
        q = iql.critic(there, mean).amin(0).numpy()
        distance = ((batch.action - mean) ** 2).sum(1).numpy()
    log_prob = -0.5 * distance - np.log(2 * np.pi)
    expected = -q.mean() / np.abs(q).mean() - 0.7 * log_prob.mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def make_iql(**changes: object) -> IQL:
    torch.manual_seed(0)
    config = IQLConfig(hidden=(8,), policy_dropout=0.0, **changes)  # type: ignore[arg-type]
    iql = IQL(config, SPACES)
    # Target and online critic, as well as the twins, must differ for a mix-up to show.
    iql.target_critic.load_state_dict(IQL(config, SPACES).critic.state_dict())
    return iql


SPACES = Spaces(4, 2, return_bounds=(-50.0, 0.0))


def random_batch(seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    reached = (torch.arange(16) % 3 == 0).float()
    latents = [normal(16, 4) for _ in range(4)]
    return Batch(
        observation=latents[0],
        action=normal(16, 2).clamp(-1, 1),
        next_observation=latents[1],
        goal=latents[2],
        actor_goal=latents[3],
        reward=reached - 1,
        discount=torch.full((16,), 0.98),
        mask=1 - reached,
        steps_to_goal=torch.arange(16.0),
    )


def loss_of(iql: IQL, name: str, batch: Batch) -> Tensor:
    return iql.losses(batch)[0][name]


INPUTS_OF_LOSS = {
    "value": {"observation", "action", "goal"},
    "critic": {
        "observation", "action", "next_observation", "goal", "reward", "discount", "mask",
    },
    "policy": {"observation", "action", "actor_goal"},
}  # fmt: skip
NOT_OURS = {"subgoal", "actor_subgoal", "task"}
INPUTS = [field.name for field in fields(Batch) if field.name not in NOT_OURS]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("loss", INPUTS_OF_LOSS)
def test_each_input_changes_the_losses_that_it_should_and_no_other(loss: str, name: str) -> None:
    iql, batch = make_iql(), random_batch()
    changed = replace(batch, **{name: getattr(batch, name) * 0.5 + 0.1})
    before, after = (loss_of(iql, loss, b).item() for b in (batch, changed))
    assert (before != after) == (name in INPUTS_OF_LOSS[loss])


@pytest.mark.parametrize("rate", [0.005, 0.5])
def test_target_critic_moves_by_exactly_the_polyak_rate(rate: float) -> None:
    iql = make_iql(target_update_rate=rate)
    before = copy.deepcopy(iql.target_critic)
    Learner(iql).update(random_batch())
    triples = zip(
        iql.target_critic.parameters(),
        before.parameters(),
        iql.critic.parameters(),
        strict=True,
    )
    for new, old, online in triples:
        torch.testing.assert_close(new, (1 - rate) * old + rate * online)
        assert not torch.equal(new, old)


def test_target_critic_begins_as_the_critic() -> None:
    iql = IQL(IQLConfig(hidden=(8,), policy_dropout=0.0), SPACES)
    for target, online in zip(iql.target_critic.parameters(), iql.critic.parameters(), strict=True):
        assert torch.equal(target, online) and target is not online


def test_one_update_is_three_adam_steps_taken_apart() -> None:
    """One backward pass of the sum and flat memory must not change the arithmetic."""
    batch, joint, apart = random_batch(), make_iql(), make_iql()
    learner = Learner(joint)
    optimizers = {
        name: torch.optim.Adam(getattr(apart, name).parameters(), lr=apart.config.learning_rate)
        for name in ("value", "critic", "policy")
    }
    for number in range(3):
        learner.update(batch, number)
        losses = apart.losses(batch)[0]
        for name in optimizers:
            own = list(getattr(apart, name).parameters())
            gradients = torch.autograd.grad(losses[name], own, retain_graph=True)
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
        for optimizer in optimizers.values():
            optimizer.step()
        apart.after_step()
    for together, alone in zip(joint.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(together, alone)


def test_act_is_the_mean_of_the_policy() -> None:
    iql, batch = make_iql(), random_batch()
    action = iql.act(batch.observation, batch.goal)
    assert torch.equal(action, iql.policy(iql.features(batch.observation, batch.goal)))


def test_dropout_acts_while_learning_and_never_while_driving() -> None:
    iql, batch = IQL(IQLConfig(hidden=(8,), policy_dropout=0.5), SPACES), random_batch()
    features = iql.features(batch.observation, batch.goal)
    assert not torch.equal(iql.train().policy(features), iql.policy(features))
    learner = Learner(iql)
    first = learner.act(batch.observation, batch.goal)
    assert not first.requires_grad
    assert torch.equal(first, learner.act(batch.observation, batch.goal))


def test_defaults_are_no_plain_imitation() -> None:
    config = IQLConfig()
    assert config.expectile > 0.5 and config.temperature > 0 and config.max_weight > 1
