"""How well a method does against how well it thinks it does: the lecture's picture, measured.

A point drives through a bent corridor; whoever touches its walls stays where he is. The log holds
drives along the middle with little noise: few states, and of each state few actions. Every method
learns from that log alone. From the log's own start states we compare the value that it expects
with the discounted return that it gets, which the simulator tells exactly: -1 a step, discount
0.98, so that never arriving is worth -50. Targets are not clipped to what is possible, as they
are in training runs: the clip would hide the error.

Takes about five minutes of processor time, two jobs at once. Writes a figure and all curves: means
and the range over the seeds.

Examples:
  python -m benchmarks.overestimation
  python -m benchmarks.overestimation --seeds 0 --steps 500 --output /tmp/overestimation
"""

import json
import multiprocessing
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Method, MethodConfig, Spaces
from nav_offrl.algorithms.registry import make_method, method_config

Floats = NDArray[np.float64]

DISCOUNT = 0.98
FLOOR = -1 / (1 - DISCOUNT)
STEP = 0.2  # length of a full step
WIDTH = 0.15  # of the corridor, to either side of the circle of radius 1
GOAL, REACHED = np.array([1.0, 0.0]), 0.12
LIMIT = 250  # steps; what comes after weighs 0.98^250
RATE = {"target_update_rate": 0.05}
METHODS: dict[str, dict[str, Any]] = {
    "qt_opt": {"cem_samples": 16, "cem_elites": 4, **RATE},
    "bc": {"policy_dropout": 0.0},
    "awac": {"policy_dropout": 0.0, **RATE},
    "iql": {"policy_dropout": 0.0, **RATE},
    "cql": {"conservative_weight": 2.0, "policy_learning_rate": 1e-3, **RATE},
}
LABELS = {"qt_opt": "Q-learning (QT-Opt)", "bc": "behaviour cloning"}


@dataclass
class Args:
    """Learn from a narrow log; compare expected values with true returns."""

    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 2000
    """Gradient steps of each method."""
    evaluations: int = 10
    """How often, evenly over the steps, values and returns are compared."""
    batch_size: int = 64
    processes: int = 2
    output: Path = Path("docs/benchmarks")
    """Folder of overestimation.png and overestimation.json."""


def main(args: Args) -> None:
    jobs = [(name, seed, args) for seed in args.seeds for name in METHODS]
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        curves = pool.starmap(run, jobs, chunksize=1)
    results: dict[str, list[dict[str, list[float]]]] = {name: [] for name in METHODS}
    for (name, _, _), curve in zip(jobs, curves, strict=True):
        results[name].append(curve)
    args.output.mkdir(parents=True, exist_ok=True)
    report = {
        "command": "python -m benchmarks.overestimation",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "seeds": args.seeds,
        "steps": args.steps,
        "return_of_the_log": float(log_returns().mean()),
        "after_training": {name: summary(curves) for name, curves in results.items()},
        "curves": results,
    }
    path = args.output / "overestimation.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    draw(results, report["return_of_the_log"], args.output / "overestimation.png")
    print(f"return of the log's drives: {report['return_of_the_log']:.1f}")
    for name, row in report["after_training"].items():
        print(
            f"{name:8}",
            *(f"{key} {value[0]:7.1f} +- {value[1]:5.1f} " for key, value in row.items()),
        )
    print(f"written: {path}, {path.with_suffix('.png')}")


def move(position: Floats, action: Floats) -> Floats:
    """Move points (B, 2); one that would leave the corridor stays where it is."""
    ahead = position + STEP * action
    free = np.abs(np.linalg.norm(ahead, axis=1) - 1) < WIDTH
    # The corridor is the upper half of a ring: it ends a little below its two openings.
    free &= ahead[:, 1] > -WIDTH
    return np.where(free[:, None], ahead, position)


def arrived(position: Floats) -> NDArray[np.bool_]:
    return np.linalg.norm(position - GOAL, axis=1) < REACHED


def drives(count: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Drive along the middle of the corridor from its left end: position, action, next position.

    Each (transitions, 2); every drive goes on for three steps at the goal.
    """
    rng = np.random.default_rng(seed)
    position = starts(count, rng)
    steps: list[tuple[Floats, Floats, Floats]] = []
    remaining = np.full(count, 3)
    while (remaining > 0).any():
        radius = np.linalg.norm(position, axis=1, keepdims=True)
        outward = position / radius
        along = np.stack([outward[:, 1], -outward[:, 0]], 1)
        action = 0.6 * along - 3 * (radius - 1) * outward + 0.1 * rng.standard_normal((count, 2))
        action = np.where(arrived(position)[:, None], 0.2 * action, action).clip(-1, 1)
        following = move(position, action)
        on = remaining > 0
        steps.append((position[on], action[on], following[on]))
        remaining -= arrived(position)
        position = following
    position, action, following = (np.concatenate(part) for part in zip(*steps, strict=True))
    return position, action, following


def starts(count: int, rng: np.random.Generator) -> Floats:
    return np.array([-1.0, 0.05]) + rng.uniform(-0.05, 0.05, (count, 2))


def returned(steps: Floats) -> Floats:
    return -(1 - DISCOUNT**steps) / (1 - DISCOUNT)


def log_returns() -> Floats:
    """What the log's own drives got, up to the goal."""
    lengths = [(~arrived(drives(1, seed)[0])).sum() for seed in range(100)]
    return returned(np.array(lengths, float))


def drive(method: Method, start: Floats) -> Floats:
    """Return the discounted return of a method from start positions, (B,)."""
    position, steps = start, np.zeros(len(start))
    goal = torch.from_numpy(np.tile(GOAL, (len(start), 1))).float()
    for _ in range(LIMIT):
        steps += ~arrived(position)
        if arrived(position).all():
            break
        with torch.no_grad():
            action = method.act(torch.from_numpy(position).float(), goal).double().numpy()
        # Who has arrived stays: its return is complete.
        position = np.where(arrived(position)[:, None], position, move(position, action))
    return returned(steps)


def transitions(seed: int) -> Batch:
    """The log of 60 drives as one batch."""
    position, action, following = drives(60, seed)
    goal = torch.from_numpy(np.tile(GOAL, (len(position), 1))).float()
    reached = torch.from_numpy(arrived(position)).float()
    return Batch(
        observation=torch.from_numpy(position).float(),
        action=torch.from_numpy(action).float(),
        next_observation=torch.from_numpy(following).float(),
        goal=goal,
        actor_goal=goal,
        reward=reached - 1,
        discount=torch.full_like(reached, DISCOUNT),
        mask=1 - reached,
        steps_to_goal=torch.full_like(reached, -1.0),
    )


def run(name: str, seed: int, args: Args) -> dict[str, list[float]]:
    """Train a method; return what it expected and what it got, over the steps."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config: MethodConfig = method_config(name)(
        name=name, discount=DISCOUNT, learning_rate=1e-3, hidden=(64, 64), **METHODS[name]
    )
    method = make_method(config, Spaces(2, 2, compare=False))
    learner, log = Learner(method, total_steps=args.steps), transitions(seed)
    start = starts(50, np.random.default_rng(1000 + seed))
    curve: dict[str, list[float]] = {"step": [], "got": []}
    if name != "bc":  # imitation expects nothing
        curve["expected"] = []
    every = max(1, args.steps // args.evaluations)
    for step in range(args.steps + 1):
        if step % every == 0:
            method.eval()
            curve["step"].append(step)
            if "expected" in curve:
                curve["expected"].append(expected(method, start))
            curve["got"].append(float(drive(method, start).mean()))
        chosen = torch.randint(len(log), (args.batch_size,))
        learner.update(select(log, chosen), step)
    return curve


def select(log: Batch, chosen: torch.Tensor) -> Batch:
    columns = {key: value[chosen] for key, value in vars(log).items() if value is not None}
    return Batch(**columns)


def expected(method: Method, start: Floats) -> float:
    goal = torch.from_numpy(np.tile(GOAL, (len(start), 1))).float()
    with torch.no_grad():
        return method.state_value(torch.from_numpy(start).float(), goal).mean().item()


def summary(curves: list[dict[str, list[float]]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds, of the last fifth of the evaluations."""
    last = {
        key: np.array([np.mean(curve[key][-max(1, len(curve[key]) // 5) :]) for curve in curves])
        for key in curves[0]
        if key != "step"
    }
    if "expected" in last:
        last["error"] = last["expected"] - last["got"]
    return {key: (float(value.mean()), float(value.std())) for key, value in last.items()}


def draw(results: dict[str, list[dict[str, list[float]]]], of_log: float, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True)
    for number, (name, curves) in enumerate(results.items()):
        step = np.array(curves[0]["step"])
        for axis, key in zip(axes, ("got", "expected"), strict=True):
            if key not in curves[0]:
                continue
            value, color = np.array([curve[key] for curve in curves]), f"C{number}"
            axis.plot(step, value.mean(0), color=color, label=LABELS.get(name, name.upper()))
            axis.fill_between(step, value.min(0), value.max(0), color=color, alpha=0.15, lw=0)
    for axis, title in zip(axes, ("how well it does", "how well it thinks it does"), strict=True):
        axis.axhline(of_log, color="0.5", ls="--", lw=1, label="the log's drives")
        axis.axhline(0, color="0.8", lw=1)
        axis.set(title=title, xlabel="gradient steps")
    axes[0].set(ylabel="discounted return from the start")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
