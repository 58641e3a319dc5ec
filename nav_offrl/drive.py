"""Drive a bundle through the real ROS nodes, in the simulator or along a recorded drive.

Starts the nodes as processes of their own over DDS, lets a client process send the goals and
record, takes everything down, measures. Imports no ROS itself.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field
from tqdm import tqdm

from nav_offrl import __version__
from nav_offrl.config import Config
from nav_offrl.drive_metrics import measure_replay, measure_simulated, summarise_simulated
from nav_offrl.errors import NavOffrlError
from nav_offrl.ros_environment import ros_environment, share_file
from nav_offrl.ros_processes import ParameterValue, RosProcesses
from nav_offrl.runtime.bundle import check_rate
from nav_offrl.runtime.contract import CONTRACT_FILE, BundleContract, parse_contract

Parameters = dict[str, ParameterValue]
Pose = tuple[float, float, float]
REPORT = "drive.json"
FIGURE = "drive.png"


class SimulationOptions(Config):
    """Drives in the simulator."""

    world: str = Field("campus", description="name of a world, or its YAML file")
    world_seed: int = Field(0, ge=0, description="which world of its kind")
    robot: str = Field("generic", description="name of a robot, or its YAML file")
    start: Pose | None = Field(None, description="x (m), y (m), yaw (rad); null: drawn")
    goal: Pose | None = Field(None, description="x (m), y (m), yaw (rad); null: drawn")
    trials: int = Field(1, ge=1, le=1000, description="drives, from the evaluation pairs")
    seed: int = Field(0, ge=0, description="seed of the evaluation pairs")
    timeout: float = Field(60.0, gt=0, le=3600, description="time limit of a drive (s)")


class ReplayOptions(Config):
    """Replays of a store's held-out episodes."""

    store: Path = Field(description="log store")
    camera: str = Field("front", description="camera of the store")
    trials: int = Field(1, ge=1, le=1000, description="pieces to replay")
    horizon: int | None = Field(
        None, ge=2, description="steps of a piece, whose last image is the goal; null: all"
    )


def drive_simulated(bundle: Path, options: SimulationOptions, output: Path) -> dict[str, Any]:
    """Drive to goal photos in the simulator; write the report and its figure into `output`.

    Raises:
        NavOffrlError: the bundle does not fit, a pose is not free, ROS is missing, a node died.
    """
    from nav_offrl_sim.configuration import load_robot_config

    _prepare(output)
    _contract(bundle)
    camera = load_robot_config(options.robot).camera
    pairs = _pairs(options)
    plan = {
        "replay": False,
        "drives": [{"start": list(start), "goal": list(goal)} for start, goal in pairs],
        "timeout": options.timeout,
    }
    navigator: Parameters = {
        "bundle": str(bundle.resolve()),
        "camera_height": camera.height,
        "camera_width": camera.width,
        "camera_horizontal_fov": camera.horizontal_fov,
        "goal_timeout": options.timeout,
    }
    bridge: Parameters = {
        "world": options.world,
        "world_seed": options.world_seed,
        "robot": options.robot,
    }
    records = _run(output, plan, {"sim_bridge": bridge, "navigator": navigator})
    drives = [measure_simulated(record) for record in records]
    settings = {"simulation": options.model_dump(mode="json")}
    report = _report(bundle, settings, drives, summarise_simulated(drives))
    from nav_offrl.drive_figures import draw_simulated

    draw_simulated(records, drives, options, output)
    return _write(report, output)


def drive_replayed(bundle: Path, options: ReplayOptions, output: Path) -> dict[str, Any]:
    """Send held-out images through the nodes; compare the commands with the driver's.

    Raises:
        NavOffrlError: bundle and store do not fit, ROS is missing, a node died.
    """
    from nav_offrl.store import Store

    _prepare(output)
    contract = _contract(bundle)
    store = Store.open(options.store)
    if store.info.rate_hz < contract.rate_hz:
        check_rate(contract.rate_hz, store.info.rate_hz, options.store)
    if options.camera not in store.info.cameras:
        raise NavOffrlError(f"holds no camera '{options.camera}'", where=options.store)
    camera = store.info.cameras[options.camera]
    pieces = _pieces(store, options)
    longest = max(piece["last"] - piece["first"] + 1 for piece in pieces)
    plan = {"replay": True, "drives": pieces, "timeout": longest / store.info.rate_hz + 10.0}
    unlimited = 1000.0  # the policy's own answer is compared, not the navigator's gentle start
    navigator: Parameters = {
        "bundle": str(bundle.resolve()),
        "camera_height": camera.height,
        "camera_width": camera.width,
        "camera_horizontal_fov": camera.horizontal_fov or 0.0,
        "max_linear_acceleration": unlimited,
        "max_angular_acceleration": unlimited,
    }
    bridge: Parameters = {"store": str(options.store.resolve()), "camera": options.camera}
    records = _run(output, plan, {"replay_bridge": bridge, "navigator": navigator})
    drives = [measure_replay(record) for record in records]
    report = _report(bundle, {"replay": options.model_dump(mode="json")}, drives, _pool(records))
    from nav_offrl.drive_figures import draw_replayed

    draw_replayed(records, output)
    return _write(report, output)


def _pairs(options: SimulationOptions) -> list[tuple[Pose, Pose]]:
    from nav_offrl_sim import generate_world, load_robot_config, load_world_config
    from nav_offrl_sim.configuration import EnvConfig
    from nav_offrl_sim.tasks import evaluation_pairs

    if options.start is not None and options.goal is not None:
        return [(options.start, options.goal)] * options.trials
    if options.start is not None or options.goal is not None:
        raise NavOffrlError("give both --start and --goal, or neither")
    world = generate_world(load_world_config(options.world), options.world_seed)
    limits = EnvConfig(world=options.world, robot=options.robot)
    return evaluation_pairs(
        world,
        options.trials,
        options.seed,
        limits.min_goal_distance,
        limits.max_goal_distance,
        load_robot_config(options.robot).footprint_radius,
    )


def _pieces(store: Any, options: ReplayOptions) -> list[dict[str, Any]]:
    """Cut the held-out episodes into pieces of the horizon; at most as many as asked for."""
    pieces: list[dict[str, Any]] = []
    for row in store.episodes.of_split("held_out"):
        length = int(store.episodes.length[row])
        horizon = min(options.horizon or length, length)
        for first in range(0, length - horizon + 1, horizon):
            name = store.episodes.name[row]
            pieces.append({"episode": name, "first": first, "last": first + horizon - 1})
    if not pieces:
        raise NavOffrlError(
            "holds no held-out episode",
            where=options.store,
            remedy="import it with a held-out share",
        )
    return pieces[: options.trials]


def _prepare(output: Path) -> None:
    if (output / REPORT).exists():
        raise NavOffrlError(
            f"holds a {REPORT} already", where=output, remedy="choose another folder"
        )
    output.mkdir(parents=True, exist_ok=True)


def _contract(bundle: Path) -> BundleContract:
    """Read the contract only: the navigator checks and loads the rest."""
    file = bundle / CONTRACT_FILE
    try:
        return parse_contract(file.read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise NavOffrlError(
            f"cannot be read ({error})", where=file, remedy="give a bundle's folder"
        ) from error


def _run(output: Path, plan: dict[str, Any], nodes: dict[str, Parameters]) -> list[dict[str, Any]]:
    """Start the nodes, let the client work through the plan, return its records."""
    logs = output / "logs"
    record = output / "record.json"
    record.unlink(missing_ok=True)
    environment = ros_environment(logs)
    common = [share_file(environment, "config/navigation.yaml")]
    plan_file = output / "plan.json"
    plan_file.write_text(json.dumps({**plan, "folder": str(output.resolve())}, indent=2))
    with RosProcesses(environment, logs) as processes:
        for name, parameters in {"safety_gate": {}, **nodes}.items():
            processes.start(name, parameters, common)
        client = processes.start("drive_client", arguments=[str(plan_file)])
        with _progress(plan) as show:
            _wait(client, processes, show)
    records: list[dict[str, Any]] = json.loads(record.read_text())
    return records


def _wait(client: "subprocess.Popen[bytes]", processes: RosProcesses, show: Any) -> None:
    """Wait for the client; raise when it or a node ends with an error."""
    while client.poll() is None:
        processes.check(except_for="drive_client")
        show(processes.last_line("drive_client"))
        time.sleep(0.2)
    if client.returncode:
        said = processes.last_line("drive_client").removeprefix("error: ")
        raise NavOffrlError(said or f"the client ended with status {client.returncode}")


@contextmanager
def _progress(plan: dict[str, Any]) -> Iterator[Any]:
    """Show how many drives are done, and the steps still predicted for the present one."""
    with tqdm(total=len(plan["drives"]), desc="driving", unit="drive") as bar:
        shown = ""

        def show(line: str) -> None:
            nonlocal shown
            if line.startswith("{") and line != shown:
                shown, told = line, json.loads(line)
                bar.update(told["drive"] - bar.n)
                bar.set_postfix_str(f"{told['steps_to_goal']:.0f} steps to go")

        yield show
        bar.update(len(plan["drives"]) - bar.n)


def _pool(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare over all pieces at once: short pieces alone say little."""
    import numpy as np

    from nav_offrl.drive_metrics import compare_actions, paired_actions

    pairs = [paired_actions(record) for record in records]
    commands, actions = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
    return {
        "pieces": len(records),
        "compared": len(commands),
        "imitation": compare_actions(commands, actions),
    }


def _report(
    bundle: Path, settings: dict[str, Any], drives: list[dict[str, Any]], summary: dict[str, Any]
) -> dict[str, Any]:
    return {
        "format": "nav_offrl.drive",
        "version": 1,
        "written_by": f"nav-offrl {__version__}",
        "bundle": str(bundle),
        **settings,
        "summary": summary,
        "drives": drives,
    }


def _write(report: dict[str, Any], output: Path) -> dict[str, Any]:
    """Write the report last: a folder with one is a finished drive."""
    partial = output / (REPORT + ".partial")
    partial.write_text(json.dumps(report, indent=2))
    partial.rename(output / REPORT)
    return report
