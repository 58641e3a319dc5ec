"""Offline training: the goal representation on frames, then a method on vectors.

Both loops are pure functions of (configuration, store, step): batches, augmentations and what a
method draws come from (seed, step), so a resumed run continues bit for bit on a CPU.
"""

import datetime
import platform
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nav_offrl import __version__
from nav_offrl.algorithms.common import Metrics
from nav_offrl.algorithms.goal_representation import PairBatch, PairSampler, augment
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.reader import Store
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.suites import refuse_suite_worlds, world_list, worlds_in
from nav_offrl.training.agent import (
    POLICY,
    REPRESENTATION,
    build_agent,
    checkpoint_of,
    restore_agent,
)
from nav_offrl.training.batches import Batches, rows_of
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import (
    pick_device,
    poses,
    store_places,
    threads,
    training_tier,
)
from nav_offrl.training.frames import Frames
from nav_offrl.training.held_out import judge
from nav_offrl.training.latents import (
    cached_latents,
    frozen_encoder,
    latents_of,
    load_representation,
)
from nav_offrl.training.metrics import MetricsLog
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.store_facts import StoreFacts, rewards_of
from nav_offrl.training.team import Team

UNTRAINED_BATCHES = 8  # that an encoder which no pre-training has seen is set up with
ENCODER_FROM = "encoder_from"  # in the provenance of a run that kept the encoder of another


class Trainer:
    """Trains one run; `run` may be stopped at any moment and continued."""

    def __init__(
        self, store: Store, run: RunFolder, progress: bool = True, team: Team | None = None
    ) -> None:
        """`team` are the processes that train together, each with a trainer like this one.

        Raises:
            NavOffrlError: the store is not the run's, its checkpoint is damaged, or there are more
                processes than its batches can be shared out among.
        """
        self.store = store
        self.run_folder = run
        self.config = run.config
        self.team = team or Team()
        self._progress = progress and self.team.leads
        self._device = self.team.device(pick_device(self.config.device))
        self._batch_size = self.team.share(self.config.batch_size, "batch_size")
        self._check_store()
        self.agent = build_agent(self.config, StoreFacts.measure(self.config, store), self._device)
        self._phase, self._step = REPRESENTATION, 0
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
        with self.team.leader_first():
            tier = training_tier(self.store, config.camera, config.encoder, self._progress)
        return Frames(tier, self._device, config.cache)

    @cached_property
    def _poses(self) -> Tensor:
        return poses(self.store)

    def _resume(self) -> None:
        checkpoint = self.run_folder.load()
        if checkpoint is not None:
            restore_agent(self.agent, checkpoint)
            self._phase, self._step = checkpoint.phase, checkpoint.step
        self.team.wait()  # all have read what rank 0 will replace
        if self.team.leads:
            self.run_folder.trim_metrics(self._global_step)

    @property
    def _global_step(self) -> int:
        learned = self.agent.representation is not None and self._phase == POLICY
        return self._step + (self.config.representation.steps if learned else 0)

    def run(self) -> None:
        """Train to the end of both phases; the end and Ctrl-C leave a checkpoint."""
        log = MetricsLog(self.run_folder.path) if self.team.leads else None
        try:
            with self.team.listening():
                self._run_phases(log)
        finally:
            if log is not None:
                log.close()

    def _run_phases(self, log: MetricsLog | None) -> None:
        try:
            if self._phase == REPRESENTATION:
                self._train_representation(log)
                with self.team.whole_step(0):
                    self.team.adopt_buffers(self.agent.representation)
                    self.agent.adopt_representation()
                    self.agent.fit_normaliser(self.store)
                    self._phase, self._step = POLICY, 0
                    self._save()
            self._train_policy(log)
            self._save()
        except KeyboardInterrupt:
            self._save()
            raise

    def _train_representation(self, log: MetricsLog | None) -> None:
        """Learn the encoder; see `nav_offrl.algorithms.goal_representation`."""
        config, module = self.config.representation, self.agent.representation
        if module is None:
            return
        sampler = self._pair_sampler("train")
        if config.steps == 0:
            numbers = range(UNTRAINED_BATCHES)
            drawn = (self._frames.gather(sampler.sample(n).reshape(-1)) for n in numbers)
            module.encoder.measure_statistics(drawn)
            return
        if self._step == 0:
            module.pose_scale.fill_(self._spread(sampler))
        generator = torch.Generator()
        bar = self._bar(config.steps, "goal representation")
        draw = self._own_pairs(sampler)
        with self._frames.batches(draw, range(self._step, config.steps)) as batches:
            for step, (steps, frames) in zip(bar, batches, strict=False):
                with self.team.whole_step(step + 1):
                    generator.manual_seed(self._seed(step))
                    metrics = module.update(self._pairs(steps, frames), step, generator)
                    self._after_step(step, log, metrics)

    def _train_policy(self, log: MetricsLog | None) -> None:
        """Learn by the method's own losses; see the files of `nav_offrl.algorithms`."""
        config = self.config
        draw = self._batches("train", config.seed)
        held_out = None
        if len(self.store.episodes.of_split("held_out")):
            held_out = self._batches("held_out", config.seed + 1)
        with threads(config.threads):
            for step in self._bar(config.steps, config.method.name):
                with self.team.whole_step(step + 1):
                    # Methods draw from torch's own generator: a resumed run must draw the same.
                    torch.manual_seed(self._seed(step))
                    metrics = self.agent.learner.update(draw(self._batch_size, step), step)
                    if held_out is not None and (step + 1) % config.log_every == 0:
                        metrics |= judge(self.agent.learner, held_out(self._batch_size, step))
                    self._after_step(step, log, metrics)

    def _seed(self, step: int) -> int:
        """Return the seed of what is drawn at random in a step."""
        return self.team.seed(self.config.seed * 1_000_003 + step)

    def _batches(self, split: str, seed: int) -> Batches:
        rank, ranks = self.team.rank, self.team.size
        config = self.config.sampling
        sampler = GoalSampler(self.store, split, config, seed, rank=rank, ranks=ranks)
        action = self.agent.facts.actions.of_store(self.store)
        subgoals = self.config.subgoal_steps is not None
        return Batches(
            sampler,
            self._augmented if split == "train" and self._from_frames else self._gather,
            action.to(self._device),
            subgoals=subgoals,
            rewards=rewards_of(self.config, self.store, self.agent.limits),
        )

    @property
    def _from_frames(self) -> bool:
        return self.config.end_to_end and self.config.observation == "images"

    def _augmented(self, steps: NDArray[np.int64]) -> Tensor:
        """Return frames shifted at random, as in DrQ (Kostrikov et al. 2020, arXiv 2004.13649)."""
        config, generator = self.config.representation, torch.default_generator
        frames = self._gather(steps)
        return augment(frames, config.shift_pixels, config.brightness, generator)

    @cached_property
    def _gather(self) -> Callable[[NDArray[np.int64]], Tensor]:
        """What returns the observations of flat steps, as the learner takes them."""
        if self._from_frames:
            return self._frames.gather
        return rows_of(self.observations())

    def _bar(self, steps: int, label: str) -> "tqdm[int]":
        return tqdm(
            range(self._step, steps),
            desc=label,
            initial=self._step,
            total=steps,
            unit="step",
            disable=not self._progress,
        )

    def _after_step(self, step: int, log: MetricsLog | None, metrics: Metrics) -> None:
        self._step = step + 1
        logs = self._step % self.config.log_every == 0
        saves = self._step % self.config.checkpoint_every == 0
        if logs or saves:
            metrics = self.team.average(metrics)
            self._check_finite(metrics)
        if logs and log is not None:
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

    def _own_pairs(self, sampler: PairSampler) -> Callable[[int], NDArray[np.int64]]:
        """Return what draws this process's share of each batch."""
        self.team.share(self.config.representation.batch_size, "representation.batch_size")
        rank, ranks = self.team.rank, self.team.size
        return lambda number: sampler.sample(number)[:, rank::ranks]

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

    def observations(self) -> Tensor:
        """Return the vectors of every step that the method learns on: (steps, D).

        An image encoder that came from another run is there to be used again: its latents are
        cached.
        """
        config = self.config
        if self.agent.representation is None:
            states = self.store.field("observation").astype(np.float32)
            with torch.no_grad():
                normalised: Tensor = self.agent.encoder(torch.from_numpy(states).to(self._device))
            return normalised
        encoder = frozen_encoder(self.agent.encoder, config.camera, config.encoder, self._device)
        if ENCODER_FROM in self.run_folder.provenance:
            with self.team.leader_first():
                return cached_latents(self.store, encoder, self._progress).to(self._device)
        every = np.arange(len(self.store.episodes))
        return latents_of(self.store, encoder, every).to(self._device)

    def _save(self) -> None:
        agent, team = self.agent, self.team
        team.adopt_buffers(agent.representation, agent.encoder, agent.method)
        if team.leads:
            self.run_folder.save(checkpoint_of(agent, self._phase, self._step))
        team.wait()  # whoever leaves first must not take the others down


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

    `encoder_from` is a run whose goal representation to keep: the new run begins with the policy.

    Raises:
        NavOffrlError: the store has nothing to learn from or was driven in worlds that an
            evaluation suite holds, the folder exists, `encoder_from` is unfinished, or `config`
            asks for another encoder.
    """
    facts = StoreFacts.measure(config, store)
    build_agent(config, facts, torch.device("cpu"))  # refuses what does not fit together
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
    agent = build_agent(config, StoreFacts.measure(config, store), torch.device("cpu"))
    assert agent.representation is not None
    agent.representation.load_state_dict(representation.state_dict())
    agent.adopt_representation()
    run.save(checkpoint_of(agent, POLICY, 0))
    return run
