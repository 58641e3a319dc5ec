"""BEAR: the MMD, its effect on the policy, target and executed action, and the threshold."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.bear import BEAR, BEARConfig, mmd
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces

MakeBatch = Callable[..., Batch]


def make(bounds: tuple[float, float] = (-50.0, 0.0), warmup: int = 0, **changes: object) -> BEAR:
    torch.manual_seed(0)
    config = BEARConfig(hidden=(16, 16), warmup_steps=warmup, **changes)  # type: ignore[arg-type]
    method = BEAR(config, Spaces(4, 2, return_bounds=bounds))
    for target in (method.target_policy, method.target_critic):
        for parameter in target.parameters():
            # A target that is the online network would hide a mix-up of the two.
            parameter.add_(0.3 * torch.randn_like(parameter))
    return method


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_mmd_by_hand(kernel: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3, 2)), rng.normal(0.5, 2, size=(5, 3, 2))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        power = np.abs(a - b).sum() if kernel == "laplacian" else ((a - b) ** 2).sum()
        return float(np.exp(-power / (2 * 1.5)))

    expected = []
    for row in range(3):
        within_x = np.mean([k(a, b) for a in x[:, row] for b in x[:, row]])
        within_y = np.mean([k(a, b) for a in y[:, row] for b in y[:, row]])
        between = np.mean([k(a, b) for a in x[:, row] for b in y[:, row]])
        expected.append(np.sqrt(within_x + within_y - 2 * between + 1e-6))
    found = mmd(torch.from_numpy(x), torch.from_numpy(y), kernel, 1.5)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_slope_of_the_mmd_by_hand() -> None:
    """Of single actions x > y it is k / (2 sigma MMD), with MMD^2 = 2 - 2 k + 1e-6."""
    x = torch.full((1, 1, 1), 0.9, requires_grad=True)
    mmd(x, torch.full((1, 1, 1), 0.2), "laplacian", 2.0).sum().backward()
    k = np.exp(-0.7 / 4)
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(k / (4 * np.sqrt(2 - 2 * k + 1e-6)), rel=1e-4)


def test_the_mmd_and_its_slope_are_finite_where_the_policies_agree() -> None:
    x = torch.zeros(4, 2, 2, requires_grad=True)
    distance = mmd(x, torch.zeros(4, 2, 2), "gaussian", 20.0)
    distance.sum().backward()
    assert x.grad is not None and torch.isfinite(distance).all() and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_few_samples_match_supports_and_many_match_distributions(kernel: str) -> None:
    """Behaviour: evenly over [-1, 1]. Pi: the same; a narrow one inside; a narrow one outside."""
    torch.manual_seed(0)

    def distance(samples: int, centre: float, spread: float) -> float:
        behaviour = 2 * torch.rand(samples, 200, 1) - 1
        policy = centre + spread * (2 * torch.rand(samples, 200, 1) - 1)
        return mmd(policy, behaviour, kernel, 1.0).mean().item()  # type: ignore[arg-type]

    few, many = (
        [distance(n, *shape) for shape in ((0.0, 1.0), (0.3, 0.2), (2.0, 0.2))] for n in (4, 100)
    )
    # The same distribution and a part of its support look alike to few samples ...
    assert few[1] < 1.3 * few[0] and few[2] > 2 * few[1]
    # ... and not to many.
    assert many[1] > 2 * many[0]


def gradient(loss: Tensor, module: nn.Module) -> Tensor:
    gradients = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)
    return torch.cat([g.reshape(-1) for g in gradients])


def test_the_constraint_moves_the_policy_by_alpha_times_its_own_gradient(
    random_batch: MakeBatch,
) -> None:
    """And so does the sum of all losses: what raises alpha must not push the policy back."""
    method, batch = make(), random_batch()
    found = []
    for log_alpha in (0.0, np.log(3.0)):
        with torch.no_grad():
            method.multiplier.log_value.fill_(log_alpha)
        torch.manual_seed(3)
        losses, _ = method.losses(batch)
        found.append(gradient(sum(losses.values(), torch.zeros(())), method.policy))
    torch.manual_seed(3)
    method.critic_loss(batch)
    method.behaviour_loss(batch)
    _, distance, _ = method.policy_loss(batch)
    own = gradient(distance, method.policy)
    assert own.norm() > 0.01
    torch.testing.assert_close(found[1] - found[0], 2 * own, rtol=1e-2, atol=1e-5)


def test_each_loss_reaches_its_group_alone_after_the_warm_up(random_batch: MakeBatch) -> None:
    method = make()
    losses, _ = method.losses(random_batch())
    groups = method.parameter_groups()
    assert set(losses) == set(groups) == {"critic", "behaviour", "policy", "dual"}
    for name, loss in losses.items():
        for group, members in groups.items():
            gradients = torch.autograd.grad(
                loss, members.parameters, retain_graph=True, allow_unused=True
            )
            moved = any(g is not None and bool(g.any()) for g in gradients)
            assert moved == (name == group), f"loss '{name}' and group '{group}'"


def test_critic_loss_by_hand(random_batch: MakeBatch) -> None:
    """The best of N actions by 3/4 of the lower and 1/4 of the upper twin."""
    method, batch = make((-1.4, 0.0), target_actions=5), random_batch()
    torch.manual_seed(3)
    loss, _ = method.critic_loss(batch)
    with torch.no_grad():
        after = method.features(batch.next_observation, batch.goal)
        torch.manual_seed(3)
        actions, _ = method.target_policy.sample(after, 5)
        twins = np.stack([method.target_critic(after, a).numpy() for a in actions])
        q = method.critic(method.features(batch.observation, batch.goal), batch.action).numpy()
    best = (0.75 * twins.min(1) + 0.25 * twins.max(1)).max(0)
    raw = batch.reward.numpy() + 0.98 * batch.mask.numpy() * best
    target = np.clip(raw, -1.4, 0)
    assert (raw != target).any()
    assert loss.item() == pytest.approx(((q - target) ** 2).mean(1).sum(), rel=1e-5)


@pytest.mark.parametrize("sees_goal", [False, True])
def test_policy_loss_by_hand(random_batch: MakeBatch, sees_goal: bool) -> None:
    method, batch = (
        make(behaviour_sees_goal=sees_goal, mmd_samples=3, kernel_scale=1.0),
        random_batch(),
    )
    with torch.no_grad():
        method.multiplier.log_value.fill_(0.5)
    torch.manual_seed(3)
    loss, _, metrics = method.policy_loss(batch)
    with torch.no_grad():
        there = method.features(batch.observation, batch.actor_goal)
        torch.manual_seed(3)
        mean, log_std = method.policy.mean_and_log_std(there)
        before = mean + log_std.exp() * torch.randn(3, 16, 2)
        seen = there if sees_goal else batch.observation
        distance = mmd(before, method.behaviour.sample(seen, 3), "laplacian", 1.0).mean().item()
        q = np.mean([method.critic(there, torch.tanh(a)).numpy().min(0) for a in before])
    assert metrics["policy/divergence"].item() == pytest.approx(distance, rel=1e-5)
    assert loss.item() == pytest.approx(np.exp(0.5) * (distance - 0.05) - q, rel=1e-4)


OF_TARGET = {"next_observation", "goal", "reward", "discount", "mask"}
INPUTS = {
    "behaviour": {"observation", "action"},
    "policy": {"observation", "actor_goal"},
    "critic": {"observation", "action"} | OF_TARGET,
}


@pytest.mark.parametrize("name", sorted(set.union(*INPUTS.values())))
@pytest.mark.parametrize("sees_goal", [False, True])
def test_each_input_changes_the_losses_that_it_should_and_no_other(
    random_batch: MakeBatch, name: str, sees_goal: bool
) -> None:
    method, batch = make(behaviour_sees_goal=sees_goal), random_batch()
    changed = replace(batch, **{name: 0.5 * getattr(batch, name) + 0.1})
    values = []
    for each in (batch, changed):
        torch.manual_seed(3)
        values.append({key: loss.item() for key, loss in method.losses(each)[0].items()})
    for loss, inputs in INPUTS.items():
        used = inputs | ({"actor_goal"} if sees_goal and loss == "behaviour" else set())
        assert (values[0][loss] != values[1][loss]) == (name in used), loss


def test_the_best_of_the_sampled_actions_is_executed(random_batch: MakeBatch) -> None:
    method, batch = make(act_samples=20).eval(), random_batch()
    with torch.no_grad():
        features = method.features(batch.observation, batch.goal)
        mean, log_std = method.policy.mean_and_log_std(features)
        each = [torch.tanh(mean + log_std.exp() * noise) for noise in method.noise]
        q = np.stack([method.critic(features, action).numpy().min(0) for action in each])
        by_hand = torch.stack([each[best][row] for row, best in enumerate(q.argmax(0))])
        torch.testing.assert_close(method.act(batch.observation, batch.goal), by_hand)
        value = method.state_value(batch.observation, batch.goal)
    assert len(set(q.argmax(0))) > 1
    np.testing.assert_allclose(value, q.max(0), rtol=1e-5)


def test_the_noise_of_acting_is_the_same_in_every_run() -> None:
    torch.manual_seed(1)
    first = BEAR(BEARConfig(hidden=(8,)), Spaces(4, 2)).noise
    assert torch.equal(first, make().noise) and "noise" in make().state_dict()


def test_in_the_warm_up_the_policy_minimises_the_mmd_alone(random_batch: MakeBatch) -> None:
    method, batch = make(warmup=2), random_batch()
    learner = Learner(method)
    for step in range(3):
        torch.manual_seed(step)
        loss, distance, _ = method.policy_loss(batch)
        assert torch.equal(loss, distance) == (step < 2)
        assert ("dual/loss" in learner.update(batch, step)) == (step >= 2)


def learn_bandit(bandit: Batch, threshold: float, steps: int) -> tuple[BEAR, float]:
    torch.manual_seed(0)
    config = BEARConfig(
        hidden=(32,), learning_rate=3e-3, dual_learning_rate=0.03, warmup_steps=150,
        kernel_scale=1.0, vae_kl_weight=0.01, mmd_threshold=threshold,
    )  # fmt: skip
    method = BEAR(config, Spaces(1, 1))
    learner = Learner(method)
    seen = [learner.update(bandit, step)["policy/divergence"].item() for step in range(steps)]
    return method.eval(), float(np.mean(seen[-100:]))


def test_the_threshold_holds_where_the_critic_tempts_the_policy_out_of_the_data(
    bandit: Batch,
) -> None:
    """Actions lie in [-0.8, 0], rewards rise with them; the best of all is one nobody took."""
    free, far = learn_bandit(bandit, 100.0, 350)
    bound, near = learn_bandit(bandit, 0.2, 500)
    there = free.features(torch.ones(1, 1), torch.ones(1, 1))
    assert far > 0.6 and free.policy(there).item() > 0.8
    assert near < 0.22 and -0.4 < bound.policy(there).item() < -0.1


def test_chain_values_and_directions(chain) -> None:  # type: ignore[no-untyped-def]
    config = BEARConfig(
        discount=chain.discount, learning_rate=3e-3, hidden=(32, 32), target_update_rate=0.1,
        warmup_steps=50, mmd_threshold=0.5, act_samples=20,
    )  # fmt: skip
    method = chain.learn(config, 300)
    toward = chain.actions(method) * chain.direction
    assert toward[chain.direction != 0].min() > 0.2
    error = np.abs(chain.values(method) - chain.exact_values())
    elsewhere = error[~np.eye(chain.places, dtype=bool)]
    assert elsewhere.max() < 0.8 and elsewhere.mean() < 0.3
