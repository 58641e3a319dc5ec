"""What training logs of held-out episodes."""

import torch
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Metrics
from nav_offrl.algorithms.learner import Learner
from nav_offrl.training.statistics import rank_correlation

HELD_OUT = "held_out/"


def judge(learner: Learner, batch: Batch) -> Metrics:
    """Return the metrics of a held-out batch, and whether its values order goals by distance."""
    metrics = learner.evaluate(batch)
    metrics["value/rank_correlation"] = value_order(learner, batch)
    return {HELD_OUT + name: value for name, value in metrics.items()}


@torch.no_grad()
def value_order(learner: Learner, batch: Batch) -> Tensor:
    """Return the rank correlation of V(s, g) with how near in its drive the goal is; () in [-1, 1].

    Where the log says nothing of the distance, or the method knows no values, it is 0.
    """
    encoded = learner.encode(batch)
    value = learner.method.state_value(encoded.observation, encoded.goal)
    ahead = (batch.steps_to_goal >= 0).cpu().numpy()
    if not ahead.any():
        return torch.zeros(())
    nearness = -batch.steps_to_goal.cpu().numpy()[ahead]
    return torch.tensor(rank_correlation(value.cpu().numpy()[ahead], nearness))
