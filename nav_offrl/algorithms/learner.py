"""One gradient step of any method, on vectors or, end to end, on frames."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from nav_offrl.algorithms.averaging import average_over_processes
from nav_offrl.algorithms.batch import OBSERVED, Batch
from nav_offrl.algorithms.common import Metrics
from nav_offrl.algorithms.flat_adam import FlatAdam
from nav_offrl.algorithms.memory import keep_freed_memory
from nav_offrl.algorithms.method import Method, ParameterGroup

ENCODER = "encoder"


class Learner:
    """A method, what turns observations into its vectors, and the optimizer of both.

    Under `torch.distributed` every process learns from a batch of its own and the gradients are
    averaged: as one process with all batches together.
    """

    def __init__(
        self,
        method: Method,
        encoder: nn.Module | None = None,
        *,
        encoder_learning_rate: float = 0.0,
        total_steps: int = 0,
    ) -> None:
        """Both modules must be on their device.

        `encoder` maps observations as they come to vectors; it learns from all losses of the
        method where its learning rate is above 0.
        """
        keep_freed_memory()
        self.method = method
        self.encoder = encoder if encoder is not None else nn.Identity()
        groups = method.parameter_groups()
        self._end_to_end = encoder_learning_rate > 0
        if self._end_to_end:
            groups[ENCODER] = ParameterGroup.of(self.encoder, learning_rate=encoder_learning_rate)
        self.optimizer = FlatAdam(groups, total_steps)

    def update(self, batch: Batch, number: int = 0) -> Metrics:
        """Take gradient step `number`; returns detached metrics, the losses among them."""
        self.method.train()
        self.encoder.train(self._end_to_end)
        losses, metrics = self.method.losses(self.encode(batch))
        self.optimizer.zero_grad()
        # Each loss reaches its own parameters alone, so one backward of the sum does for all.
        torch.autograd.backward(list(losses.values()))
        average_over_processes(list(self.optimizer.gradients.values()))
        moved = [*losses, ENCODER] if self._end_to_end else list(losses)
        self.optimizer.step(moved, number)
        self.method.after_step()
        metrics |= {f"{name}/loss": loss for name, loss in losses.items()}
        return {name: value.detach() for name, value in metrics.items()}

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Metrics:
        """Return the metrics of a batch without learning from it."""
        self.method.eval()
        self.encoder.eval()
        losses, metrics = self.method.losses(self.encode(batch))
        return metrics | {f"{name}/loss": loss for name, loss in losses.items()}

    @torch.no_grad()
    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return actions (B, A) for observations and goals as they come."""
        self.method.eval()
        self.encoder.eval()
        return self.method.act(self.encoder(observation), self.encoder(goal))

    def encode(self, batch: Batch) -> Batch:
        """Encode all observations and goals of a batch in one pass."""
        if isinstance(self.encoder, nn.Identity):
            return batch
        names = [name for name in OBSERVED if getattr(batch, name) is not None]
        together = self.encoder(torch.cat([getattr(batch, name) for name in names]))
        return replace(batch, **dict(zip(names, together.chunk(len(names)), strict=True)))
