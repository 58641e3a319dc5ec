"""Speed and size of the store as a source of minibatches, beside other ways to keep frames.

Random minibatches of 256 transitions are 768 frames: observation, next observation, goal. The
training tier and a NumPy memory map of the same frames are timed in turn in the same run, into
fresh arrays and into a buffer that is used again, warm and cold (files dropped from the page cache
before every batch). Then the same frames, read by others: zarr-python and tensorstore on the tier's
own files, HDF5, and LeRobot's video (a subset of the frames). Frames are synthetic and look like
photographs. 100,000 frames take some minutes to write and 9 GB; they stay in --folder if given.

Examples:
  OMP_NUM_THREADS=1 python -m benchmarks.store --quick
  OMP_NUM_THREADS=1 python -m benchmarks.store --folder /data/benchmark --json store.json
"""

import json
import mmap
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.store import formats, isolated, measure, page_cache, report
from benchmarks.store.synthetic import spec, write_store
from nav_offrl.store import Store
from nav_offrl.store.relabelling import SamplingConfig
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.training_tier import TrainingTier, frame_buffer, open_training_tier

QUICK_STEPS = 5_000
SLOW_BATCHES = 3  # of the formats that take seconds for one


@dataclass
class Args:
    """Measure how fast random minibatches of frames are gathered."""

    steps: int = 100_000
    """frames in the store"""
    episode: int = 200
    """frames in an episode"""
    size: int = 96
    """height and width of a frame in pixels"""
    batch_size: int = 256
    """transitions; a batch gathers three frames of each"""
    batches: int = 200
    """batches to time with each of the fast ways"""
    cold_batches: int = 10
    """batches to time from disk"""
    seed: int = 0
    """of frames and batches"""
    quick: bool = False
    """5,000 frames and fewer batches: a look in half a minute, no figures to quote"""
    folder: Path | None = None
    """where to write, and to find what an earlier run wrote (default: a temporary folder)"""
    json: Path | None = None
    """also write all figures to this file"""


def main(args: Args) -> None:
    if args.quick:
        args.steps, args.batches, args.cold_batches = QUICK_STEPS, 50, 4
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
        figures = run(args, args.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = run(args, Path(folder))
    print(report.markdown(figures))
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=2))


def run(args: Args, folder: Path) -> dict[str, Any]:
    load = os.getloadavg()[0]
    store, tier = make(folder, args.steps, args)
    npy = formats.write_memmap(folder / f"frames_{args.steps}.npy", tier)
    del tier  # what is mapped here could not be dropped from the page cache
    of_store = (store.path, args.size, args.batch_size)
    cold = isolated.in_a_process(isolated.cold, *of_store, npy, args.cold_batches)
    store, tier = make(folder, args.steps, args)
    sampler = GoalSampler(store, "train", SamplingConfig(), args.seed)
    batches = [measure.draw(sampler, args.batch_size, k) for k in range(args.batches)]
    tier_folder = spec(args.size).folder(store) / "frames"
    for place in (tier_folder, npy):
        page_cache.warm(place)
    figures = {
        "frames": store.steps,
        "size": args.size,
        "frames_a_batch": len(batches[0]),
        "load_before": load,
        "cpus": os.cpu_count(),
        "draw": asdict(drawing(sampler, args)),
        "warm": {k: asdict(v) for k, v in warm(tier, npy, batches).items()},
        "overlap": overlapping(tier, batches),
        "memory": memory(folder, store, args),
        "others": others(folder, tier, tier_folder, batches, args),
        "cold": cold,
        "bytes": {
            "recorded JPEG": formats.size_on_disk(store.path / "data"),
            "training tier": formats.size_on_disk(tier_folder),
            "npy": formats.size_on_disk(npy),
        },
    }
    return figures | {"load_after": os.getloadavg()[0]}


def make(folder: Path, steps: int, args: Args) -> tuple[Store, TrainingTier]:
    store = write_store(folder / f"drives_{steps}.zarr", steps, args.episode, args.size, args.seed)
    return store, open_training_tier(
        store,
        spec(args.size),
        lambda rows: tqdm(rows, desc="materialize", unit="episode", leave=False),
    )


def drawing(sampler: GoalSampler, args: Args) -> measure.Timing:
    numbers = [np.array([k]) for k in range(10 * args.batches)]
    ways = {"draw": lambda number: sampler.sample(args.batch_size, int(number[0]))}
    return measure.in_turn(ways, numbers, "draw")["draw"]


def warm(tier: TrainingTier, npy: Path, batches: list[measure.Steps]) -> dict[str, measure.Timing]:
    memmap = np.load(npy, mmap_mode="r")
    if not np.array_equal(tier.gather(batches[0]), memmap[batches[0]]):
        sys.exit("the training tier and the memory map differ")
    # One buffer for both: where it lies in memory matters as much as who copies.
    buffer = frame_buffer((len(batches[0]), *memmap.shape[1:]))
    ways: dict[str, Callable[[measure.Steps], object]] = {
        "training tier, new array": tier.gather,
        "memmap, new array": lambda steps: memmap[steps],
        "training tier, buffer": lambda steps: tier.gather(steps, out=buffer),
        "memmap, buffer": lambda steps: np.take(memmap, steps, axis=0, out=buffer, mode="clip"),
    }
    for frames in (tier.frames, memmap):  # each page's first use costs, later ones do not
        frames.reshape(-1)[:: mmap.PAGESIZE].sum()
    measure.in_turn(ways, batches[:10], "warm up")
    return measure.in_turn(ways, batches, "warm")


def overlapping(tier: TrainingTier, batches: list[measure.Steps]) -> dict[str, dict[str, float]]:
    results = {
        "a second core": measure.overlap(tier, batches[:50], device=False),
        "a device": measure.overlap(tier, batches[:50], device=True),
    }
    return {name: asdict(each) | {"hidden": each.hidden} for name, each in results.items()}


def memory(folder: Path, store: Store, args: Args) -> list[dict[str, float]]:
    small, _ = make(folder, args.steps // 10, args)
    return [
        isolated.in_a_process(isolated.peak_memory, each.path, args.size, args.batch_size)
        for each in (small, store)
    ]


def others(
    folder: Path,
    tier: TrainingTier,
    tier_folder: Path,
    batches: list[measure.Steps],
    args: Args,
) -> list[dict[str, Any]]:
    rows = []
    makers: list[tuple[str, Callable[[], formats.Format], int]] = [
        ("zarr", lambda: formats.by_zarr(tier_folder, tier), SLOW_BATCHES),
        ("tensorstore", lambda: formats.by_tensorstore(tier_folder, tier), 20),
        ("h5py", lambda: formats.by_hdf5(folder / f"frames_{args.steps}.h5", tier), 20),
        (
            "av",
            lambda: formats.by_lerobot(folder / f"video_{args.steps}", tier, args.episode),
            SLOW_BATCHES,
        ),
    ]
    for package, maker, count in makers:
        try:
            form = maker()
        except ImportError:
            print(f"left out: {package} is not installed", file=sys.stderr)
            continue
        page_cache.warm(form.place)
        wanted = [batch % form.steps for batch in batches[:count]]
        if form.exact and not np.array_equal(form.gather(wanted[0]), tier.gather(wanted[0])):
            sys.exit(f"{form.name} returns other frames")
        taken = measure.in_turn({form.name: form.gather}, wanted, form.name)[form.name]
        bytes_a_frame = formats.size_on_disk(form.place) / form.steps
        rows.append(
            {"name": form.name, "frames": form.steps, "bytes_a_frame": bytes_a_frame}
            | {"exact": form.exact, "timing": asdict(taken)}
        )
    return rows


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
