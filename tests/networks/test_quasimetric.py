"""The interval quasimetric keeps its axioms whatever the latents are, and measures what it says."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from nav_offrl.networks.quasimetric import IntervalQuasimetric, running_maximum

torch.set_num_threads(1)

SIZE, COMPONENT = 12, 4
# Coarse numbers among them, so that ends of intervals coincide.
NUMBERS = st.integers(-3, 3).map(float) | st.floats(-50, 50, allow_subnormal=False)
LATENTS = arrays(np.float64, SIZE, elements=NUMBERS)


def quasimetric(share_of_mean: float = 0.5) -> IntervalQuasimetric:
    module = IntervalQuasimetric(SIZE, COMPONENT).double()
    torch.nn.init.constant_(module.mean_logit, np.log(share_of_mean / (1 - share_of_mean)))
    return module.requires_grad_(False)


def distance(x: np.ndarray, y: np.ndarray, share_of_mean: float) -> float:
    return quasimetric(share_of_mean)(torch.from_numpy(x), torch.from_numpy(y)).item()


@settings(max_examples=150, deadline=None)
@given(LATENTS, LATENTS, LATENTS, st.floats(0.01, 0.99))
def test_triangle_inequality(x: np.ndarray, y: np.ndarray, z: np.ndarray, share: float) -> None:
    detour = distance(x, y, share) + distance(y, z, share)
    assert distance(x, z, share) <= detour + 1e-9


@settings(max_examples=100, deadline=None)
@given(LATENTS, LATENTS, st.floats(0.01, 0.99))
def test_never_negative_and_nothing_to_itself(x: np.ndarray, y: np.ndarray, share: float) -> None:
    assert distance(x, y, share) >= 0
    assert distance(x, x, share) == 0


@settings(max_examples=100, deadline=None)
@given(LATENTS, LATENTS)
def test_nothing_only_where_no_number_rises(x: np.ndarray, y: np.ndarray) -> None:
    """d(x, y) = 0 means y <= x throughout: there is a way down for free, and none up."""
    assert (distance(x, y, 0.5) == 0) == bool((y <= x).all())


def test_there_and_back_may_differ() -> None:
    low, high = np.zeros(SIZE), np.ones(SIZE)
    assert distance(low, high, 0.5) == pytest.approx(1) and distance(high, low, 0.5) == 0


def union_by_points(x: np.ndarray, y: np.ndarray) -> float:
    """Length of what the intervals [x_i, max(x_i, y_i)] cover, cell by cell between all ends."""
    ends = np.unique(np.concatenate([x, np.maximum(x, y)]))
    middles, lengths = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    covered = ((x[:, None] < middles) & (middles < y[:, None])).any(0)
    return float(lengths[covered].sum())


@settings(max_examples=100, deadline=None)
@given(LATENTS, LATENTS)
def test_components_measure_unions_and_are_mixed_by_mean_and_maximum(
    x: np.ndarray, y: np.ndarray
) -> None:
    parts = zip(x.reshape(-1, COMPONENT), y.reshape(-1, COMPONENT), strict=True)
    unions = [union_by_points(a, b) for a, b in parts]
    components = quasimetric().components(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(components.numpy(), unions, atol=1e-9)
    expected = 0.25 * np.mean(unions) + 0.75 * np.max(unions)
    assert distance(x, y, 0.25) == pytest.approx(expected, abs=1e-9)


def test_the_gradient_is_that_of_the_ends_of_the_union() -> None:
    """[0, 2] and [1, 5] cover [0, 5]: only the least start and the greatest end count."""
    module = IntervalQuasimetric(2, 2).double()
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[2.0, 5.0]], dtype=torch.float64, requires_grad=True)
    module(x, y).sum().backward()
    assert x.grad is not None and y.grad is not None
    assert x.grad.tolist() == [[-1.0, 0.0]] and y.grad.tolist() == [[0.0, 1.0]]


def test_distances_broadcast_over_leading_dimensions() -> None:
    x, y = torch.randn(5, 1, SIZE).double(), torch.randn(3, SIZE).double()
    module = quasimetric()
    table = module(x.expand(5, 3, SIZE), y.expand(5, 3, SIZE))
    assert table.shape == (5, 3)
    assert table[4, 2].item() == pytest.approx(module(x[4, 0], y[2]).item())


@pytest.mark.parametrize("length", [1, 2, 5, 8, 13])
def test_running_maximum(length: int) -> None:
    x = torch.randn(3, length)
    assert torch.equal(running_maximum(x), x.cummax(-1).values)


def test_it_exports(tmp_path: Path) -> None:
    """The distance is a graph of the bundle."""
    module, path = IntervalQuasimetric(16, 8).eval(), tmp_path / "distance.onnx"
    x, y = torch.randn(3, 16), torch.randn(3, 16)
    torch.onnx.export(module, (x, y), path, input_names=["x", "y"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (exported,) = session.run(None, {"x": x.numpy(), "y": y.numpy()})
    with torch.no_grad():
        expected: Tensor = module(x, y)
    np.testing.assert_allclose(exported, expected.numpy(), atol=1e-6)
