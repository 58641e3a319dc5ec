"""Memory that is freed and wanted again in every step."""

import resource
import sys

import pytest
import torch

from nav_offrl.algorithms.memory import keep_freed_memory

MEGABYTES = 16
PAGES = MEGABYTES * 2**20 // resource.getpagesize()


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_what_is_freed_comes_back_without_a_fault_a_page() -> None:
    assert keep_freed_memory()
    for _ in range(3):
        torch.ones(MEGABYTES * 2**18)
    before = page_faults()
    for _ in range(10):
        torch.ones(MEGABYTES * 2**18)
    assert page_faults() - before < PAGES
