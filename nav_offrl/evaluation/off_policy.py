"""What a run's policy would achieve, estimated from held-out drives without driving.

Two estimates stand side by side because each is wrong in its own way: fitted Q evaluation trusts a
network where no drive was, importance sampling rests on the few drives that happen to go as the
policy would. `benchmarks/off_policy_evaluation.py` measures how far both are off.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from nav_offrl.config import Config
from nav_offrl.evaluation.fitted_q import Estimate, FittedQConfig, fitted_q_evaluation
from nav_offrl.evaluation.importance_sampling import (
    BehaviourConfig,
    EstimatedBehaviour,
    SmoothedPolicy,
    weighted_importance_sampling,
)
from nav_offrl.evaluation.logged_tasks import TaskConfig, drives_of, lay_out
from nav_offrl.networks.heads import PairFeatures
from nav_offrl.training.trained_policy import TrainedPolicy

FEW_TASKS = 10  # an estimate that rests on fewer says nothing


class OffPolicyConfig(Config):
    """How the estimates are made."""

    tasks: TaskConfig = TaskConfig()
    fitted_q: FittedQConfig = FittedQConfig()
    behaviour: BehaviourConfig = BehaviourConfig()
    smoothing: float = Field(
        default=0.3, gt=0, description="std of the Gaussian around the policy, actions in [-1, 1]"
    )


@dataclass(frozen=True)
class OffPolicyReport:
    """Both estimates of one policy, over the same tasks."""

    tasks: int
    horizon: int
    discount: float
    smoothing: float
    fitted_q: Estimate
    importance_sampling: Estimate

    def figures(self) -> dict[str, Any]:
        """Return everything as plain numbers."""
        return asdict(self)

    def text(self) -> str:
        """Return what is printed."""
        weighted = self.importance_sampling.effective_tasks or 0.0
        few = "; too few to say anything" if weighted < FEW_TASKS else ""
        return (
            f"return over {self.tasks} held-out tasks, -1 a step until arrival, discount "
            f"{self.discount:g}, 95 % intervals:\n"
            f"  fitted Q evaluation            {_shown(self.fitted_q)}\n"
            f"  weighted importance sampling   {_shown(self.importance_sampling)}   "
            f"(rests on {weighted:.1f} tasks{few})\n"
            f"  the second is of a Gaussian of std {self.smoothing:g} around the policy, beside a "
            "behaviour estimated from the training drives"
        )


def evaluate_off_policy(
    policy: TrainedPolicy, config: OffPolicyConfig | None = None
) -> OffPolicyReport:
    """Estimate the return of a run's policy on its store's held-out drives.

    Raises:
        NavOffrlError: nothing was held out, or no task can be laid out on it.
    """
    config = config or OffPolicyConfig()
    drives, method = drives_of(policy, "held_out"), policy.agent.method
    tasks = lay_out(drives, config.tasks)
    discount = policy.config.method.discount

    @torch.no_grad()
    def act(vector: Tensor, goal: Tensor) -> Tensor:
        return method.act(vector, goal)

    behaviour = EstimatedBehaviour(drives_of(policy, "train"), config.behaviour)
    smoothed = SmoothedPolicy(act, config.smoothing)
    return OffPolicyReport(
        tasks=len(tasks.start),
        horizon=tasks.horizon,
        discount=discount,
        smoothing=config.smoothing,
        fitted_q=fitted_q_evaluation(
            act, _features(policy), drives, tasks, discount, config.fitted_q
        ),
        importance_sampling=weighted_importance_sampling(
            smoothed, behaviour, drives, tasks, discount
        ),
    )


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:7.2f}  [{estimate.low:.2f}, {estimate.high:.2f}]"


def _features(policy: TrainedPolicy) -> PairFeatures:
    """What the value sees: for latents, also what the trained pair head says of how they relate."""
    size = policy.agent.facts.observation_size
    representation = policy.agent.representation
    if representation is None or policy.config.end_to_end:
        return PairFeatures(size, compare=policy.config.observation == "images")
    return PairFeatures(size, representation.pair_head).eval()
