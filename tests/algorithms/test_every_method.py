"""Promises that every method keeps, whatever it learns."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Method, Spaces
from nav_offrl.algorithms.registry import METHODS, make_method, method_config
from nav_offrl.errors import NavOffrlError

torch.set_num_threads(1)

MakeBatch = Callable[..., Batch]
GRID = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
CASES = [(name, False) for name in METHODS]
CASES += [(name, True) for name in METHODS if method_config(name).discrete]


@pytest.fixture(params=CASES, ids=lambda case: case[0] + (" discrete" if case[1] else ""))
def case(request: pytest.FixtureRequest) -> tuple[str, bool]:
    name, discrete = request.param
    return name, discrete


def make(case: tuple[str, bool], seed: int = 0) -> Method:
    torch.manual_seed(seed)
    name, discrete = case
    spaces = Spaces(4, 2, GRID if discrete else None, return_bounds=(-50.0, 0.0))
    return make_method(method_config(name)(name=name, hidden=(16, 16)), spaces)


@pytest.fixture
def batch(case: tuple[str, bool], random_batch: MakeBatch) -> Batch:
    return random_batch(actions=len(GRID) if case[1] else None)


def states(method: Method) -> Iterator[Tensor]:
    return iter(value.clone() for value in method.state_dict().values())


def test_a_loss_reaches_the_parameters_of_its_group_alone(
    case: tuple[str, bool], batch: Batch
) -> None:
    """Else one backward pass of the sum would not be as good as one of each loss."""
    method = make(case)
    groups = method.parameter_groups()
    losses, _ = method.losses(batch)
    assert set(losses) <= set(groups)
    for name, loss in losses.items():
        for group, members in groups.items():
            gradients = torch.autograd.grad(
                loss, members.parameters, retain_graph=True, allow_unused=True
            )
            moved = any(g is not None and bool(g.any()) for g in gradients)
            assert moved == (name == group), f"loss '{name}' and group '{group}'"


def test_every_trained_parameter_is_in_one_group(case: tuple[str, bool]) -> None:
    method = make(case)
    grouped = [id(p) for group in method.parameter_groups().values() for p in group.parameters]
    trained = {id(p) for p in method.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped)) and set(grouped) == trained


def test_updates_are_finite_and_change_the_policy(case: tuple[str, bool], batch: Batch) -> None:
    method = make(case)
    before = list(states(method))
    learner = Learner(method, total_steps=6)
    for step in range(6):
        metrics = learner.update(batch, step)
        for name, value in metrics.items():
            assert torch.isfinite(value).all() and not value.requires_grad, name
    changed = [not torch.equal(a, b) for a, b in zip(before, states(method), strict=True)]
    assert any(changed)


def test_the_same_seed_gives_the_same_updates_and_another_seed_others(
    case: tuple[str, bool], batch: Batch
) -> None:
    def after_updates(seed: int) -> Tensor:
        learner = Learner(make(case, seed), total_steps=4)
        for step in range(4):
            torch.manual_seed(1000 * seed + step)
            learner.update(batch, step)
        return torch.cat([value.double().reshape(-1) for value in states(learner.method)])

    assert torch.equal(after_updates(0), after_updates(0))
    assert not torch.equal(after_updates(0), after_updates(1))


def test_what_is_loaded_goes_on_bit_for_bit(case: tuple[str, bool], batch: Batch) -> None:
    """Targets, dual variables and moments must all be in the checkpoint."""

    def go_on(learner: Learner) -> list[Tensor]:
        for step in range(5, 9):
            torch.manual_seed(step)
            learner.update(batch, step)
        return list(states(learner.method))

    first = Learner(make(case), total_steps=9)
    for step in range(5):
        torch.manual_seed(step)
        first.update(batch, step)
    weights = {name: value.clone() for name, value in first.method.state_dict().items()}
    moments = {name: value.clone() for name, value in first.optimizer.state("m").items()}
    second = Learner(make(case, seed=5), total_steps=9)
    second.method.load_state_dict(weights)
    second.optimizer.restore("m", moments)
    for one, other in zip(go_on(first), go_on(second), strict=True):
        assert torch.equal(one, other)


def test_acting_is_deterministic_and_within_limits(case: tuple[str, bool], batch: Batch) -> None:
    method = make(case).eval()
    with torch.no_grad():
        action = method.act(10 * batch.observation, batch.goal)
        again = method.act(10 * batch.observation, batch.goal)
    assert action.shape == (16, 2) and bool((action.abs() <= 1).all())
    assert torch.equal(action, again)


def test_rows_of_a_batch_do_not_see_each_other_when_acting(
    case: tuple[str, bool], batch: Batch
) -> None:
    method = make(case).eval()
    with torch.no_grad():
        together = method.act(batch.observation, batch.goal)
        alone = method.act(batch.observation[3:4], batch.goal[3:4])
    torch.testing.assert_close(together[3:4], alone, atol=1e-5, rtol=1e-5)


def test_state_values_have_one_number_a_row(case: tuple[str, bool], batch: Batch) -> None:
    method = make(case).eval()
    with torch.no_grad():
        value = method.state_value(batch.observation, batch.goal)
    assert value.shape == (16,) and bool(torch.isfinite(value).all())


def test_held_out_metrics_move_nothing(case: tuple[str, bool], batch: Batch) -> None:
    learner = Learner(make(case))
    before = list(states(learner.method))
    metrics = learner.evaluate(batch)
    assert metrics and all(bool(torch.isfinite(value).all()) for value in metrics.values())
    for one, other in zip(before, states(learner.method), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [n for n in METHODS if not method_config(n).discrete] or ["-"])
def test_a_method_that_needs_continuous_actions_says_so(name: str) -> None:
    if name == "-":
        pytest.skip("every method takes discrete actions")
    with pytest.raises(NavOffrlError, match="continuous"):
        make_method(method_config(name)(name=name), Spaces(4, 2, GRID))


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(NavOffrlError, match="iql"):
        method_config("sarsa")
