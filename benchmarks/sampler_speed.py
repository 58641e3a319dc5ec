"""Speed of random minibatches: the training tier against a NumPy memmap of the same frames.

Both read the same rows in the same order in the same run; the ratio of their medians is printed.
A batch of 256 transitions is 768 frames: observation, next observation, goal. Frames are random,
the store is synthetic and is deleted afterwards.

Example:
  OMP_NUM_THREADS=1 python benchmarks/sampler_speed.py --steps 20000 --batches 100
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.sampler import GoalRelabelling, GoalSampler
from nav_offrl.store.training_tier import TrainingTier, open_training_tier


@dataclass
class Args:
    """Measure how fast random minibatches of frames are gathered."""

    steps: int = 10_000
    """frames in the store"""
    episode: int = 500
    """frames in an episode"""
    size: int = 64
    """height and width of a frame in pixels"""
    batch_size: int = 256
    """transitions; a batch gathers three frames of each"""
    batches: int = 100
    """batches to time with each method"""
    seed: int = 0
    """of frames and batches"""


def main(args: Args) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "log.zarr", args)
        tier = open_training_tier(
            store, "front", (args.size, args.size), lambda frames: frames, "as recorded"
        )
        memmap = write_memmap(Path(folder) / "frames.npy", store, tier)
        goals = GoalRelabelling()
        sampler = GoalSampler(store, "train", goals, goals, args.seed)
        batches = [indices(sampler, args.batch_size, number) for number in range(args.batches)]
        if not np.array_equal(tier.gather(batches[0]), memmap[batches[0]]):
            sys.exit("the training tier and the memmap differ")
        drawing = seconds(lambda number: sampler.sample(args.batch_size, number), args.batches)
        # In turn, so that both meet the same load of the machine.
        of_tier, of_memmap = [], []
        for batch in tqdm(batches, desc="gather", unit="batch"):
            of_tier.append(seconds(lambda _, batch=batch: tier.gather(batch), 1))
            of_memmap.append(seconds(lambda _, batch=batch: memmap[batch], 1))
    report(args, drawing, float(np.median(of_tier)), float(np.median(of_memmap)))


def write_store(path: Path, args: Args) -> Store:
    info = StoreInfo(
        rate_hz=10.0,
        action_source="commanded",
        cameras={"front": CameraInfo(height=args.size, width=args.size)},
    )
    rng = np.random.default_rng(args.seed)
    with StoreWriter.create(path, info) as writer:
        for start in tqdm(range(0, args.steps, args.episode), desc="write store", unit="episode"):
            length = min(args.episode, args.steps - start)
            frames = rng.integers(0, 256, (length, args.size, args.size, 3), dtype=np.uint8)
            fields = {
                "time": np.arange(length) * 100_000_000,
                "position": np.zeros((length, 2)),
                "yaw": np.zeros(length),
                "action": np.zeros((length, 2)),
            }
            jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
            writer.append(Episode(name=f"drive_{start}", images={"front": jpegs}, fields=fields))
        writer.finish()
    return Store.open(path)


def write_memmap(path: Path, store: Store, tier: TrainingTier) -> NDArray[np.uint8]:
    """Write the tier's frames without the gaps between episodes, and map them."""
    shape = (store.steps, *tier.frames.shape[1:])
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for episode in range(len(store.episodes)):
        steps = store.steps_of(episode)
        out[steps] = tier.gather(np.r_[steps])
    out.flush()
    frames: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return frames


def indices(sampler: GoalSampler, batch_size: int, number: int) -> NDArray[np.int64]:
    drawn = sampler.sample(batch_size, number)
    return np.stack([drawn.step, drawn.next_step, drawn.goal])


def seconds(action: Callable[[int], object], repeats: int) -> float:
    begin = time.perf_counter()
    for number in range(repeats):
        action(number)
    return (time.perf_counter() - begin) / repeats


def report(args: Args, drawing: float, tier: float, memmap: float) -> None:
    frames = 3 * args.batch_size
    megabytes = frames * args.size**2 * 3 / 1e6
    print(f"store                 {args.steps:8d} frames {args.size}x{args.size}, pages cached")
    print(f"draw indices and goals{drawing * 1e3:8.2f} ms a batch")
    for name, value in (("training tier", tier), ("numpy memmap", memmap)):
        print(
            f"{name:<22}{value * 1e3:8.2f} ms a batch of {frames} frames "
            f"({frames / value:.0f} frames/s, {megabytes / value:.0f} MB/s)"
        )
    print(f"ratio                 {memmap / tier:8.2f} (speed of the tier over the memmap's)")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
