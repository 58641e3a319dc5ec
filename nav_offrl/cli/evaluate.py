"""Judge a policy: a run on held-out drives, a run or bundle on a suite, a bundle in one world.

Given a run, compares what the policy commands with what was driven, beside a nearest-neighbour
baseline, and draws it. With --suite, drives to the goals of a fixed suite in worlds that nobody
trains in, at three distances, and prints success, SPL and more with 95 % intervals beside oracle,
straight-to-goal, random and behaviour cloning. Given a bundle alone, drives to goal photos in the
one world that is named; a random walk and a driver that knows the map stand beside it. On a suite,
Ctrl-C keeps every finished drive, and the same command goes on.

Examples:
  nav-offrl evaluate runs/first --output report
  nav-offrl evaluate runs/first --suite campus --output report
  nav-offrl evaluate first.bundle --suite office --behaviour-cloning bc.bundle --output report
  nav-offrl evaluate oracle --suite forest --output report
  nav-offrl evaluate first.bundle --world campus --world-seed 0 --drives 40 --output report
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nav_offrl.errors import NavOffrlError


@dataclass
class Args:
    """What to judge and how."""

    subject: tyro.conf.Positional[Path]
    """a run's folder, or a bundle's; with --suite also oracle, straight or random"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """folder for the figures and pictures; made if it is not there"""
    checkpoint: str | None = None
    """run only: name of its checkpoint, as 'nav-offrl diagnose' prints it; default: the newest"""
    suite: str | None = None
    """name of a suite (campus, forest, office, open, warehouse) or its YAML file"""
    behaviour_cloning: Path | None = None
    """suite only: run or bundle of behaviour cloning to compare with; default: trained on the
    run's own data where a run is judged"""
    robot: str | None = None
    """suite only: another robot than the suite's, by name or YAML file"""
    video: bool = True
    """suite only: write a video of one drive at each distance"""
    store: Path | None = None
    """where the run's store is now, if it was moved"""
    world: str = "campus"
    """bundle only: name of a world (campus, courtyard, office) or its YAML file"""
    world_seed: int = 0
    """bundle only: which world of that family"""
    drives: int = 20
    """bundle only: how many start and goal pairs"""
    seed: int = 1000
    """bundle only: seed of the pairs"""
    baselines: bool = True
    """suite or bundle: drive the baselines too"""


def run(args: Args) -> None:
    """Evaluate and print one screen."""
    if args.checkpoint is not None and not (args.subject / "config.yaml").is_file():
        raise NavOffrlError(
            "is no run, and only runs have checkpoints", where=args.subject, remedy="leave it out"
        )
    if args.suite is not None:
        figures = _evaluate_suite(args, args.suite)
    elif (args.subject / "config.yaml").is_file():
        figures = _evaluate_run(args)
    elif (args.subject / "bundle.json").is_file():
        figures = _evaluate_bundle(args)
    else:
        raise NavOffrlError(
            "is neither a run (config.yaml) nor a bundle (bundle.json)",
            where=args.subject,
            remedy="give a folder made by 'nav-offrl train' or 'nav-offrl export'",
        )
    path = args.output / "evaluation.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"figures: {path}")


def _evaluate_suite(args: Args, suite: str) -> dict[str, Any]:
    from nav_offrl.evaluation.suite import SuiteSettings, evaluate_suite
    from nav_offrl.suites import load_suite

    settings = SuiteSettings(
        subject=args.subject,
        output=args.output,
        robot=args.robot,
        store=args.store,
        checkpoint=args.checkpoint,
        cloning=args.behaviour_cloning,
        with_baselines=args.baselines,
        with_video=args.video,
    )
    report = evaluate_suite(load_suite(suite), settings)
    print(report.table())
    print(f"pictures: {args.output}/drives_*.png")
    if args.video:
        print(f"video: {args.output / 'drives.mp4'}")
    return report.figures()


def _evaluate_run(args: Args) -> dict[str, Any]:
    from nav_offrl.evaluation.figures import draw_offline
    from nav_offrl.evaluation.offline import OfflineConfig, evaluate_offline
    from nav_offrl.training.trained_policy import load_policy

    policy = load_policy(args.subject, args.store, args.checkpoint)
    report = evaluate_offline(policy, OfflineConfig())
    args.output.mkdir(parents=True, exist_ok=True)
    draw_offline(report, policy.store, policy.config.camera, args.output / "held_out.png")
    _print_offline(report.figures)
    print(f"picture: {args.output / 'held_out.png'}")
    return report.figures


def _print_offline(figures: dict[str, Any]) -> None:
    print(f"{figures['command_pairs']} held-out (frame, goal) pairs; mean absolute error:")
    for name, error in figures["command_error"].items():
        print(
            f"  {name.replace('_', ' '):<16} v {error['linear_mae']:.3f} m/s   "
            f"omega {error['angular_mae']:.3f} rad/s   correlation "
            f"{error['linear_correlation']:.2f}, {error['angular_correlation']:.2f}"
        )
    places = figures["place_recognition"]
    if "left_out" in places:
        print(f"place recognition left out: {places['left_out']}")
    else:
        print("place of a held-out frame by its nearest training frame; median error:")
        for name, error in places.items():
            print(
                f"  {name.replace('_', ' '):<16} {error['median_position_error_m']:.2f} m   "
                f"{error['median_yaw_error_rad']:.3f} rad"
            )
    steps = figures["steps_to_goal"]
    print(
        "rank correlation with the true steps to the goal: "
        f"distance {steps['rank_correlation_distance']:.2f}, "
        f"value {steps['rank_correlation_value']:.2f}"
    )


def _evaluate_bundle(args: Args) -> dict[str, Any]:
    from nav_offrl.evaluation.figures import draw_drives
    from nav_offrl.evaluation.rollouts import summarise
    from nav_offrl.evaluation.simulated import SimulatedWorld
    from nav_offrl.runtime import load_bundle

    world = SimulatedWorld(args.world, args.world_seed)
    bundle = load_bundle(args.subject, world.camera, world.rate_hz)
    pairs = world.pairs(args.drives, args.seed)
    names = ("policy", "random", "oracle") if args.baselines else ("policy",)
    args.output.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"world": args.world, "world_seed": args.world_seed}
    for name in names:
        drives = world.drive(name, pairs, bundle)
        figures[name] = summarise(drives)
        line = describe(figures[name])
        print(f"{name:<8} {line}")
        picture, to_pixel = world.top_down()
        title = f"{name}: {line}"
        draw_drives(drives, picture, to_pixel, args.output / f"drives_{name}.png", title)
    print(f"pictures: {args.output}/drives_*.png")
    return figures


def describe(summary: dict[str, float]) -> str:
    """Return one line of a rollout summary."""
    return (
        f"success {summary['success']:.0%} "
        f"[{summary['success_low']:.0%}, {summary['success_high']:.0%}] of "
        f"{summary['drives']:.0f}, SPL {summary['spl']:.2f}, "
        f"{summary['collisions_per_km']:.0f} collisions/km, closest {summary['closest_m']:.1f} m"
    )
