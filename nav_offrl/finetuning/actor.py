"""The actor: drives the current policy with bounded, time-correlated exploration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from nav_offrl.config import Config
from nav_offrl.evaluation.rollouts import Environment
from nav_offrl.store import Episode
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.trained_policy import CommandPolicy


class ExplorationConfig(Config):
    """Ornstein-Uhlenbeck noise on the command; what comes out stays inside the limits."""

    linear: float = Field(default=0.15, ge=0, description="standard deviation, m/s")
    angular: float = Field(default=0.3, ge=0, description="standard deviation, rad/s")
    correlation_time: float = Field(default=1.0, gt=0, description="s")
    jpeg_quality: int = Field(default=92, ge=50, le=100)


@dataclass(frozen=True)
class Experience:
    """One drive of T steps: an episode for the store and its latents (T, D)."""

    episode: Episode
    latents: Tensor
    success: bool


@dataclass
class _Record:
    """The growing columns of one drive."""

    images: list[bytes]
    latents: list[Tensor]
    rows: dict[str, list[Any]]


class Actor:
    """Drives one episode after another and records them as a robot would."""

    def __init__(
        self,
        env: Environment,
        encoder: nn.Module,
        config: ExplorationConfig,
        period: float,
        source: str = "online finetuning",
    ) -> None:
        """`encoder` maps camera frames (B, H, W, 3) uint8 to latents; `period` is in s.

        `source` is what episodes say of their origin.
        """
        self._env, self._encoder, self._config = env, encoder, config
        self._source = source
        self._keep = math.exp(-period / config.correlation_time)

    @torch.no_grad()
    def drive(
        self, policy: CommandPolicy, limits: ActionLimits, seed: int, name: str
    ) -> Experience:
        """Drive to a random goal of the environment until success or time out."""
        rng = np.random.default_rng((seed, 2))
        observation, info = self._env.reset(seed=seed)
        goal = self._encode(observation["goal_image"])
        record = _Record([], [], {key: [] for key in FIELDS})
        noise, ended, success = rng.normal(size=2), False, False
        while not ended:
            latent = self._encode(observation["image"])
            noise = self._keep * noise + math.sqrt(1 - self._keep**2) * rng.normal(size=2)
            command = policy(latent, goal)[0].numpy() + noise * (
                self._config.linear,
                self._config.angular,
            )
            command = command.clip(limits.low, limits.high)
            before = observation, info
            observation, _, success, truncated, info = self._env.step(command)
            self._append(record, latent, *before, command, info)
            ended = success or truncated
        # The last frame belongs to the drive: it is the goal that hindsight learns most from.
        self._append(record, self._encode(observation["image"]), observation, info, command, info)
        return Experience(self._episode(record, name), torch.cat(record.latents), bool(success))

    def _encode(self, image: NDArray[np.uint8]) -> Tensor:
        latent: Tensor = self._encoder(torch.from_numpy(image[None]))
        return latent

    def _append(
        self,
        record: _Record,
        latent: Tensor,
        observation: dict[str, Any],
        info: dict[str, Any],
        command: Sequence[float] | NDArray[np.floating[Any]],
        after: dict[str, Any],
    ) -> None:
        """Add the step that starts at `observation`; `after` says what the command led to."""
        bgr = np.ascontiguousarray(observation["image"][..., ::-1])
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        record.images.append(cv2.imencode(".jpg", bgr, quality)[1].tobytes())
        record.latents.append(latent)
        values = {
            "time": round(float(info["time"]) * 1e9),
            "position": info["odometry"][:2],
            "yaw": info["odometry"][2],
            "action": command,
            "velocity": observation["velocity"],
            "collision": bool(after["collision"]),
            "bumpiness": float(after["bumpiness"]),
        }
        for key, value in values.items():
            record.rows[key].append(value)

    def _episode(self, record: _Record, name: str) -> Episode:
        return Episode(
            name=name,
            images={"front": record.images},
            fields={key: np.array(values) for key, values in record.rows.items()},
            source=self._source,
            robot="simulated",
        )


FIELDS = ("time", "position", "yaw", "action", "velocity", "collision", "bumpiness")
