"""A finished run as a policy: for evaluation, finetuning and export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nav_offrl.algorithms.distance import WithDistance
from nav_offrl.algorithms.method import Method
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.heads import PairHead
from nav_offrl.networks.preprocess import PreprocessedEncoder
from nav_offrl.store.latents import Encoder
from nav_offrl.store.reader import Store
from nav_offrl.training.actions import ActionSpace
from nav_offrl.training.agent import (
    POLICY,
    Agent,
    build_agent,
    restore_agent,
)
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import poses, reopen_store
from nav_offrl.training.latents import frozen_encoder, latents_of
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.store_facts import StoreFacts

ARRIVAL_FALSE_ALARMS = 0.002
ARRIVAL_PAIRS = 20000


class CommandPolicy(nn.Module):
    """Latent and goal latent -> velocity command in SI: the `policy` graph of a bundle."""

    def __init__(self, method: Method, actions: ActionSpace) -> None:
        super().__init__()
        self.method, self.command = method, actions.command()

    def forward(self, latent: Tensor, goal_latent: Tensor) -> Tensor:
        """Map (B, D), (B, D) to (B, 2): m/s and rad/s, inside the limits."""
        command: Tensor = self.command(self.method.act(latent, goal_latent))
        return command


class StepsToGoal(nn.Module):
    """Latent and goal latent -> expected steps: the `distance` graph of a bundle."""

    def __init__(self, pair_head: PairHead) -> None:
        super().__init__()
        self.pair_head = pair_head

    def forward(self, latent: Tensor, goal_latent: Tensor) -> Tensor:
        """Map (B, D), (B, D) to (B,) steps, at least 0."""
        return self.pair_head.expected_steps(latent, goal_latent)


@dataclass(frozen=True)
class TrainedPolicy:
    """The modules of a run in evaluation mode on the CPU, with what a bundle says of them."""

    run: Path
    config: TrainConfig
    agent: Agent
    store: Store
    provenance: dict[str, Any]

    def encoder_module(self) -> nn.Module:
        """Frames at the camera's size -> latents, preprocessing inside."""
        size = self.config.encoder
        return PreprocessedEncoder(self.agent.encoder, size.height, size.width).eval()

    def policy_module(self) -> CommandPolicy:
        """Latents -> commands in SI."""
        return CommandPolicy(self.agent.method, self.agent.facts.actions).eval()

    def distance_module(self) -> nn.Module:
        """Latents -> predicted steps."""
        if isinstance(self.agent.method, WithDistance):
            return StepsToGoal(self.agent.method.distance).eval()
        representation = self.agent.representation
        assert representation is not None  # a run on state vectors was refused when loaded
        return StepsToGoal(representation.pair_head).eval()

    def latents(self, split: str) -> tuple[Tensor, NDArray[np.int64]]:
        """Return what the method sees of all steps of a split, and their flat numbers.

        These are latents of frames, or normalised state vectors: (N, D), (N,).
        """
        steps = steps_of_split(self.store, split)
        if self.config.observation == "state":
            states = self.store.field("observation")[steps].astype(np.float32)
            with torch.no_grad():
                return self.agent.encoder(torch.from_numpy(states)), steps
        episodes = self.store.episodes.of_split(split)
        return latents_of(self.store, self.encoder(self.config.camera), episodes), steps

    def encoder(self, camera: str) -> Encoder:
        """Return what encodes the frames of a store's `camera`."""
        return frozen_encoder(self.agent.encoder, camera, self.config.encoder, torch.device("cpu"))

    def sample_images(self, count: int) -> NDArray[np.uint8]:
        """Return up to `count` recorded frames at the camera's size, spread over the store."""
        steps = np.unique(np.linspace(0, self.store.steps - 1, count).astype(np.int64))
        return np.stack([self.store.image(self.config.camera, int(step)) for step in steps])

    @property
    def contract_fields(self) -> dict[str, Any]:
        """Fields of the bundle's contract that the run knows."""
        camera = self.store.info.cameras[self.config.camera]
        return {
            "method": self.config.method.name,
            "camera": {
                "height": camera.height,
                "width": camera.width,
                "horizontal_fov": camera.horizontal_fov,
                "encoding": "rgb8",
            },
            "rate_hz": self.store.info.rate_hz,
            "action": {"low": self.agent.limits.low, "high": self.agent.limits.high},
            "embedding_size": self.config.encoder.latent_size,
            "arrival_steps": self.arrival_steps(),
            "metric_scale_m_per_step": metres_per_step(self.store),
            "provenance": self.provenance | {"run": self.run.name},
        }

    def arrival_steps(self) -> float:
        """Return the predicted steps below which the robot may call itself arrived.

        Calibrated on held-out episodes: of the pairs of frames that lie farther apart than the
        arrival radius, only a share of `ARRIVAL_FALSE_ALARMS` is predicted to be nearer.
        """
        split = "held_out" if len(self.store.episodes.of_split("held_out")) else "train"
        latents, steps = self.latents(split)
        here, there = _pairs_of_one_episode(self.store, split)
        row = np.zeros(self.store.steps, np.int64)
        row[steps] = np.arange(len(steps))
        pose = poses(self.store)
        metres = (pose[there, :2] - pose[here, :2]).norm(dim=-1)
        with torch.no_grad():
            predicted = self.distance_module()(latents[row[here]], latents[row[there]])
        apart = metres > self.config.arrival_radius
        if int(apart.sum()) < 10:
            # The whole log fits in one arrival radius: only the goal's own view counts.
            return float(max(0.5, predicted[~apart].quantile(0.02)))
        return float(max(0.5, predicted[apart].quantile(ARRIVAL_FALSE_ALARMS)))


def load_policy(
    run: Path, store: Path | None = None, checkpoint_name: str | None = None
) -> TrainedPolicy:
    """Load a checkpoint of a run on images: one that a robot with a camera can follow.

    Raises:
        NavOffrlError: as `load_run`, or the run learned from state vectors.
    """
    if RunFolder.open(run).config.observation != "images":
        raise NavOffrlError(
            "learned from state vectors, which no camera sees",
            where=run,
            remedy="train with --train.observation images",
        )
    return load_run(run, store, checkpoint_name)


def load_run(
    run: Path, store: Path | None = None, checkpoint_name: str | None = None
) -> TrainedPolicy:
    """Load a checkpoint of any run.

    Args:
        run: the run's folder.
        store: where its store is now; None takes the path that the run remembers.
        checkpoint_name: of a folder in `checkpoints/`; None takes the newest.

    Raises:
        NavOffrlError: the run has no policy yet or no checkpoint of that name, or its store is
            elsewhere or another.
    """
    folder = RunFolder.open(run)
    kept = folder.checkpoints(POLICY)
    if checkpoint_name is not None and checkpoint_name not in kept.values():
        raise NavOffrlError(
            f"has no checkpoint '{checkpoint_name}'",
            where=run,
            remedy=f"choose one of {', '.join(kept.values()) or '(none yet)'}",
        )
    checkpoint = folder.load(checkpoint_name)
    if checkpoint is None or checkpoint.phase != POLICY or checkpoint.step == 0:
        raise NavOffrlError(
            "has no trained policy yet", where=run, remedy="continue it: nav-offrl train --resume"
        )
    config, provenance = folder.config, folder.provenance
    opened = reopen_store(run, provenance, config.store_weights, store)
    if opened.fingerprint() != provenance["store_fingerprint"]:
        raise NavOffrlError(
            "is not the store that this run was trained on (fingerprint differs)",
            where=opened.where,
        )
    facts = StoreFacts.restore(config, checkpoint.extra)
    agent = build_agent(config, facts, torch.device("cpu"))
    restore_agent(agent, checkpoint)
    agent.eval()
    return TrainedPolicy(run, config, agent, opened, provenance)


def metres_per_step(store: Store) -> float | None:
    """Return the mean distance driven in a step, or None where nothing moved."""
    position = store.field("position")
    moves = [
        np.linalg.norm(np.diff(position[store.steps_of(e)], axis=0), axis=1)
        for e in range(len(store.episodes))
    ]
    mean = float(np.concatenate(moves).mean())
    return mean if mean > 0 else None


def steps_of_split(store: Store, split: str) -> NDArray[np.int64]:
    """Return the flat steps of all episodes of a split."""
    ranges = [np.r_[store.steps_of(int(e))] for e in store.episodes.of_split(split)]
    if not ranges:
        raise NavOffrlError(f"has no episode in split '{split}'", where=store.where)
    return np.concatenate(ranges).astype(np.int64)


def _pairs_of_one_episode(store: Store, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw ordered pairs (earlier, later) of steps of the same episode."""
    rng = np.random.default_rng(0)
    episodes = store.episodes.of_split(split)
    share = store.episodes.length[episodes] / store.episodes.length[episodes].sum()
    chosen = rng.choice(episodes, ARRIVAL_PAIRS, p=share)
    inside = rng.integers(0, store.episodes.length[chosen], (2, ARRIVAL_PAIRS))
    start = store.episodes.start[chosen]
    return start + inside.min(0), start + inside.max(0)
