"""How the benchmark times: in turn, so that all meet the same load, and by medians."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.store.prefetch import Prefetcher
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.training_tier import TrainingTier, frame_buffer

Steps = NDArray[np.int64]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Timing:
    """Seconds a batch: median, the middle 80 % of them, and the median of the thread's CPU time.

    CPU time leaves out what other processes took of the machine meanwhile.
    """

    median: float
    low: float
    high: float
    cpu: float
    batches: int


def timing(seconds: Sequence[tuple[float, float]]) -> Timing:
    """Sum up pairs of wall-clock and CPU seconds."""
    wall, cpu = np.array(seconds).T
    low, median, high = np.quantile(wall, [0.1, 0.5, 0.9])
    return Timing(float(median), float(low), float(high), float(np.median(cpu)), len(wall))


def draw(sampler: GoalSampler, batch_size: int, number: int) -> Steps:
    """Observation, next observation and goal of a batch: (3 * batch_size,) steps."""
    drawn = sampler.sample(batch_size, number)
    return np.concatenate([drawn.step, drawn.next_step, drawn.goal])


def in_turn(
    ways: Mapping[str, Callable[[Steps], object]], batches: Sequence[Steps], label: str
) -> dict[str, Timing]:
    """Time every way on every batch, the ways taking turns in a random order.

    At one time each way has another batch: the second to gather the same frames would find some
    of them in the processor's cache.
    """
    rng = np.random.default_rng(0)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    names, apart = list(ways), -(-len(batches) // len(ways))
    for number in tqdm(range(len(batches)), desc=label, unit="batch", leave=False):
        for way in rng.permutation(len(names)):
            steps = batches[(number + way * apart) % len(batches)]
            seconds[names[way]].append(timed(partial(ways[names[way]], steps)))
    return {name: timing(values) for name, values in seconds.items()}


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock seconds that an action takes, and the CPU seconds of this thread."""
    begin, cpu = time.perf_counter(), time.thread_time()
    action()
    return time.perf_counter() - begin, time.thread_time() - cpu


@dataclass(frozen=True)
class Overlap:
    """Seconds a step of a training that computes about as long as three gathers."""

    compute: float
    one_after_the_other: float
    prefetched: float
    gather: float

    @property
    def hidden(self) -> float:
        """The share of what is not computing that training no longer waits for."""
        waited = self.one_after_the_other - self.compute
        return (self.one_after_the_other - self.prefetched) / waited


def overlap(tier: TrainingTier, batches: Sequence[Steps], device: bool, ring: int = 4) -> Overlap:
    """Time training steps that compute about three times as long as they gather.

    On a `device` the computing is waiting; else it is a second core's work, which releases
    Python's lock as torch's operations do.
    """
    shape = (len(batches[0]), *tier.frames.shape[1:])
    buffers = [frame_buffer(shape) for _ in range(ring)]
    for buffer in buffers:
        buffer[:] = 0  # the memory's first touch is no part of a step
    gathers = [timed(partial(tier.gather, steps, out=buffers[0]))[0] for steps in batches]
    gather = float(np.median(gathers))
    compute = partial(time.sleep, 3 * gather) if device else _matrix_products(3 * gather)

    def one_after_the_other() -> None:
        for steps in batches:
            tier.gather(steps, out=buffers[0])
            compute()

    def prefetched() -> None:
        def make(number: int, buffer: Frames) -> Frames:
            return tier.gather(batches[number], out=buffer)

        with Prefetcher(make, range(len(batches)), buffers) as made:
            for _ in made:
                compute()

    rounds = [(timed(one_after_the_other)[0], timed(prefetched)[0]) for _ in range(7)]
    one, other = np.median(np.array(rounds), axis=0) / len(batches)
    computing = float(np.median([timed(compute)[0] for _ in batches]))
    return Overlap(computing, float(one), float(other), gather)


def _matrix_products(seconds: float) -> Callable[[], None]:
    """Return something to compute that takes about so long."""
    matrix = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    out = np.empty_like(matrix)
    product = partial(np.matmul, matrix, matrix, out=out)
    once = np.median([timed(product)[0] for _ in range(50)])
    repeats = max(1, round(seconds / float(once)))

    def compute() -> None:
        for _ in range(repeats):
            product()

    return compute
