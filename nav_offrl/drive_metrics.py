"""What a recorded drive was worth: pure functions from the record to numbers.

A record is one entry of record.json as nav_offrl_ros/drive_client writes it: lists of rows whose
first column is the time of arrival (s).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Record = Mapping[str, Any]
# Rows: arrival s, image stamp s, v m/s, omega rad/s, predicted steps.
FEEDBACK_COLUMNS = 5
COMPONENTS = ("linear_m_s", "angular_rad_s")
NO_ERROR = 0


def measure_simulated(record: Record) -> dict[str, Any]:
    """Return success by the true pose, way, touches and latency of one simulated drive.

    Success is the true distance at the end; that the network believed to have arrived is told apart
    as `arrived`.
    """
    truth = _rows(record["truth"], 5)
    places, goal = truth[:, 1:3], np.asarray(record["goal"][:2])
    distances = np.linalg.norm(places - goal, axis=1)
    path = float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
    radius = float(record["success_radius"])
    return {
        "start": record["start"],
        "goal": record["goal"],
        "success": bool(distances[-1] <= radius),
        "arrived": bool(record["arrived"]),
        "error_code": record["error_code"],
        "error": record["error_msg"],
        "final_distance_m": float(distances[-1]),
        "closest_distance_m": float(distances.min()),
        "success_radius_m": radius,
        "path_length_m": path,
        "shortest_path_m": _or_none(record["geodesic_distance"]),
        "collision_share": _mean(_rows(record["touches"], 2)[:, 1]),
        "navigation_time_s": float(record["navigation_time"]),
        "image_to_command": latency(record, "navigator_commands"),
        "image_to_cmd_vel": latency(record, "gate_commands"),
    }


def latency(record: Record, commands: str) -> dict[str, float | int | None]:
    """Return the time (ms) from an image's stamp to the arrival of the command made from it.

    The feedback tells image and command and is sent right after the command: its arrival is that
    of the nearest command of the very same value. `matched` of `images` were found: the gate may
    change or stop a command. Images from before the goal are left out, their age says nothing.
    """
    feedback = _rows(record["feedback"], FEEDBACK_COLUMNS)
    feedback = feedback[feedback[:, 1] >= record["goal_time"]]
    arrivals = _rows(record[commands], 3)
    found = []
    for told, stamp, linear, angular, _ in feedback:
        same = (arrivals[:, 1] == linear) & (arrivals[:, 2] == angular) & (arrivals[:, 0] >= stamp)
        if same.any():
            times = arrivals[same, 0]
            found.append(1000.0 * (times[np.argmin(np.abs(times - told))] - stamp))
    p50, p99 = np.percentile(found, (50, 99)) if found else (None, None)
    return {
        "p50_ms": None if p50 is None else float(p50),
        "p99_ms": None if p99 is None else float(p99),
        "matched": len(found),
        "images": len(feedback),
    }


def paired_actions(record: Record) -> tuple[Floats, Floats]:
    """Return commands and recorded actions (N, 2) of the images that both belong to."""
    commands = {_key(row[1]): row[2:4] for row in record["feedback"]}
    pairs = [
        (commands[_key(stamp)], (linear, angular))
        for _, stamp, linear, angular in record["recorded"]
        if _key(stamp) in commands
    ]
    both = np.asarray(pairs, np.float64).reshape(-1, 2, 2)
    return both[:, 0], both[:, 1]


def measure_replay(record: Record) -> dict[str, Any]:
    """Return how the commands compare with the driver's on one replayed piece."""
    commands, actions = paired_actions(record)
    return {
        "episode": record["episode"],
        "first": record["first"],
        "last": record["last"],
        "steps": record["steps"],
        "compared": len(commands),
        "arrived": bool(record["arrived"]),
        "navigation_time_s": float(record["navigation_time"]),
        "image_to_command": latency(record, "navigator_commands"),
        "imitation": compare_actions(commands, actions),
    }


def compare_actions(commands: Floats, actions: Floats) -> dict[str, dict[str, float | None]]:
    """Compare (N, 2) commands with recorded actions, component by component.

    `zero_error` and `mean_error` are the mean absolute errors of always standing still and of
    always doing the recording's mean: a policy that beats neither shows here no learning.
    """
    result: dict[str, dict[str, float | None]] = {}
    for column, name in enumerate(COMPONENTS):
        command, action = commands[:, column], actions[:, column]
        result[name] = {
            "mean_absolute_error": _mean(np.abs(command - action)),
            "zero_error": _mean(np.abs(action)),
            "mean_error": _mean(np.abs(action - action.mean())) if len(action) else None,
            "correlation": _correlation(command, action),
        }
    return result


def summarise_simulated(drives: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the success rate and the share of drives that ended in error."""
    successes = sum(drive["success"] for drive in drives)
    return {
        "drives": len(drives),
        "successes": successes,
        "success_rate": successes / len(drives),
        "false_arrivals": sum(drive["arrived"] and not drive["success"] for drive in drives),
        "mean_final_distance_m": _mean(np.array([d["final_distance_m"] for d in drives])),
    }


def _rows(rows: list[list[float]], columns: int) -> Floats:
    return np.asarray(rows, np.float64).reshape(-1, columns)


def _key(stamp: float) -> int:
    """Microseconds: stamps travel as integers and come back as doubles."""
    return round(stamp * 1e6)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _correlation(first: Floats, second: Floats) -> float | None:
    if len(first) < 3 or first.std() == 0.0 or second.std() == 0.0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
