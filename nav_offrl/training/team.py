"""Several processes that train one run, as torchrun starts them: on one machine or on many.

Each takes its share of every batch and all average their gradients, so a run is the same whatever
their number, but for rounding and what is drawn. The one of rank 0 writes the run's folder.
"""

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.distributed
from torch import Tensor, nn

from nav_offrl.algorithms.averaging import average_over_processes
from nav_offrl.algorithms.common import Metrics
from nav_offrl.errors import NavOffrlError
from nav_offrl.training.interrupts import held_back, uninterrupted

# Others wait while one resizes all frames of a store. A process that dies ends all by torchrun.
PATIENCE = datetime.timedelta(days=2)
SEED_STRIDE = 500_009  # between the random numbers of two processes
STEPS_PER_VOTE = 10  # between two looks at whether somebody pressed Ctrl-C


@dataclass
class Team:
    """One process, this one, among all that train a run; by default it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    _pressed: Callable[[], bool] = field(default=lambda: False, repr=False)

    @property
    def leads(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0

    def share(self, batch_size: int, field: str) -> int:
        """Return how much of a batch is this process's.

        Raises:
            NavOffrlError: the batch cannot be shared out evenly, two or more for each.
        """
        if batch_size % self.size or batch_size < 2 * self.size:
            raise NavOffrlError(
                f"{batch_size} cannot be shared out among {self.size} processes",
                where=f"field '{field}'",
                remedy=f"choose a multiple of {self.size}, {2 * self.size} at least",
            )
        return batch_size // self.size

    def seed(self, seed: int) -> int:
        """Return the seed of what this process draws."""
        return seed + SEED_STRIDE * self.rank

    def device(self, device: torch.device) -> torch.device:
        """Return this process's own of several GPUs."""
        if device.type != "cuda" or self.size == 1:
            return device
        own = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(own)
        return own

    def wait(self) -> None:
        """Return once every process has come here.

        Raises:
            NavOffrlError: one of them has ended.
        """
        self.any(False)

    def any(self, mine: bool) -> bool:
        """Return whether it is true in one process at least."""
        if self.size == 1:
            return mine
        vote = torch.tensor(float(mine))
        try:
            torch.distributed.all_reduce(vote, torch.distributed.ReduceOp.MAX)
        except RuntimeError as error:
            raise NavOffrlError("another process of this training has ended") from error
        return bool(vote)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Run the block in rank 0 and, when it is done, in all others: it makes files."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def average(self, metrics: Metrics) -> Metrics:
        """Return the mean of each metric over the processes, which all have the same ones."""
        if self.size == 1:
            return metrics
        values = torch.stack([metrics[name].float().cpu() for name in sorted(metrics)])
        average_over_processes([values])
        return dict(zip(sorted(metrics), values, strict=True))

    def adopt_buffers(self, *modules: nn.Module | None) -> None:
        """Take over rank 0's buffers, such as the statistics of batch normalisation."""
        if self.size == 1:
            return
        buffers: list[Tensor] = [b for m in modules if m is not None for b in m.buffers()]
        for buffer in buffers:
            torch.distributed.broadcast(buffer, 0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let several processes hold Ctrl-C back over a whole training: see `whole_step`."""
        with held_back() if self.size > 1 else nullcontext(lambda: False) as pressed:
            self._pressed = pressed
            yield

    @contextmanager
    def whole_step(self, number: int) -> Iterator[None]:
        """Hold Ctrl-C back until the step is done, in all processes until the same one is.

        Raises:
            KeyboardInterrupt: after the block; of several processes, after a later step.
        """
        if self.size == 1:
            with uninterrupted():
                yield
            return
        yield
        if number % STEPS_PER_VOTE == 0 and self.any(self._pressed()):
            raise KeyboardInterrupt


@contextmanager
def team_of_environment() -> Iterator[Team]:
    """Join the processes that torchrun started beside this one; without torchrun, be alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    gpu = torch.cuda.is_available()
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    yield Team(
        rank=torch.distributed.get_rank(),
        size=torch.distributed.get_world_size(),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )
    torch.distributed.destroy_process_group()
