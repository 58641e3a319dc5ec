"""Minibatches made ahead in the background, in buffers that are used again and again.

Gathering frames is a copy that releases Python's lock, so one thread is enough to hide it behind
training; worker processes would cost more than the gather itself.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

Buffer = TypeVar("Buffer")
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class _Made(Generic[Buffer, Batch]):
    batch: Batch
    buffer: Buffer


class Prefetcher(Generic[Buffer, Batch]):
    """Iterates over `make(number, buffer)` for each number, a few batches ahead.

    A batch may be a view of its buffer: it is valid until the next one is asked for. Each buffer
    is given to `make` by one thread, never while a batch made in it is still valid; with N buffers
    N - 1 batches are made ahead. An exception in `make` is raised in the loop. Use it in a `with`
    statement: leaving it, by Ctrl-C too, ends the thread.
    """

    def __init__(
        self,
        make: Callable[[int, Buffer], Batch],
        numbers: Iterable[int],
        buffers: Sequence[Buffer],
    ) -> None:
        """Start at once; needs at least 2 buffers to be ahead."""
        self._make, self._numbers = make, numbers
        self._free: queue.SimpleQueue[Buffer | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Made[Buffer, Batch] | BaseException | None] = (
            queue.SimpleQueue()
        )
        for buffer in buffers:
            self._free.put(buffer)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for number in self._numbers:
                buffer = self._free.get()
                if buffer is None or self._closing.is_set():
                    return
                self._ready.put(_Made(self._make(number, buffer), buffer))
            self._ready.put(None)
        except BaseException as error:  # it belongs to who asked for the batch
            self._ready.put(error)

    def __iter__(self) -> Iterator[Batch]:
        while not self._closing.is_set():
            made = self._ready.get()
            if made is None:
                return
            if isinstance(made, BaseException):
                raise made
            yield made.batch
            self._free.put(made.buffer)

    def close(self) -> None:
        """End the thread, after the batch that it is making."""
        self._closing.set()
        self._free.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
