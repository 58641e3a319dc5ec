"""What needs a process of its own: peak memory, and reading from disk with nothing mapped yet."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.store import page_cache
from benchmarks.store.measure import Frames, Steps, draw, timed, timing
from benchmarks.store.synthetic import spec
from nav_offrl.store import Store
from nav_offrl.store.flat_view import flat_view
from nav_offrl.store.prefetch import Prefetcher
from nav_offrl.store.relabelling import SamplingConfig
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.training_tier import TrainingTier, frame_buffer, open_training_tier

MEMORY_BATCHES = 100


def in_a_process(what: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of this module in a fresh Python process and return its result."""
    command = [sys.executable, "-m", "benchmarks.store.isolated", what.__name__]
    done = subprocess.run(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory(path: str, size: str, batch_size: str) -> dict[str, float]:
    """Return the MB that drawing, gathering and prefetching batches takes.

    Anonymous memory is the process's own. Mapped frames count as resident too, but they are the
    page cache, which the kernel takes back when it needs it and which all processes share.
    """
    imports = _resident()["RssAnon"]
    store = Store.open(path)
    tier = open_training_tier(store, spec(int(size)))
    sampler = GoalSampler(store, "train", SamplingConfig(order="epochs"), seed=0)
    shape = (3 * int(batch_size), *tier.frames.shape[1:])
    ring = [frame_buffer(shape) for _ in range(4)]

    def make(number: int, buffer: Frames) -> Frames:
        return tier.gather(draw(sampler, int(batch_size), number), out=buffer)

    peak = {"RssAnon": 0.0, "RssFile": 0.0}
    with Prefetcher(make, range(MEMORY_BATCHES), ring) as made:
        for _ in made:
            peak = {key: max(value, peak[key]) for key, value in _resident().items()}
    return {
        "steps": store.steps,
        "anonymous_mb": peak["RssAnon"],
        "of_that_imports_mb": imports,
        "of_that_buffers_mb": sum(buffer.nbytes for buffer in ring) / 2**20,
        "mapped_mb": peak["RssFile"],
    }


def _resident() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {key: int(values[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile")}


def cold(path: str, size: str, batch_size: str, npy: str, batches: str) -> dict[str, Any]:
    """Time one batch at a time, each after its files were dropped from the page cache.

    Seconds a batch of the tier and of the memory map, and the largest share of pages that were
    in memory all the same when a batch began.
    """
    store = Store.open(path)
    row_of_step = open_training_tier(store, spec(int(size))).row_of_step
    sampler = GoalSampler(store, "train", SamplingConfig(), seed=1)
    out = frame_buffer((3 * int(batch_size), int(size), int(size), 3))
    out[:] = 0
    tier_folder = spec(int(size)).folder(store) / "frames"

    def of_tier(steps: Steps) -> tuple[float, float]:
        frames, _ = flat_view(tier_folder)
        tier = TrainingTier(frames, row_of_step)
        return timed(lambda: tier.gather(steps, out=out))

    def of_memmap(steps: Steps) -> tuple[float, float]:
        frames = np.load(npy, mmap_mode="r")
        return timed(lambda: np.take(frames, steps, axis=0, out=out, mode="clip"))

    ways: Sequence[tuple[str, Callable[[Steps], tuple[float, float]], Path]]
    ways = [("tier", of_tier, tier_folder), ("memmap", of_memmap, Path(npy))]
    seconds: dict[str, list[tuple[float, float]]] = {"tier": [], "memmap": []}
    left = 0.0
    for number in tqdm(range(int(batches)), desc="cold", unit="batch", leave=False):
        steps = draw(sampler, int(batch_size), number)
        for name, way, place in ways if number % 2 else reversed(ways):
            gc.collect()  # pages stay while they are mapped
            page_cache.drop(place)
            left = max(left, page_cache.share_cached(place))
            seconds[name].append(way(steps))
    timings = {name: asdict(timing(values)) for name, values in seconds.items()}
    return timings | {"left_in_memory": left}


if __name__ == "__main__":
    print(json.dumps({"peak_memory": peak_memory, "cold": cold}[sys.argv[1]](*sys.argv[2:])))
