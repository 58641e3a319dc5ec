"""What is derived from a store lies beside it, says of which episodes, and may be deleted."""

import fcntl
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import Store

Progress = Callable[[Iterable[int]], Iterable[int]]


def episode_digests(store: Store) -> list[str]:
    """Return what tells each episode's content: a digest of the checksums of its steps."""
    sums = store.checksums
    return [
        hashlib.blake2b(sums[store.steps_of(episode)].tobytes(), digest_size=8).hexdigest()
        for episode in range(len(store.episodes))
    ]


def common_start(present: Sequence[str], wanted: Sequence[str]) -> int:
    """Return how many episodes at the beginning agree."""
    pairs = zip(present, wanted, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


@contextmanager
def sole_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a derived folder, waiting for another process that makes the same.

    Raises:
        NavOffrlError: `what` cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(folder.name + ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise NavOffrlError(
            f"the {what} cannot be written ({error.strerror or error})",
            where=folder,
            remedy="make the store's folder writable and check the disk's free space",
        ) from error
