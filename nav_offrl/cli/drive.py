"""Let a bundle drive over ROS 2, in the simulator or along a recorded drive.

Simulator, navigator and safety gate run as processes of their own over DDS, just as on a robot;
none is left behind. Writes drive.json, drive.png, record.json and logs/ into the output folder. The
exit status is 0 when the drives were run, whether or not the robot got there: look at the report.

With --replay the images of a store's held-out episodes go through the same nodes, and the commands
are compared with what the driver did; the goal is the last image of each piece.

Examples:
  nav-offrl drive bundle --world campus --world-seed 0 --trials 3 --output drive
  nav-offrl drive bundle --start 7 18 -1.4 --goal 10.6 20.2 0 --output drive
  nav-offrl drive bundle --replay drives.zarr --horizon 50 --trials 10 --output replay
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass
class Args:
    """Arguments of `nav-offrl drive`."""

    bundle: tyro.conf.Positional[Path]
    """Folder that `nav-offrl export` wrote."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the report; made if it is not there."""
    world: str = "campus"
    """Name of a world (campus, courtyard, office) or path of its YAML file."""
    world_seed: int = 0
    """Which world of that family."""
    robot: str = "generic"
    """Name of a robot or path of its YAML file."""
    start: tuple[float, float, float] | None = None
    """Start: x (m), y (m), yaw (rad). Without start and goal: the evaluation pairs."""
    goal: tuple[float, float, float] | None = None
    """Goal: x (m), y (m), yaw (rad)."""
    trials: int = 1
    """How many drives, or pieces of a replay."""
    seed: int = 0
    """Seed of the evaluation pairs."""
    timeout: float = 60.0
    """Time limit of one drive (s)."""
    replay: Path | None = None
    """Log store whose held-out episodes are replayed, instead of the simulator."""
    horizon: int | None = None
    """Steps of one replayed piece; default: whole episodes."""


def run(args: Args) -> int:
    """Drive or replay, and print what came out."""
    from nav_offrl.config import parse_config
    from nav_offrl.drive import ReplayOptions, SimulationOptions, drive_replayed, drive_simulated

    model = SimulationOptions if args.replay is None else ReplayOptions
    values = {name: getattr(args, name) for name in model.model_fields if hasattr(args, name)}
    if args.replay is None:
        options = parse_config(SimulationOptions, values, "nav-offrl drive")
        _print_simulated(drive_simulated(args.bundle, options, args.output))
    else:
        replay = parse_config(ReplayOptions, values | {"store": args.replay}, "nav-offrl drive")
        _print_replayed(drive_replayed(args.bundle, replay, args.output))
    print(f"report and figure: {args.output}")
    return 0


def _print_simulated(report: dict[str, Any]) -> None:
    for drive in report["drives"]:
        verdict = "reached" if drive["success"] else "NOT reached"
        said = "said arrived" if drive["arrived"] else drive["error"]
        print(
            f"goal {verdict} ({said}): ended {drive['final_distance_m']:.2f} m away "
            f"(closest {drive['closest_distance_m']:.2f} m, counts within "
            f"{drive['success_radius_m']:.2f} m), drove {drive['path_length_m']:.1f} m in "
            f"{drive['navigation_time_s']:.1f} s; {_latency(drive['image_to_command'])}"
        )
    summary = report["summary"]
    print(f"{summary['successes']} of {summary['drives']} drives reached their goal")


def _print_replayed(report: dict[str, Any]) -> None:
    for drive in report["drives"]:
        print(
            f"{drive['episode']} steps {drive['first']} to {drive['last']}: "
            f"{drive['compared']} of {drive['steps']} images compared"
            f"{', said arrived' if drive['arrived'] else ''}; {_latency(drive['image_to_command'])}"
        )
    for name, scores in report["summary"]["imitation"].items():
        shown = {key: "none" if v is None else f"{v:.3f}" for key, v in scores.items()}
        print(
            f"{name}: mean absolute error {shown['mean_absolute_error']} "
            f"(standing still {shown['zero_error']}, the mean {shown['mean_error']}), "
            f"correlation {shown['correlation']}"
        )


def _latency(measured: dict[str, Any]) -> str:
    if measured["p50_ms"] is None:
        return "no command was matched to an image"
    return f"image to command {measured['p50_ms']:.0f} ms (p99 {measured['p99_ms']:.0f} ms)"
