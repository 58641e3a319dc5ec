"""MT-Opt: QT-Opt of many tasks at once, on data that they share.

Kalashnikov et al. 2021, *MT-Opt: Continuous Multi-Task Robotic Reinforcement Learning at Scale*
(arXiv 2104.08212). One critic learns all tasks and is told which one it is about. A task is a
reward, a kind of goal, or both; `batch.task` says whose reward and goal a transition carries, and
one transition may come once for each task that its episode serves (`nav_offrl.store.task_balance`,
which also balances tasks and successes in what is drawn). Batches that are not balanced are weighed
here, so that a task that fills nine tenths of them does not decide nine tenths of the loss.

Like QT-Opt it has no constraint to the log's actions.
"""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Metrics
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.qt_opt import QTOpt, QTOptConfig


class MTOptConfig(QTOptConfig):
    """Hyperparameters: those of QT-Opt, and the tasks."""

    name: Literal["mt_opt"] = "mt_opt"  # type: ignore[assignment]
    tasks: int = Field(default=1, ge=1, description="how many tasks there are")
    executed_task: int = Field(default=0, ge=0, description="which of them the robot carries out")
    balance: bool = Field(
        default=True, description="each task in a batch weighs the same, however often it occurs"
    )

    @model_validator(mode="after")
    def _executed_task_exists(self) -> "MTOptConfig":
        if self.executed_task >= self.tasks:
            raise ValueError("executed_task must be below tasks")
        return self


class MTOpt(QTOpt):
    """QT-Opt whose critic sees the task as well."""

    config: MTOptConfig

    def __init__(self, config: MTOptConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces, extra_inputs=config.tasks)

    def seen(self, observation: Tensor, batch: Batch) -> Tensor:
        """Return what the critic sees: observation, goal and the task of each transition."""
        return self.with_task(self.features(observation, batch.goal), self.task_of(batch))

    def task_of(self, batch: Batch) -> Tensor:
        """Return the tasks (B,) of a batch; one that does not say is all of the executed task."""
        if batch.task is not None:
            return batch.task
        return torch.full_like(batch.reward, self.config.executed_task, dtype=torch.int64)

    def with_task(self, features: Tensor, task: Tensor) -> Tensor:
        """Append the task as a one-hot vector: (B, F), (B,) -> (B, F + tasks)."""
        every = torch.arange(self.config.tasks, device=task.device)
        return torch.cat([features, (task[:, None] == every).to(features.dtype)], -1)

    def critic_loss(self, here: Tensor, following: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """L_Q = E over tasks of E[(r + gamma m max Q'(s', ., g, k) - Q(s, a, g, k))^2]."""
        target = self.target(following, batch)
        q = self.critic(here, batch.action)
        squared = (q - target).square()
        weight = task_weights(self.task_of(batch)) if self.config.balance else 1.0
        return (weight * squared).mean(-1).sum(), {
            "critic/td_error": squared.mean(),
            "critic/data_value": q.mean(),
            "critic/target": target.mean(),
        }

    def best(self, here: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best actions (B, A) of the executed task, and their values (B,)."""
        task = torch.full(here.shape[:1], self.config.executed_task, device=here.device)
        return super().best(self.with_task(here, task))


def task_weights(task: Tensor) -> Tensor:
    """Return weights (B,) of mean 1 under which all tasks (B,) that occur weigh the same."""
    share = 1 / (task[:, None] == task).sum(1)
    # The shares of the transitions of a task sum to 1, and so all of them to the tasks that occur.
    return len(task) * share / share.sum()
