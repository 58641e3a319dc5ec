"""Offline training: the goal representation on frames, then IQL on frozen latents.

Both loops are pure functions of (configuration, store, step): batches and augmentations are drawn
from (seed, step), so a resumed run continues bit for bit on a CPU.
"""

import copy
import datetime
import platform
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nav_offrl import __version__
from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.common import Metrics
from nav_offrl.algorithms.goal_representation import GoalRepresentation, PairBatch, PairSampler
from nav_offrl.algorithms.iql import IQL
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import Store
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.suites import refuse_suite_worlds, world_list, worlds_in
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import (
    ActionLimits,
    one_thread,
    pick_device,
    poses,
    store_places,
    training_tier,
)
from nav_offrl.training.frames import Frames
from nav_offrl.training.interrupts import uninterrupted
from nav_offrl.training.latents import (
    cached_latents,
    frozen_encoder,
    latents_of,
    load_representation,
)
from nav_offrl.training.metrics import MetricsLog
from nav_offrl.training.run_folder import (
    Checkpoint,
    RunFolder,
    load_weights,
    named_weights,
    optimizer_tensors,
    restore_optimizer,
)

ENCODER_FROM = "encoder_from"  # in the provenance of a run that kept the encoder of another


@dataclass
class Learner:
    """The two modules of a run and the action range that they were trained in."""

    representation: GoalRepresentation
    iql: IQL
    limits: ActionLimits

    def adopt_representation(self) -> None:
        """Give IQL its frozen copy of the pair head, once that is trained."""
        relation = self.iql.features.relation
        assert relation is not None
        relation.load_state_dict(self.representation.pair_head.state_dict())


def build_learner(config: TrainConfig, limits: ActionLimits, device: torch.device) -> Learner:
    """Make the modules, initialised from the configuration's seed."""
    torch.manual_seed(config.seed)
    representation = GoalRepresentation(config.representation, config.encoder)
    relation = copy.deepcopy(representation.pair_head)
    iql = IQL(config.iql, config.encoder.latent_size, action_size=2, relation=relation)
    return Learner(representation.to(device), iql.to(device), limits)


class Trainer:
    """Trains one run; `run` may be stopped at any moment and continued."""

    def __init__(self, store: Store, run: RunFolder, progress: bool = True) -> None:
        self.store = store
        self.run_folder = run
        self.config = run.config
        self._progress = progress
        self._device = pick_device(self.config.device)
        self._check_store()
        self.learner = build_learner(self.config, ActionLimits.of_store(store), self._device)
        self._phase, self._step = "representation", 0
        self._resume()

    def _check_store(self) -> None:
        trained_on = self.run_folder.provenance.get("store_fingerprint")
        if trained_on != self.store.fingerprint():
            raise NavOffrlError(
                "the store's content is not what this run was started with",
                where=self.store.where,
                remedy="start a new run; runs never mix data of two stores",
            )

    # Only the goal representation needs these two: they are made when it does.
    @cached_property
    def _frames(self) -> Frames:
        config = self.config
        tier = training_tier(self.store, config.camera, config.encoder, self._progress)
        return Frames(tier, self._device, config.cache)

    @cached_property
    def _poses(self) -> Tensor:
        return poses(self.store)

    def _resume(self) -> None:
        checkpoint = self.run_folder.load()
        if checkpoint is not None:
            restore_learner(self.learner, checkpoint)
            self._phase, self._step = checkpoint.phase, checkpoint.step
        self.run_folder.trim_metrics(self._global_step)

    @property
    def _global_step(self) -> int:
        before = self.config.representation.steps if self._phase == "iql" else 0
        return before + self._step

    def run(self) -> None:
        """Train to the end of both phases; the end and Ctrl-C leave a checkpoint."""
        log = MetricsLog(self.run_folder.path)
        try:
            if self._phase == "representation":
                self._train_representation(log)
                with uninterrupted():
                    self.learner.adopt_representation()
                    self._phase, self._step = "iql", 0
                    self._save()
            self._train_iql(log)
            self._save()
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            log.close()

    def _train_representation(self, log: MetricsLog) -> None:
        """Learn the encoder; see `nav_offrl.algorithms.goal_representation`."""
        config, module = self.config.representation, self.learner.representation
        sampler = self._pair_sampler("train")
        if self._step == 0:
            module.pose_scale.fill_(self._spread(sampler))
        generator = torch.Generator()
        bar = self._bar(config.steps, "goal representation")
        with self._frames.batches(sampler.sample, range(self._step, config.steps)) as batches:
            for step, (steps, frames) in zip(bar, batches, strict=False):
                with uninterrupted():
                    generator.manual_seed(self.config.seed * 1_000_003 + step)
                    metrics = module.update(self._pairs(steps, frames), step, generator)
                    self._after_step(step, log, metrics)

    def _train_iql(self, log: MetricsLog) -> None:
        """Learn value, critics and policy on the latents of all frames."""
        config = self.config
        latents = self.encode_all()
        action = torch.from_numpy(self.learner.limits.normalise(self.store.field("action")))
        action = action.to(self._device)
        sampler = GoalSampler(self.store, "train", config.sampling, config.seed)
        held_out = None
        if len(self.store.episodes.of_split("held_out")):
            held_out = GoalSampler(self.store, "held_out", config.sampling, config.seed + 1)
        for step in self._bar(config.steps, "implicit Q-learning"):
            with uninterrupted(), one_thread():
                batch = make_batch(sampler, config.batch_size, step, latents, action)
                # Dropout draws from torch's own generator: a resumed run must draw the same.
                torch.manual_seed(config.seed * 1_000_003 + step)
                metrics = self.learner.iql.update(batch)
                if held_out is not None and (step + 1) % config.log_every == 0:
                    batch = make_batch(held_out, config.batch_size, step, latents, action)
                    metrics |= held_out_metrics(self.learner.iql, batch)
                self._after_step(step, log, metrics)

    def _bar(self, steps: int, label: str) -> "tqdm[int]":
        return tqdm(
            range(self._step, steps),
            desc=label,
            initial=self._step,
            total=steps,
            unit="step",
            disable=not self._progress,
        )

    def _after_step(self, step: int, log: MetricsLog, metrics: Metrics) -> None:
        self._step = step + 1
        logs = self._step % self.config.log_every == 0
        saves = self._step % self.config.checkpoint_every == 0
        if logs or saves:
            self._check_finite(metrics)
        if logs:
            log.write(self._global_step, metrics)
        if saves:
            self._save()

    def _check_finite(self, metrics: Metrics) -> None:
        """Stop before a diverged step is logged or takes the place of a good checkpoint."""
        bad = [name for name, value in metrics.items() if not bool(torch.isfinite(value).all())]
        if bad:
            raise NavOffrlError(
                f"'{bad[0]}' is not finite after step {self._step} of {self._phase}",
                where=self.run_folder.path,
                remedy="lower the learning rate and start a new run; the last checkpoint is whole",
            )

    def _pair_sampler(self, split: str) -> PairSampler:
        episodes = self.store.episodes
        rows = episodes.of_split(split)
        config = self.config.representation
        return PairSampler(episodes.start[rows], episodes.length[rows], config, self.config.seed)

    def _spread(self, sampler: PairSampler) -> float:
        """Return the typical distance (m) between the two frames of a pair."""
        position = self._poses[np.concatenate([sampler.sample(k) for k in range(20)], 1), :2]
        return max(1e-3, float((position[1] - position[0]).square().sum(-1).mean().sqrt()))

    def _pairs(self, steps: NDArray[np.int64], frames: Tensor) -> PairBatch:
        return PairBatch(
            frames,
            self._poses[steps].to(self._device),
            torch.from_numpy(steps[1] - steps[0]).to(self._device),
        )

    def encode_all(self) -> Tensor:
        """Return the latents of every frame of the store: (steps, latent_size).

        An encoder that came from another run is there to be used again: its latents are cached.
        """
        config = self.config
        module = self.learner.representation.encoder
        encoder = frozen_encoder(module, config.camera, config.encoder, self._device)
        if ENCODER_FROM in self.run_folder.provenance:
            return cached_latents(self.store, encoder, self._progress).to(self._device)
        every = np.arange(len(self.store.episodes))
        return latents_of(self.store, encoder, every).to(self._device)

    def _save(self) -> None:
        self.run_folder.save(checkpoint_of(self.learner, self._phase, self._step))


def make_batch(
    sampler: GoalSampler, batch_size: int, number: int, latents: Tensor, action: Tensor
) -> Batch:
    """Gather batch `number` from latents (steps, D) and normalised actions (steps, 2)."""
    drawn = sampler.sample(batch_size, number)
    return Batch(
        observation=latents[drawn.step],
        action=action[drawn.step],
        next_observation=latents[drawn.next_step],
        goal=latents[drawn.goal],
        actor_goal=latents[drawn.actor_goal],
        reward=torch.from_numpy(drawn.reward).to(latents.device),
        mask=torch.from_numpy(drawn.mask).to(latents.device),
    )


@torch.no_grad()
def held_out_metrics(iql: IQL, batch: Batch) -> Metrics:
    """Compute the three losses' metrics on held-out episodes, for the overfitting diagnosis."""
    iql.eval()
    metrics = iql.value_loss(batch)[1] | iql.critic_loss(batch)[1] | iql.policy_loss(batch)[1]
    return {f"held_out/{name}": value for name, value in metrics.items()}


def checkpoint_of(learner: Learner, phase: str, step: int) -> Checkpoint:
    """Collect everything that the next step depends on."""
    return Checkpoint(
        phase=phase,
        step=step,
        weights=named_weights("representation", learner.representation)
        | named_weights("iql", learner.iql),
        optimizer=optimizer_tensors("representation", learner.representation.optimizer)
        | optimizer_tensors("iql", learner.iql.optimizer),
        extra={"action_low": learner.limits.low, "action_high": learner.limits.high},
    )


def restore_learner(learner: Learner, checkpoint: Checkpoint) -> None:
    """Load weights, targets and optimizers of `checkpoint`."""
    load_weights(learner.representation, "representation", checkpoint.weights)
    load_weights(learner.iql, "iql", checkpoint.weights)
    restore_optimizer("representation", learner.representation.optimizer, checkpoint.optimizer)
    restore_optimizer("iql", learner.iql.optimizer, checkpoint.optimizer)


def provenance(store: Store, config: TrainConfig) -> dict[str, Any]:
    """Describe what a run is made from."""
    return {
        "nav_offrl_version": __version__,
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **store_places(store),
        "store_fingerprint": store.fingerprint(),
        "seed": config.seed,
    } | simulated_worlds(store)


def simulated_worlds(store: Store) -> dict[str, str]:
    """Name the simulated worlds of a store, if any: an evaluation suite must hold none of them.

    Raises:
        NavOffrlError: a shipped suite holds one of them.
    """
    worlds = worlds_in(store.episodes.source)
    refuse_suite_worlds(worlds, store.where)
    return {"simulated_worlds": world_list(worlds)} if worlds else {}


def start_run(
    store: Store, path: Path, config: TrainConfig, encoder_from: Path | None = None
) -> RunFolder:
    """Make the run folder of a new training.

    `encoder_from` is a run whose goal representation to keep: the new run begins with IQL.

    Raises:
        NavOffrlError: the store has nothing to learn from or was driven in worlds that an
            evaluation suite holds, the folder exists, `encoder_from` is unfinished, or `config`
            asks for another encoder.
    """
    limits = ActionLimits.of_store(store)
    if encoder_from is None:
        return RunFolder.create(path, config, provenance(store, config))
    representation, source = load_representation(encoder_from)
    for part in ("encoder", "representation"):
        if getattr(config, part) not in (getattr(TrainConfig(), part), getattr(source, part)):
            raise NavOffrlError(
                f"the settings '{part}' are not those of the run whose encoder is to be kept",
                where=encoder_from,
                remedy="leave them out",
            )
    config = config.model_copy(
        update={"encoder": source.encoder, "representation": source.representation}
    )
    origin = {ENCODER_FROM: str(encoder_from.resolve())}
    run = RunFolder.create(path, config, provenance(store, config) | origin)
    learner = build_learner(config, limits, torch.device("cpu"))
    learner.representation.load_state_dict(representation.state_dict())
    learner.adopt_representation()
    run.save(checkpoint_of(learner, "iql", 0))
    return run
