"""QT-Opt: its target by hand, its optimum, and its blindness to what the log does not hold."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.method import Method, Spaces
from nav_offrl.algorithms.mt_opt import MTOpt, MTOptConfig
from nav_offrl.algorithms.qt_opt import QTOpt, QTOptConfig
from nav_offrl.networks.heads import GoalCritic
from nav_offrl_export.graphs import to_onnx

from .conftest import Chain

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]
GRID = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])


class Bowls(GoalCritic):
    """Q(s, a, g) = h - |a - c|^2, with a height and centre of its own for each twin."""

    def __init__(self, heights: tuple[float, float], centres: tuple[float, float]) -> None:
        super().__init__(4, 2, (4,))
        self.heights = nn.Parameter(torch.tensor(heights)[:, None, None])
        self.centres = torch.tensor(centres)[:, None, None, None]

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        return self.of_actions(features, action[None])[:, 0]

    def of_actions(self, features: Tensor, actions: Tensor) -> Tensor:
        return self.heights - (actions - self.centres).square().sum(-1)


def bowls(**changes: object) -> QTOpt:
    config = QTOptConfig(hidden=(4,), cem_rounds=4, **changes)  # type: ignore[arg-type]
    method = QTOpt(config, Spaces(4, 2, return_bounds=(-2.0, 0.0)))
    method.critic = Bowls((-1.0, -1.2), (0.0, 0.4))
    method.target_critic = Bowls((-0.1, -0.4), (0.5, -0.3))
    return method


def test_the_first_target_twin_chooses_and_the_lower_one_judges(random_batch: MakeBatch) -> None:
    """At 0.5 the first is worth -0.1 and the second -0.4 - 2 * 0.8^2 = -1.68."""
    torch.manual_seed(0)
    batch = random_batch()
    value = bowls().maximum(torch.zeros(16, 12))
    np.testing.assert_allclose(value.detach().numpy(), -1.68, atol=0.15)
    target = bowls().target(torch.zeros(16, 12), batch).numpy()
    expected = np.clip(batch.reward.numpy() + 0.98 * batch.mask.numpy() * -1.68, -2.0, 0.0)
    np.testing.assert_allclose(target, expected, atol=0.15)


def test_without_clipping_the_mean_of_the_twins_does_both() -> None:
    """The mean is highest between the centres, at 0.1: -0.25 - 2 * 0.4^2."""
    torch.manual_seed(0)
    value = bowls(clipped_double=False).maximum(torch.zeros(3, 12))
    np.testing.assert_allclose(value.detach().numpy(), -0.57, atol=0.01)


@pytest.mark.parametrize(("double", "value"), [(True, -2.0), (False, -0.85)])
def test_the_maximum_over_a_grid_is_exact(double: bool, value: float) -> None:
    method = QTOpt(QTOptConfig(hidden=(4,), clipped_double=double), Spaces(4, 2, GRID))
    with torch.no_grad():
        method.target_critic.network.last.weight.zero_()
        table = torch.tensor([[-1.0, -0.5, -3.0], [-0.7, -2.0, 0.0]])
        method.target_critic.network.last.bias.copy_(table[:, None])
    # The first prefers its second action; the means are -0.85, -1.25 and -1.5.
    np.testing.assert_allclose(method.maximum(torch.zeros(5, 16)).detach().numpy(), value)


def test_the_loss_is_the_squared_error_of_both_twins(random_batch: MakeBatch) -> None:
    method, batch = bowls(), random_batch()
    torch.manual_seed(2)
    target = method.target(torch.zeros(16, 12), batch).numpy()
    torch.manual_seed(2)
    loss, metrics = method.critic_loss(torch.zeros(16, 12), torch.zeros(16, 12), batch)
    action = batch.action.numpy()
    q = [-1.0 - np.square(action).sum(-1), -1.2 - np.square(action - 0.4).sum(-1)]
    errors = [np.square(member - target).mean() for member in q]
    assert loss.item() == pytest.approx(sum(errors), rel=1e-5)
    assert metrics["critic/td_error"].item() == pytest.approx(np.mean(errors), rel=1e-5)


INPUTS = {"observation", "action", "next_observation", "goal", "reward", "discount", "mask"}


@pytest.mark.parametrize("name", [f.name for f in fields(Batch) if "subgoal" not in f.name])
def test_each_input_changes_the_loss_if_it_should(name: str, random_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    method, batch = QTOpt(QTOptConfig(hidden=(8,)), Spaces(4, 2)), random_batch()

    def loss(changed: Batch) -> float:
        torch.manual_seed(1)
        return method.losses(changed)[0]["critic"].item()

    changed = replace(batch, **{name: getattr(batch, name) * 0.5})
    assert (loss(batch) != loss(changed)) == (name in INPUTS)


def test_more_elites_than_samples_are_refused() -> None:
    with pytest.raises(ValidationError, match="cem_elites"):
        QTOptConfig(cem_samples=4, cem_elites=5)


@pytest.mark.parametrize("discrete", [False, True])
def test_on_a_log_that_covers_the_actions_it_finds_the_best_policy(
    discrete: bool, chain: Chain
) -> None:
    config = QTOptConfig(
        discount=chain.discount,
        learning_rate=3e-3,
        target_update_rate=0.1,
        hidden=(32, 32),
        cem_samples=8,
        cem_elites=2,
    )
    method = chain.learn(config, 350 if discrete else 250, discrete=discrete)
    ahead = chain.direction != 0
    assert bool((chain.actions(method) * chain.direction > 0)[ahead].all())
    if discrete:
        assert np.abs(chain.values(method) - chain.exact_values()).max() < 0.3


class Act(nn.Module):
    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        return self.method.act(observation, goal)


def test_the_search_is_exported_for_any_number_of_rows() -> None:
    """A number of rows that is a plain integer while tracing would be baked in.

    With MT-Opt's tasks, which take the same way.
    """
    method = MTOpt(MTOptConfig(hidden=(8,)), Spaces(4, 2)).eval()
    pair = {"observation": torch.randn(5, 4), "goal": torch.randn(5, 4)}
    graph = to_onnx(Act(method), "search", {key: x[:3] for key, x in pair.items()}, "action")
    session = onnxruntime.InferenceSession(graph)
    for rows in (1, 5):
        few = {key: value[:rows] for key, value in pair.items()}
        exported = session.run(None, {key: value.numpy() for key, value in few.items()})[0]
        with torch.no_grad():
            np.testing.assert_allclose(exported, method.act(**few).numpy(), atol=1e-5)
