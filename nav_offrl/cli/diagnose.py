"""Say whether a run overfits or underfits, what to do about it, and which checkpoint to take.

Reads the curves that training has logged, by the workflow of Kumar et al. 2021: no robot and no
simulator is needed. The verdict and its evidence are printed and go to RUN/diagnosis.json, the
curves to RUN/diagnosis.png. The checkpoint is one of those that training kept (keep_every), and
its name is what `evaluate` and `export` take. With --off-policy, held-out drives estimate what the
policy would achieve.

Examples:
  nav-offrl train iql drives.zarr --output runs/first --train.keep-every 500
  nav-offrl diagnose runs/first
  nav-offrl export runs/first --checkpoint policy_003500 --output first.bundle
  nav-offrl diagnose runs/first --off-policy
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:  # `--help` answers at once
    from nav_offrl.training.diagnosis import Diagnosis
    from nav_offrl.training.run_folder import RunFolder


@dataclass
class Args:
    """Which run to judge."""

    run: tyro.conf.Positional[Path]
    """folder of the run, from 'nav-offrl train'"""
    off_policy: bool = False
    """estimate the policy's return from held-out drives as well (takes minutes)"""
    checkpoint: str | None = None
    """off-policy only: name of the checkpoint to estimate; default: the one that is chosen"""
    store: Path | None = None
    """off-policy only: where the run's store is now, if it was moved"""


def run(args: Args) -> None:
    """Diagnose and print one screen."""
    from nav_offrl.training.agent import POLICY
    from nav_offrl.training.curves import Curves
    from nav_offrl.training.diagnosis import diagnose_run
    from nav_offrl.training.diagnosis_figure import draw_diagnosis
    from nav_offrl.training.run_folder import RunFolder

    folder = RunFolder.open(args.run)
    diagnosis = diagnose_run(folder)
    kept = {name: step for step, name in folder.checkpoints(POLICY).items()}
    figure = args.run / "diagnosis.png"
    step = None if diagnosis.checkpoint is None else kept[diagnosis.checkpoint]
    draw_diagnosis(Curves.of_run(folder), diagnosis, step, figure)
    _print(diagnosis, folder)
    figures = dataclasses.asdict(diagnosis)
    if args.off_policy:
        figures["off_policy"] = _off_policy(args, diagnosis.checkpoint)
    path = args.run / "diagnosis.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"curves: {figure}\nfigures: {path}")


def _print(diagnosis: "Diagnosis", folder: "RunFolder") -> None:
    print(f"verdict: {diagnosis.verdict}")
    for one in diagnosis.evidence:
        mark = "-" if one.says == "neither" else "!"
        print(f"  {mark} {one.text}")
    if diagnosis.remedies:
        print("what to change, one at a time:")
    for remedy in diagnosis.remedies:
        print(f"  {remedy.change:<36} {remedy.options}")
    if diagnosis.checkpoint is not None:
        print(f"checkpoint: {diagnosis.checkpoint}")
        return
    every = folder.config.checkpoint_every
    print(
        f"checkpoint: none was kept from before step {diagnosis.fall_step}; train again with "
        f"--train.keep-every {every}"
    )


def _off_policy(args: Args, chosen: str | None) -> dict[str, Any]:
    from nav_offrl.evaluation.off_policy import evaluate_off_policy
    from nav_offrl.training.trained_policy import load_run

    loaded = load_run(args.run, args.store, args.checkpoint or chosen)
    report = evaluate_off_policy(loaded)
    print(report.text())
    return report.figures()
