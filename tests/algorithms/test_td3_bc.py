"""TD3+BC: its two losses by hand, its schedule, and what ties it to the data."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.td3_bc import TD3BC, TD3BCConfig

MakeBatch = Callable[..., Batch]


def make(bounds: tuple[float, float] = (-50.0, 0.0), **changes: object) -> TD3BC:
    torch.manual_seed(0)
    config = TD3BCConfig(hidden=(16, 16), **changes)  # type: ignore[arg-type]
    method = TD3BC(config, Spaces(4, 2, return_bounds=bounds))
    for target in (method.target_policy, method.target_critic):
        for parameter in target.parameters():
            # A target that is the online network would hide a mix-up of the two.
            parameter.add_(0.3 * torch.randn_like(parameter))
    return method


def test_critic_loss_by_hand(random_batch: MakeBatch) -> None:
    """Smoothed target action, lower of the twins, no value beyond the goal, clipped return."""
    method, batch = make(bounds=(-1.2, 0.0), policy_noise=0.5, noise_clip=0.3), random_batch()
    torch.manual_seed(7)
    loss, metrics = method.critic_loss(batch)
    torch.manual_seed(7)
    noise = np.clip(0.5 * torch.randn(16, 2).numpy(), -0.3, 0.3)
    assert (np.abs(noise) == np.float32(0.3)).any() and (np.abs(noise) < 0.3).any()
    with torch.no_grad():
        there = method.features(batch.next_observation, batch.goal)
        action = np.clip(method.target_policy(there).numpy() + noise, -1, 1)
        twins = method.target_critic(there, torch.from_numpy(action)).numpy()
        here = method.features(batch.observation, batch.goal)
        q = method.critic(here, batch.action).numpy()
    raw = batch.reward.numpy() + 0.98 * batch.mask.numpy() * np.minimum(twins[0], twins[1])
    target = np.clip(raw, -1.2, 0.0)
    assert (raw != target).any() and (raw == target).any()
    expected = ((q[0] - target) ** 2).mean() + ((q[1] - target) ** 2).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert metrics["critic/td_error"].item() == pytest.approx(expected / 2, rel=1e-5)
    assert metrics["critic/target"].item() == pytest.approx(target.mean(), rel=1e-5)


def test_policy_loss_by_hand(random_batch: MakeBatch) -> None:
    method, batch = make(alpha=1.7), random_batch()
    loss, metrics = method.policy_loss(batch)
    with torch.no_grad():
        there = method.features(batch.observation, batch.actor_goal)
        action = method.policy(there)
        q = method.critic(there, action)[0].numpy()
    squared = ((action.numpy() - batch.action.numpy()) ** 2).mean()
    weight = 1.7 / np.abs(q).mean()
    assert loss.item() == pytest.approx(squared - weight * q.mean(), rel=1e-5)
    assert metrics["policy/critic_weight"].item() == pytest.approx(weight, rel=1e-5)


def gradient_of_policy(method: TD3BC, batch: Batch) -> Tensor:
    gradients = torch.autograd.grad(method.policy_loss(batch)[0], list(method.policy.parameters()))
    return torch.cat([g.reshape(-1) for g in gradients])


def test_lambda_makes_the_scale_of_the_reward_irrelevant(random_batch: MakeBatch) -> None:
    """Q times 1000 has the same gradient: lambda is a number, and no path for a gradient."""
    method, batch = make(), random_batch()
    before = gradient_of_policy(method, batch)
    with torch.no_grad():
        method.critic.network.last.weight.mul_(1000)
        method.critic.network.last.bias.mul_(1000)
    torch.testing.assert_close(gradient_of_policy(method, batch), before, rtol=1e-3, atol=1e-6)


def test_the_critic_pulls_by_lambda_times_its_own_gradient(random_batch: MakeBatch) -> None:
    """A lambda that passed gradients would cancel it where all Q have one sign."""
    batch = random_batch()
    imitation = gradient_of_policy(make(alpha=0.0), batch)
    method = make(alpha=1.7)
    there = method.features(batch.observation, batch.actor_goal)
    q = method.critic(there, method.policy(there))[0]
    gradients = torch.autograd.grad(q.mean(), list(method.policy.parameters()))
    pull = 1.7 / q.abs().mean().detach() * torch.cat([g.reshape(-1) for g in gradients])
    assert pull.abs().max() > 1e-3
    torch.testing.assert_close(gradient_of_policy(method, batch), imitation - pull)


def test_imitation_has_the_gradient_of_the_squared_error(random_batch: MakeBatch) -> None:
    """With alpha 0 nothing else is left: d/d mu of mean |mu - a|^2 is 2 (mu - a) / (B A)."""
    method, batch = make(alpha=0.0), random_batch()
    there = method.features(batch.observation, batch.actor_goal)
    action = method.policy(there)
    by_hand = 2 * (action.detach() - batch.action) / batch.action.numel()
    gradients = torch.autograd.grad(action, list(method.policy.parameters()), by_hand)
    expected = torch.cat([g.reshape(-1) for g in gradients])
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient_of_policy(method, batch), expected)


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


def test_policy_and_targets_move_in_every_third_step_alone(random_batch: MakeBatch) -> None:
    method, batch = make(policy_delay=3, target_update_rate=0.5), random_batch()
    learner = Learner(method)

    def state(*names: str) -> Tensor:
        modules = [getattr(method, name) for name in names]
        return torch.cat([p.detach().reshape(-1).clone() for m in modules for p in m.parameters()])

    moved = []
    for step in range(6):
        before = [state("critic"), state("policy"), state("target_policy"), state("target_critic")]
        metrics = learner.update(batch, step)
        after = [state("critic"), state("policy"), state("target_policy"), state("target_critic")]
        moved.append([not torch.equal(a, b) for a, b in zip(before, after, strict=True)])
        assert ("policy/loss" in metrics) == (step % 3 == 2)
    assert moved == [[True] + 3 * [step % 3 == 2] for step in range(6)]


def test_held_out_data_are_judged_in_every_step(random_batch: MakeBatch) -> None:
    assert "policy/loss" in Learner(make(policy_delay=3)).evaluate(random_batch())


def test_chain_values_and_directions(chain) -> None:  # type: ignore[no-untyped-def]
    config = TD3BCConfig(
        discount=chain.discount,
        learning_rate=3e-3,
        hidden=(32, 32),
        alpha=10.0,
        policy_noise=0.05,
        target_update_rate=0.1,
    )
    method = chain.learn(config, 400)
    toward = chain.actions(method) * chain.direction
    assert toward[chain.direction != 0].min() > 0.2
    error = np.abs(chain.values(method) - chain.exact_values())
    # At the goal any action will do, and what lies between the log's two is nobody's business.
    elsewhere = error[~np.eye(chain.places, dtype=bool)]
    assert elsewhere.max() < 0.6 and elsewhere.mean() < 0.2


def test_alpha_goes_from_imitation_to_the_greedy_action_that_nobody_took(bandit: Batch) -> None:
    def learned(alpha: float) -> float:
        torch.manual_seed(0)
        config = TD3BCConfig(alpha=alpha, learning_rate=3e-3, hidden=(32,))
        learner = Learner(TD3BC(config, Spaces(1, 1)))
        for step in range(300):
            learner.update(bandit, step)
        return learner.act(torch.ones(1, 1), torch.ones(1, 1)).item()

    assert learned(0.0) == pytest.approx(-0.4, abs=0.01)
    assert -0.3 < learned(0.1) < 0.3
    assert learned(100.0) > 0.5
