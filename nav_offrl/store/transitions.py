"""What a minibatch of transitions says, and its rewards.

Convention of OGBench's data sets: reward and mask belong to the state that a transition starts in.
At the goal itself the reward is paid and the bootstrap stops; one step before it, neither.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Transitions:
    """B transitions as flat steps of the store; every field has shape (B,).

    The n-step target of a method is `reward + discount * mask * V(next_step)`.

    step, next_step: n steps apart, or fewer where the episode ends before.
    goal, actor_goal: what the value and what the policy is asked to reach.
    reward: discounted sum over the steps between, up to the goal or the log's own terminal.
    discount: discount to the power of the steps between.
    mask: 0 where the sum ended at the goal (or terminal), so that nothing follows; else 1. The end
        of a log is a timeout and no terminal.
    steps_to_goal: how far ahead the goal lies in the episode; -1 where it is behind or elsewhere.
    is_negative: the goal was drawn as a negative, from another episode.
    """

    step: Indices
    next_step: Indices
    goal: Indices
    actor_goal: Indices
    reward: Floats
    discount: Floats
    mask: Floats
    steps_to_goal: Indices
    is_negative: NDArray[np.bool_]


class Discounting:
    """Powers of a discount up to n, and their sums."""

    def __init__(self, discount: float, n_steps: int) -> None:
        self.powers = discount ** np.arange(n_steps + 1)
        self.sums = np.concatenate([[0.0], np.cumsum(self.powers[:-1])])


def goal_rewards(
    steps_to_goal: Indices, taken: Indices, arrival: bool, discounting: Discounting
) -> tuple[Floats, Floats]:
    """Return the n-step reward and the mask (B,) of going towards a goal.

    Args:
        steps_to_goal: (B,), -1 where the goal is not ahead.
        taken: (B,) steps that are summed over.
        arrival: True: 1 at the goal, else 0. False: -1 until the goal, then 0.
        discounting: up to the largest of `taken`.
    """
    reached = (steps_to_goal >= 0) & (steps_to_goal < taken)
    before_goal = np.where(reached, steps_to_goal, taken)
    if arrival:
        reward = np.where(reached, discounting.powers[before_goal], 0.0)
    else:
        reward = 0.0 - discounting.sums[before_goal]
    return reward.astype(np.float32), (~reached).astype(np.float32)


def log_rewards(
    step: Indices,
    taken: Indices,
    reward: NDArray[np.floating],
    terminal: NDArray[np.bool_],
    discounting: Discounting,
) -> tuple[Floats, Floats]:
    """Return the n-step reward and the mask (B,) of the log's own task.

    `reward` and `terminal` (steps,) belong to what was done at each step.
    """
    total = np.zeros(len(step))
    going_on = np.ones(len(step), bool)
    for ahead in range(int(taken.max(initial=0))):
        paid = going_on & (ahead < taken)
        at = np.where(paid, step + ahead, step)
        total += np.where(paid, discounting.powers[ahead] * reward[at], 0.0)
        going_on &= ~(paid & terminal[at])
    return total.astype(np.float32), going_on.astype(np.float32)
