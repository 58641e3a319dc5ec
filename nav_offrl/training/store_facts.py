"""What a run takes from its store once, before it begins, and keeps in every checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nav_offrl.store.reader import Store
from nav_offrl.training.actions import ActionSpace, measure_actions, saved_actions
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.rewards import StepRewards, step_rewards


@dataclass(frozen=True)
class StoreFacts:
    """All that a method's modules and losses depend on beside the configuration.

    actions: what the method learns to do, with the robot's limits.
    observation_size: length of the vectors that the method sees: states or latents.
    return_bounds: least and greatest return that the reward allows.
    """

    actions: ActionSpace
    observation_size: int
    return_bounds: tuple[float, float]

    @classmethod
    def measure(cls, config: TrainConfig, store: Store) -> "StoreFacts":
        """Look at the store.

        Raises:
            NavOffrlError: a field is missing that the configuration asks for, or nothing moves.
        """
        actions = measure_actions(config.actions, store)
        size = config.encoder.latent_size
        if config.observation == "state":
            size = store.field("observation").shape[1]
        rewards = rewards_of(config, store, actions.limits)
        minus_one = -1.0 / (1.0 - config.method.discount), 0.0
        return cls(actions, size, rewards.bounds if rewards else minus_one)

    @classmethod
    def restore(cls, config: TrainConfig, saved: Mapping[str, Any]) -> "StoreFacts":
        """Take them from a checkpoint's `extra`."""
        low, high = saved["return_bounds"]
        actions = saved_actions(config.actions, saved)
        return cls(actions, saved["observation_size"], (low, high))

    def saved(self) -> dict[str, Any]:
        """Return them as JSON can hold them."""
        return self.actions.saved() | {
            "observation_size": self.observation_size,
            "return_bounds": self.return_bounds,
        }


def rewards_of(config: TrainConfig, store: Store, limits: ActionLimits) -> StepRewards | None:
    """Return what the steps of `store` pay in a run, None where that is the -1 alone.

    Raises:
        NavOffrlError: the store lacks a field that a weight is for.
    """
    if config.reward.only_goals:
        return None
    frames = config.camera, config.encoder
    return step_rewards(config.reward, store, limits, config.method.discount, frames)
