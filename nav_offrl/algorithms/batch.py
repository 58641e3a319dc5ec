"""The one batch type that every method learns from."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B transitions as tensors.

    Observations and goals are vectors (B, D): latents of frames or normalised state vectors. The
    n-step target of a value is `reward + discount * mask * V(next_observation, goal)`.

    observation, next_observation: (B, D), n steps apart.
    action: (B, A) in [-1, 1], or (B,) int64 numbers of discrete actions.
    goal, actor_goal: (B, D); the value learns about the one, the policy towards the other.
    reward: (B,) discounted sum over the steps between, towards `goal`.
    discount: (B,) gamma to the power of the steps between.
    mask: (B,) 0 where the sum ended at the goal, so that nothing follows; else 1.
    steps_to_goal: (B,) float, how far ahead `goal` lies in the same drive; -1 where it does not.
    subgoal: (B, D) a few steps ahead, for the lower of two policies (HIQL).
    actor_subgoal: (B, D) the same on the way to `actor_goal`, for the upper one.
    task: (B,) int64, whose reward and goal these are, where several are learned (MT-Opt).
    """

    observation: Tensor
    action: Tensor
    next_observation: Tensor
    goal: Tensor
    actor_goal: Tensor
    reward: Tensor
    discount: Tensor
    mask: Tensor
    steps_to_goal: Tensor
    subgoal: Tensor | None = None
    actor_subgoal: Tensor | None = None
    task: Tensor | None = None

    def __len__(self) -> int:
        return len(self.reward)


OBSERVED = ("observation", "next_observation", "goal", "actor_goal", "subgoal", "actor_subgoal")


def join(first: Batch, second: Batch) -> Batch:
    """Put two batches one behind the other."""
    names = [field.name for field in fields(Batch) if getattr(first, field.name) is not None]
    return Batch(**{n: torch.cat([getattr(first, n), getattr(second, n)]) for n in names})
