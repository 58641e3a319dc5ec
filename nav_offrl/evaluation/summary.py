"""One screen about everything that a demo made: `python -m nav_offrl.evaluation.summary FOLDER`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nav_offrl.errors import NavOffrlError

WIDTH = 78


def main() -> None:
    """Print the summary of the folder given on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m nav_offrl.evaluation.summary FOLDER", file=sys.stderr)
        raise SystemExit(2)
    try:
        print(summarise_folder(Path(sys.argv[1])))
    except NavOffrlError as error:
        print(f"summary: error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def summarise_folder(folder: Path) -> str:
    """Return the summary as text.

    Raises:
        NavOffrlError: the held-out evaluation or the bundle is not there, or a report lacks a
            figure.
    """
    lines = ["", "=" * WIDTH, f"nav-offrl demo: {folder}", "-" * WIDTH]
    lines += _part(folder / "held_out" / "evaluation.json", _held_out)
    lines += _part(folder / "policy.bundle" / "bundle.json", _bundle)
    for name, describe in (
        ("drive/drive.json", _drives),
        ("replay/drive.json", _replay),
        ("finetuned/finetune.json", _finetuned),
    ):
        if (folder / name).is_file():
            lines += _part(folder / name, describe)
    return "\n".join([*lines, "-" * WIDTH, *_times(folder), *_paths(folder), "=" * WIDTH])


def _part(path: Path, describe: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    try:
        return describe(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise NavOffrlError(f"cannot be read ({error})", where=path) from error
    except (KeyError, TypeError) as error:
        raise NavOffrlError(f"lacks a figure ({error})", where=path) from error


def _held_out(figures: dict[str, Any]) -> list[str]:
    errors = figures["command_error"]
    names = ("policy", "pixel_neighbour", "mean_command")
    linear = ", ".join(f"{errors[n]['linear_mae']:.3f}" for n in names)
    angular = ", ".join(f"{errors[n]['angular_mae']:.3f}" for n in names)
    lines = [
        "held-out episodes, error of policy, pixel neighbour, mean command:",
        f"  v {linear} m/s    omega {angular} rad/s",
    ]
    places = figures["place_recognition"]
    if "learned" in places:
        metres, radians = (
            ", ".join(f"{places[name][key]:.{digits}f}" for name in ("learned", "pixel_neighbour"))
            for key, digits in (("median_position_error_m", 2), ("median_yaw_error_rad", 3))
        )
        lines.append(f"  place found, learned and pixel neighbour: {metres} m; {radians} rad")
    beaten = all(
        errors["policy"][key] < errors["pixel_neighbour"][key]
        for key in ("linear_mae", "angular_mae")
    )
    lines.append(
        f"  the policy's commands {'beat' if beaten else 'do NOT beat'} the pixel neighbour's"
    )
    return lines


def _bundle(contract: dict[str, Any]) -> list[str]:
    graphs = contract["latency"]["graphs"].values()
    error = max(contract["parity"]["relative_error"].values())
    return [
        f"ONNX bundle: agrees with torch to {error:.0e}; one image to one command "
        f"{sum(graph['p50_ms'] for graph in graphs):.1f} ms of inference"
    ]


def _drives(report: dict[str, Any]) -> list[str]:
    summary = report["summary"]
    lines = [f"ROS 2 drives to goal photos: {summary['successes']} of {summary['drives']} reached"]
    for drive in report["drives"]:
        latency = drive["image_to_command"]["p50_ms"]
        lines.append(
            f"  {'reached' if drive['success'] else 'missed '}  drove "
            f"{drive['path_length_m']:5.1f} m, closest {drive['closest_distance_m']:.2f} m, "
            f"image to command {'-' if latency is None else f'{latency:.0f} ms'}"
        )
    return lines


def _replay(report: dict[str, Any]) -> list[str]:
    lines = ["ROS 2 replay of held-out images, command against what was driven:"]
    for name, scores in report["summary"]["imitation"].items():
        shown = {key: "none" if v is None else f"{v:.3f}" for key, v in scores.items()}
        lines.append(
            f"  {name}: error {shown['mean_absolute_error']}, mean command "
            f"{shown['mean_error']}, correlation {shown['correlation']}"
        )
    return lines


def _finetuned(report: dict[str, Any]) -> list[str]:
    before, after, gate = report["before"], report["after"], report["gate"]
    return [
        f"online finetuning, {report['robot_steps']} robot steps: success "
        f"{before['success']:.0%} -> {after['success']:.0%} of {after['drives']:.0f} drives",
        f"  95 % intervals [{before['success_low']:.0%}, {before['success_high']:.0%}] -> "
        f"[{after['success_low']:.0%}, {after['success_high']:.0%}]; gate: "
        f"{'promoted' if gate['promoted'] else 'not promoted'}, {gate['reason']}",
    ]


def _times(folder: Path) -> list[str]:
    path = folder / "times.tsv"
    if not path.is_file():
        return []
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    total = sum(int(seconds) for _, seconds in rows)
    return [f"{int(seconds):5d} s  {title}" for title, seconds in rows] + [f"{total:5d} s  in all"]


def _paths(folder: Path) -> list[str]:
    names = {
        "drives.zarr": "the log store",
        "run": "the trained run; tensorboard --logdir",
        "held_out/held_out.png": "held-out picture",
        "policy.bundle": "what a robot loads",
        "drive/drive.png": "picture of the drives",
        "replay/drive.png": "picture of the replay",
        "finetuned/finetune.json": "finetuning report",
    }
    return [
        f"  {folder / name}  ({meaning})"
        for name, meaning in names.items()
        if (folder / name).exists()
    ]


if __name__ == "__main__":
    main()
