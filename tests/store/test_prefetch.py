"""Prefetched batches come in order, in buffers that nobody overwrites, and every fault arrives."""

import threading
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from nav_offrl.store.prefetch import Prefetcher


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not threads()


def fill(number: int, buffer: np.ndarray) -> np.ndarray:
    buffer[:] = number
    return buffer


def buffers(number: int) -> list[np.ndarray]:
    return [np.zeros(1000, np.int64) for _ in range(number)]


@pytest.mark.parametrize("depth", [1, 2, 4, 20])
def test_batches_come_in_the_order_of_their_numbers(depth: int) -> None:
    numbers = [3, 1, 4, 1, 5, 9, 2, 6]
    with Prefetcher(fill, numbers, buffers(depth)) as made:
        assert [int(batch[0]) for batch in made] == numbers


def test_a_batch_is_not_overwritten_before_the_next_is_asked_for() -> None:
    with Prefetcher(fill, range(30), buffers(3)) as made:
        for number, batch in enumerate(made):
            if number % 10 == 0:
                time.sleep(0.02)  # time for the thread to run as far ahead as it may
            assert (batch == number).all()


def test_the_given_buffers_are_all_the_memory_there_is() -> None:
    ring = buffers(3)
    with Prefetcher(fill, range(20), ring) as made:
        seen = [id(batch) for batch in made]
    assert set(seen) == {id(buffer) for buffer in ring}


def test_it_is_one_batch_less_than_its_buffers_ahead() -> None:
    asked: list[int] = []

    def note(number: int, buffer: np.ndarray) -> np.ndarray:
        asked.append(number)
        return fill(number, buffer)

    with Prefetcher(note, count(), buffers(4)) as made:
        batches = iter(made)
        assert next(batches)[0] == 0
        deadline = time.monotonic() + 5
        while len(asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert asked == [0, 1, 2, 3]


def test_work_overlaps() -> None:
    """Twelve batches of 30 ms to make and 30 ms to use: 0.39 s, not the 0.72 s of both in turn."""

    def slow(number: int, buffer: np.ndarray) -> int:
        time.sleep(0.03)
        return number

    begin = time.perf_counter()
    with Prefetcher(slow, range(12), buffers(3)) as made:
        for _ in made:
            time.sleep(0.03)
    assert time.perf_counter() - begin < 0.6


def test_an_exception_of_the_thread_is_raised_in_the_loop_after_the_batches_before_it() -> None:
    def breaks(number: int, buffer: np.ndarray) -> int:
        if number == 3:
            raise ValueError("frame 3 cannot be decoded")
        return number

    seen = []
    with (
        pytest.raises(ValueError, match="frame 3 cannot be decoded"),
        Prefetcher(breaks, range(10), buffers(3)) as made,
    ):
        for batch in made:
            seen.append(batch)
    assert seen == [0, 1, 2]


def test_leaving_the_loop_early_ends_the_thread() -> None:
    with Prefetcher(fill, count(), buffers(3)) as made:
        for batch in made:
            if batch[0] == 5:
                break
        assert threads()
    assert not threads()


def test_an_interrupt_of_the_consumer_ends_the_thread() -> None:
    with pytest.raises(KeyboardInterrupt), Prefetcher(fill, count(), buffers(3)) as made:
        for batch in made:
            if batch[0] == 2:
                raise KeyboardInterrupt
    assert not threads()


def test_nothing_comes_after_the_end() -> None:
    with Prefetcher(fill, range(2), buffers(2)) as made:
        assert len(list(made)) == 2
    assert list(made) == []


def test_no_numbers_give_no_batches() -> None:
    with Prefetcher(fill, [], buffers(2)) as made:
        assert list(made) == []
