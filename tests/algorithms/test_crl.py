"""CRL: its losses by hand, and the log ratio that its critic comes to."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.crl import CRL, CRLConfig
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.store.goal_presets import goal_preset

MakeBatch = Callable[..., Batch]


def make(**changes: object) -> CRL:
    torch.manual_seed(0)
    config = CRLConfig(hidden=(16, 16), latent_size=9, **changes)  # type: ignore[arg-type]
    return CRL(config, Spaces(4, 2))


def test_critic_loss_by_hand(random_batch: MakeBatch) -> None:
    """-log sigmoid of each row's own goal, -log(1 - sigmoid) of all other rows' goals."""
    method, batch = make(), random_batch()
    loss, metrics = method.critic_loss(batch)
    with torch.no_grad():
        phi = method.critic.phi(torch.cat([batch.observation, batch.action], -1)).numpy()
        psi = method.critic.psi(batch.goal).numpy()
    total, correct = 0.0, 0
    for row in range(16):
        logits = (phi[:, row] * psi.transpose(1, 0, 2)).sum(-1).T / 3
        own = np.arange(16) == row
        total += np.where(own, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))).sum()
        correct += int(logits.mean(0).argmax() == row)
    assert loss.item() == pytest.approx(total / (2 * 16 * 16), rel=1e-5)
    assert metrics["critic/accuracy"].item() == pytest.approx(correct / 16)


def test_policy_loss_by_hand(random_batch: MakeBatch) -> None:
    method, batch = make(behaviour_weight=0.4), random_batch()
    loss, _ = method.policy_loss(batch)
    with torch.no_grad():
        action = method.policy(method.features(batch.observation, batch.actor_goal))
        both = torch.cat([batch.observation, action], -1)
        lower = method.critic(both, batch.actor_goal).numpy().min(0)
    error = (action.numpy() - batch.action.numpy()) ** 2
    expected = -lower.mean() / np.abs(lower).mean() + 0.4 * error.sum(-1).mean() / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_tie_to_the_data_pulls_by_its_weight(random_batch: MakeBatch) -> None:
    """The gradient on the mean beyond that of climbing is alpha (mu - a) / B."""
    batch, pulls = random_batch(), []
    for alpha in (0.0, 0.4):
        method = make(behaviour_weight=alpha)
        last = method.policy.network[-1].bias
        (gradient,) = torch.autograd.grad(method.policy_loss(batch)[0], [last])
        pulls.append(gradient)
    with torch.no_grad():
        action = method.policy(method.features(batch.observation, batch.actor_goal))
    slope = 1 - action.square()  # of tanh
    expected = 0.4 * ((action - batch.action) * slope).mean(0)
    torch.testing.assert_close(pulls[1] - pulls[0], expected, rtol=1e-4, atol=1e-6)


INPUTS_OF_LOSS = {
    "critic_loss": {"observation", "action", "goal"},
    "policy_loss": {"observation", "action", "actor_goal"},
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


def test_goals_are_drawn_as_published() -> None:
    sampling = goal_preset(CRLConfig().goals)
    assert sampling.value_goals.geometric == 1 and sampling.actor_goals.uniform == 1


def future(chain: Any) -> NDArray[np.float64]:
    """p(g | s, a) of a random walk: place (7), action (2), goal (7).

    The goal is the place after k steps, of which the first is `a`, with k geometric.
    """
    place, places = np.arange(chain.places), chain.places
    left, right = np.maximum(place - 1, 0), np.minimum(place + 1, places - 1)
    walk = (np.eye(places)[left] + np.eye(places)[right]) / 2
    ever_after = (1 - chain.discount) * np.linalg.inv(np.eye(places) - chain.discount * walk)
    return np.stack([ever_after[left], ever_after[right]], 1)


@pytest.fixture(scope="module")
def learned(chain: Any) -> tuple[CRL, int]:
    """Train on batches of a random walk, and return their size with the method."""
    torch.manual_seed(0)
    config = CRLConfig(
        discount=chain.discount,
        learning_rate=2e-3,
        hidden=(64, 64),
        latent_size=16,
        behaviour_weight=0.3,
    )
    method, size = CRL(config, chain.spaces()), 128
    learner, probability = Learner(method), torch.from_numpy(future(chain)).float()
    eye, blank = torch.eye(chain.places), torch.zeros(size)
    for step in range(700):
        place, right = torch.randint(chain.places, (size,)), torch.randint(2, (size,))
        goal = eye[torch.multinomial(probability[place, right], 1)[:, 0]]
        batch = Batch(
            observation=eye[place],
            # The policy climbs between -1 and 1: the log must have something to say there.
            action=(2.0 * right[:, None] - 1) * torch.rand(size, 1),
            next_observation=eye[place],
            goal=goal,
            actor_goal=eye[torch.randint(chain.places, (size,))],
            reward=blank,
            discount=blank,
            mask=blank,
            steps_to_goal=blank,
        )
        learner.update(batch, step)
    return method.eval(), size


def logits(chain: Any, method: CRL) -> NDArray[np.float64]:
    """The twins' mean f of every place (7), action (2) and goal (7)."""
    place = torch.eye(chain.places).repeat_interleave(2, 0)
    action = torch.tensor([[-0.5], [0.5]]).repeat(chain.places, 1)
    with torch.no_grad():
        table = method.critic.of_every_pair(torch.cat([place, action], 1), torch.eye(chain.places))
    return table.mean(0).reshape(chain.places, 2, chain.places).double().numpy()


def test_the_critic_is_the_log_ratio_of_the_future(chain: Any, learned: tuple[CRL, int]) -> None:
    """With B - 1 negatives a positive, f = log p(g | s, a) / p(g) - log(B - 1)."""
    method, size = learned
    exact = np.log(future(chain) / future(chain).mean((0, 1))) - np.log(size - 1)
    error = logits(chain, method) - exact
    assert np.abs(error).max() < 0.7 and np.abs(error).mean() < 0.2
    assert exact.std() > 0.8, "else a constant would do"


def test_the_best_action_is_the_one_that_leads_to_the_goal(
    chain: Any, learned: tuple[CRL, int]
) -> None:
    method, _ = learned
    ahead = chain.direction.reshape(chain.places, chain.places).numpy()
    f = logits(chain, method)
    assert (((f[:, 1] - f[:, 0]) * ahead)[ahead != 0] > 0).all()
    assert (chain.actions(method).reshape(ahead.shape).numpy() * ahead)[ahead != 0].min() > 0


def test_a_value_is_the_log_ratio_of_what_the_policy_does(chain: Any) -> None:
    method = make().eval()
    observation, goal = torch.randn(5, 4), torch.randn(5, 4)
    with torch.no_grad():
        both = torch.cat([observation, method.act(observation, goal)], -1)
        expected = method.critic(both, goal).amin(0)
        torch.testing.assert_close(method.state_value(observation, goal), expected)
