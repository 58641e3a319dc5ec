"""Actionable Models: conservative Q-learning of every goal that the log holds.

Chebotar et al. 2021, *Actionable Models: Unsupervised Offline Reinforcement Learning of Robotic
Skills* (arXiv 2104.07749). Every place a drive came to is a goal that the drive shows the way to.
So all goals are successes, and nothing says what does not lead there: artificial negatives do,
actions that the log did not take and the critic thinks well of, which are taught the return of
never arriving. That is CQL with a floor.

Goal chaining: towards a goal of another drive, the end of a drive is worth what the critic says of
that goal from there, and no failure; so values pass from one drive to the next where they meet.
The sampler does it: half of its goals are random (preset 'actionable_models'), and the end of a log
is no terminal, so that `mask` is 1 there and the target goes on with max Q(s', ., g).

As pre-training for a task: all losses take reward and mask as they come. Train on goals first;
then go on from that checkpoint with the task's reward, its return bounds and, for `goal`, an
observation of the task done. Batches of goals put behind those of the task (`batch.join`) keep the
goals as the auxiliary objective of section 5.4.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Metrics
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.qt_opt import QTOpt, QTOptConfig
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.heads import DiscreteGoalCritic


class ActionableModelsConfig(QTOptConfig):
    """Hyperparameters: those of QT-Opt, and the negatives'."""

    goals: ClassVar[str] = "actionable_models"

    name: Literal["actionable_models"] = "actionable_models"  # type: ignore[assignment]
    negative_candidates: int = Field(
        default=16, ge=1, description="uniform actions, one of which becomes the negative"
    )
    negative_weight: float = Field(
        default=1.0, ge=0, description="of the negatives' loss; paper: 1"
    )


class ActionableModels(QTOpt):
    """QT-Opt and artificial negative actions."""

    config: ActionableModelsConfig

    def __init__(self, config: ActionableModelsConfig, spaces: Spaces) -> None:
        """Make its networks.

        Raises:
            NavOffrlError: `spaces` has no least return, which negatives are taught.
        """
        if not math.isfinite(spaces.return_bounds[0]):
            raise NavOffrlError(
                "Actionable Models teach negative actions the least return, and there is none",
                where="field 'method.name'",
                remedy="use a reward that is bounded from below, or 'cql'",
            )
        super().__init__(config, spaces)

    def critic_loss(self, here: Tensor, following: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E[(y - Q(s, a, g))^2] + E[(floor - Q(s, a~, g))^2], summed over the twins.

        a~ is drawn from exp Q(s, ., g) (section 4.2). `floor` is the least return: 0 with a reward
        of 1 at the goal, -1 / (1 - gamma) with -1 a step.
        """
        target = self.target(following, batch)
        data, negative = self.data_and_negative_values(here, batch)
        td_error = (data - target).square().mean(-1)
        negative_error = (negative - self.spaces.return_bounds[0]).square().mean(-1)
        loss = (td_error + self.config.negative_weight * negative_error).sum()
        return loss, {
            "critic/td_error": td_error.mean(),
            "critic/data_value": data.mean(),
            "critic/target": target.mean(),
            "critic/gap": negative.mean() - data.mean(),
            "critic/negative_value": negative.mean(),
        }

    def data_and_negative_values(self, here: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return Q(s, a, g) and Q(s, a~, g), (E, B) each."""
        if isinstance(self.critic, DiscreteGoalCritic):
            every = self.critic.of_every_action(here)
            number = torch.stack([batch.action, other_action(every, batch.action)], -1)
            q = every.gather(-1, number.expand(len(every), -1, -1)).movedim(-1, 1)
        else:
            actions = torch.stack([batch.action, self.negative_action(here)])
            q = self.critic.of_actions(here, actions)
        return q[:, 0], q[:, 1]

    @torch.no_grad()
    def negative_action(self, here: Tensor) -> Tensor:
        """Draw a~ (B, A) from exp Q(s, ., g): one of uniform candidates, by their weight."""
        assert not isinstance(self.critic, DiscreteGoalCritic)
        shape = self.config.negative_candidates, len(here), self.spaces.action_size
        candidates = 2 * torch.rand(shape, device=here.device) - 1
        q = self.critic.of_actions(here, candidates).mean(0)
        chosen = torch.multinomial(q.softmax(0).T, 1)[:, 0]
        return candidates[chosen, torch.arange(len(here), device=here.device)]


def other_action(every: Tensor, action: Tensor) -> Tensor:
    """Draw a~ (B,) from exp of Q (E, B, N) over the actions but `action` (B,), the data's own."""
    score = every.detach().mean(0).scatter(-1, action[:, None], -math.inf)
    return torch.multinomial(score.softmax(-1), 1)[:, 0]
