"""Damaged files for the tests of the importers."""

import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.errors import NavOffrlError

SLOWEST = 5.0  # s a file
MOST_MEMORY = 300 << 10  # KiB more than before, over all files
WORDS = (b"\xff", b"\0", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff" * 8)


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield `count` versions of a file: cut off, bits flipped, words set, pieces moved, other."""
    rng = random.Random(seed)
    yield b""
    yield b"\0" * len(content)
    yield rng.randbytes(len(content))
    yield content + content
    for _ in range(count - 4):
        bad = bytearray(content)
        if rng.random() < 0.15:
            yield bytes(bad[: rng.randrange(len(bad))])
            continue
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
            at, how = rng.randrange(len(bad)), rng.random()
            if how < 0.4:
                bad[at] ^= 1 << rng.randrange(8)
            elif how < 0.8:
                word = rng.choice((*WORDS, rng.randrange(len(bad)).to_bytes(8, "little")))
                bad[at : at + len(word)] = word
            else:
                source, size = rng.randrange(len(bad)), rng.choice((1, 8, 64))
                bad[at : at + size] = bad[source : source + size]
        yield bytes(bad)


@pytest.fixture
def check_damaged() -> Callable[..., tuple[int, int]]:
    """Check that an importer reads or refuses each file: no other error, no hang, no memory.

    `check(importer, path, config, contents)` writes each of `contents` to `path` and imports it;
    returns how many were read and how many refused.
    """

    def check(importer: Any, path: Path, config: Any, contents: Iterator[bytes]) -> tuple[int, int]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read = refused = 0
        for content in contents:
            path.write_bytes(content)
            begin = time.monotonic()
            importer.recognises(path)
            try:
                found, _ = importer.sources(path, config)
                layout = importer.layout(found, config)
                for source in found:
                    for run in importer.read(source, layout, config):
                        assert all(len(values) == len(run.time) for values in run.fields.values())
                read += 1
            except NavOffrlError as error:
                assert error.what
                refused += 1
            assert time.monotonic() - begin < SLOWEST
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY
        return read, refused

    return check


@pytest.fixture
def make_damaged() -> Callable[..., Iterator[bytes]]:
    """Return `damaged(content, count, seed)`."""
    return damaged
