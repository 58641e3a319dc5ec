"""Processes that answer cases of `fuzz_case`, each replaced when a case kills it."""

import itertools
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from benchmarks.store.fuzz_case import SHOWN, Case, Outcome

ROOT = Path(__file__).parents[2]
CASES_A_PROCESS = 500  # then a fresh one: what earlier cases left in memory is no case's own


@dataclass(frozen=True)
class Limits:
    """Of one case. `address_space` is beyond what the process has before it, MiB.

    `memory` is what may become resident, MiB: small beside the address space, which also holds
    what is reserved and never touched.
    """

    seconds: float = 20.0
    address_space: float = 3 * 1024
    memory: float = 512


class _Process:
    def __init__(self, limits: Limits) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        # Names of files that are no text must fail to print here as they do on most terminals.
        environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
        numbers = (limits.seconds, limits.address_space, limits.memory)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.store.fuzz_case", *map(str, numbers)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent; its own children die with it
        )
        assert self._process.stdin and self._process.stdout
        self._questions: IO[str] = self._process.stdin
        self.answers: IO[str] = self._process.stdout
        self.case: Case | None = None
        self.answered = 0

    def ask(self, case: Case) -> None:
        self.errors.seek(0)
        self.errors.truncate()
        self.case = case
        with suppress(BrokenPipeError):  # it died: reading its answer says so
            print(json.dumps(asdict(case)), file=self._questions, flush=True)

    def answer(self) -> Outcome:
        line = self.answers.readline()
        self.case = None
        self.answered += 1
        if line.endswith("\n"):
            return Outcome(**json.loads(line))
        return self._death()

    def _death(self) -> Outcome:
        self.answered = CASES_A_PROCESS
        status = self._process.wait()
        self.errors.seek(0)
        detail = self.errors.read().decode(errors="replace")
        if status < 0:
            return Outcome(f"fault: crash ({signal.Signals(-status).name})", detail=detail[-SHOWN:])
        if "Timeout (" in detail:
            stack = detail[detail.rindex("Timeout (") :]
            return Outcome("fault: timeout", detail=stack[:SHOWN])
        return Outcome(f"fault: exit with status {status}", detail=detail[-SHOWN:])

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for file in (self.errors, self.answers):
            file.close()
        with suppress(BrokenPipeError):
            self._questions.close()


class Pool:
    """A context of `processes` processes that judge cases."""

    def __init__(self, processes: int, limits: Limits) -> None:
        self._count, self._limits = processes, limits
        self._processes: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.stop()

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Outcome]]:
        """Yield the outcome of each case as it comes; draws a case when a process is free."""
        waiting = iter(cases)
        with selectors.DefaultSelector() as selector:
            for case in itertools.islice(waiting, self._count):
                self._ask(self._start(), case, selector)
            while selector.get_map():
                for key, _ in selector.select():
                    process: _Process = key.data
                    selector.unregister(process.answers)
                    answered, outcome = process.case, process.answer()
                    assert answered is not None
                    yield answered, outcome
                    if process.answered >= CASES_A_PROCESS:
                        process.stop()
                        self._processes.remove(process)
                    following = next(waiting, None)
                    if following is not None:
                        worn_out = process not in self._processes
                        self._ask(self._start() if worn_out else process, following, selector)

    def _start(self) -> _Process:
        self._processes.append(_Process(self._limits))
        return self._processes[-1]

    @staticmethod
    def _ask(process: _Process, case: Case, selector: selectors.BaseSelector) -> None:
        process.ask(case)
        selector.register(process.answers, selectors.EVENT_READ, process)
