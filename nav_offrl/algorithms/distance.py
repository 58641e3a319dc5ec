"""A head that says how far away a goal is, beside any method whose encoder moves.

A robot must know when it has arrived, and many methods cannot tell: cloning has no value, a
contrastive critic's is no distance, and one with other rewards counts more than steps. The head is
that of ViNG (Shah et al. 2020, arXiv 2012.09812, section IV), learned on the latents as they are.
"""

import torch
from torch import Tensor
from torch.nn import functional

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Losses, Metrics
from nav_offrl.algorithms.method import Method, ParameterGroup
from nav_offrl.networks.heads import PairHead

DISTANCE = "distance"
NEGATIVE_WEIGHT = 0.5  # of goals of other transitions, as the goal representation weighs them


class WithDistance(Method):
    """A method, and the distance to its goals; neither hears of the other."""

    def __init__(self, method: Method, distance: PairHead) -> None:
        super().__init__()
        self.config = method.config
        self.method, self.distance = method, distance

    def losses(self, batch: Batch) -> tuple[Losses, Metrics]:
        """Return the method's losses, and that of the distance."""
        losses, metrics = self.method.losses(batch)
        return losses | {DISTANCE: self.distance_loss(batch)}, metrics

    def distance_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the bin of steps; what is not ahead in the same drive is far."""
        here, goal = batch.observation.detach(), batch.goal.detach()
        logits, _ = self.distance(here, goal)
        far = torch.full((len(here),), logits.shape[-1] - 1, device=here.device)
        ahead = batch.steps_to_goal
        steps = torch.where(ahead >= 0, self.distance.bin_of(ahead.clamp(min=0)), far)
        elsewhere, _ = self.distance(here, goal.roll(1, 0))
        negative = functional.cross_entropy(elsewhere, far)
        return functional.cross_entropy(logits, steps) + NEGATIVE_WEIGHT * negative

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """The method's, and the head."""
        rate = self.config.learning_rate
        head = ParameterGroup.of(self.distance, learning_rate=rate)
        return self.method.parameter_groups() | {DISTANCE: head}

    def after_step(self) -> None:
        """As the method's."""
        self.method.after_step()

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """As the method acts."""
        return self.method.act(observation, goal)

    def state_value(self, observation: Tensor, goal: Tensor) -> Tensor:
        """As the method says."""
        return self.method.state_value(observation, goal)
