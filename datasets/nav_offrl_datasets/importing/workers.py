"""Mapping a function over items in worker processes: results in order, a few at a time.

Unlike `concurrent.futures`, one that dies (out of memory, a crash in a C library) costs its own
item only and is named, and results that nobody has taken yet never pile up.
"""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items in flight for each worker, results that wait for their turn included


@dataclass(frozen=True)
class Death:
    """What stands in for the result of an item whose worker died."""

    how: str


@dataclass
class _Worker(Generic[Item]):
    process: BaseProcess
    connection: Connection
    index: int | None = None  # of the item in hand


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Generator[Result | Death, None, None]:
    """Yield `function(item)` for each item in order, from at most `workers` processes.

    With one worker everything happens in this process. `function` and the items must pickle. The
    processes start afresh (no fork of this one), so a script that calls this needs the guard
    `if __name__ == "__main__":`. An exception of `function` is raised here.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    pool = _Pool(function, workers)
    try:
        yield from pool.map(items)
    finally:
        pool.stop()


class _Pool(Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result], workers: int) -> None:
        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":  # its children find this imported already
            self._context.set_forkserver_preload(["nav_offrl_datasets.importing.reading"])
        self._function = function
        self._workers: list[_Worker[Item]] = []
        for _ in range(workers):
            self._workers.append(self._start())

    def _start(self) -> _Worker[Item]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def map(self, items: Sequence[Item]) -> Iterator[Result | Death]:
        done: dict[int, Result | Death] = {}
        given = 0
        for turn in range(len(items)):
            while turn not in done:
                until = min(len(items), turn + AHEAD * len(self._workers))
                given = self._hand_out(items, given, until)
                busy = {
                    worker.connection: number
                    for number, worker in enumerate(self._workers)
                    if worker.index is not None
                }
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    self._receive(busy[ready], done)
            yield done.pop(turn)

    def _hand_out(self, items: Sequence[Item], given: int, until: int) -> int:
        for number, worker in enumerate(self._workers):
            if worker.index is None and given < until:
                try:
                    worker.connection.send(items[given])
                except OSError:  # it died with nothing in hand
                    worker = self._workers[number] = self._start()
                    worker.connection.send(items[given])
                worker.index = given
                given += 1
        return given

    def _receive(self, number: int, done: dict[int, Result | Death]) -> None:
        worker = self._workers[number]
        assert worker.index is not None
        try:
            succeeded, value = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            done[worker.index] = Death(_how(worker.process.exitcode))
            self._workers[number] = self._start()
            return
        if not succeeded:
            raise value
        done[worker.index] = value
        worker.index = None

    def stop(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _how(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"ended with status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """Answer one item after the other until the parent is gone."""
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, function(item))
        except Exception as error:
            answer = (False, error)
        connection.send(answer)
