"""Finetuning in the real simulator: it learns, in shares that are exact, and survives Ctrl-C."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nav_offrl.algorithms.batch import Batch
from nav_offrl.errors import NavOffrlError
from nav_offrl.finetuning.finetune import FinetuneConfig, Finetuner, join
from nav_offrl.store import Store
from nav_offrl.training.trained_policy import TrainedPolicy, load_policy

PLACE = "courtyard, seed 0"
CONFIG = FinetuneConfig(
    robot_minutes=0.4, drives_per_round=2, updates_per_step=0.5, online_share=0.25, batch_size=8
)
BUDGET = 120  # steps: 0.4 min at 5 Hz

Contents = Callable[[Path], dict[str, bytes]]


def finetuner(policy: TrainedPolicy, env: Any, output: Path, **changes: Any) -> Finetuner:
    return Finetuner(policy, env, PLACE, output, CONFIG.model_copy(update=changes))


def commands(policy: TrainedPolicy) -> Tensor:
    latents = policy.latents("train")[0]
    with torch.no_grad():
        return policy.policy_module()(latents, latents.flip(0))


def test_the_candidate_learns_and_the_incumbent_stays(
    run: Path, env: Any, tmp_path: Path, contents: Contents
) -> None:
    before, policy = contents(run.parent), load_policy(run)
    started_with = commands(policy)
    result = finetuner(policy, env, tmp_path).run()
    assert contents(run.parent) == before, "neither its run nor its store"
    assert BUDGET <= result.steps < BUDGET + 2 * 21
    assert result.drives == len(Store.open(tmp_path / "experience.zarr").episodes) >= 6
    assert result.updates == round(0.5 * result.steps)
    assert 0 <= result.success_while_learning <= 1
    candidate = load_policy(result.run)
    assert (commands(candidate) - started_with).abs().max() > 1e-4
    torch.testing.assert_close(commands(candidate), commands(policy), rtol=0, atol=0)
    for one, other in zip(
        candidate.agent.representation.encoder.parameters(),
        load_policy(run).agent.representation.encoder.parameters(),
        strict=True,
    ):
        assert torch.equal(one, other), "the latents of the log would be out of date"
    logged = [json.loads(line)["step"] for line in (result.run / "metrics.jsonl").open()]
    assert logged == list(range(10, result.updates + 1, 10))


def test_each_batch_is_logged_and_own_in_the_exact_shares(
    policy: TrainedPolicy, env: Any, tmp_path: Path
) -> None:
    batches: list[Batch] = []
    tuner = finetuner(policy, env, tmp_path, robot_minutes=0.05)
    update = policy.agent.learner.update

    def spy(batch: Batch, number: int) -> Any:
        batches.append(batch)
        return update(batch, number)

    policy.agent.learner.update = spy
    tuner.run()
    logged, own = policy.latents("train")[0], tuner._experience.latents
    assert len(batches) > 5
    for batch in batches:
        for name in ("observation", "next_observation", "goal", "actor_goal"):
            latent = getattr(batch, name)
            for rows, source in ((latent[:6], logged), (latent[6:], own)):
                assert (rows[:, None] == source).all(-1).any(-1).all()
        assert batch.action.abs().max() <= 1 and len(batch.action) == 8


def test_join_keeps_rows_together() -> None:
    def rows(count: int, value: float) -> Batch:
        names = Batch.__dataclass_fields__
        return Batch(**{name: torch.full((count, 2), value) for name in names})

    joined = join(rows(3, 0.0), rows(2, 1.0))
    for name in Batch.__dataclass_fields__:
        assert getattr(joined, name)[:, 0].tolist() == [0, 0, 0, 1, 1]


class Interrupted:
    """Ctrl-C at the given step of driving."""

    def __init__(self, env: Any, step: int) -> None:
        self.reset, self._env, self._left = env.reset, env, step

    def step(self, action: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return self._env.step(action)


def interrupt_learning(policy: TrainedPolicy, at: int) -> None:
    update, calls = policy.agent.learner.update, iter(range(1, 10_000))

    def stop(batch: Batch, number: int) -> Any:
        if next(calls) == at:
            raise KeyboardInterrupt
        return update(batch, number)

    policy.agent.learner.update = stop


@pytest.mark.parametrize(
    ("driving", "learning"),
    [(5, None), (35, None), (70, None), (None, 3), (None, 30)],
    ids=["first drive", "second drive", "second round", "first learning", "later learning"],
)
def test_after_ctrl_c_the_same_command_continues(
    driving: int | None, learning: int | None, run: Path, env: Any, tmp_path: Path
) -> None:
    policy = load_policy(run)
    if learning is not None:
        interrupt_learning(policy, learning)
    place = Interrupted(env, driving) if driving is not None else env
    tuner = finetuner(policy, place, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    kept = tuner._experience.steps
    images = [] if not kept else _jpegs(tmp_path)
    assert kept < BUDGET
    result = finetuner(load_policy(run), env, tmp_path).run()
    assert BUDGET <= result.steps < BUDGET + 2 * 21
    assert _jpegs(tmp_path)[:kept] == images, "every finished drive is still there, first"
    assert result.updates == round(0.5 * result.steps), "nothing driven is left unlearned"
    logged = [json.loads(line)["step"] for line in (result.run / "metrics.jsonl").open()]
    assert logged == list(range(10, result.updates + 1, 10))
    load_policy(result.run)


def _jpegs(output: Path) -> list[bytes]:
    store = Store.open(output / "experience.zarr")
    return store.jpegs("front", slice(0, store.steps))


def test_interrupted_while_learning_from_the_last_round(
    run: Path, env: Any, tmp_path: Path
) -> None:
    policy = load_policy(run)
    interrupt_learning(policy, 5)
    with pytest.raises(KeyboardInterrupt):
        finetuner(policy, env, tmp_path, robot_minutes=0.02).run()
    result = finetuner(load_policy(run), env, tmp_path, robot_minutes=0.02).run()
    assert result.drives == 2 and result.updates == round(0.5 * result.steps)


def test_once_done_it_is_done(run: Path, env: Any, tmp_path: Path) -> None:
    first = finetuner(load_policy(run), env, tmp_path, robot_minutes=0.02).run()
    learned, policy = commands(load_policy(first.run)), load_policy(run)
    assert not torch.equal(commands(policy), learned)
    again = finetuner(policy, env, tmp_path, robot_minutes=0.02)
    assert torch.equal(commands(policy), learned), "it goes on from the weights that it had"
    assert again.run() == first
    assert torch.equal(commands(load_policy(first.run)), learned)


def test_the_same_seed_drives_and_learns_the_same(run: Path, env: Any, tmp_path: Path) -> None:
    results = [
        finetuner(load_policy(run), env, tmp_path / name, robot_minutes=0.15).run()
        for name in ("one", "other")
    ]
    one, other = (commands(load_policy(result.run)) for result in results)
    assert torch.equal(one, other) and _jpegs(tmp_path / "one") == _jpegs(tmp_path / "other")


@pytest.mark.parametrize("learned", [True, False], ids=["after a round", "before the first round"])
def test_what_was_started_otherwise_is_not_continued(
    learned: bool, run: Path, env: Any, tmp_path: Path
) -> None:
    place = env if learned else Interrupted(env, 30)
    tuner = finetuner(load_policy(run), place, tmp_path, robot_minutes=0.02)
    if learned:
        tuner.run()
    else:
        with pytest.raises(KeyboardInterrupt):
            tuner.run()
    with pytest.raises(NavOffrlError, match="another run, place or settings") as caught:
        finetuner(load_policy(run), env, tmp_path, robot_minutes=0.02, batch_size=16)
    assert str(tmp_path) in str(caught.value) and "--output" in str(caught.value.remedy)
    config = CONFIG.model_copy(update={"robot_minutes": 0.02})
    with pytest.raises(NavOffrlError, match="another run, place or settings"):
        Finetuner(load_policy(run), env, "office, seed 0", tmp_path, config)
