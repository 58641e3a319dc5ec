"""Waypoints become the command that leads there, whatever the network says, within the limits."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.networks.commands import ScaledCommand, WaypointCommand, arc_to
from nav_offrl_export.graphs import to_onnx

torch.set_num_threads(1)

LOW, HIGH = (-0.5, -1.0), (1.5, 1.2)
SCALE, SECONDS = (2.0, 1.5), 0.75


def pose_after(v: float, omega: float, seconds: float) -> tuple[float, float, float]:
    """Integrate a differential drive exactly; the curve is a circle."""
    turn = omega * seconds
    if abs(turn) < 1e-9:
        return v * seconds, 0.0, turn
    return v / omega * math.sin(turn), v / omega * (1 - math.cos(turn)), turn


def follow(pose: tuple[float, float, float], low: tuple[float, float] = LOW) -> list[float]:
    """What the robot does towards its second waypoint; the others say other things."""
    command = WaypointCommand(low, HIGH, SCALE, 1, SECONDS)
    unit = torch.tensor(pose) / torch.tensor([SCALE[0], SCALE[0], SCALE[1]])
    other = torch.tensor([0.3, -0.9, 0.4])
    spoken: list[float] = command(torch.cat([other, unit, -other])[None])[0].tolist()
    return spoken


@pytest.mark.parametrize(
    ("v", "omega"),
    [(1.0, 0.0), (0.0, 0.0), (1.2, 0.8), (0.4, -1.0), (-0.4, 0.0), (-0.4, 0.7), (0.0, 0.9)],
)
def test_the_velocity_that_drove_an_arc_comes_back(v: float, omega: float) -> None:
    assert follow(pose_after(v, omega, SECONDS)) == pytest.approx([v, omega], abs=1e-5)


def test_too_fast_an_arc_is_driven_slower_and_not_left() -> None:
    v, omega = follow(pose_after(3.0, 1.5, SECONDS))
    assert v == pytest.approx(HIGH[0]) and omega == pytest.approx(HIGH[0] / 2)
    v, omega = follow(pose_after(0.8, -2.0, SECONDS))
    assert omega == pytest.approx(LOW[1]) and v == pytest.approx(0.4)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_to_a_place_behind_it_a_robot_that_cannot_reverse_turns(side: float) -> None:
    """Arctan of y / x would turn it away, or drive it ahead."""
    for low in ((0.0, -1.0), (-0.01, -1.0)):  # a log whose robot slipped back does not reverse
        v, omega = follow((-1.0, 0.2 * side, 0.0), low)
        assert [v, omega] == pytest.approx([0.0, HIGH[1] if side > 0 else LOW[1]])
    v, omega = follow((-1.0, 0.2 * side, 0.0))
    assert v == pytest.approx(LOW[0]) and -0.3 < omega * side < 0


@settings(max_examples=200, deadline=None)
@given(
    unit=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
    low=st.tuples(st.floats(-1, 0), st.floats(-2, 0)),
    high=st.tuples(st.floats(0.001, 2), st.floats(0.001, 2)),
)
def test_no_waypoint_leads_beyond_the_limits(
    unit: list[float], low: tuple[float, float], high: tuple[float, float]
) -> None:
    command = WaypointCommand(low, high, SCALE, 0, SECONDS)(torch.tensor([unit]))
    assert bool((command >= torch.tensor(low)).all() and (command <= torch.tensor(high)).all())


def test_arcs_are_even_in_front_of_the_robot() -> None:
    """Mirrored places give mirrored turns and the same length."""
    place = torch.rand(50, 3) * torch.tensor([2.0, 2.0, 0.0]) + torch.tensor([0.1, 0.05, 0.0])
    left, right = (arc_to(place * torch.tensor([1.0, s, 1.0]), reverses=False) for s in (1, -1))
    torch.testing.assert_close(left[:, 0], right[:, 0])
    torch.testing.assert_close(left[:, 1], -right[:, 1])
    assert bool((left[:, 0] >= place[:, :2].norm(dim=-1)).all())


def test_onnx_runtime_drives_alike_in_all_directions() -> None:
    module = WaypointCommand(LOW, HIGH, SCALE, 1, SECONDS).eval()
    around = torch.linspace(-3.1, 3.1, 40)
    place = torch.stack([around.cos(), around.sin(), around / 4], -1)
    unit = torch.cat([place, torch.cat([0.4 * place, torch.zeros(1, 3)])[:-1], place], -1)
    unit[7, 3:6] = torch.tensor([0.0, 0.0, 0.3])
    graph = to_onnx(module, "policy", {"unit": unit[:2]}, "command")
    found = onnxruntime.InferenceSession(graph).run(None, {"unit": unit.numpy()})[0]
    np.testing.assert_allclose(found, module(unit).numpy(), atol=1e-5)


def test_scaled_commands_reach_both_limits() -> None:
    unit = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [0.0, 0.0], [3.0, -3.0]])
    expected = [[-0.5, 1.2], [1.5, -1.0], [0.5, 0.1], [1.5, -1.0]]
    torch.testing.assert_close(ScaledCommand(LOW, HIGH)(unit), torch.tensor(expected))
