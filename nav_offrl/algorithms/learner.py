"""One gradient step of any method, on vectors or, end to end, on frames."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from nav_offrl.algorithms.averaging import average_over_processes
from nav_offrl.algorithms.batch import OBSERVED, Batch
from nav_offrl.algorithms.common import Losses, Metrics
from nav_offrl.algorithms.distance import DISTANCE
from nav_offrl.algorithms.flat_adam import FlatAdam
from nav_offrl.algorithms.memory import keep_freed_memory
from nav_offrl.algorithms.method import Method, ParameterGroup

ENCODER = "encoder"
POLICY = "policy"  # how the names of policies' losses end


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

        `encoder` maps observations as they come to vectors. Where its learning rate is above 0 it
        learns from all losses of the method but those of its policies, as in DrQ (Kostrikov et al.
        2020, arXiv 2004.13649): a policy that climbs a critic would move the latents to where the
        critic is wrong. A method that is a policy and nothing else trains it by that.

        The encoder stays in evaluation mode while it learns: BatchNorm keeps the statistics of its
        pre-training. Those of a batch would let states and goals see each other, would differ from
        process to process, and the robot would drive on latents that no loss has seen.
        """
        keep_freed_memory()
        self.method = method
        self.encoder = encoder if encoder is not None else nn.Identity()
        groups = method.parameter_groups()
        self._has_values = any(not name.endswith(POLICY) for name in groups if name != DISTANCE)
        self._end_to_end = encoder_learning_rate > 0
        if self._end_to_end:
            groups[ENCODER] = ParameterGroup.of(self.encoder, learning_rate=encoder_learning_rate)
        self.optimizer = FlatAdam(groups, total_steps)

    def update(self, batch: Batch, number: int = 0) -> Metrics:
        """Take gradient step `number`; returns detached metrics, the losses among them."""
        self.method.train()
        self.encoder.eval()
        self.optimizer.zero_grad()
        if self._end_to_end:
            losses, metrics = self._backward_to_frames(batch)
        else:
            losses, metrics = self.method.losses(self.encode(batch))
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
        return _with_observed(batch, self.encoder(_observed(batch)))

    def _backward_to_frames(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Leave every parameter its gradient, the encoder's without that of the policies."""
        latents = self.encoder(_observed(batch))
        seen = latents.detach().requires_grad_()
        losses, metrics = self.method.losses(_with_observed(batch, seen))
        policies = [loss for name, loss in losses.items() if name.endswith(POLICY)]
        others = [loss for name, loss in losses.items() if not name.endswith(POLICY)]
        teachers, pupils = (others, policies) if self._has_values else (policies, others)
        if teachers:
            torch.autograd.backward(teachers, retain_graph=bool(pupils))
            if seen.grad is not None:
                latents.backward(seen.grad)
        if pupils:
            torch.autograd.backward(pupils)
        return losses, metrics


def _observed(batch: Batch) -> Tensor:
    """Return all observations and goals of a batch, one kind behind the other."""
    return torch.cat([value for name in OBSERVED if (value := getattr(batch, name)) is not None])


def _with_observed(batch: Batch, observed: Tensor) -> Batch:
    """Put back what `_observed` returned, encoded."""
    names = [name for name in OBSERVED if getattr(batch, name) is not None]
    return replace(batch, **dict(zip(names, observed.chunk(len(names)), strict=True)))
