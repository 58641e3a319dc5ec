"""Adam on groups of parameters that each lie in one flat piece of memory.

A small network has dozens of small tensors, and a step over them costs more in overhead than in
arithmetic. Here the parameters of a group, and their gradients, are views of one tensor: one fused
Adam call and one all-reduce do for all of them. The arithmetic is `torch.optim.Adam`'s own.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nav_offrl.algorithms.method import ParameterGroup


class FlatAdam:
    """One Adam a group; groups are stepped by name.

    Parameters must be on their device already, and stay the tensors that they are: load weights
    with `load_state_dict`, which copies into them.
    """

    def __init__(self, groups: Mapping[str, ParameterGroup], total_steps: int = 0) -> None:
        """`total_steps` is the length of the cosine schedules.

        A parameter in two groups is a programming error.
        """
        everything = [id(p) for group in groups.values() for p in group.parameters]
        assert len(everything) == len(set(everything)), "a parameter is in two groups"
        self._groups, self._total = dict(groups), total_steps
        self._flat = {name: _flatten(group.parameters) for name, group in self._groups.items()}
        self._optimizers = {
            name: _adam(self._flat[name], group) for name, group in self._groups.items()
        }

    @property
    def gradients(self) -> dict[str, Tensor]:
        """The flat gradient of each group."""
        return {name: _gradient(flat) for name, flat in self._flat.items()}

    def zero_grad(self) -> None:
        """Clear all gradients, in place."""
        for flat in self._flat.values():
            _gradient(flat).zero_()

    def step(self, names: Collection[str], number: int = 0) -> None:
        """Move the groups in `names`; `number` counts the steps from 0, for the schedules."""
        for name in names:
            optimizer, group = self._optimizers[name], self._groups[name]
            if group.schedule == "cosine" and self._total:
                done = min(1.0, number / self._total)
                rate = group.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
                optimizer.param_groups[0]["lr"] = rate
            optimizer.step()

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return the moments of all groups under `prefix.`, for safetensors."""
        return {
            f"{prefix}.{name}.{key}": value
            for name, optimizer in self._optimizers.items()
            for key, value in optimizer.state_dict()["state"].get(0, {}).items()
        }

    def restore(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, optimizer in self._optimizers.items():
            start = f"{prefix}.{name}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            saved: dict[str, Any] = optimizer.state_dict()
            saved["state"] = {0: own} if own else {}
            optimizer.load_state_dict(saved)


def _flatten(parameters: list[nn.Parameter]) -> nn.Parameter:
    """Move parameters into one tensor of which they and their gradients become views."""
    with torch.no_grad():
        flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
        flat.grad = torch.zeros_like(flat)
        begin = 0
        for parameter in parameters:
            end = begin + parameter.numel()
            parameter.data = flat.data[begin:end].view(parameter.shape)
            parameter.grad = flat.grad[begin:end].view(parameter.shape)
            begin = end
    return flat


def _gradient(flat: nn.Parameter) -> Tensor:
    assert flat.grad is not None
    return flat.grad


def _adam(flat: nn.Parameter, group: ParameterGroup) -> torch.optim.Optimizer:
    if group.weight_decay:
        return torch.optim.AdamW(
            [flat], lr=group.learning_rate, weight_decay=group.weight_decay, fused=True
        )
    return torch.optim.Adam([flat], lr=group.learning_rate, fused=True)
