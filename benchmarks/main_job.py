"""Learning results of the demo's path over several seeds, with the spread.

For each seed: train on the same store, judge on held-out episodes, export, and (for a log recorded
in the simulator) drive to goal photos beside a random walk and a driver that knows the map.

    make demo && python benchmarks/main_job.py demo_output/simulator/drives.zarr
    python benchmarks/main_job.py demo_output/go2_gnm_real/drives.zarr --no-drives
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

NAV_OFFRL = str(Path(sys.executable).with_name("nav-offrl"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, help="log store of the demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--drives", type=int, default=60, help="goal photos for each policy")
    parser.add_argument("--no-drives", action="store_true", help="the store is a real log")
    parser.add_argument("--world", default="courtyard", help="where the store was recorded")
    parser.add_argument("--world-seed", default="0")
    parser.add_argument("--output", type=Path, default=Path("benchmark_output/main_job"))
    args = parser.parse_args()
    rows = [run_seed(args, seed) for seed in args.seeds]
    report = {
        "store": args.store.parent.name,
        "seeds": args.seeds,
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "figures": {key: spread([row[key] for row in rows]) for key in rows[0]},
    }
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{args.store.parent.name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    for key, value in report["figures"].items():
        print(f"{key:<36} {value['mean']:8.3f} ± {value['sd']:.3f}   {value['values']}")
    print(f"report: {path}")


def run_seed(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Train and judge one seed; steps whose result is there are not repeated."""
    folder = args.output / f"{args.store.parent.name}_{seed}"
    run, bundle = folder / "run", folder / "policy.bundle"
    resume = ["--resume"] if (run / "config.yaml").is_file() else []
    call("train", "iql", args.store, "--output", run, "--train.seed", seed, *resume)
    call("evaluate", run, "--output", folder / "held_out")
    figures = flatten_held_out(read(folder / "held_out" / "evaluation.json"))
    if args.no_drives:
        return figures
    if not bundle.exists():
        call("export", run, "--output", bundle)
    call(
        *("evaluate", bundle, "--output", folder / "driven", "--drives", args.drives),
        *("--world", args.world, "--world-seed", args.world_seed),
    )
    driven = read(folder / "driven" / "evaluation.json")
    for name in ("policy", "random", "oracle"):
        for key in ("success", "spl", "collisions_per_km"):
            figures[f"{name} {key}"] = driven[name][key]
    figures["policy false_arrivals"] = driven["policy"]["false_arrivals"]
    return figures


def flatten_held_out(figures: dict[str, Any]) -> dict[str, float]:
    rows = {
        f"{name} {key}": error[key]
        for name, error in figures["command_error"].items()
        for key in ("linear_mae", "angular_mae")
    }
    for name, error in figures["place_recognition"].items():
        if name != "left_out":
            rows[f"{name} median_position_error_m"] = error["median_position_error_m"]
            rows[f"{name} median_yaw_error_rad"] = error["median_yaw_error_rad"]
    return rows | figures["steps_to_goal"]


def spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "values": [round(value, 4) for value in values],
    }


def call(*arguments: object) -> None:
    command = [NAV_OFFRL, *map(str, arguments)]
    print("$", *command[1:], flush=True)
    subprocess.run(command, check=True)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
