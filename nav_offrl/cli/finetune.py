"""Improve a policy by its own driving in the simulator, and promote it only if it is better.

The robot drives to random goals with some exploration, records what it sees like any other log
(OUTPUT/experience.zarr), and goes on with implicit Q-learning on old and new data in equal parts.
Then the candidate and the policy that it came from drive the same starts and goals; the candidate
is promoted only when it reaches more of them and touches things no more often. Success before and
after is reported on other starts and goals, which decide nothing. Ctrl-C keeps every finished
drive; the same command continues.

Examples:
  nav-offrl finetune runs/first --world campus --world-seed 0 --output finetuned
  nav-offrl finetune runs/first --output finetuned --finetune.robot-minutes 60
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from nav_offrl.finetuning.finetune import FinetuneConfig

GATE_SEED, REPORT_SEED = 2000, 3000


@dataclass
class Args:
    """What to finetune and where."""

    run: tyro.conf.Positional[Path]
    """folder of the run, from 'nav-offrl train'"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """folder for the candidate's run, its experience and the bundles"""
    store: Path | None = None
    """where the run's store is now, if it was moved"""
    world: str = "campus"
    """name of a world (campus, courtyard, office) or its YAML file"""
    world_seed: int = 0
    """which world of that family"""
    drives: int = 20
    """starts and goals for the gate, and as many others for the report"""
    finetune: Annotated[FinetuneConfig, tyro.conf.arg(help="settings")] = field(
        default_factory=FinetuneConfig
    )


def run(args: Args) -> None:
    """Finetune, judge, report."""
    from nav_offrl.evaluation.simulated import SimulatedWorld
    from nav_offrl.finetuning.finetune import Finetuner
    from nav_offrl.runtime import load_bundle
    from nav_offrl.suites import refuse_suite_worlds, simulated_source
    from nav_offrl.training.trained_policy import load_policy
    from nav_offrl_export.run import export_run
    from nav_offrl_sim import load_world_config

    family = load_world_config(args.world).name
    refuse_suite_worlds([(family, args.world_seed)], "--world-seed")
    world = SimulatedWorld(args.world, args.world_seed)
    pairs = [world.pairs(args.drives, seed) for seed in (GATE_SEED, REPORT_SEED)]
    policy = load_policy(args.run, args.store)
    incumbent, candidate = (args.output / f"{name}.bundle" for name in ("incumbent", "candidate"))
    if not (args.output / "run").exists():
        args.output.mkdir(parents=True, exist_ok=True)
        export_run(policy, incumbent, overwrite=True)
    load_bundle(incumbent, world.camera, world.rate_hz)  # it must fit before anything is driven
    place = simulated_source(family, args.world_seed, "online finetuning")
    result = Finetuner(policy, world.env, place, args.output, args.finetune).run()
    export_run(load_policy(result.run, args.store), candidate, overwrite=True)
    report = _compare(world, incumbent, candidate, *pairs)
    report["robot_steps"] = result.steps
    report["drives_while_learning"] = result.drives
    report["success_while_learning"] = result.success_while_learning
    report["updates"] = result.updates
    path = args.output / "finetune.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, incumbent, candidate)
    print(f"report: {path}")


def _compare(
    world: Any, incumbent: Path, candidate: Path, gate_pairs: Any, report_pairs: Any
) -> dict[str, Any]:
    from nav_offrl.evaluation.rollouts import summarise
    from nav_offrl.finetuning.gate import judge
    from nav_offrl.runtime import load_bundle

    bundles = [load_bundle(path, world.camera) for path in (incumbent, candidate)]
    verdict = judge(*(world.drive("policy", gate_pairs, bundle) for bundle in bundles))
    before, after = (summarise(world.drive("policy", report_pairs, b)) for b in bundles)
    return {"before": before, "after": after, "gate": verdict.model_dump()}


def _print(report: dict[str, Any], incumbent: Path, candidate: Path) -> None:
    from nav_offrl.cli.evaluate import describe

    print(f"before: {describe(report['before'])}")
    print(f"after:  {describe(report['after'])}")
    gate = report["gate"]
    verdict = "promoted" if gate["promoted"] else "NOT promoted"
    chosen = candidate if gate["promoted"] else incumbent
    print(f"gate: {verdict}: {gate['reason']} (on other pairs: +{gate['gained']} -{gate['lost']})")
    print(f"drive with: {chosen}")
