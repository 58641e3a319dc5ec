"""Rewards beyond reaching the goal: what a step costs or earns beside the -1 until it is reached.

As in ReViND (Shah et al. 2022, arXiv 2212.08244), rewards are made from the log's fields when
batches are drawn; the log itself stays as it is. Reward and end belong to the step that a
transition starts in, and at the goal nothing is paid any more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store.reader import Store
from nav_offrl.store.transitions import Discounting, Transitions, log_rewards
from nav_offrl.training.data import ActionLimits, training_tier
from nav_offrl.training.terrain import TerrainConfig, shows_grass, shows_sunlight

Floats = NDArray[np.float64]
MEASURES = ("collision", "bumpiness", "grass", "sunlight", "speed", "energy")
FLAGS = ("collision", "grass", "sunlight")  # measures that are 0 or 1
FRAMES_AT_ONCE = 1024


class RewardConfig(Config):
    """Weights: what a step earns for one unit of each measure; below 0 it is a cost."""

    collision: float = Field(default=0.0, description="a step with one (field 'collision')")
    bumpiness: float = Field(default=0.0, description="per rad/s (field 'bumpiness')")
    grass: float = Field(default=0.0, description="a step on grass; ReViND: 0.75")
    sunlight: float = Field(default=0.0, description="a step in the sun; ReViND: 0.75")
    speed: float = Field(default=0.0, description="per m/s, either way (field 'velocity')")
    energy: float = Field(
        default=0.0, description="per squared command, each of its numbers as a share of its limit"
    )
    terrain: TerrainConfig = TerrainConfig()
    collision_ends_within: int = Field(
        default=0,
        ge=0,
        description="steps before the end of which a collision ends the drive, as if the robot "
        "stood there for ever; 0: it drives on; ReViND: 2",
    )

    @property
    def weights(self) -> dict[str, float]:
        """The weights that are not 0, by measure."""
        every = {name: float(getattr(self, name)) for name in MEASURES}
        return {name: weight for name, weight in every.items() if weight}

    @property
    def only_goals(self) -> bool:
        """Whether there is nothing but the -1 a step until the goal."""
        return not self.weights and not self.collision_ends_within


@dataclass(frozen=True)
class StepRewards:
    """What every step of a store pays until the goal is reached.

    reward: (steps,) -1 and what the weights add.
    terminal: (steps,) the robot collides: what comes after is paid with this step.
    bounds: least and greatest return that such rewards allow.
    """

    reward: Floats
    terminal: NDArray[np.bool_]
    bounds: tuple[float, float]

    def relabel(self, drawn: Transitions, discounting: Discounting) -> Transitions:
        """Return the transitions with these rewards and ends; `discounting` is the sampler's."""
        taken = drawn.next_step - drawn.step
        reached = (drawn.steps_to_goal >= 0) & (drawn.steps_to_goal < taken)
        paid = np.where(reached, drawn.steps_to_goal, taken)
        reward, going_on = log_rewards(drawn.step, paid, self.reward, self.terminal, discounting)
        mask = np.where(reached, np.float32(0), going_on)
        return replace(drawn, reward=reward, mask=mask)


def step_rewards(
    config: RewardConfig,
    store: Store,
    limits: ActionLimits,
    discount: float,
    frames: tuple[str, EncoderConfig],
) -> StepRewards:
    """Measure every step of `store`.

    Args:
        config: the weights.
        store: the log; each measure with a weight needs its field.
        limits: of the robot's commands.
        discount: of the returns.
        frames: camera and size of the frames that the terrain is judged on.

    Raises:
        NavOffrlError: a measure has a weight, and the store has no such field or camera.
    """
    # Fields are read for what has a weight alone: others may be missing.
    of_frames = partial(_seen, store, frames, config.terrain)
    measures: dict[str, Callable[[], NDArray[np.generic]]] = {
        "collision": lambda: store.field("collision"),
        "bumpiness": lambda: store.field("bumpiness"),
        "grass": lambda: of_frames(shows_grass),
        "sunlight": lambda: of_frames(shows_sunlight),
        "speed": lambda: np.abs(store.field("velocity")[:, 0]),
        "energy": lambda: _energy(store, limits),
    }
    reward, low, high = np.full(store.steps, -1.0), -1.0, -1.0
    for name, weight in config.weights.items():
        measure = measures[name]().astype(np.float64)
        reward += weight * measure
        # What has not happened in this log yet may happen while finetuning.
        most = weight * (1.0 if name in FLAGS else float(measure.max(initial=0)))
        low, high = low + min(most, 0.0), high + max(most, 0.0)
    bounds = min(low / (1 - discount), 0.0), max(high / (1 - discount), 0.0)
    if not config.collision_ends_within:
        return StepRewards(reward, np.zeros(store.steps, bool), bounds)
    # An end must not pay: the robot is stuck where it is, and -1 goes on for ever.
    stuck = 1.0 - 1.0 / (1.0 - discount)
    terminal = _collides_within(store, config.collision_ends_within)
    reward[terminal] += stuck
    return StepRewards(
        reward, terminal, (min(bounds[0], low + stuck), max(bounds[1], high + stuck))
    )


def _energy(store: Store, limits: ActionLimits) -> Floats:
    """Sum of the squares of a command's numbers, each as a share of its limit, (steps,)."""
    largest = np.maximum(np.abs(limits.low), np.abs(limits.high))
    energy: Floats = np.square((store.field("action") / largest).clip(-1, 1)).sum(-1)
    return energy


def _collides_within(store: Store, horizon: int) -> NDArray[np.bool_]:
    """Tell of every step whether it, or one of the `horizon` - 1 after it, has a collision."""
    collision = store.field("collision")
    start, length = store.episodes.start, store.episodes.length
    last = np.repeat(start + length - 1, length)
    found = collision.copy()
    for ahead in range(1, horizon):
        then = np.arange(store.steps) + ahead
        found |= collision[np.minimum(then, last)] & (then <= last)
    return found


def _seen(
    store: Store,
    frames: tuple[str, EncoderConfig],
    config: TerrainConfig,
    judge: Callable[[NDArray[np.uint8], TerrainConfig], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Judge the frame of every step, (steps,)."""
    store.calibration(frames[0])
    tier = training_tier(store, *frames)
    parts = np.array_split(np.arange(store.steps), -(-store.steps // FRAMES_AT_ONCE))
    return np.concatenate([judge(tier.gather(part), config) for part in parts])
