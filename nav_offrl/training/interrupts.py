"""Ctrl-C between steps, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold a Ctrl-C back for the block; yields what tells whether it was pressed.

    Signals reach the main thread alone; in any other this does nothing.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, previous or signal.default_int_handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is done, so that no step is left half taken.

    Raises:
        KeyboardInterrupt: at the end of the block, where Ctrl-C was pressed within it.
    """
    with held_back() as pressed:
        yield
    if pressed():
        raise KeyboardInterrupt
