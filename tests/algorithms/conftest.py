"""Random batches, and a chain of seven places where the right values are known exactly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Method, MethodConfig, Spaces
from nav_offrl.algorithms.registry import make_method

torch.set_num_threads(1)

Moves = list[tuple[int, int, int]]


@pytest.fixture(scope="session")
def random_batch() -> Callable[..., Batch]:
    """Make a batch of 16 transitions of random vectors (16, 4) and actions (16, 2)."""

    def make(seed: int = 1, *, actions: int | None = None, discount: float = 0.98) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        vectors = torch.randn(6, 16, 4, generator=generator)
        reached = (torch.arange(16) % 3 == 0).float()
        continuous = torch.randn(16, 2, generator=generator).clamp(-0.95, 0.95)
        numbers = torch.randint(0, actions or 1, (16,), generator=generator)
        return Batch(
            observation=vectors[0],
            action=continuous if actions is None else numbers,
            next_observation=vectors[1],
            goal=vectors[2],
            actor_goal=vectors[3],
            reward=reached - 1,
            discount=torch.full((16,), discount),
            mask=1 - reached,
            steps_to_goal=torch.where(reached > 0, 0.0, torch.arange(16) - 4.0).clamp(min=-1),
            subgoal=vectors[4],
            actor_subgoal=vectors[5],
            task=torch.zeros(16, dtype=torch.int64),
        )

    return make


@dataclass(frozen=True)
class Chain:
    """Places 0 to 6 in a row; actions -1 and +1; goals are places; -1 a step until the goal.

    The log holds every action of every place equally often, but for the move `without`: the
    behaviour walks at random.
    """

    places: int = 7
    discount: float = 0.8
    without: tuple[int, int] | None = None

    @property
    def floor(self) -> float:
        """Return of never arriving."""
        return -1 / (1 - self.discount)

    @property
    def moves(self) -> Moves:
        """Place, action, next place of everything the log holds."""
        everything = [
            (place, action, min(max(place + action, 0), self.places - 1))
            for place in range(self.places)
            for action in (-1, 1)
        ]
        return [move for move in everything if move[:2] != self.without]

    @property
    def here(self) -> Tensor:
        """The place of every pair of place and goal, one-hot."""
        return torch.eye(self.places).repeat_interleave(self.places, 0)

    @property
    def goal(self) -> Tensor:
        """The goal of every pair of place and goal, one-hot."""
        return torch.eye(self.places).repeat(self.places, 1)

    @property
    def direction(self) -> Tensor:
        """-1, 0 or 1 for every pair: where the goal lies."""
        return (self.goal.argmax(1) - self.here.argmax(1)).sign()

    def batch(self, *, discrete: bool = False) -> Batch:
        """Every move towards every goal; discrete actions are 0 (left) and 1 (right)."""
        columns = (torch.tensor(column) for column in zip(*self.moves, strict=True))
        place, action, following = (column.repeat(self.places) for column in columns)
        goal = torch.arange(self.places).repeat_interleave(len(self.moves))
        reached = (place == goal).float()
        eye = torch.eye(self.places)
        # In a drive that goes straight, the goal is as many steps ahead as places.
        ahead = ((goal - place) * action).float()
        return Batch(
            observation=eye[place],
            action=(action + 1) // 2 if discrete else action.float()[:, None],
            next_observation=eye[following],
            goal=eye[goal],
            actor_goal=eye[goal],
            reward=reached - 1,
            discount=torch.full((len(goal),), self.discount),
            mask=1 - reached,
            steps_to_goal=torch.where(ahead >= 0, ahead, -1.0),
            subgoal=eye[following],
            actor_subgoal=eye[following],
        )

    def spaces(self, *, discrete: bool = False) -> Spaces:
        """What a method learns on here."""
        grid = torch.tensor([[-1.0], [1.0]]) if discrete else None
        return Spaces(self.places, 1, grid, return_bounds=(self.floor, 0.0))

    def learn(
        self, config: MethodConfig, steps: int, *, discrete: bool = False, seed: int = 0
    ) -> Method:
        """Train on the whole log in every step; the method is in evaluation mode."""
        torch.manual_seed(seed)
        method = make_method(config, self.spaces(discrete=discrete))
        learner, batch = Learner(method, total_steps=steps), self.batch(discrete=discrete)
        for step in range(steps):
            learner.update(batch, step)
        return method.eval()

    def values(self, method: Method) -> NDArray[np.float64]:
        """V of every place (row) and goal (column) as the method sees it."""
        with torch.no_grad():
            values = method.state_value(self.here, self.goal)
        return values.reshape(self.places, self.places).double().numpy()

    def actions(self, method: Method) -> Tensor:
        """What the method does at every pair, (places^2,)."""
        with torch.no_grad():
            return method.act(self.here, self.goal)[:, 0]

    def exact_values(self, expectile: float = 1.0) -> NDArray[np.float64]:
        """V of IQL's fixed point; at 1 that of the best policy within the data.

        The expectile of two equally frequent numbers lies between them at tau.
        """
        following = np.full((self.places, 2), -1)
        for place, action, to in self.moves:
            following[place, (action + 1) // 2] = to
        # Where an action is not in the log, the other one counts alone.
        following = np.where(following < 0, following[:, ::-1], following)
        values = np.zeros((self.places, self.places))
        for _ in range(200):
            q = -1 + self.discount * values[following]
            values = expectile * q.max(1) + (1 - expectile) * q.min(1)
            np.fill_diagonal(values, 0.0)
        return values

    def behaviour_values(self) -> NDArray[np.float64]:
        """Solve V = r + gamma P V of the random walk, goal by goal."""
        values = np.zeros((self.places, self.places))
        for goal in range(self.places):
            transition = np.zeros((self.places, self.places))
            for place, _, following in self.moves:
                share = sum(move[0] == place for move in self.moves)
                transition[place, following] += (place != goal) / share
            reward = np.where(np.arange(self.places) == goal, 0.0, -1.0)
            system = np.eye(self.places) - self.discount * transition
            values[:, goal] = np.linalg.solve(system, reward)
        return values


@pytest.fixture(scope="session")
def chain() -> Chain:
    return Chain()


@pytest.fixture(scope="session")
def broken_chain() -> Chain:
    """Nobody ever went from 3 to 4."""
    return Chain(without=(3, 1))


@pytest.fixture(scope="session")
def bandit() -> Batch:
    """One state, actions evenly over [-0.8, 0], a reward of twice the action, and then the end.

    A critic that is right here says of 1, where nobody was, that it is best of all.
    """
    action, ones = torch.linspace(-0.8, 0, 64)[:, None], torch.ones(64, 1)
    return Batch(
        ones, action, ones, ones, ones, reward=2 * action[:, 0], discount=ones[:, 0],
        mask=torch.zeros(64), steps_to_goal=torch.full((64,), -1.0),
    )  # fmt: skip
