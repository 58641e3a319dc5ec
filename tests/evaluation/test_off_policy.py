"""Off-policy estimates against the exact values of known policies on a chain of places."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.fitted_q import FittedQConfig, bootstrap_counts, fitted_q_evaluation
from nav_offrl.evaluation.importance_sampling import (
    BehaviourConfig,
    EstimatedBehaviour,
    SmoothedPolicy,
    weighted_importance_sampling,
)
from nav_offrl.evaluation.logged_tasks import LoggedDrives, TaskConfig, Tasks, lay_out

torch.set_num_threads(1)

PLACES, DISCOUNT, HORIZON = 7, 0.8, 30
SHORT = FittedQConfig(
    members=3, steps=1000, batch_size=64, hidden=(32,), learning_rate=1e-2, target_update_rate=0.05
)


@pytest.fixture(scope="module")
def drives() -> LoggedDrives:
    """40 random walks of 80 steps over the places of a row, the ends being walls."""
    rng = np.random.default_rng(0)
    place, action = [], []
    for _ in range(40):
        here = rng.integers(0, PLACES)
        for _ in range(80):
            move = rng.choice([-1, 1])
            place.append(here)
            action.append(move)
            here = min(max(here + move, 0), PLACES - 1)
    places = np.array(place)
    return LoggedDrives(
        vector=torch.eye(PLACES)[places],
        action=torch.tensor(action, dtype=torch.float32)[:, None],
        place=places[:, None].astype(float),
        frame=np.zeros(len(places), np.int64),
        drive=np.repeat(np.arange(40), 80),
        radius=0.5,
    )


@pytest.fixture(scope="module")
def tasks(drives: LoggedDrives) -> Tasks:
    return lay_out(drives, TaskConfig(count=600, horizon=HORIZON, min_distance=0.5, max_distance=9))


def towards(vector: Tensor, goal: Tensor) -> Tensor:
    """Go where the goal is."""
    return (goal.argmax(-1) - vector.argmax(-1)).sign().float()[:, None]


def leftwards(vector: Tensor, goal: Tensor) -> Tensor:
    return torch.full((len(vector), 1), -1.0)


def even(vector: Tensor, goal: Tensor, action: Tensor) -> Tensor:
    """The behaviour: a coin."""
    return torch.full((len(vector),), np.log(0.5))


class Mostly:
    """Does what another policy does with a probability, else the opposite."""

    def __init__(self, act: Callable[[Tensor, Tensor], Tensor], share: float) -> None:
        self.act, self.share = act, share

    def __call__(self, vector: Tensor, goal: Tensor, action: Tensor) -> Tensor:
        agrees = (self.act(vector, goal) == action).squeeze(-1)
        return torch.where(agrees, np.log(self.share), np.log(1 - self.share))


def exact_values(act: Callable[[Tensor, Tensor], Tensor], share: float) -> NDArray[np.float64]:
    """Solve V = r + gamma P V of `Mostly(act, share)`: places (rows), goals (columns)."""
    eye, values = torch.eye(PLACES), np.zeros((PLACES, PLACES))
    for goal in range(PLACES):
        moves = act(eye, eye[goal].expand(PLACES, -1))[:, 0].numpy()
        transition = np.zeros((PLACES, PLACES))
        for here in range(PLACES):
            for move, chance in ((moves[here], share), (-moves[here], 1 - share)):
                there = min(max(here + int(move), 0), PLACES - 1)
                transition[here, there] += chance * (here != goal)
        reward = np.where(np.arange(PLACES) == goal, 0.0, -1.0)
        values[:, goal] = np.linalg.solve(np.eye(PLACES) - DISCOUNT * transition, reward)
    return values


def exact_mean(
    drives: LoggedDrives, tasks: Tasks, act: Callable[[Tensor, Tensor], Tensor], share: float
) -> float:
    place = drives.place[:, 0].astype(int)
    return float(exact_values(act, share)[place[tasks.start], place[tasks.goal]].mean())


def together(vector: Tensor, goal: Tensor) -> Tensor:
    return torch.cat([vector, goal], -1)


@pytest.mark.parametrize("act", [towards, leftwards])
def test_fitted_q_evaluation_finds_the_exact_value(
    drives: LoggedDrives, tasks: Tasks, act: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Neither policy's value is the behaviour's, which walks at random."""
    left = drives.place[tasks.goal, 0] < drives.place[tasks.start, 0]
    tasks = Tasks(tasks.start[left], tasks.goal[left], HORIZON)
    estimate = fitted_q_evaluation(act, together, drives, tasks, DISCOUNT, SHORT)
    exact = exact_mean(drives, tasks, act, 1.0)
    assert abs(exact - exact_mean(drives, tasks, act, 0.5)) > 0.5
    assert estimate.value == pytest.approx(exact, abs=0.08)
    assert estimate.low - 0.1 <= exact <= estimate.high + 0.1 and estimate.low < estimate.high


@pytest.mark.parametrize(("act", "share"), [(towards, 0.7), (leftwards, 0.7), (towards, 0.5)])
def test_importance_sampling_finds_the_exact_value(
    drives: LoggedDrives, tasks: Tasks, act: Callable[[Tensor, Tensor], Tensor], share: float
) -> None:
    policy = Mostly(act, share)
    estimate = weighted_importance_sampling(policy, even, drives, tasks, DISCOUNT)
    exact = exact_mean(drives, tasks, act, share)
    assert estimate.low <= exact <= estimate.high
    assert estimate.value == pytest.approx(exact, abs=0.2)
    assert estimate.effective_tasks is not None and estimate.effective_tasks > 5


def test_the_behaviours_own_return_needs_no_weights(drives: LoggedDrives, tasks: Tasks) -> None:
    """Every task counts the same: the mean of what the drives did, by hand."""
    estimate = weighted_importance_sampling(even, even, drives, tasks, DISCOUNT)
    assert estimate.effective_tasks == pytest.approx(len(tasks.start))
    returns = []
    for start, goal in zip(tasks.start, tasks.goal, strict=True):
        on_the_way = drives.place[start : start + HORIZON + 1, 0] != drives.place[goal, 0]
        steps = int(on_the_way.argmin()) if not on_the_way.all() else None
        gone = 0.0 if steps is None else DISCOUNT**steps
        returns.append(-(1 - gone) / (1 - DISCOUNT))
    assert estimate.value == pytest.approx(np.mean(returns), abs=1e-9)


def test_a_greedier_policy_rests_on_fewer_tasks(drives: LoggedDrives, tasks: Tasks) -> None:
    carried = [
        weighted_importance_sampling(
            Mostly(towards, share), even, drives, tasks, DISCOUNT
        ).effective_tasks
        for share in (0.5, 0.7, 0.95)
    ]
    assert carried == sorted(carried, reverse=True) and carried[0] > 2 * carried[2]


def test_more_drives_make_the_interval_narrower(drives: LoggedDrives, tasks: Tasks) -> None:
    few = tasks.start < 8 * 80
    fewer = Tasks(tasks.start[few], tasks.goal[few], HORIZON)
    policy = Mostly(towards, 0.6)
    wide, narrow = (
        weighted_importance_sampling(policy, even, drives, some, DISCOUNT)
        for some in (fewer, tasks)
    )
    assert narrow.high - narrow.low < wide.high - wide.low


def test_an_estimated_behaviour_is_the_true_one() -> None:
    """Actions around a mean that the state decides: the fitted density is that of the log."""
    generator = torch.Generator().manual_seed(0)
    state = torch.rand(4000, 1, generator=generator) * 2 - 1
    action = 0.5 * state + 0.2 * torch.randn(4000, 1, generator=generator)
    rows = np.arange(4000)
    log = LoggedDrives(state, action, rows[:, None].astype(float), 0 * rows, rows, 0.1)
    behaviour = EstimatedBehaviour(
        log, BehaviourConfig(steps=500, hidden=(32,), dropout=0.0, learning_rate=1e-2)
    )
    true = torch.distributions.Normal(0.5 * state, 0.2).log_prob(action)[:, 0]
    with torch.no_grad():
        error = behaviour(state, state, action) - true
    assert float(error.abs().mean()) < 0.1


def test_a_smoothed_policy_is_a_gaussian_around_it() -> None:
    policy = SmoothedPolicy(lambda vector, goal: vector[:, :2], 0.3)
    vector, action = torch.tensor([[0.1, 0.2, 9.0]]), torch.tensor([[0.4, -0.1]])
    expected = torch.distributions.Normal(vector[:, :2], 0.3).log_prob(action).sum(-1)
    torch.testing.assert_close(policy(vector, vector, action), expected)


def test_goals_are_never_of_a_drives_own_future(drives: LoggedDrives) -> None:
    """Else the drive would be judged by where it went."""
    config = TaskConfig(count=300, horizon=10, min_distance=2, max_distance=4)
    frames = replace(drives, frame=drives.drive // 20)
    tasks = lay_out(frames, config)
    own = frames.drive[tasks.start] == frames.drive[tasks.goal]
    assert (tasks.goal[own] < tasks.start[own]).all()
    apart = np.abs(frames.place[tasks.start] - frames.place[tasks.goal])[:, 0]
    assert apart.min() >= 2 and apart.max() <= 4
    assert (frames.frame[tasks.start] == frames.frame[tasks.goal]).all()
    assert (frames.drive[tasks.start] == frames.drive[tasks.start + 10]).all()


def test_drives_without_another_place_make_no_task(drives: LoggedDrives) -> None:
    with pytest.raises(NavOffrlError, match=r"50\.0 to 60\.0 m.*hold out more"):
        lay_out(drives, TaskConfig(min_distance=50, max_distance=60))


def test_bootstrap_draws_as_many_drives_as_there_are() -> None:
    counts = bootstrap_counts(np.array([2, 2, 5, 7]), 50, np.random.default_rng(0))
    assert counts.shape == (50, 8) and (counts.sum(1) == 3).all()
    assert counts[:, [0, 1, 3, 4, 6]].sum() == 0 and len(np.unique(counts[:, 5])) > 1
