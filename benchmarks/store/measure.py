"""How the benchmark times: in turn, so that all meet the same load, and by medians."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.store.prefetch import Prefetcher
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.training_tier import TrainingTier

Steps = NDArray[np.int64]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Timing:
    """Seconds a batch: median, and the middle 80 % of them."""

    median: float
    low: float
    high: float
    batches: int


def timing(seconds: Sequence[float]) -> Timing:
    low, median, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    return Timing(float(median), float(low), float(high), len(seconds))


def draw(sampler: GoalSampler, batch_size: int, number: int) -> Steps:
    """Observation, next observation and goal of a batch: (3 * batch_size,) steps."""
    drawn = sampler.sample(batch_size, number)
    return np.concatenate([drawn.step, drawn.next_step, drawn.goal])


def in_turn(
    ways: Mapping[str, Callable[[Steps], object]], batches: Sequence[Steps], label: str
) -> dict[str, Timing]:
    """Time every way on every batch, one way after the other within a batch."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number, steps in enumerate(tqdm(batches, desc=label, unit="batch", leave=False)):
        # Who comes second finds its rows' indices in the processor's cache: take turns in that too.
        for name in names if number % 2 else reversed(names):
            begin = time.perf_counter()
            ways[name](steps)
            seconds[name].append(time.perf_counter() - begin)
    return {name: timing(values) for name, values in seconds.items()}


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Overlap:
    """Seconds a step of a training that computes about as long as three gathers."""

    compute: float
    one_after_the_other: float
    prefetched: float
    gather: float

    @property
    def hidden(self) -> float:
        """The share of gathering that training no longer waits for."""
        return (self.one_after_the_other - self.prefetched) / self.gather


def overlap(tier: TrainingTier, batches: Sequence[Steps], buffers: int = 4) -> Overlap:
    """Time training steps whose computing releases Python's lock, as torch's does."""
    shape = (len(batches[0]), *tier.frames.shape[1:])
    ring = [np.zeros(shape, np.uint8) for _ in range(buffers)]
    gather = np.median([timed(lambda s=s: tier.gather(s, out=ring[0])) for s in batches])
    matrix = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    out = np.empty_like(matrix)
    once = np.median([timed(lambda: np.matmul(matrix, matrix, out=out)) for _ in range(50)])
    repeats = max(1, round(3 * float(gather) / float(once)))

    def compute() -> None:
        for _ in range(repeats):
            np.matmul(matrix, matrix, out=out)

    def serial() -> None:
        for steps in batches:
            tier.gather(steps, out=ring[0])
            compute()

    def prefetched() -> None:
        def make(number: int, buffer: Frames) -> Frames:
            return tier.gather(batches[number], out=buffer)

        with Prefetcher(make, range(len(batches)), ring) as made:
            for _ in made:
                compute()

    rounds = [(timed(serial), timed(prefetched)) for _ in range(7)]
    one, other = np.median(np.array(rounds), axis=0) / len(batches)
    computing = float(np.median([timed(compute) for _ in batches]))
    return Overlap(computing, float(one), float(other), float(gather))
