"""When simulated time passes: by the wall clock, by commands, freely; with a clock that is told."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("built_environment")


class Wall:
    """A wall clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Iterator[Wall]:
    yield Wall()


def steps_until(pacer: Any, wall: Wall, end: float, tick: float) -> int:
    """Take all steps that are due until a wall time, looking every `tick` s."""
    count = 0
    while wall.now < end - 1e-9:
        wall.now += tick
        while pacer.due():
            pacer.step()
            count += 1
    return count


def test_in_real_time_a_step_is_due_every_period(wall: Wall) -> None:
    from nav_offrl_ros.pacer import Pacer

    pacer = Pacer(0.01, clock=wall)
    assert not pacer.due() and not pacer.hurries()
    # Looked at every 3.3 ms or every 70 ms: as many steps as periods.
    assert steps_until(pacer, wall, 101.0, 0.0033) in (99, 100)
    steps_until(pacer, wall, 111.0, 0.07)
    assert pacer.now == pytest.approx(wall.now - 100.0, abs=0.011)
    assert pacer.late == 0


def test_in_real_time_a_long_pause_is_given_up_and_counted(wall: Wall) -> None:
    from nav_offrl_ros.pacer import BACKLOG, Pacer

    pacer = Pacer(0.01, clock=wall)
    wall.now += 3.0
    made_up = 0
    while pacer.due():
        pacer.step()
        made_up += 1
    assert made_up <= BACKLOG / 0.01 + 2
    assert made_up + pacer.late == pytest.approx(300, abs=2)


def test_a_steps_lag_is_its_age(wall: Wall) -> None:
    from nav_offrl_ros.pacer import Pacer

    pacer = Pacer(0.01, clock=wall)
    wall.now += 0.035  # steps were due 25, 15 and 5 ms ago
    lags = []
    while pacer.due():
        pacer.step()
        lags.append(pacer.lag())
    assert lags == pytest.approx([0.025, 0.015, 0.005])


def test_a_command_lets_its_period_pass_at_once(wall: Wall) -> None:
    from nav_offrl_ros.pacer import Pacer

    pacer = Pacer(0.01, "commands", 0.2, clock=wall)
    assert not pacer.due()
    for commands in (1, 2):
        pacer.command()
        while pacer.hurries():
            pacer.step()
        assert pacer.now == pytest.approx(0.2 * commands)
    pacer.command()
    pacer.command()  # two at once let no more pass than one
    while pacer.hurries():
        pacer.step()
    assert pacer.now == pytest.approx(0.6)


def test_the_slowest_of_those_who_command_governs(wall: Wall) -> None:
    from nav_offrl_ros.pacer import Pacer

    pacer = Pacer(0.01, "commands", 0.1, commanders=2, clock=wall)
    pacer.command(0)
    assert not pacer.hurries()
    pacer.command(1)
    while pacer.hurries():
        pacer.step()
        pacer.command(1)  # again and again, but the other one does not answer
    assert pacer.now == pytest.approx(0.1)


def test_without_commands_time_goes_on_as_on_the_wall(wall: Wall) -> None:
    from nav_offrl_ros.pacer import Pacer

    pacer = Pacer(0.01, "commands", 0.2, clock=wall)
    assert steps_until(pacer, wall, 101.0, 0.01) == pytest.approx(100, abs=1)
    wall.now += 5.0  # nobody looked: that is no backlog
    assert pacer.due()
    pacer.step()
    assert not pacer.due()


def test_running_free_is_always_due(wall: Wall) -> None:
    from nav_offrl_ros.pacer import Pacer

    pacer = Pacer(0.01, "free", clock=wall)
    for _ in range(1000):
        assert pacer.due() and pacer.hurries()
        pacer.step()
    assert pacer.now == pytest.approx(10.0)


@pytest.mark.parametrize("rate_hz", [7.5, 20.0, 25.0, 50.0])
@pytest.mark.parametrize("step", [0.01, 1 / 75, 0.016])
def test_rates_hold_on_average_whatever_the_step(rate_hz: float, step: float) -> None:
    from nav_offrl_ros.pacer import Rate

    rate = Rate(rate_hz)
    times = [k * step for k in range(1, 4001) if rate.due(k * step)]
    assert len(times) == pytest.approx(4000 * step * rate_hz, abs=2)
    assert max(np.diff(times)) <= 1 / rate_hz + step + 1e-9


def test_what_a_pause_left_out_is_not_made_up_for() -> None:
    from nav_offrl_ros.pacer import Rate

    rate = Rate(10.0)
    assert rate.due(0.0) and rate.due(5.0)
    assert not rate.due(5.01) and not rate.due(5.09)
    assert rate.due(5.1)
