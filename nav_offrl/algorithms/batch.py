"""The one batch type that every method learns from."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B transitions as tensors.

    Observations and goals are latents (B, D); `action` (B, A) is in [-1, 1]; `reward` and `mask`
    (B,) belong to `goal`; the policy learns towards `actor_goal`.
    """

    observation: Tensor
    action: Tensor
    next_observation: Tensor
    goal: Tensor
    actor_goal: Tensor
    reward: Tensor
    mask: Tensor
