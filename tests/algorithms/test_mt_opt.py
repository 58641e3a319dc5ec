"""MT-Opt: one critic of several tasks, balanced between them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nav_offrl.algorithms.batch import Batch, join
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.mt_opt import MTOpt, MTOptConfig, task_weights

from .conftest import Chain

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]


def make(**changes: object) -> MTOpt:
    torch.manual_seed(0)
    config = MTOptConfig(hidden=(8,), tasks=3, **changes)  # type: ignore[arg-type]
    return MTOpt(config, Spaces(4, 2))


def of_tasks(batch: Batch, *counts: int) -> Batch:
    return replace(batch, task=torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)))


def loss(method: MTOpt, batch: Batch) -> float:
    torch.manual_seed(1)
    return method.losses(batch)[0]["critic"].item()


def test_weights_make_every_task_that_occurs_weigh_the_same() -> None:
    """Twelve of task 0 and four of task 2: 16 / (2 * 12) and 16 / (2 * 4)."""
    weight = task_weights(torch.tensor([0] * 12 + [2] * 4))
    np.testing.assert_allclose(weight.numpy(), [2 / 3] * 12 + [2.0] * 4)


def test_a_balanced_loss_is_the_mean_of_the_tasks_losses(random_batch: MakeBatch) -> None:
    method, batch = make(), of_tasks(random_batch(), 10, 2, 4)
    here = method.seen(batch.observation, batch)
    following = method.seen(batch.next_observation, batch)
    torch.manual_seed(1)
    target = method.target(following, batch).numpy()
    torch.manual_seed(1)
    found = method.critic_loss(here, following, batch)[0].item()
    squared = np.square(method.critic(here, batch.action).detach().numpy() - target).sum(0)
    expected = np.mean([squared[:10].mean(), squared[10:12].mean(), squared[12:].mean()])
    assert found == pytest.approx(expected, rel=1e-5)
    unbalanced = make(balance=False)
    assert loss(unbalanced, batch) == pytest.approx(squared.mean(), rel=1e-5)


def test_the_task_changes_the_loss_and_the_action(random_batch: MakeBatch) -> None:
    batch = random_batch()
    assert loss(make(), of_tasks(batch, 16)) != loss(make(), of_tasks(batch, 0, 16))
    actions = []
    for executed in range(3):
        method = make(executed_task=executed)
        with torch.no_grad():
            actions.append(method.act(batch.observation, batch.goal))
    assert not torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[1], actions[2])


def test_a_batch_that_names_no_task_is_of_the_executed_one(random_batch: MakeBatch) -> None:
    batch, method = random_batch(), make(executed_task=1)
    assert loss(method, replace(batch, task=None)) == loss(method, of_tasks(batch, 0, 16))


def test_the_executed_task_must_exist() -> None:
    with pytest.raises(ValidationError, match="executed_task"):
        MTOptConfig(tasks=2, executed_task=2)


def test_two_tasks_are_learned_from_the_same_drives(chain: Chain) -> None:
    """Task 0 goes to the goal; task 1 goes to the far left, whatever the goal."""
    to_goal = replace(chain.batch(discrete=True), task=torch.zeros(98, dtype=torch.int64))
    reached = to_goal.observation[:, 0]
    to_left = replace(to_goal, task=torch.ones_like(to_goal.task), reward=reached - 1)
    batch = join(to_goal, replace(to_left, mask=1 - reached))
    torch.manual_seed(0)
    config = MTOptConfig(
        discount=chain.discount,
        learning_rate=3e-3,
        target_update_rate=0.1,
        hidden=(32, 32),
        tasks=2,
    )
    method = MTOpt(config, chain.spaces(discrete=True))
    learner = Learner(method)
    for step in range(350):
        learner.update(batch, step)
    ahead = chain.direction != 0
    assert bool((chain.actions(method) * chain.direction > 0)[ahead].all())
    assert np.abs(chain.values(method) - chain.exact_values()).max() < 0.4
    other = MTOpt(config.model_copy(update={"executed_task": 1}), chain.spaces(discrete=True))
    other.load_state_dict(method.state_dict())
    away = chain.here.argmax(1) > 0
    assert bool((chain.actions(other)[away] == -1).all())
    expected = np.repeat(chain.exact_values()[:, :1], chain.places, 1)
    assert np.abs(chain.values(other) - expected).max() < 0.4
