"""The matrix products of an update, and nothing else of it: the limit of its speed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {
    torch.ops.aten.mm.default: (0, 1),
    torch.ops.aten.addmm.default: (1, 2),
    torch.ops.aten.bmm.default: (0, 1),
    torch.ops.aten.baddbmm.default: (1, 2),
}


class _Recorder(TorchDispatchMode):
    """Remembers the factors of every product."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            first, second = PRODUCTS[func]
            self.factors.append((_like(args[first]), _like(args[second])))
        return func(*args, **(kwargs or {}))


def _like(factor: Tensor) -> Tensor:
    """Random numbers in the same layout: a transposed factor takes another path."""
    pairs = zip(factor.shape, factor.stride(), strict=True)
    room = 1 + sum((size - 1) * stride for size, stride in pairs)
    return torch.randn(room).as_strided(factor.shape, factor.stride())


def products_of(update: Callable[[], object]) -> Callable[[], None]:
    """Return what does all matrix products of `update`, into memory that is there already."""
    with _Recorder() as recorder:
        update()
    outputs = [a @ b for a, b in recorder.factors]

    def repeat() -> None:
        for (a, b), out in zip(recorder.factors, outputs, strict=True):
            torch.matmul(a, b, out=out)

    return repeat
