"""When a simulation takes its steps: by the wall clock, at the pace of commands, or at once."""

import time
from collections.abc import Callable

PACES = ("real_time", "commands", "free")
EARLY = 1e-6  # s by which a time may fall short through rounding
BACKLOG = 0.25  # s that a simulation in real time makes up for; what is older is given up


class Rate:
    """Says when something that happens at a rate is due.

    On a grid, not a period after the last time: coming late does not lower the mean rate. What a
    pause left out is not made up for.
    """

    def __init__(self, rate_hz: float) -> None:
        self.period = 1.0 / rate_hz
        self._next = 0.0

    def due(self, now: float) -> bool:
        """Whether it is due at a time (s) that never decreases; it then counts as done."""
        if now < self._next - EARLY:
            return False
        self._next += self.period
        if self._next <= now - EARLY:
            self._next = now + self.period
        return True


class Pacer:
    """Says when the next step of `period` s may be taken, and keeps the simulated time.

    `real_time` keeps to the wall clock. `commands` waits for several who command: what each of them
    sends lets `command_period` s pass, as fast as the machine can, and who is slowest governs.
    Without commands it goes on in real time: nodes that died do not stop the world. `free` waits
    for nothing.

    Attributes:
        now: simulated time, s.
        late: steps that were given up since `late` was last set to 0.
    """

    def __init__(
        self,
        period: float,
        pace: str = "real_time",
        command_period: float = 0.0,
        commanders: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period, self.pace = period, pace
        self.now = 0.0
        self.late = 0
        self._command_period = command_period
        self._clock = clock
        self._steps = 0
        self._until = [0.0] * commanders
        self._next = clock() + period

    def hurries(self) -> bool:
        """Whether the next step waits for no clock."""
        if self.pace == "commands":
            return self.now + self.period <= min(self._until) + EARLY
        return self.pace == "free"

    def due(self) -> bool:
        """Whether the next step may be taken."""
        return self.hurries() or self._clock() >= self._next

    def lag(self) -> float:
        """How far the simulation is behind the wall clock (s) after a step; real time only."""
        return max(0.0, self._clock() + self.period - self._next)

    def step(self) -> None:
        """Count a step."""
        self._steps += 1
        self.now = self._steps * self.period
        wall = self._clock()
        if self.pace != "real_time":
            self._next = wall + self.period
            return
        self._next += self.period
        if self._next < wall - BACKLOG:
            self.late += int((wall - self._next) / self.period)
            self._next = wall

    def command(self, commander: int = 0) -> None:
        """One of those who command sent something: as far as it goes, time may pass."""
        self._until[commander] = self.now + self._command_period
