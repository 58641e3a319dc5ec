"""Every method on the same logs: success and SPL, several seeds, one table.

For each seed an encoder is trained once on the store; every method then learns on its frozen
latents for as many steps, is exported, and drives to the same goal photos. Beside them drive a
random walk, a driver straight to the goal where a suite is asked for, and the oracle. A step whose
result is there is not repeated, so an interrupted run goes on where it stopped.

Examples:
  nav-offrl collect courtyard --world-seed 0 --steps 12000 -o drives.zarr
  python -m benchmarks.methods drives.zarr --world courtyard
  python -m benchmarks.methods drives.zarr --world courtyard --methods bc iql cql --seeds 0
  python -m benchmarks.methods walks.zarr --suite campus
"""

import datetime
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from nav_offrl.algorithms.registry import METHODS

NAV_OFFRL = os.environ.get("NAV_OFFRL", str(Path(sys.executable).with_name("nav-offrl")))
ENCODER = "encoder"


@dataclass
class Args:
    """Train and judge methods."""

    store: tyro.conf.Positional[Path]
    """log store of the simulator"""
    output: Path = Path("benchmark_output/methods")
    """where runs and results go"""
    methods: tuple[str, ...] = tuple(METHODS)
    """which methods"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of encoder and method"""
    steps: int = 5000
    """gradient steps of each method"""
    world: str = "courtyard"
    """where to drive, unless a suite is given"""
    world_seed: int = 0
    """which world of that family"""
    suite: str | None = None
    """a suite to drive instead"""
    drives: int = 60
    """goal photos in a world"""
    report: Path | None = None
    """Markdown file to write the table to; a JSON file goes beside it"""


def main(args: Args) -> None:
    figures: dict[str, dict[str, list[float]]] = {}
    for seed in args.seeds:
        encoder = args.output / f"{ENCODER}_{seed}"
        train("bc", args.store, encoder, seed, 1)
        for method in args.methods:
            row = judge(args, method, seed, encoder)
            for name, value in row.items():
                figures.setdefault(method, {}).setdefault(name, []).append(value)
        if seed == args.seeds[0]:
            figures |= baselines(args, args.methods[0], seed)
        print(table(args, figures), flush=True)
    if args.report is not None:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(table(args, figures) + "\n", encoding="utf-8")
        facts = {"settings": settings(args), "figures": figures}
        args.report.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def train(method: str, store: Path, run: Path, seed: int, steps: int, *options: object) -> None:
    """Train a run unless it is done."""
    if (run / "done").exists():
        return
    resume = ["--resume"] if (run / "config.yaml").is_file() else options
    call(
        *("train", method, store, "--output", run, "--train.seed", seed, "--train.steps", steps),
        *("--train.checkpoint-every", max(1, steps // 4), *resume),
    )
    (run / "done").touch()


def judge(args: Args, method: str, seed: int, encoder: Path) -> dict[str, float]:
    """Train one method with one seed, drive, and return success, SPL and contacts."""
    run = args.output / f"{method}_{seed}"
    train(method, args.store, run, seed, args.steps, "--encoder", encoder)
    bundle, driven = run / "policy.bundle", run / place(args)
    if not (bundle / "bundle.json").exists():
        call("export", run, "--output", bundle)
    if not (driven / "evaluation.json").exists():
        call("evaluate", bundle, "--output", driven, *where(args), "--no-baselines")
    return of_policy(args, driven, "policy")


def baselines(args: Args, method: str, seed: int) -> dict[str, dict[str, list[float]]]:
    """Drive those that do not learn."""
    driven = args.output / f"baselines_{place(args)}"
    bundle = args.output / f"{method}_{seed}" / "policy.bundle"
    if not (driven / "evaluation.json").exists():
        extra = ("--no-video",) if args.suite else ()
        call("evaluate", bundle, "--output", driven, *where(args), *extra)
    names = ("straight to goal", "random", "oracle") if args.suite else ("random", "oracle")
    return {
        name: {key: [value] for key, value in of_policy(args, driven, name).items()}
        for name in names
    }


def where(args: Args) -> tuple[object, ...]:
    if args.suite:
        return ("--suite", args.suite)
    return ("--world", args.world, "--world-seed", args.world_seed, "--drives", args.drives)


def place(args: Args) -> str:
    return f"suite_{args.suite}" if args.suite else f"{args.world}_{args.world_seed}"


def of_policy(args: Args, driven: Path, name: str) -> dict[str, float]:
    """Read the figures of one policy from an evaluation."""
    figures = json.loads((driven / "evaluation.json").read_text(encoding="utf-8"))
    if args.suite is None:
        keys = ("success", "spl", "collisions_per_km")
        return {key: float(figures[name][key]) for key in keys}
    row: dict[str, float] = {}
    for part, values in figures["policies"][name]["bins"].items():
        for key in ("success", "spl"):
            row[f"{key} {part} m"] = float(values[key]["value"])
    return row


def table(args: Args, figures: dict[str, dict[str, list[float]]]) -> str:
    """The figures as Markdown: mean over seeds, and their standard deviation."""
    columns = list(next(iter(figures.values())))
    lines = ["| method | " + " | ".join(columns) + " | seeds |", "|---" * (len(columns) + 2) + "|"]
    for name, row in figures.items():
        cells = [spread(row[column]) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(row[columns[0]])} |")
    return "\n".join([*lines, "", f"*{settings(args)}*"])


def spread(values: list[float]) -> str:
    mean = f"{np.mean(values):.2f}"
    return f"{mean} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else mean


def settings(args: Args) -> dict[str, Any]:
    return {
        "place": place(args),
        "steps": args.steps,
        "drives": args.drives if args.suite is None else "of the suite",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def call(*arguments: object) -> None:
    print("$ nav-offrl", *arguments, flush=True)
    subprocess.run([NAV_OFFRL, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
