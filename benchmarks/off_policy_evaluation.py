"""How far off-policy estimates and the workflow's choice of a checkpoint are from the truth.

Trains a few methods on one log of the courtyard, keeps some checkpoints of each, estimates the
return of every checkpoint from the held-out drives, and then measures it: the policy drives to goal
photos in the simulator. Prints estimate beside truth, their errors and rank correlation, and what
`nav-offrl diagnose` would have picked beside the best checkpoint that was kept.

    nav-offrl collect courtyard --world-seed 0 --steps 12000 --output drives.zarr
    python benchmarks/off_policy_evaluation.py drives.zarr
    python benchmarks/off_policy_evaluation.py drives.zarr --encoder runs/first --drives 40
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nav_offrl.evaluation.fitted_q import FittedQConfig
from nav_offrl.evaluation.logged_tasks import TaskConfig
from nav_offrl.evaluation.off_policy import OffPolicyConfig, evaluate_off_policy
from nav_offrl.evaluation.rollouts import BundlePilot, drive, wilson_interval
from nav_offrl.evaluation.simulated import SimulatedWorld
from nav_offrl.runtime import load_bundle
from nav_offrl.training.diagnosis import diagnose_run
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.statistics import rank_correlation
from nav_offrl.training.trained_policy import TrainedPolicy, load_policy
from nav_offrl_export.run import export_run

NAV_OFFRL = str(Path(sys.executable).with_name("nav-offrl"))
HORIZON = 100  # steps; goals are 3 to 6 m away, which takes 25 to 60 when all goes well
ESTIMATES = ("fitted_q", "importance_sampling")
RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, help="log of the world that is driven in")
    parser.add_argument("--methods", nargs="+", default=["iql", "td3_bc"])
    parser.add_argument("--steps", type=int, default=2000, help="gradient steps of each method")
    parser.add_argument("--checkpoints", type=int, default=4, help="kept of each run")
    parser.add_argument(
        "--encoder", type=Path, help="run whose encoder all share; default: trained"
    )
    parser.add_argument("--drives", type=int, default=20, help="goal photos for each checkpoint")
    parser.add_argument("--fitted-q-steps", type=int, default=FittedQConfig().steps)
    parser.add_argument("--world", default="courtyard")
    parser.add_argument("--world-seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmark_output/off_policy_evaluation")
    )
    args = parser.parse_args()
    rows = [row for method in args.methods for row in measure_run(args, method)]
    report = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "drives": args.drives,
        "rows": rows,
        "errors": {name: errors(rows, name) for name in ESTIMATES},
        "checkpoints": [chosen_and_best(rows, method) for method in args.methods],
    }
    (args.output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(shown(report))


def train(args: argparse.Namespace, method: str) -> RunFolder:
    """Train with evenly spaced checkpoints kept, or take the run that is there."""
    path = args.output / method
    every = args.steps // args.checkpoints
    if not (path / "config.yaml").is_file():
        command = [NAV_OFFRL, "train", method, str(args.store), "--output", str(path)]
        command += ["--train.steps", str(args.steps), "--train.log-every", "25"]
        command += ["--train.checkpoint-every", str(every), "--train.keep-every", str(every)]
        command += ["--encoder", str(args.encoder)] if args.encoder else []
        subprocess.run(command, check=True)
    return RunFolder.open(path)


def measure_run(args: argparse.Namespace, method: str) -> list[dict[str, Any]]:
    """Return one row a checkpoint: estimates, truth, and whether the workflow picked it."""
    run = train(args, method)
    picked = diagnose_run(run).checkpoint
    names = [name for step, name in run.checkpoints("policy").items() if step]
    rows = [measure_checkpoint(args, run, name) for name in names]
    return [row | {"method": method, "picked": row["checkpoint"] == picked} for row in rows]


def measure_checkpoint(args: argparse.Namespace, run: RunFolder, name: str) -> dict[str, Any]:
    """Return estimates and truth; what was measured already is not measured again."""
    path = args.output / f"{run.path.name}_{name}.json"
    if not path.is_file():
        policy = load_policy(run.path, checkpoint_name=name)
        measured = {"checkpoint": name} | estimates(args, policy) | truth(args, policy)
        path.write_text(json.dumps(measured) + "\n")
        print(json.dumps(measured), flush=True)
    row: dict[str, Any] = json.loads(path.read_text())
    return row


def estimates(args: argparse.Namespace, policy: TrainedPolicy) -> dict[str, Any]:
    """Estimate the return over tasks that are as far as those that are driven."""
    config = OffPolicyConfig(
        tasks=TaskConfig(horizon=HORIZON, min_distance=3.0, max_distance=6.0),
        fitted_q=FittedQConfig(steps=args.fitted_q_steps),
    )
    report = evaluate_off_policy(policy, config).figures()
    return {name: report[name] for name in ESTIMATES}


def truth(args: argparse.Namespace, policy: TrainedPolicy) -> dict[str, Any]:
    """Drive, and return the mean discounted return with its 95 % interval, and the success."""
    world = SimulatedWorld(args.world, args.world_seed)
    bundle = args.output / "policy.bundle"
    export_run(policy, bundle, overwrite=True)
    pilot = BundlePilot(load_bundle(bundle, world.camera, world.rate_hz))
    limit, discount = HORIZON / world.rate_hz, policy.config.method.discount
    returns, successes = [], 0
    for seed, (start, goal) in enumerate(world.pairs(args.drives, 1000)):
        driven = drive(world.env, pilot, start, goal, seed, limit)
        successes += driven.success
        gone = discount ** round(driven.seconds * world.rate_hz) if driven.success else 0.0
        returns.append(-(1 - gone) / (1 - discount))
    mean, low, high = bootstrap_mean(returns)
    success = (successes / args.drives, *wilson_interval(successes, args.drives))
    return {"true": {"value": mean, "low": low, "high": high}, "success": success}


def bootstrap_mean(values: list[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)


def errors(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Compare estimates with truth over all checkpoints."""
    estimated = np.array([row[name]["value"] for row in rows])
    true = np.array([row["true"]["value"] for row in rows])
    covered = [row[name]["low"] <= row["true"]["value"] <= row[name]["high"] for row in rows]
    return {
        "bias": float((estimated - true).mean()),
        "mean_absolute_error": float(np.abs(estimated - true).mean()),
        "rank_correlation": rank_correlation(estimated, true),
        "interval_holds_truth": float(np.mean(covered)),
    }


def chosen_and_best(rows: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """Compare the workflow's checkpoint with the oracle's choice, by measured success."""
    own = [row for row in rows if row["method"] == method]
    best = max(own, key=lambda row: row["true"]["value"])
    picked = next((row for row in own if row["picked"]), None)
    return {
        "method": method,
        "picked": picked and picked["checkpoint"],
        "picked_success": picked and picked["success"],
        "best": best["checkpoint"],
        "best_success": best["success"],
    }


def shown(report: dict[str, Any]) -> str:
    """Return the tables."""
    lines = ["", "return, -1 a step until arrival: true, fitted Q, importance sampling; success"]
    for row in report["rows"]:
        parts = [interval(row[name]) for name in ("true", *ESTIMATES)]
        mark = "*" if row["picked"] else " "
        lines.append(
            f"{mark} {row['method']:<8} {row['checkpoint']}  {'  '.join(parts)}  "
            f"{row['success'][0]:.0%}"
        )
    lines += ["* picked by nav-offrl diagnose", ""]
    for name, figures in report["errors"].items():
        lines.append(f"{name}: " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items()))
    for row in report["checkpoints"]:
        lines.append(json.dumps(row))
    return "\n".join(lines)


def interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:6.1f} [{estimate['low']:6.1f}, {estimate['high']:6.1f}]"


if __name__ == "__main__":
    main()
