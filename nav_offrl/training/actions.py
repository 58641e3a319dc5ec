"""What a method's actions are: velocities, cells of a grid of them, or waypoints.

Each kind turns the log into actions to learn from, and has a module that turns what the method
does into the robot's command. What it takes from the data goes into every checkpoint.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from nav_offrl.algorithms.goal_representation import relative_pose
from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.commands import ScaledCommand, WaypointCommand
from nav_offrl.store.reader import Store
from nav_offrl.training.data import ACTION_QUANTILES, ActionLimits, poses

# Below these, a waypoint's spread in the log is noise that must not be blown up.
SMALLEST_METRES, SMALLEST_RADIANS = 0.01, 0.02


class ActionsConfig(Config):
    """What the method learns to do."""

    kind: Literal["velocity", "grid", "waypoints"] = Field(
        default="velocity",
        description="the log's actions, for robots (v, omega); the nearest of a grid of them; or "
        "where the robot was next",
    )
    linear_cells: int = Field(default=5, ge=3, description="of the grid, in v")
    angular_cells: int = Field(default=9, ge=3, description="of the grid, in omega")
    waypoints: int = Field(default=5, ge=1, description="poses ahead")
    waypoint_spacing: int = Field(
        default=1, ge=1, description="steps from one waypoint to the next"
    )
    followed_waypoint: int = Field(
        default=3, ge=1, description="number of the waypoint that the robot drives to, from 1"
    )

    @model_validator(mode="after")
    def _followed_waypoint_is_there(self) -> "ActionsConfig":
        if self.followed_waypoint > self.waypoints:
            raise ValueError("followed_waypoint must not be above waypoints")
        return self


class ActionSpace(abc.ABC):
    """One kind of actions. `limits` are those of the robot's commands."""

    limits: ActionLimits
    grid: Tensor | None = None

    @property
    def size(self) -> int:
        """A of the actions (B, A) in [-1, 1] that a method's `act` returns."""
        return len(self.limits.low)

    @abc.abstractmethod
    def of_store(self, store: Store) -> Tensor:
        """Return the action of every step as it is learned: (steps, A), or (steps,) int64 cells.

        Raises:
            NavOffrlError: a field is missing.
        """

    def command(self) -> nn.Module:
        """Return the module from (B, A) in [-1, 1] to commands in SI."""
        return ScaledCommand(self.limits.low, self.limits.high)

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint must keep of the data."""
        return {"action_low": self.limits.low, "action_high": self.limits.high}


@dataclass(frozen=True)
class VelocityActions(ActionSpace):
    """The log's own actions, the limits at -1 and 1."""

    limits: ActionLimits

    def of_store(self, store: Store) -> Tensor:
        """Return (steps, A) in [-1, 1]."""
        return torch.from_numpy(self.limits.normalise(store.field("action")))


class GridActions(ActionSpace):
    """A grid over v and omega; the action of a step is the cell nearest to what was commanded."""

    grid: Tensor

    def __init__(self, limits: ActionLimits, cells: tuple[int, int]) -> None:
        """`cells` are those of v and of omega; cell (i, k) has the number i * cells[1] + k."""
        self.limits = limits
        bounds = zip(limits.low, limits.high, cells, strict=True)
        self._v, self._omega = (_centres(*axis) for axis in bounds)
        v, omega = np.meshgrid(self._v, self._omega, indexing="ij")
        self.grid = torch.from_numpy(np.stack([v.ravel(), omega.ravel()], -1))

    def of_store(self, store: Store) -> Tensor:
        """Return the numbers of the cells, (steps,) int64."""
        unit = self.limits.normalise(store.field("action"))
        v, omega = _nearest(unit[:, 0], self._v), _nearest(unit[:, 1], self._omega)
        return torch.from_numpy(v * len(self._omega) + omega)


@dataclass(frozen=True)
class WaypointActions(ActionSpace):
    """K poses (x, y, yaw) of the robot's own future in its body's frame, one behind the other.

    As the GNM family has them (Shah et al. 2022, arXiv 2210.03370, section III), each in units of
    its own spread in the log. Where the drive ends before a waypoint, its last pose stands in.

    scale: (K, 2) metres and radians that 1 stands for.
    seconds: from one waypoint to the next.
    """

    limits: ActionLimits
    config: ActionsConfig
    scale: tuple[tuple[float, float], ...]
    seconds: float

    @classmethod
    def measure(
        cls, config: ActionsConfig, limits: ActionLimits, store: Store
    ) -> "WaypointActions":
        """Take the spread of the training episodes' waypoints."""
        episodes = store.episodes.of_split("train")
        steps = np.concatenate([np.r_[store.steps_of(int(e))] for e in episodes])
        ahead = waypoints(store, config)[torch.from_numpy(steps)]
        spread = torch.stack([ahead[..., :2].norm(dim=-1), ahead[..., 2].abs()], -1)
        scale = np.quantile(spread.numpy(), ACTION_QUANTILES[1], axis=0)
        scale = np.maximum(scale, (SMALLEST_METRES, SMALLEST_RADIANS))
        seconds = config.waypoint_spacing / store.info.rate_hz
        return cls(limits, config, tuple(map(tuple, scale.tolist())), seconds)

    @property
    def size(self) -> int:
        """Three numbers a waypoint."""
        return 3 * self.config.waypoints

    def of_store(self, store: Store) -> Tensor:
        """Return (steps, 3 K) in [-1, 1]."""
        metres, radians = torch.tensor(self.scale).unbind(-1)
        ahead = waypoints(store, self.config)
        place, yaw = ahead[..., :2] / metres[:, None], ahead[..., 2:] / radians[:, None]
        # Clipped along its direction: a jump of odometry must not look like a turn.
        place = place / place.norm(dim=-1, keepdim=True).clamp(min=1)
        return torch.cat([place, yaw.clamp(-1, 1)], -1).flatten(1)

    def command(self) -> nn.Module:
        """Return the module that drives to the followed waypoint."""
        followed = self.config.followed_waypoint
        return WaypointCommand(
            self.limits.low,
            self.limits.high,
            self.scale[followed - 1],
            followed - 1,
            self.seconds * followed,
        )

    def saved(self) -> dict[str, Any]:
        """Return limits, spread and time."""
        return super().saved() | {"waypoint_scale": self.scale, "waypoint_seconds": self.seconds}


def measure_actions(config: ActionsConfig, store: Store) -> ActionSpace:
    """Return the actions that a run on `store` learns.

    Raises:
        NavOffrlError: the log has no motion to learn from, or not what this kind of action needs.
    """
    limits = ActionLimits.of_store(store)
    if config.kind == "velocity":
        return VelocityActions(limits)
    if len(limits.low) != 2:
        raise NavOffrlError(
            f"field 'action' has {len(limits.low)} numbers, and '{config.kind}' is for robots that "
            "are commanded by v and omega",
            where=store.where,
            remedy="set actions.kind to velocity",
        )
    if config.kind == "grid":
        return GridActions(limits, (config.linear_cells, config.angular_cells))
    return WaypointActions.measure(config, limits, store)


def saved_actions(config: ActionsConfig, saved: Mapping[str, Any]) -> ActionSpace:
    """Return the actions of a checkpoint, from what `ActionSpace.saved` said."""
    limits = ActionLimits(tuple(saved["action_low"]), tuple(saved["action_high"]))
    if config.kind == "velocity":
        return VelocityActions(limits)
    if config.kind == "grid":
        return GridActions(limits, (config.linear_cells, config.angular_cells))
    scale = tuple((metres, radians) for metres, radians in saved["waypoint_scale"])
    return WaypointActions(limits, config, scale, saved["waypoint_seconds"])


def waypoints(store: Store, config: ActionsConfig) -> Tensor:
    """Return the poses ahead of every step in its body's frame, (steps, K, 3) m and rad.

    Raises:
        NavOffrlError: the store has no position or no yaw.
    """
    pose = poses(store)
    start, length = store.episodes.start, store.episodes.length
    last = np.repeat(start + length - 1, length)
    ahead = config.waypoint_spacing * np.arange(1, config.waypoints + 1)
    then = np.minimum(np.arange(store.steps)[:, None] + ahead, last[:, None])
    seen = relative_pose(pose[:, None], pose[torch.from_numpy(then)])
    return torch.cat([seen[..., :2], torch.atan2(seen[..., 3:], seen[..., 2:3])], -1)


def _centres(low: float, high: float, count: int) -> NDArray[np.float32]:
    """Return `count` values from -1 to 1, one of them moved to where zero is between the limits.

    A robot that cannot stop, or cannot drive straight, is a danger.
    """
    centres, zero = np.linspace(-1, 1, count), -2 * low / (high - low) - 1
    centres[np.abs(centres - zero).argmin()] = zero
    return centres.astype(np.float32)


def _nearest(values: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of the centre nearest to each value; of two equally near, the lower."""
    middles = (centres[1:] + centres[:-1]) / 2
    numbers: NDArray[np.int64] = np.searchsorted(middles, values)
    return numbers
