"""BRAC: its losses by hand, what the penalty moves, and how far from the data a policy may go."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.brac import BRAC, BRACConfig
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces

MakeBatch = Callable[..., Batch]


def make(bounds: tuple[float, float] = (-50.0, 0.0), warmup: int = 0, **changes: object) -> BRAC:
    torch.manual_seed(0)
    config = BRACConfig(hidden=(16, 16), warmup_steps=warmup, **changes)  # type: ignore[arg-type]
    method = BRAC(config, Spaces(4, 2, return_bounds=bounds))
    for parameter in method.target_critic.parameters():
        # A target that is the online critic would hide a mix-up of the two.
        parameter.add_(0.3 * torch.randn_like(parameter))
    return method


def sample(method: BRAC, features: Tensor, seed: int) -> tuple[Tensor, np.ndarray]:
    """Actions (N, B, A) of the policy, and the log density of a squashed Gaussian by hand."""
    mean, log_std = (x.detach() for x in method.policy.mean_and_log_std(features))
    torch.manual_seed(seed)
    before = mean + log_std.exp() * torch.randn(method.config.action_samples, *mean.shape)
    return torch.tanh(before), squashed_log_prob(before, mean, log_std)


def squashed_log_prob(before: Tensor, mean: Tensor, log_std: Tensor) -> np.ndarray:
    x, m, s = (t.double().numpy() for t in (before, mean, log_std.exp()))
    normal = -0.5 * ((x - m) / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)
    return (normal - np.log(1 - np.tanh(x) ** 2)).sum(-1)


def divergence_by_hand(
    method: BRAC, seen: Tensor, actions: Tensor, log_pi: np.ndarray
) -> np.ndarray:
    mean, log_std = (x.detach() for x in method.behaviour.mean_and_log_std(seen))
    return (log_pi - squashed_log_prob(torch.atanh(actions.double()), mean, log_std)).mean(0)


@pytest.mark.parametrize("regularisation", ["value", "policy"])
@pytest.mark.parametrize("sees_goal", [False, True])
def test_losses_by_hand(random_batch: MakeBatch, regularisation: str, sees_goal: bool) -> None:
    method = make(
        (-3.0, -0.5), regularisation=regularisation, behaviour_sees_goal=sees_goal,
        divergence_weight=0.7,
    )  # fmt: skip
    batch = random_batch()
    there = method.features(batch.observation, batch.actor_goal)
    after = method.features(batch.next_observation, batch.goal)

    torch.manual_seed(3)
    loss, _, metrics = method.policy_loss(batch)
    actions, log_pi = sample(method, there, 3)
    with torch.no_grad():
        q = np.mean([method.critic(there, a).numpy().min(0) for a in actions], 0)
    divergence = divergence_by_hand(
        method, there if sees_goal else batch.observation, actions, log_pi
    )
    assert loss.item() == pytest.approx(0.7 * divergence.mean() - q.mean(), rel=1e-4)
    assert metrics["policy/divergence"].item() == pytest.approx(divergence.mean(), rel=1e-4)

    torch.manual_seed(4)
    loss, metrics = method.critic_loss(batch)
    actions, log_pi = sample(method, after, 4)
    with torch.no_grad():
        value = np.mean([method.target_critic(after, a).numpy().min(0) for a in actions], 0)
        q = method.critic(method.features(batch.observation, batch.goal), batch.action).numpy()
    if regularisation == "value":
        seen = after if sees_goal else batch.next_observation
        value = value - 0.7 * divergence_by_hand(method, seen, actions, log_pi)
    target = batch.reward.numpy() + 0.98 * batch.mask.numpy() * value
    assert target.max() > -0.5 and (regularisation == "policy" or target.min() < -3)
    target = np.clip(target, -3 if regularisation == "policy" else -np.inf, -0.5)
    assert loss.item() == pytest.approx(((q - target) ** 2).mean(1).sum(), rel=1e-4)


@pytest.mark.parametrize("sees_goal", [False, True])
def test_the_behaviour_is_learned_by_maximum_likelihood(
    random_batch: MakeBatch, sees_goal: bool
) -> None:
    method, batch = make(behaviour_sees_goal=sees_goal), random_batch()
    seen = method.features(batch.observation, batch.actor_goal) if sees_goal else batch.observation
    mean, log_std = (x.detach() for x in method.behaviour.mean_and_log_std(seen))
    log_prob = squashed_log_prob(torch.atanh(batch.action.double()), mean, log_std)
    assert method.behaviour_loss(batch).item() == pytest.approx(-log_prob.mean(), rel=1e-4)


def test_samples_estimate_the_divergence_of_two_gaussians(random_batch: MakeBatch) -> None:
    """Squashing both changes no divergence, so that of the Gaussians is known in closed form."""
    method, batch = make(action_samples=4000), random_batch()
    there = method.features(batch.observation, batch.actor_goal)
    with torch.no_grad():
        actions, log_prob = method.policy.sample(there, 4000)
        estimate = method.divergence(batch.observation, actions, log_prob)
    np.testing.assert_allclose(estimate, closed_form_divergence(method, batch), atol=0.1)


def closed_form_divergence(method: BRAC, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        there = method.features(batch.observation, batch.actor_goal)
        m, s = (x.double().numpy() for x in method.policy.mean_and_log_std(there))
        seen = method.seen_by_behaviour(batch.observation, batch.actor_goal)
        n, t = (x.double().numpy() for x in method.behaviour.mean_and_log_std(seen))
    return (t - s + (np.exp(2 * s) + (m - n) ** 2) / (2 * np.exp(2 * t)) - 0.5).sum(-1)


def gradient(loss: Tensor, module: nn.Module) -> Tensor:
    gradients = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)
    return torch.cat([g.reshape(-1) for g in gradients])


def test_the_penalty_moves_the_policy_by_alpha_times_its_own_gradient(
    random_batch: MakeBatch,
) -> None:
    """A regulariser without effect is what peers shipped."""
    batch, gradients = random_batch(), []
    for alpha in (1.0, 3.0):
        method = make(divergence_weight=alpha)
        torch.manual_seed(3)
        loss, divergence, _ = method.policy_loss(batch)
        gradients.append(gradient(loss, method.policy))
        own = gradient(divergence, method.policy)
    assert own.norm() > 0.1
    torch.testing.assert_close(gradients[1] - gradients[0], 2 * own, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_the_divergence_is_that_of_the_closed_form(random_batch: MakeBatch) -> None:
    """By the mean it is (m - n) / t^2; the mean is linear in the network's last bias."""
    method, batch = make(action_samples=4000), random_batch()
    _, divergence, _ = method.policy_loss(batch)
    bias = method.policy.network[-1].bias
    own = torch.autograd.grad(divergence, bias)[0][:2]
    with torch.no_grad():
        there = method.features(batch.observation, batch.actor_goal)
        m, _ = method.policy.mean_and_log_std(there)
        n, t = method.behaviour.mean_and_log_std(batch.observation)
    torch.testing.assert_close(own, ((m - n) / (2 * t).exp()).mean(0), atol=0.05, rtol=0.1)


@pytest.mark.parametrize("threshold", [0.01, 100.0])
def test_alpha_rises_above_the_threshold_and_falls_below(
    random_batch: MakeBatch, threshold: float
) -> None:
    method = make(divergence_threshold=threshold, dual_learning_rate=0.1)
    learner, batch = Learner(method), random_batch()
    before = method.divergence_weight().item()
    metrics = learner.update(batch)
    too_far = metrics["policy/divergence"].item() > threshold
    assert too_far == (threshold == 0.01)
    assert (method.divergence_weight().item() > before) == too_far
    for step in range(1, 60):
        learner.update(batch, step)
    assert -5 <= method.multiplier.log_value.item() <= 10


def test_each_loss_reaches_its_group_alone_after_the_warm_up(random_batch: MakeBatch) -> None:
    method = make(divergence_threshold=0.5)
    losses, _ = method.losses(random_batch())
    groups = method.parameter_groups()
    assert set(losses) == set(groups) == {"behaviour", "policy", "critic", "dual"}
    for name, loss in losses.items():
        for group, members in groups.items():
            gradients = torch.autograd.grad(
                loss, members.parameters, retain_graph=True, allow_unused=True
            )
            moved = any(g is not None and bool(g.any()) for g in gradients)
            assert moved == (name == group), f"loss '{name}' and group '{group}'"


def test_in_the_warm_up_the_policy_follows_the_behaviour(bandit: Batch) -> None:
    torch.manual_seed(0)
    config = BRACConfig(hidden=(32,), learning_rate=3e-3, warmup_steps=150)
    method = BRAC(config, Spaces(1, 1))
    learner = Learner(method)
    critic = [p.clone() for p in method.critic.parameters()]
    untrained = {name: value.clone() for name, value in method.policy.state_dict().items()}
    for step in range(150):
        assert set(method.losses(bandit)[0]) == {"behaviour", "policy"}
        learner.update(bandit, step)
    follower = closed_form_divergence(method, bandit).mean()
    assert all(torch.equal(a, b) for a, b in zip(critic, method.critic.parameters(), strict=True))
    assert set(method.losses(bandit)[0]) == {"behaviour", "policy", "critic"}
    method.policy.load_state_dict(untrained)
    assert follower < 0.05 < 0.5 < closed_form_divergence(method, bandit).mean()


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


def learn_bandit(bandit: Batch, steps: int, **changes: object) -> BRAC:
    torch.manual_seed(0)
    config = BRACConfig(
        hidden=(32,), learning_rate=3e-3, warmup_steps=150, dual_learning_rate=0.03, **changes
    )  # type: ignore[arg-type]
    method = BRAC(config, Spaces(1, 1))
    learner = Learner(method)
    for step in range(steps):
        learner.update(bandit, step)
    return method.eval()


def test_the_threshold_holds_where_the_critic_tempts_the_policy_out_of_the_data(
    bandit: Batch,
) -> None:
    """Rewards rise with the action, the best of all is one that nobody took."""
    free = learn_bandit(bandit, 350, divergence_weight=1e-3)
    bound = learn_bandit(bandit, 650, divergence_threshold=0.5)
    ones = torch.ones(1, 1)
    assert free.act(ones, ones).item() > 0.3
    assert closed_form_divergence(free, bandit).mean() > 3
    assert closed_form_divergence(bound, bandit).mean() == pytest.approx(0.5, abs=0.15)
    assert -0.35 < bound.act(ones, ones).item() < 0.0


def test_brac_v_pays_for_divergence_that_lies_ahead(random_batch: MakeBatch) -> None:
    """With the same networks, V(s') differs by exactly alpha D(s'), and by nothing in BRAC-p."""
    batch = random_batch()
    values = {}
    for regularisation in ("value", "policy"):
        method = make(regularisation=regularisation, divergence_weight=2.0, action_samples=4000)
        torch.manual_seed(1)
        with torch.no_grad():
            values[regularisation] = method.next_value(batch).numpy()
    ahead = replace(batch, observation=batch.next_observation, actor_goal=batch.goal)
    paid = 2.0 * closed_form_divergence(method, ahead)
    np.testing.assert_allclose(values["policy"] - values["value"], paid, atol=0.25)


@pytest.mark.parametrize("regularisation", ["value", "policy"])
def test_chain_values_and_directions(chain, regularisation: str) -> None:  # type: ignore[no-untyped-def]
    config = BRACConfig(
        discount=chain.discount, regularisation=regularisation, divergence_weight=0.02,
        learning_rate=3e-3, hidden=(32, 32), target_update_rate=0.1, warmup_steps=50,
    )  # fmt: skip
    method = chain.learn(config, 350)
    toward = chain.actions(method) * chain.direction
    assert toward[chain.direction != 0].min() > 0.2
    error = np.abs(chain.values(method) - chain.exact_values())
    elsewhere = error[~np.eye(chain.places, dtype=bool)]
    assert elsewhere.max() < 1.2 and elsewhere.mean() < 0.25
