"""Online finetuning: drive, remember, learn from old and new alike, and pass the gate.

The method goes on with its own losses on batches that are half logged and half own experience
(Kostrikov et al. 2021, section 5.3; symmetric sampling after Ball et al. 2023). Goals are
relabelled in hindsight in both halves, so nothing but the robot's own driving is needed: no reward,
no pose.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from nav_offrl.algorithms.batch import Batch, join
from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.rollouts import Environment
from nav_offrl.finetuning.actor import Actor, ExplorationConfig
from nav_offrl.finetuning.experience import ExperienceStore
from nav_offrl.store import CameraInfo, Store
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.training.agent import POLICY, checkpoint_of, restore_agent
from nav_offrl.training.batches import Batches
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import threads
from nav_offrl.training.metrics import MetricsLog
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.store_facts import rewards_of
from nav_offrl.training.trained_policy import TrainedPolicy


class FinetuneConfig(Config):
    """How much is driven and how much is learned from it."""

    seed: int = Field(default=0, ge=0)
    robot_minutes: float = Field(default=20.0, gt=0, description="min of driving, simulated time")
    drives_per_round: int = Field(default=4, ge=1)
    updates_per_step: float = Field(default=0.75, gt=0, description="gradient steps a robot step")
    online_share: float = Field(default=0.5, gt=0, lt=1, description="of each batch")
    batch_size: int = Field(default=256, ge=4, description="transitions")
    exploration: ExplorationConfig = ExplorationConfig()


@dataclass(frozen=True)
class FinetuneResult:
    """Where the candidate lies and what was driven for it."""

    run: Path
    steps: int
    drives: int
    updates: int
    success_while_learning: float


class Finetuner:
    """Continues the method of a trained policy in an environment; resumable drive by drive."""

    def __init__(
        self,
        policy: TrainedPolicy,
        env: Environment,
        place: str,
        output: Path,
        config: FinetuneConfig,
    ) -> None:
        """Start in the folder `output`, or continue what was started there.

        `place` names the environment and is the source of its episodes. `policy` is changed by
        what it learns; its run is not.

        Raises:
            NavOffrlError: `output` was started with another run, place or settings.
        """
        if policy.config.end_to_end:
            raise NavOffrlError(
                "was trained end to end, and finetuning learns on a frozen encoder",
                where=policy.run,
                remedy="train a method on its encoder first: nav-offrl train ... --encoder RUN",
            )
        self._policy, self._config, self._output = policy, config, output
        self._period = 1.0 / policy.store.info.rate_hz
        output.mkdir(parents=True, exist_ok=True)
        self._run = self._open_run(place)
        encoder = policy.encoder_module()
        self._actor = Actor(env, encoder, config.exploration, self._period, place)
        camera: CameraInfo = policy.store.info.cameras[policy.config.camera]
        self._experience = ExperienceStore(
            output / "experience.zarr", camera, policy.store.info.rate_hz, policy.encoder("front")
        )
        self._updates, self._drives, self._successes = 0, 0, 0
        self._resume()
        self._offline = self._offline_half()

    def _open_run(self, place: str) -> RunFolder:
        """The candidate is a run of its own, so that `export` and `evaluate` take it as any."""
        path = self._output / "run"
        provenance = self._policy.provenance | {
            "finetuned_from": str(self._policy.run.resolve()),
            "finetuned_in": place,
            "finetuning": self._config.model_dump_json(),  # a contract takes plain values only
        }
        if not path.exists():
            return RunFolder.create(path, self._policy.config, provenance)
        run = RunFolder.open(path)
        started = run.provenance | {"finetuned_from": provenance["finetuned_from"]}  # may be moved
        if started != provenance or run.config != self._policy.config:
            raise NavOffrlError(
                "was started with another run, place or settings",
                where=self._output,
                remedy="repeat them, or choose another --output",
            )
        return run

    def _resume(self) -> None:
        checkpoint = self._run.load()
        if checkpoint is None:
            return
        restore_agent(self._policy.agent, checkpoint)
        self._updates = checkpoint.extra["updates"]
        self._drives = checkpoint.extra["drives"]
        self._successes = checkpoint.extra["successes"]

    def _offline_half(self) -> Callable[[int, int], Batch]:
        latents, steps = self._policy.latents("train")
        table = torch.zeros(self._policy.store.steps, latents.shape[1])
        table[steps] = latents
        return self._batches(self._policy.store, table, self._config.seed)

    def _batches(self, store: Store, latents: Tensor, seed: int) -> Callable[[int, int], Batch]:
        config: TrainConfig = self._policy.config
        sampler = GoalSampler(store, "train", config.sampling, seed)
        facts = self._policy.agent.facts
        return Batches(
            sampler,
            lambda steps: latents[torch.from_numpy(steps)],
            facts.actions.of_store(store),
            subgoals=config.subgoal_steps is not None,
            rewards=rewards_of(config, store, facts.actions.limits),
        )

    def run(self) -> FinetuneResult:
        """Drive and learn until the robot time is used up."""
        self._run.trim_metrics(self._updates)
        log = MetricsLog(self._run.path)
        budget = round(self._config.robot_minutes * 60 / self._period)
        bar = tqdm(total=budget, initial=self._experience.steps, desc="finetune", unit="step")
        try:
            with threads(1):
                self._learn(log)  # from drives that an interruption left unlearned
                while self._experience.steps < budget:
                    self._drive_round(bar)
                    self._learn(log)
        finally:
            bar.close()
            log.close()
            self._experience.close()
        return FinetuneResult(
            run=self._run.path,
            steps=self._experience.steps,
            drives=self._experience.drives,
            updates=self._updates,
            success_while_learning=self._successes / max(1, self._drives),
        )

    def _drive_round(self, bar: "tqdm[Any]") -> None:
        command = self._policy.policy_module()
        self._policy.agent.eval()
        for _ in range(self._config.drives_per_round):
            index = self._experience.drives
            seed = 1_000_003 * (self._config.seed + 1) + index
            drive = self._actor.drive(
                command, self._policy.agent.limits, seed, f"drive_{index:05d}"
            )
            self._experience.append(drive)
            self._drives += 1
            self._successes += int(drive.success)
            bar.update(drive.episode.length)
        bar.set_postfix(success=f"{self._successes / self._drives:.0%}")

    def _learn(self, log: MetricsLog) -> None:
        """Take the updates that the steps driven so far allow, and save."""
        if not self._experience.drives:
            return
        online = self._batches(
            self._experience.open(), self._experience.latents, self._config.seed + 1
        )
        own = round(self._config.online_share * self._config.batch_size)
        learner = self._policy.agent.learner
        due = round(self._config.updates_per_step * self._experience.steps)
        for number in range(self._updates, due):
            halves = self._offline(self._config.batch_size - own, number), online(own, number)
            torch.manual_seed(self._config.seed * 1_000_003 + number)
            metrics = learner.update(join(*halves), self._policy.config.steps + number)
            if (number + 1) % self._policy.config.log_every == 0:
                log.write(number + 1, metrics)
        self._updates = max(due, self._updates)
        self._save()

    def _save(self) -> None:
        step = self._policy.config.steps + self._updates
        checkpoint = checkpoint_of(self._policy.agent, POLICY, step)
        counts = {"updates": self._updates, "drives": self._drives, "successes": self._successes}
        checkpoint.extra.update(counts)
        self._run.save(checkpoint)
