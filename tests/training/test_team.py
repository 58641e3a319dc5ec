"""Two processes that share every batch learn what one does from both shares together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nav_offrl.algorithms.batch import join
from nav_offrl.algorithms.goal_representation import PairBatch, augment
from nav_offrl.config import dump_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.training.agent import POLICY, Agent, build_agent, restore_agent
from nav_offrl.training.batches import Batches
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import poses, training_tier
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.store_facts import StoreFacts
from nav_offrl.training.team import Team
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)

STEPS, RANKS = 60, 2
Curve = list[dict[str, float]]


@pytest.fixture(scope="module")
def shared_config(config: TrainConfig) -> TrainConfig:
    """Without dropout, whose masks would be drawn otherwise by two processes than by one."""
    method = config.method.model_copy(update={"policy_dropout": 0.0})
    changes = {"steps": STEPS, "log_every": 1, "checkpoint_every": 10, "method": method}
    return config.model_copy(update=changes)


@pytest.fixture(scope="module")
def run(
    store: Store, shared_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A run of two processes that Ctrl-C stopped, and that two others have continued."""
    folder = tmp_path_factory.mktemp("team")
    dump_yaml(shared_config, folder / "mine.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(RANKS), "-m", "nav_offrl.cli.main", "train", "iql"]
    command += [str(store.path), "--output", str(folder / "run")]
    command += ["--config", str(folder / "mine.yaml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    pointer, deadline = folder / "run" / "checkpoints" / "last", time.monotonic() + 200
    while not (pointer.is_file() and pointer.read_text().startswith("policy_00001")):
        assert process.poll() is None and time.monotonic() < deadline, (
            folder / "log.txt"
        ).read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    stopped = RunFolder.open(folder / "run").load()
    assert stopped is not None and 10 <= stopped.step < STEPS, "stopped too late to mean anything"
    assert stopped.step % 10 == 0  # after a step at which both looked
    resumed = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("trained policy") == 1
    return RunFolder.open(folder / "run")


@pytest.fixture(scope="module")
def curve(run: RunFolder) -> Curve:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def fresh_agent(store: Store, config: TrainConfig) -> Agent:
    return build_agent(config, StoreFacts.measure(config, store), torch.device("cpu"))


def assert_same(logged: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(logged, expected, rtol=2e-3, atol=1e-5)


def test_every_step_is_logged_once(curve: Curve, shared_config: TrainConfig) -> None:
    total = shared_config.representation.steps + STEPS
    assert [line["step"] for line in curve] == list(range(1, total + 1))


def test_the_policy_learns_from_both_shares_of_the_batch(
    run: RunFolder, curve: Curve, store: Store, shared_config: TrainConfig
) -> None:
    """One process, the joint batches, the same latents: the same losses in every step."""
    agent, checkpoint = fresh_agent(store, shared_config), run.load()
    assert checkpoint is not None
    finished = fresh_agent(store, shared_config)
    restore_agent(finished, checkpoint)
    agent.representation.load_state_dict(finished.representation.state_dict())
    agent.adopt_representation()
    agent.encoder.eval()
    tier = training_tier(store, "front", shared_config.encoder, progress=False)
    with torch.no_grad():
        latents = agent.encoder(torch.from_numpy(tier.gather(np.arange(store.steps))))
    action = torch.from_numpy(agent.limits.normalise(store.field("action")))
    shares = [
        Batches(
            GoalSampler(
                store, "train", shared_config.sampling, shared_config.seed, rank=rank, ranks=RANKS
            ),
            lambda steps: latents[torch.from_numpy(steps)],
            action,
        )
        for rank in range(RANKS)
    ]
    expected: dict[str, list[float]] = {"critic/loss": [], "value/loss": [], "policy/loss": []}
    for step in range(STEPS):
        first, second = (draw(shared_config.batch_size // RANKS, step) for draw in shares)
        metrics = agent.learner.update(join(first, second), step)
        for name, values in expected.items():
            values.append(float(metrics[name]))
    logged = curve[shared_config.representation.steps :]
    for name, values in expected.items():
        assert_same([line[name] for line in logged], values)
    assert len(set(expected["critic/loss"])) == STEPS


def test_the_encoder_learns_from_the_mean_gradient_of_both_shares(
    curve: Curve, store: Store, shared_config: TrainConfig
) -> None:
    agent = fresh_agent(store, shared_config)
    module, settings = agent.representation, shared_config.representation
    assert module is not None
    # Any trainer lends its sampler and the scale that it takes from the data.
    trainer = Trainer.__new__(Trainer)
    trainer.store, trainer.config = store, shared_config
    sampler = trainer._pair_sampler("train")
    module.pose_scale.fill_(trainer._spread(sampler))
    tier, pose = training_tier(store, "front", shared_config.encoder, progress=False), poses(store)
    losses = []
    for step in range(settings.steps):
        drawn = sampler.sample(step)
        parts = []
        for rank in range(RANKS):
            steps = drawn[:, rank::RANKS]
            seed = Team(rank, RANKS).seed(shared_config.seed * 1_000_003 + step)
            frames = augment(
                torch.from_numpy(tier.gather(steps)),
                settings.shift_pixels,
                settings.brightness,
                torch.Generator().manual_seed(seed),
            )
            batch = PairBatch(frames, pose[steps], torch.from_numpy(steps[1] - steps[0]))
            parts.append(module.loss(batch)[0])
        losses.append(descend(module, torch.stack(parts).mean(), step, settings.learning_rate))
    assert_same([line["representation/loss"] for line in curve[: settings.steps]], losses)


def descend(module: torch.nn.Module, loss: Tensor, step: int, rate: float) -> float:
    """Step along the published schedule: cosine, gradients clipped at 5, AdamW."""
    share = max(0.01, 0.5 * (1 + np.cos(np.pi * step / module.config.steps)))
    for group in module.optimizer.param_groups:
        group["lr"] = rate * share
    module.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    module.optimizer.step()
    return float(loss.detach())


def test_the_checkpoint_is_a_run_of_one_process_like_any_other(
    run: RunFolder, store: Store
) -> None:
    """Nothing in it says how many processes made it."""
    Trainer(store, run, progress=False).run()
    assert list(run.checkpoints(POLICY))[-1] == STEPS


@pytest.mark.parametrize(
    ("field", "changes"),
    [("batch_size", {"batch_size": 15}), ("batch_size", {"batch_size": 2})],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(
    store: Store, config: TrainConfig, tmp_path: Path, field: str, changes: dict[str, int]
) -> None:
    start_run(store, tmp_path / "run", config.model_copy(update=changes))
    with pytest.raises(NavOffrlError, match=rf"field '{field}'.*2 processes.*multiple of 2"):
        Trainer(store, RunFolder.open(tmp_path / "run"), progress=False, team=Team(0, 2))


def test_processes_draw_different_numbers_and_alone_the_same_as_ever() -> None:
    assert Team().seed(7) == 7 and Team(0, 2).seed(7) == 7 != Team(1, 2).seed(7)
