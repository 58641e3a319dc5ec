"""Contenders in processes of their own that take turns on one core.

Only the standard library: the same protocol is spoken by a Python that has nothing of this project.
A contender reads a number of steps from a line of its input, takes them, and answers with a line
of JSON: the seconds of processor time and of wall clock that they took.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READY = "ready "


class Stopwatch:
    """Adds up the time spent inside its `with` blocks."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> None:
        self._begin = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.cpu += time.process_time() - self._begin[0]
        self.wall += time.perf_counter() - self._begin[1]


def serve(take: Callable[[int, Stopwatch], None], **facts: object) -> None:
    """Tell the facts; then take the steps that are asked for, inside the stopwatch."""
    print(READY + json.dumps(facts), flush=True)
    for line in sys.stdin:
        watch = Stopwatch()
        take(int(line), watch)
        print(READY + json.dumps({"cpu": watch.cpu, "wall": watch.wall}), flush=True)


class Contender:
    """A process that takes steps when told to.

    Attributes:
        facts: what it told about itself.
        turns: (steps, seconds of processor time, seconds of wall clock) of each turn.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.turns: list[tuple[int, float, float]] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **one_core(), **(environment or {})},
        )
        self.facts = self._answer()

    def turn(self, steps: int, counts: bool = True) -> None:
        """Have it take steps; the first turn warms up and should not count."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if counts:
            self.turns.append((steps, answer["cpu"], answer["wall"]))

    def figures(self) -> dict[str, Any]:
        """Steps per second of processor time and of wall clock: median, least and most of turns."""
        cpu = sorted(steps / seconds for steps, seconds, _ in self.turns)
        wall = [steps / seconds for steps, _, seconds in self.turns]
        return {
            "name": self.name,
            "per_core_second": statistics.median(cpu),
            "range": (cpu[0], cpu[-1]),
            "per_second": statistics.median(wall),
            **self.facts,
        }

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(READY):
                answer: dict[str, Any] = json.loads(line.removeprefix(READY))
                return answer
        sys.exit(f"{self.name}: ended with status {self._process.wait()}")


def one_core() -> dict[str, str]:
    """Environment of a process that is to use one thread, also for drawing."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, "1") | {"LP_NUM_THREADS": "0"}


def in_turn(contenders: Sequence[Contender], rounds: int, steps: int) -> list[dict[str, Any]]:
    """Let the contenders take turns, in a different order every other round; return figures."""
    for contender in contenders:
        contender.turn(max(20, steps // 4), counts=False)
    for number in range(rounds):
        for contender in contenders if number % 2 else reversed(contenders):
            contender.turn(steps)
    figures = [contender.figures() for contender in contenders]
    for contender in contenders:
        contender.close()
    return figures
