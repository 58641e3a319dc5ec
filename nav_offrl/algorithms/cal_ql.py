"""Cal-QL: conservative Q-learning whose values are calibrated, for finetuning.

Nakamoto et al. 2023, *Cal-QL: Calibrated Offline RL Pre-Training for Efficient Online Fine-Tuning*
(arXiv 2303.05479). CQL pushes values so far down that online the policy first unlearns what it
knew: whatever it tries looks better than what it does. Here no value of the policy is pushed below
the return that the data's own behaviour had.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.cql import CQL, CQLConfig
from nav_offrl.algorithms.method import Spaces
from nav_offrl.errors import NavOffrlError


class CalQLConfig(CQLConfig):
    """Hyperparameters: those of CQL."""

    any_reward: ClassVar[bool] = False

    name: Literal["cal_ql"] = "cal_ql"  # type: ignore[assignment]


class CalQL(CQL):
    """CQL with eq. 5.1 in place of its gap."""

    config: CalQLConfig

    def __init__(self, config: CalQLConfig, spaces: Spaces) -> None:
        """Make its networks.

        Raises:
            NavOffrlError: `spaces` does not bound the return.
        """
        if not all(map(math.isfinite, spaces.return_bounds)):
            raise NavOffrlError(
                "Cal-QL derives the data's returns from the bounds of the reward, and it has none",
                where="field 'method.name'",
                remedy="use 'cql', which needs no returns",
            )
        super().__init__(config, spaces)

    def calibrated(self, value: Tensor, batch: Batch) -> Tensor:
        """Return max(Q(s, a, g), V_mu(s, g)) for policy values Q (E, N, B): eq. 5.1.

        Where the return is the greater, nothing is pushed: its gradient is zero.
        """
        return torch.maximum(value, self.behaviour_return(batch))

    def behaviour_return(self, batch: Batch) -> Tensor:
        """Return V_mu(s, g), (B,): what the log's way from s to g was worth.

        With k steps to go it is -(1 - gamma^k) / (1 - gamma) for a reward of -1 a step, and gamma^k
        for a reward of 1 at the goal; where steps may cost more than that, a lower bound of it.
        Goals that do not lie ahead say nothing: minus infinity.
        """
        low, high = self.spaces.return_bounds
        reached = low + (high - low) * self.config.discount**batch.steps_to_goal
        return torch.where(batch.steps_to_goal >= 0, reached, -math.inf)
