"""Turn a trained run into a bundle: ONNX graphs, their contract and a model card.

The graphs are compared with torch on frames of the run's store, timed, and loaded as a robot
would load them; a bundle that fails any of this is not written.

Examples:
  nav-offrl export runs/first --output first.bundle
  nav-offrl export runs/first --output first.bundle --overwrite
  nav-offrl export runs/first --output robot.bundle --camera-height 480 --camera-width 640
"""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass
class Args:
    """What to export and where to."""

    run: tyro.conf.Positional[Path]
    """folder of the run, from 'nav-offrl train'"""
    output: Path
    """folder of the bundle; must not exist"""
    overwrite: bool = False
    """replace an existing bundle"""
    checkpoint: str | None = None
    """name of the run's checkpoint, as 'nav-offrl diagnose' prints it; default: the newest"""
    store: Path | None = None
    """where the run's store is now, if it was moved"""
    camera_height: int | None = None
    """image height (pixels) of the robot's camera; default: that of the recorded drives"""
    camera_width: int | None = None
    """image width (pixels) of the robot's camera; default: that of the recorded drives"""


def run(args: Args) -> None:
    """Export, then say what was measured."""
    from nav_offrl.training.trained_policy import load_policy
    from nav_offrl_export.run import export_run

    contract = export_run(
        load_policy(args.run, args.store, args.checkpoint),
        args.output,
        overwrite=args.overwrite,
        camera_height=args.camera_height,
        camera_width=args.camera_width,
    )
    assert contract.parity is not None and contract.latency is not None
    print(f"bundle: {args.output}")
    for name, timing in contract.latency.graphs.items():
        error = contract.parity.relative_error[name]
        print(
            f"  {name:<8}  {timing.p50_ms:7.2f} ms p50  {timing.p99_ms:7.2f} ms p99  "
            f"error against torch {error:.1e}"
        )
    print(f"measured on {contract.latency.machine}, {contract.latency.provider}")
