"""Frames of minibatches on the device that trains: mapped and prefetched, or all of them there."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.prefetch import Prefetcher
from nav_offrl.store.training_tier import TrainingTier

Steps = NDArray[np.int64]
Cache = Literal["map", "device"]

AHEAD = 3  # batches
UPLOAD_STEPS = 4096  # frames moved to the device at once
KEPT_FREE = 0.1  # of the device's free memory, when all frames go there


class Frames:
    """All frames of a training tier, for a training on `device`.

    cache "map": frames stay in the memory map; a thread gathers batches ahead, on CUDA into pinned
        memory, and copies them asynchronously.
    cache "device": all frames are copied to the device once and gathered there.
    """

    def __init__(self, tier: TrainingTier, device: torch.device, cache: Cache = "map") -> None:
        """Prepare, which with the cache "device" copies everything.

        Raises:
            NavOffrlError: the frames do not fit into the device's free memory.
        """
        self._tier, self._device = tier, device
        self._resident = _upload(tier, device) if cache == "device" else None

    def gather(self, steps: Steps) -> Tensor:
        """Return the frames of `steps` (any shape) as uint8 (*steps.shape, H, W, 3)."""
        if self._resident is None:
            return torch.from_numpy(self._tier.gather(steps)).to(self._device)
        flat = torch.from_numpy(steps.reshape(-1)).to(self._device)
        return self._resident.index_select(0, flat).reshape(*steps.shape, *self._resident.shape[1:])

    @contextlib.contextmanager
    def batches(
        self, draw: Callable[[int], Steps], numbers: Iterable[int]
    ) -> Iterator[Iterator[tuple[Steps, Tensor]]]:
        """Yield an iterator over the batches `numbers`: drawn steps and their frames.

        `draw(number)` must return steps of the same shape every time. Frames are valid until the
        next batch is asked for.
        """
        if self._resident is not None:
            yield ((steps, self.gather(steps)) for steps in map(draw, numbers))
            return
        buffers = [_Buffer(self._device) for _ in range(AHEAD + 1)]

        def make(number: int, buffer: "_Buffer") -> tuple[Steps, "_Buffer"]:
            steps = draw(number)
            buffer.fill(self._tier, steps)
            return steps, buffer

        with Prefetcher(make, numbers, buffers) as made:
            yield ((steps, buffer.take()) for steps, buffer in made)


@dataclass
class _Buffer:
    """Memory for one batch of frames, and its way to the device."""

    device: torch.device
    host: Tensor | None = None
    on_device: Tensor | None = None
    copied: "torch.cuda.Event | None" = None
    stream: "torch.cuda.Stream | None" = field(default=None, repr=False)

    def fill(self, tier: TrainingTier, steps: Steps) -> None:
        """Gather into the buffer and start its copy; called by the prefetching thread."""
        cuda = self.device.type == "cuda"
        if self.host is None:
            shape = (*steps.shape, *tier.frames.shape[1:])
            self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=cuda)
        if self.copied is not None:
            self.copied.synchronize()  # the last copy still reads the buffer
        tier.gather(steps, out=self.host.numpy())
        self.on_device = self.host
        if cuda:
            self._start_copy()

    def _start_copy(self) -> None:
        assert self.host is not None
        if self.stream is None:
            self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self.stream):
            self.on_device = self.host.to(self.device, non_blocking=True)
            self.copied.record(self.stream)

    def take(self) -> Tensor:
        """Return the frames on the device; what is queued on it next waits for them."""
        assert self.on_device is not None
        if self.copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(self.copied)
            # Else its memory could go to the next copy while this stream still reads it.
            self.on_device.record_stream(current)
        return self.on_device


def _upload(tier: TrainingTier, device: torch.device) -> Tensor:
    steps = len(tier.row_of_step)
    shape = (steps, *tier.frames.shape[1:])
    needed, free = int(np.prod(shape)), free_memory(device)
    if needed > free * (1 - KEPT_FREE):
        raise NavOffrlError(
            f"all frames need {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f} GB free",
            where="field 'cache'",
            remedy="set cache to 'map', or make the frames smaller (encoder.height and width)",
        )
    frames = torch.empty(shape, dtype=torch.uint8, device=device)
    for begin in range(0, steps, UPLOAD_STEPS):
        part = np.arange(begin, min(begin + UPLOAD_STEPS, steps))
        frames[begin : begin + len(part)] = torch.from_numpy(tier.gather(part)).to(device)
    return frames


def free_memory(device: torch.device) -> int:
    """Return how many bytes can be allocated on the device; for the CPU, without swapping."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        values = dict(line.split(":", 1) for line in file)
    return int(values["MemAvailable"].split()[0]) * 1024
