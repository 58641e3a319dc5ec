"""What several processes that train together must have in common."""

from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor


def average_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor, in place, by its mean over the processes; alone, do nothing."""
    if not torch.distributed.is_initialized() or not tensors:
        return
    # One message for all of them: small ones cost their latency and not their size.
    together = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(together)
    together /= torch.distributed.get_world_size()
    parts = torch.split(together, [tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, parts, strict=True):
        tensor.copy_(mean.view_as(tensor))
