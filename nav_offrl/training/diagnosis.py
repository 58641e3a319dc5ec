"""Is a run overfitting, underfitting or neither, and which of its checkpoints is to be deployed?

Kumar, Singh, Tian, Finn, Levine: A Workflow for Offline Model-Free Robotic Reinforcement Learning,
2021 (arXiv 2109.10813). Without a robot to try policies on, the curves of training decide: the
average Q-value of the data, and the temporal-difference and conservative losses. Beyond the paper,
whose tasks are not goal-conditioned and whose method is CQL, the losses on held-out episodes are
looked at, and for methods that copy weighted actions how many of them the policy learns from.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.training.agent import POLICY
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.curves import Curves, Fall, Floats, fall_from_peak, smoothed
from nav_offrl.training.remedies import Remedy, capacity_down, capacity_up, less_greedy
from nav_offrl.training.run_folder import RunFolder

Verdict = Literal["overfitting", "underfitting", "neither"]

HELD_OUT = "held_out/"
DATA_VALUE = ("critic/data_value", "value/mean")
TD_ERROR = ("critic/td_error", "value/td_error")
GAP, LOG_PROB = "critic/gap", "policy/log_prob"
RANK_CORRELATION = HELD_OUT + "value/rank_correlation"
SAMPLE_SHARE = "policy/effective_sample_share"


class DiagnosisConfig(Config):
    """From where on a trend counts."""

    logged_points: int = Field(default=20, ge=2, description="a run with fewer is not judged")
    value_fall: float = Field(
        default=0.05, gt=0, description="of the data's Q-value, as a share of its largest size"
    )
    loss_rise: float = Field(
        default=0.2, gt=0, description="of the held-out TD error, as a share of its least"
    )
    log_prob_fall: float = Field(
        default=0.2, gt=0, description="nats: of the held-out actions' log-probability"
    )
    high_loss: float = Field(
        default=0.3,
        gt=0,
        description="root of the TD error, or conservative gap, as a share of the data's Q-value",
    )
    still_falling: float = Field(
        default=0.1, gt=0, description="share that a loss falls by from the 2nd to the last quarter"
    )
    still_moving: float = Field(
        default=0.1,
        gt=0,
        description="share that values change by from the 3rd to the last quarter",
    )
    sample_share: float = Field(
        default=0.05, gt=0, description="of a batch, below which a weighted copy is too greedy"
    )


@dataclass(frozen=True)
class Evidence:
    """What one curve says.

    says: the verdict that it speaks for; 'greedy' where a policy copies too few actions.
    fall: where it fell from its peak, if it did.
    """

    name: str
    says: Literal["overfitting", "underfitting", "neither", "greedy"]
    text: str
    fall: Fall | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a run.

    fall_step: gradient steps of the method after which what it fits gets worse, or None.
    checkpoint: the name of the one to deploy; None if none was kept from before the fall.
    """

    verdict: Verdict
    evidence: tuple[Evidence, ...]
    fall_step: int | None
    checkpoint: str | None
    remedies: tuple[Remedy, ...]


def diagnose_run(run: RunFolder, settings: DiagnosisConfig | None = None) -> Diagnosis:
    """Judge a run by its `metrics.jsonl`.

    Raises:
        NavOffrlError: the run is too short, its method has no value, or nothing was held out.
    """
    settings, config = settings or DiagnosisConfig(), run.config
    curves = Curves.of_run(run)
    _check(run, curves, settings)
    evidence = tuple(_evidence(curves, settings))
    verdict = _verdict(evidence)
    fall = next((e.fall for e in evidence if e.fall is not None), None)
    fall_step = None if fall is None else int(curves.step[fall.start])
    return Diagnosis(
        verdict,
        evidence,
        fall_step,
        choose_checkpoint(run.checkpoints(POLICY), fall_step),
        tuple(_remedies(verdict, evidence, config, fall_step)),
    )


def choose_checkpoint(kept: Mapping[int, str], fall_step: int | None) -> str | None:
    """Return the latest checkpoint, or the latest at or before the fall (section 4.3).

    `kept` are names by gradient steps. None if all were written after the fall.
    """
    usable = [step for step in kept if step and (fall_step is None or step <= fall_step)]
    return kept[max(usable)] if usable else None


def _check(run: RunFolder, curves: Curves, settings: DiagnosisConfig) -> None:
    config = run.config
    if len(curves.step) < settings.logged_points:
        raise NavOffrlError(
            f"{len(curves.step)} points of '{config.method.name}' are logged, "
            f"{settings.logged_points} are needed to tell a trend",
            where=run.path,
            remedy="continue it (nav-offrl train ... --resume) or log more often "
            "(--train.log-every)",
        )
    if curves.first_of(*DATA_VALUE) is None:
        raise NavOffrlError(
            f"the method '{config.method.name}' logs no value of the data to judge",
            where=run.path,
            remedy="compare checkpoints of it with nav-offrl evaluate --checkpoint NAME",
        )
    if not any(name.startswith(HELD_OUT) for name in curves.values):
        raise NavOffrlError(
            "its store holds out no episode, so nothing tells fitting from overfitting",
            where=run.path,
            remedy="import or collect with held-out episodes (--held-out-fraction), train anew",
        )


def _evidence(curves: Curves, settings: DiagnosisConfig) -> list[Evidence]:
    """Look at every curve that the method logs; the paper's come first."""
    found = [_data_value(curves, settings)]
    if (td_error := curves.first_of(*TD_ERROR)) is not None:
        scale = _scale(curves)
        share = np.sqrt(np.maximum(curves.values[td_error], 0)) / scale
        found.append(_loss(td_error, share, "the TD error's root", settings))
        found.append(_held_out_loss(curves, td_error, settings))
    if GAP in curves.values:
        share = curves.values[GAP] / _scale(curves)
        found.append(_loss(GAP, share, "the conservative gap", settings))
    if HELD_OUT + LOG_PROB in curves.values:
        found.append(_held_out_log_prob(curves, settings))
    if RANK_CORRELATION in curves.values:
        found.append(_rank_correlation(curves))
    if SAMPLE_SHARE in curves.values:
        found.append(_sample_share(curves, settings))
    return found


def _scale(curves: Curves) -> float:
    """Return the size of the data's Q-value at the end of training."""
    name = curves.first_of(*DATA_VALUE)
    assert name is not None
    return max(float(np.abs(_quarter(curves.values[name], 4))), 1e-6)


def _quarter(values: Floats, number: int) -> float:
    """Return the mean of a curve's quarter 1 to 4."""
    return float(np.array_split(values, 4)[number - 1].mean())


def _data_value(curves: Curves, settings: DiagnosisConfig) -> Evidence:
    """Overfitting: the average Q-value of the data rises, peaks and falls (section 4.1)."""
    name = curves.first_of(*DATA_VALUE)
    assert name is not None
    curve = curves.smooth(name)
    fall = fall_from_peak(curves.values[name], settings.value_fall * float(np.abs(curve).max()))
    if fall is None:
        text = f"the data's average value ends at {curve[-1]:.3g}, without a fall from a peak"
        moved = abs(_quarter(curve, 4) - _quarter(curve, 3)) / _scale(curves)
        if moved > settings.still_moving:
            text += f"; it still moved by {moved:.0%} in the last quarter: train longer"
        return Evidence(name, "neither", text)
    text = (
        f"the data's average value peaks at {curve[fall.peak]:.3g} (step "
        f"{curves.step[fall.peak]}) and falls to {curve[-1]:.3g}"
    )
    return Evidence(name, "overfitting", text, fall)


def _loss(name: str, share: Floats, what: str, settings: DiagnosisConfig) -> Evidence:
    """Underfitting: a loss on the training data is high and falls no more (section 4.2)."""
    middle, end = _quarter(share, 2), _quarter(share, 4)
    stuck = end > settings.high_loss and end > (1 - settings.still_falling) * middle
    trend = "falls no more" if stuck else "is low" if end <= settings.high_loss else "still falls"
    text = f"{what} is {end:.2f} of the data's value and {trend} (2nd quarter {middle:.2f})"
    return Evidence(name, "underfitting" if stuck else "neither", text)


def _held_out_loss(curves: Curves, name: str, settings: DiagnosisConfig) -> Evidence:
    """Overfitting: the TD error rises on held-out episodes and does not on the others."""
    tiny = 1e-12
    held_out = np.log(np.maximum(curves.values[HELD_OUT + name], tiny))
    training = np.log(np.maximum(curves.values[name], tiny))
    fall = fall_from_peak(-held_out, math.log1p(settings.loss_rise))
    ratio = math.exp(_quarter(held_out, 4) - _quarter(training, 4))
    text = f"the held-out TD error ends at {ratio:.2f} times that in training"
    if fall is None or _change(training, fall) > fall.depth / 2:
        return Evidence(HELD_OUT + name, "neither", text)
    text += f", {math.exp(fall.depth):.2f} times its least (step {curves.step[fall.peak]})"
    return Evidence(HELD_OUT + name, "overfitting", text, fall)


def _held_out_log_prob(curves: Curves, settings: DiagnosisConfig) -> Evidence:
    """Overfitting of the policy: held-out actions become less likely, those in training do not."""
    held_out, training = curves.values[HELD_OUT + LOG_PROB], curves.values[LOG_PROB]
    fall = fall_from_peak(held_out, settings.log_prob_fall)
    lead = _quarter(training, 4) - _quarter(held_out, 4)
    text = f"actions in training end {lead:.2f} nats more likely than held-out ones"
    if fall is None or -_change(training, fall) > fall.depth / 2:
        return Evidence(HELD_OUT + LOG_PROB, "neither", text)
    text += f", which have lost {fall.depth:.2f} since step {curves.step[fall.peak]}"
    return Evidence(HELD_OUT + LOG_PROB, "overfitting", text, fall)


def _change(values: Floats, fall: Fall) -> float:
    """Return what a curve gained over the fall of another."""
    curve = smoothed(values)
    return float(curve[-1] - curve[fall.peak])


def _rank_correlation(curves: Curves) -> Evidence:
    curve = curves.smooth(RANK_CORRELATION)
    best = int(curve.argmax())
    text = (
        f"value and nearness of held-out goals: rank correlation {curve[-1]:.2f}, "
        f"best {curve[best]:.2f} (step {curves.step[best]})"
    )
    return Evidence(RANK_CORRELATION, "neither", text)


def _sample_share(curves: Curves, settings: DiagnosisConfig) -> Evidence:
    share = _quarter(curves.values[SAMPLE_SHARE], 4)
    greedy = share < settings.sample_share
    text = f"the policy learns from {share:.0%} of each batch" + (": too few" if greedy else "")
    return Evidence(SAMPLE_SHARE, "greedy" if greedy else "neither", text)


def _verdict(evidence: tuple[Evidence, ...]) -> Verdict:
    """Overfitting shows only where the training data are fitted (section 4.2)."""
    said = {one.says for one in evidence}
    if "underfitting" in said:
        return "underfitting"
    return "overfitting" if "overfitting" in said else "neither"


def _remedies(
    verdict: Verdict, evidence: tuple[Evidence, ...], config: TrainConfig, fall_step: int | None
) -> list[Remedy]:
    remedies: list[Remedy] = []
    if verdict == "overfitting":
        remedies += capacity_down(config, fall_step)
    if verdict == "underfitting":
        remedies += capacity_up(config)
    if any(one.says == "greedy" for one in evidence):
        remedies += less_greedy(config)
    return remedies
