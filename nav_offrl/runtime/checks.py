"""Checks that the navigator and the safety gate share: are the inputs alive and sane?"""

import math
from dataclasses import dataclass

from nav_offrl.runtime.types import Command


def time_fault(
    name: str, stamp: float, arrival: float, now: float, max_age: float, clock_tolerance: float
) -> str | None:
    """Say what is wrong with the times (s) of an input, or None if it is fresh.

    An input is old by its stamp (the sensor hangs, the network is slow) or by its arrival (the
    sender died); a stamp in the future means that two clocks disagree and no age can be trusted.
    """
    for kind, time in (("stamp", stamp), ("arrival", arrival)):
        if not math.isfinite(time):
            return f"{name} {kind} is not a number"
        age = now - time
        if age > max_age:
            return f"{name} is stale: {age:.2f} s old by {kind}, {max_age:.2f} s allowed"
        if age < -clock_tolerance:
            return f"{name} {kind} is {-age:.2f} s in the future: clocks disagree"
    return None


@dataclass(frozen=True)
class Scenery:
    """Digest of the latest pixels and the time (s) since which they have not changed."""

    digest: int
    since: float


def watch_scenery(scenery: Scenery | None, digest: int, now: float) -> Scenery:
    """Follow the pixels from frame to frame."""
    if scenery is None or scenery.digest != digest or now < scenery.since:
        return Scenery(digest, now)
    return scenery


def limit_acceleration(wanted: float, previous: float, largest_change: float) -> float:
    """Let a velocity grow by at most `largest_change`, shrink towards 0 as fast as it likes.

    Braking is never delayed; a reversal passes through 0 and accelerates from there.
    """
    low = min(previous, 0.0) - largest_change
    high = max(previous, 0.0) + largest_change
    return min(max(wanted, low), high)


def clip_command(command: Command, low: tuple[float, float], high: tuple[float, float]) -> Command:
    """The command nearest to `command` inside the limits (m/s, rad/s)."""
    return Command(
        min(max(command.linear, low[0]), high[0]), min(max(command.angular, low[1]), high[1])
    )


def accelerate(
    wanted: Command, previous: Command, accelerations: tuple[float, float], elapsed: float
) -> Command:
    """The command reachable from `previous` in `elapsed` s at (m/s^2, rad/s^2)."""
    return Command(
        limit_acceleration(wanted.linear, previous.linear, accelerations[0] * elapsed),
        limit_acceleration(wanted.angular, previous.angular, accelerations[1] * elapsed),
    )
