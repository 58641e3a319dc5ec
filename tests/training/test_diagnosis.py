"""Curves of each kind get their verdict, their checkpoint, and remedies that exist."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nav_offrl.algorithms.bc import BCConfig
from nav_offrl.algorithms.registry import METHODS
from nav_offrl.cli import train as train_command
from nav_offrl.errors import NavOffrlError
from nav_offrl.training.agent import POLICY
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.curves import Curves, fall_from_peak, smoothed
from nav_offrl.training.diagnosis import choose_checkpoint, diagnose_run
from nav_offrl.training.remedies import capacity_down, capacity_up, less_greedy
from nav_offrl.training.run_folder import Checkpoint, RunFolder

Floats = NDArray[np.float64]

STEPS, EVERY, POINTS = 5000, 50, 100
PROGRESS = np.linspace(0, 1, POINTS)
RISE_AND_FALL = np.where(PROGRESS < 0.6, PROGRESS / 0.6, 1 - 0.8 * (PROGRESS - 0.6) / 0.4)
LEARNED = -20 * (1 - np.exp(-8 * PROGRESS))


def noisy(curve: Floats, share: float = 0.02) -> Floats:
    noise = np.random.default_rng(len(curve)).normal(size=len(curve))
    return curve + share * np.ptp(curve) * noise


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """A run that logged some curves, `critic__data_value=...`, and kept every other checkpoint."""

    def write(config: TrainConfig | None = None, **curves: Floats) -> RunFolder:
        config = config or TrainConfig(steps=STEPS, log_every=EVERY, keep_every=500)
        run = RunFolder.create(tmp_path / f"run_{len(list(tmp_path.iterdir()))}", config, {})
        before = config.representation.steps
        names = {name: name.replace("__", "/") for name in curves}
        lines = [json.dumps({"step": step, "representation/loss": 1.0}) for step in (50, before)]
        for row in range(len(next(iter(curves.values())))):
            values = {names[name]: float(curve[row]) for name, curve in curves.items()}
            lines.append(json.dumps({"step": before + EVERY * (row + 1)} | values))
        (run.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        for step in range(0, STEPS + 1, 250):
            weights = {"w": torch.zeros(1)}
            run.save(Checkpoint(POLICY, step, weights, weights, {}))
        return run

    return write


def held_out(**curves: Floats) -> dict[str, Floats]:
    return {f"held_out__{name}": curve for name, curve in curves.items()}


def healthy() -> dict[str, Floats]:
    """A value that sinks from 0 to what it is, an error that rises with it and falls again."""
    error = 2 * np.exp(-10 * PROGRESS) + 3 * PROGRESS * np.exp(-9 * PROGRESS) + 0.2
    own = {"critic__data_value": noisy(LEARNED), "critic__td_error": noisy(error)}
    return own | held_out(critic__data_value=noisy(LEARNED), critic__td_error=noisy(1.3 * error))


def test_a_healthy_run_is_left_as_it_is(write_run: Callable[..., RunFolder]) -> None:
    diagnosis = diagnose_run(write_run(**healthy()))
    assert diagnosis.verdict == "neither" and diagnosis.fall_step is None
    assert diagnosis.checkpoint == "policy_005000" and diagnosis.remedies == ()


def test_rise_peak_and_fall_is_overfitting(write_run: Callable[..., RunFolder]) -> None:
    """The peak is at step 3000: its checkpoint is kept, and no later one is chosen."""
    curves = healthy() | {"critic__data_value": noisy(5 * RISE_AND_FALL)}
    diagnosis = diagnose_run(write_run(**curves))
    assert diagnosis.verdict == "overfitting"
    assert diagnosis.fall_step == pytest.approx(3000, abs=350)
    assert diagnosis.checkpoint in ("policy_002500", "policy_003000")
    assert f"--train.steps {diagnosis.fall_step}" in [r.options for r in diagnosis.remedies]


def test_the_transient_of_values_that_begin_at_zero_is_no_peak(
    write_run: Callable[..., RunFolder],
) -> None:
    """Down from 0 to -20, up to -12, down to -17: the peak is the one at -12."""
    places = [0, 0.2, 0.6, 1]
    curve = np.interp(PROGRESS, places, [0, -20, -12, -17])
    diagnosis = diagnose_run(write_run(**healthy() | {"critic__data_value": noisy(curve)}))
    assert diagnosis.verdict == "overfitting"
    assert diagnosis.fall_step == pytest.approx(3000, abs=350)


def test_a_loss_that_is_stuck_high_is_underfitting(write_run: Callable[..., RunFolder]) -> None:
    stuck = noisy(80 * (1 - np.exp(-9 * PROGRESS)), 0.05)  # a root of 9 beside values of 20
    diagnosis = diagnose_run(write_run(**healthy() | {"critic__td_error": stuck}))
    assert diagnosis.verdict == "underfitting" and diagnosis.checkpoint == "policy_005000"
    assert "--train.method.hidden 512 512 512" in [r.options for r in diagnosis.remedies]
    falling = 80 * np.exp(-1.2 * PROGRESS)  # as high on average, but on its way
    again = write_run(**healthy() | {"critic__td_error": falling})
    assert diagnose_run(again).verdict == "neither"


def test_a_conservative_gap_that_is_stuck_high_is_underfitting(
    write_run: Callable[..., RunFolder],
) -> None:
    gap = noisy(np.full(POINTS, 9.0) + 0.1 * PROGRESS)
    assert diagnose_run(write_run(**healthy(), critic__gap=gap)).verdict == "underfitting"


def test_a_held_out_error_that_rises_is_overfitting(write_run: Callable[..., RunFolder]) -> None:
    error = np.interp(PROGRESS, [0, 0.4, 1], [2.0, 0.5, 1.5])
    curves = healthy() | held_out(critic__td_error=noisy(error))
    diagnosis = diagnose_run(write_run(**curves))
    assert diagnosis.verdict == "overfitting"
    assert diagnosis.fall_step == pytest.approx(2000, abs=500)


def test_an_error_that_rises_everywhere_is_not_overfitting(
    write_run: Callable[..., RunFolder],
) -> None:
    """Where values grow, errors grow with them."""
    error = np.interp(PROGRESS, [0, 0.4, 1], [2.0, 0.5, 1.5])
    curves = (
        healthy() | {"critic__td_error": noisy(error)} | held_out(critic__td_error=noisy(error))
    )
    assert diagnose_run(write_run(**curves)).verdict == "neither"


def test_errors_that_grow_with_the_values_are_not_overfitting(
    write_run: Callable[..., RunFolder],
) -> None:
    """A run that has not converged: values sink on, and late both errors grow by half."""
    error = np.interp(PROGRESS, [0, 0.3, 0.8, 1], [0.6, 0.1, 0.105, 0.155])
    curves = healthy() | {
        "critic__data_value": noisy(-1 - 6 * PROGRESS),
        "critic__td_error": noisy(error),
        "held_out__critic__td_error": noisy(1.3 * error),
    }
    diagnosis = diagnose_run(write_run(**curves))
    assert diagnosis.verdict == "neither" and diagnosis.checkpoint == "policy_005000"
    assert "still moved by" in diagnosis.evidence[0].text
    assert "still moved" not in diagnose_run(write_run(**healthy())).evidence[0].text


def test_a_policy_that_learns_its_actions_by_heart_gets_more_dropout(
    write_run: Callable[..., RunFolder],
) -> None:
    own = noisy(np.interp(PROGRESS, [0, 1], [-2.0, 1.5]))
    others = noisy(np.interp(PROGRESS, [0, 0.3, 1], [-2.0, -0.5, -1.8]))
    curves = healthy() | {"policy__log_prob": own} | held_out(policy__log_prob=others)
    diagnosis = diagnose_run(write_run(**curves))
    assert diagnosis.verdict == "overfitting"
    assert diagnosis.fall_step == pytest.approx(1500, abs=500)
    assert "--train.method.policy-dropout 0.5" in [r.options for r in diagnosis.remedies]


def test_a_policy_that_copies_a_handful_is_told_to_weigh_less_sharply(
    write_run: Callable[..., RunFolder],
) -> None:
    curves = healthy() | {"policy__effective_sample_share": np.full(POINTS, 0.02)}
    diagnosis = diagnose_run(write_run(**curves))
    assert diagnosis.verdict == "neither"
    assert [r.options for r in diagnosis.remedies] == ["--train.method.temperature 1.5"]


def test_a_run_that_is_too_short_is_not_judged(write_run: Callable[..., RunFolder]) -> None:
    with pytest.raises(NavOffrlError, match=r"19 points.*20 are needed.*--resume"):
        diagnose_run(write_run(critic__data_value=np.zeros(19)))


def test_a_method_without_a_value_is_not_judged(write_run: Callable[..., RunFolder]) -> None:
    config = TrainConfig(method=BCConfig(), steps=STEPS)
    run = write_run(config, policy__log_prob=PROGRESS, held_out__policy__log_prob=PROGRESS)
    with pytest.raises(NavOffrlError, match=r"'bc' logs no value"):
        diagnose_run(run)


def test_a_store_without_held_out_episodes_is_not_judged(
    write_run: Callable[..., RunFolder],
) -> None:
    with pytest.raises(NavOffrlError, match=r"holds out no episode.*--held-out-fraction"):
        diagnose_run(write_run(critic__data_value=LEARNED))


def test_checkpoints_from_after_the_fall_are_no_choice() -> None:
    kept = {0: "policy_000000", 1000: "policy_001000", 2000: "policy_002000"}
    assert choose_checkpoint(kept, 999) is None  # nothing was learned at step 0
    assert choose_checkpoint(kept, 1000) == "policy_001000"
    assert choose_checkpoint(kept, 1999) == "policy_001000"
    assert choose_checkpoint(kept, None) == "policy_002000"


@given(
    peak=st.integers(15, 80),
    rise=st.floats(0.5, 30),
    depth=st.floats(0.3, 1.0),
    noise=st.floats(0, 0.03),
    seed=st.integers(0, 99),
    kept=st.sets(st.integers(1, 100), min_size=1, max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_the_rule_never_picks_a_checkpoint_from_after_the_fall(
    peak: int, rise: float, depth: float, noise: float, seed: int, kept: set[int]
) -> None:
    """Down a straight line from the peak, never more than a fifth of the way."""
    curve = np.interp(np.arange(100), [0, peak, 99], [0, rise, rise * (1 - depth)])
    curve += noise * rise * np.random.default_rng(seed).normal(size=100)
    fall = fall_from_peak(curve, 0.05 * rise)
    assert fall is not None
    chosen = choose_checkpoint({step: str(step) for step in kept}, fall.start)
    latest = peak + 0.2 * (99 - peak) + 5  # half a window of the moving average
    early = [step for step in kept if step <= fall.start]
    assert chosen == (str(max(early)) if early else None)
    assert chosen is None or int(chosen) <= latest


@given(st.lists(st.floats(-100, 100), min_size=20, max_size=80), st.floats(0, 10))
def test_after_the_fall_began_the_curve_is_never_at_its_peak_again(
    values: list[float], least: float
) -> None:
    curve = np.array(values)
    fall = fall_from_peak(curve, least)
    if fall is not None:
        average = smoothed(curve)
        assert fall.peak <= fall.start < len(curve) - 1 and fall.depth > least
        assert (average[fall.start + 1 :] < average[fall.peak] - 0.09 * fall.depth).all()


@given(st.lists(st.floats(0, 10), min_size=20, max_size=80))
def test_a_curve_that_only_sinks_or_only_climbs_has_no_peak(drops: list[float]) -> None:
    sinking = -np.cumsum(drops)
    assert fall_from_peak(sinking, 1e-6) is None
    assert fall_from_peak(-sinking, 1e-6) is None


def test_a_line_that_a_killed_run_left_half_written_is_not_read(
    write_run: Callable[..., RunFolder],
) -> None:
    run = write_run(**healthy())
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9050, "critic/da')
    assert len(Curves.of_run(run).step) == POINTS
    (run.path / "metrics.jsonl").write_text("no metrics\n")
    with pytest.raises(NavOffrlError, match=r"metrics\.jsonl.*cannot be read"):
        Curves.of_run(run)


def test_the_encoders_pre_training_is_not_the_methods(write_run: Callable[..., RunFolder]) -> None:
    curves = Curves.of_run(write_run(**healthy()))
    assert curves.step[0] == EVERY and curves.step[-1] == STEPS
    assert "representation/loss" not in curves.values


@pytest.mark.parametrize("method", METHODS)
def test_every_remedy_is_an_option_of_the_command(method: str) -> None:
    config = TrainConfig.model_validate({"method": {"name": method}})
    changed = config.model_copy(update={"end_to_end": True})
    remedies = [r for c in (config, changed) for r in capacity_down(c, 500) + capacity_up(c)]
    remedies += less_greedy(config)
    options = [r.options for r in remedies if r.options.startswith("--")]
    line = [method, "log.zarr", "--output", "run", *shlex.split(" ".join(options))]
    args = tyro.cli(train_command.Args, args=line, default=train_command.defaults(line))
    assert args.train.method.hidden != config.method.hidden and not args.train.end_to_end


def test_a_temperature_goes_the_way_that_makes_weights_alike() -> None:
    def softer(name: str) -> float:
        config = TrainConfig.model_validate({"method": {"name": name}})
        (remedy,) = less_greedy(config)
        return float(remedy.options.split()[-1]) / config.method.temperature

    assert softer("iql") == softer("gcivl") == 0.5  # exp(beta A)
    assert softer("awac") == softer("awr") == 2.0  # exp(A / lambda)
