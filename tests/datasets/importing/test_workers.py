"""Worker processes: results in order, few at a time, and deaths that cost one item each."""

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nav_offrl_datasets.importing.workers import Death, ordered_map

WORK = """
import os, pathlib, signal, time

def slow_if_even(item):
    time.sleep(0.05 * (item % 2 == 0))
    return item * item

def leave_a_trace(path):
    pathlib.Path(path).touch()

def die_at_three(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == 5:
        os._exit(7)
    return item

def fail_at_three(item):
    if item == 3:
        raise ValueError("three")
    return item
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "work_of_workers.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path / "code")
    sys.modules.pop("work_of_workers", None)
    return importlib.import_module("work_of_workers")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(work: Any, workers: int) -> None:
    items = list(range(12))
    assert list(ordered_map(work.slow_if_even, items, workers)) == [i * i for i in items]


def test_results_that_nobody_takes_do_not_pile_up(work: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"trace_{index}" for index in range(30)]
    results = ordered_map(work.leave_a_trace, paths, 2)
    next(results)
    time.sleep(0.3)
    assert 1 <= sum(path.exists() for path in paths) <= 5
    assert len(list(results)) == 29 and all(path.exists() for path in paths)


def test_dead_workers_are_replaced_and_named(work: Any) -> None:
    results = list(ordered_map(work.die_at_three, range(8), 2))
    assert results[3] == Death("was killed by SIGSEGV")
    assert results[5] == Death("ended with status 7")
    assert [result for result in results if not isinstance(result, Death)] == [0, 1, 2, 4, 6, 7]


@pytest.mark.parametrize("workers", [1, 2])
def test_exception_of_the_function_is_raised(work: Any, workers: int) -> None:
    results = ordered_map(work.fail_at_three, range(8), workers)
    with pytest.raises(ValueError, match="three"):
        list(results)
