"""Held-out episodes of a log: what the policy commands against what was driven.

Nothing here needs a robot or a simulator. Two baselines stand beside every figure: the mean
command of the training episodes, and a nearest neighbour on small grey images, which a learned
model must beat to be worth its weights.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import Store
from nav_offrl.training.data import training_tier
from nav_offrl.training.statistics import correlation, rank_correlation
from nav_offrl.training.trained_policy import TrainedPolicy, steps_of_split

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

GREY_SIZE = (24, 18)  # width, height: the baseline's pictures
SHARED_FRAME_RATIO = 0.7


class OfflineConfig(Config):
    """What is compared."""

    goal_seconds: tuple[float, ...] = Field(
        default=(1.0, 2.0, 4.0), description="s: the goal image was taken this long after"
    )
    max_training_frames: int = Field(
        default=6000, gt=0, description="frames that the nearest-neighbour baselines search"
    )


@dataclass(frozen=True)
class HeldOutCommands:
    """Commands at held-out steps towards goals ahead; each array (N, 2) in m/s and rad/s."""

    step: Steps
    goal: Steps
    driven: Floats
    policy: Floats
    pixel_neighbour: Floats
    mean_command: Floats


@dataclass(frozen=True)
class OfflineReport:
    """All figures as plain numbers, and the commands behind them for the picture."""

    figures: dict[str, Any]
    commands: HeldOutCommands


def evaluate_offline(policy: TrainedPolicy, config: OfflineConfig) -> OfflineReport:
    """Compare the policy with the held-out episodes of its own store.

    Raises:
        NavOffrlError: the store holds out no episode, or all are shorter than every goal.
    """
    data = _FrameData(policy, config)
    commands = _commands(policy, data, config)
    figures = {
        "held_out_steps": len(data.held_out_steps),
        "command_pairs": len(commands.step),
        "goal_seconds": list(config.goal_seconds),
        "command_error": {
            name: _errors(getattr(commands, name), commands.driven)
            for name in ("policy", "pixel_neighbour", "mean_command")
        },
        "place_recognition": _place_recognition(policy.store, data),
        "steps_to_goal": _steps_to_goal(policy, data),
    }
    return OfflineReport(figures, commands)


class _FrameData:
    """Latents and grey pictures of training and held-out frames."""

    def __init__(self, policy: TrainedPolicy, config: OfflineConfig) -> None:
        if not len(policy.store.episodes.of_split("held_out")):
            raise NavOffrlError(
                "holds out no episode",
                where=policy.store.where,
                remedy="import at least two runs with --held-out-fraction above zero",
            )
        latents, training_steps = policy.latents("train")
        stride = -(-len(training_steps) // config.max_training_frames)
        self.training_steps = training_steps[::stride]
        self.training_latents = latents.numpy()[::stride]
        held_out, self.held_out_steps = policy.latents("held_out")
        self.held_out_latents = held_out.numpy()
        tier = training_tier(policy.store, policy.config.camera, policy.config.encoder)
        self._tier = tier
        self.row = np.full(policy.store.steps, -1, np.int64)
        self.row[self.held_out_steps] = np.arange(len(self.held_out_steps))

    def grey_of(self, steps: Steps) -> NDArray[np.float32]:
        """Return the small grey pictures of `steps`, flat."""
        return grey_pictures(self._tier.gather(steps))


def grey_pictures(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reduce frames (N, H, W, 3) to flat grey pictures (N, 24 * 18), each of zero mean."""
    grey = frames.mean(-1, dtype=np.float32)
    small = [cv2.resize(f, GREY_SIZE, interpolation=cv2.INTER_AREA).ravel() for f in grey]
    return np.stack(small).astype(np.float32)


def nearest(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> Steps:
    """Return for each query the index of the row at the least Euclidean distance."""
    squares = (rows**2).sum(1)
    parts = [
        (squares - 2 * queries[k : k + 512] @ rows.T).argmin(1) for k in range(0, len(queries), 512)
    ]
    return np.concatenate(parts).astype(np.int64)


def pairs_ahead(store: Store, split: str, ahead: int) -> tuple[Steps, Steps]:
    """Return all steps of a split that have a step `ahead` in the same episode, and that step."""
    steps = [
        np.r_[store.steps_of(int(e))][:-ahead]
        for e in store.episodes.of_split(split)
        if store.episodes.length[e] > ahead
    ]
    here = np.concatenate(steps).astype(np.int64) if steps else np.empty(0, np.int64)
    return here, here + ahead


def _commands(policy: TrainedPolicy, data: _FrameData, config: OfflineConfig) -> HeldOutCommands:
    action = policy.store.field("action").astype(np.float64)
    parts = []
    for seconds in config.goal_seconds:
        ahead = max(1, round(seconds * policy.store.info.rate_hz))
        here, goal = pairs_ahead(policy.store, "held_out", ahead)
        if len(here):
            parts.append((here, goal, _neighbour_actions(policy, data, here, goal, ahead)))
    if not parts:
        raise NavOffrlError(
            f"no held-out episode is longer than {min(config.goal_seconds)} s",
            where=policy.store.where,
            remedy="choose smaller goal_seconds",
        )
    here, goal, neighbour = (np.concatenate(column) for column in zip(*parts, strict=True))
    latents = torch.from_numpy(data.held_out_latents)
    with torch.no_grad():
        command = policy.policy_module()(latents[data.row[here]], latents[data.row[goal]])
    mean = action[steps_of_split(policy.store, "train")].mean(0)
    return HeldOutCommands(
        step=here,
        goal=goal,
        driven=action[here],
        policy=command.numpy().astype(np.float64),
        pixel_neighbour=neighbour,
        mean_command=np.broadcast_to(mean, (len(here), 2)).copy(),
    )


def _neighbour_actions(
    policy: TrainedPolicy, data: _FrameData, here: Steps, goal: Steps, ahead: int
) -> Floats:
    """Copy the action of the training pair whose two pictures look most like the query's."""
    from_steps, to_steps = pairs_ahead(policy.store, "train", ahead)
    stride = max(1, len(from_steps) // len(data.training_steps))
    from_steps, to_steps = from_steps[::stride], to_steps[::stride]
    if not len(from_steps):
        return np.zeros((len(here), 2))
    rows = np.hstack([data.grey_of(from_steps), data.grey_of(to_steps)])
    queries = np.hstack([data.grey_of(here), data.grey_of(goal)])
    found: Floats = policy.store.field("action")[from_steps[nearest(queries, rows)]].astype(float)
    return found


def _errors(predicted: Floats, driven: Floats) -> dict[str, float]:
    """Mean absolute errors, and the correlation with what was driven."""
    error = np.abs(predicted - driven).mean(0)
    linear, angular = (correlation(predicted[:, k], driven[:, k]) for k in range(2))
    return {
        "linear_mae": float(error[0]),
        "angular_mae": float(error[1]),
        "linear_correlation": linear,
        "angular_correlation": angular,
    }


def _place_recognition(store: Store, data: _FrameData) -> dict[str, Any]:
    """Find each held-out frame among the training frames; how far off is the place found?

    Only meaningful where all episodes share one odometry frame. They do when looking alike
    predicts being near far better than chance does; otherwise the figures are left out.
    """
    grey = data.grey_of(data.training_steps), data.grey_of(data.held_out_steps)
    found = {
        "learned": nearest(data.held_out_latents, data.training_latents),
        "pixel_neighbour": nearest(grey[1], grey[0]),
        "random": np.random.default_rng(0).integers(
            0, len(data.training_steps), len(data.held_out_steps)
        ),
    }
    position, yaw = store.field("position"), store.field("yaw")
    figures: dict[str, Any] = {}
    for name, rows in found.items():
        steps = data.training_steps[rows]
        metres = np.linalg.norm(position[steps] - position[data.held_out_steps], axis=1)
        turn = np.abs(np.angle(np.exp(1j * (yaw[steps] - yaw[data.held_out_steps]))))
        figures[name] = {
            "median_position_error_m": float(np.median(metres)),
            "median_yaw_error_rad": float(np.median(turn)),
        }
    error = {name: figures[name]["median_position_error_m"] for name in figures}
    if error["pixel_neighbour"] >= SHARED_FRAME_RATIO * error["random"]:
        return {"left_out": "the episodes do not seem to share one odometry frame"}
    return figures


def _steps_to_goal(policy: TrainedPolicy, data: _FrameData) -> dict[str, float]:
    """Rank correlation of the predicted with the true steps ahead, on held-out pairs."""
    rng = np.random.default_rng(0)
    store, latents = policy.store, torch.from_numpy(data.held_out_latents)
    episodes = store.episodes.of_split("held_out")
    chosen = rng.choice(episodes, 4000)
    inside = rng.integers(0, store.episodes.length[chosen], (2, len(chosen)))
    here = store.episodes.start[chosen] + inside.min(0)
    goal = store.episodes.start[chosen] + inside.max(0)
    with torch.no_grad():
        pair = latents[data.row[here]], latents[data.row[goal]]
        distance = policy.distance_module()(*pair).numpy()
        value = policy.agent.method.state_value(*pair).numpy()
    return {
        "rank_correlation_distance": rank_correlation(distance, goal - here),
        "rank_correlation_value": rank_correlation(-value, goal - here),
    }
