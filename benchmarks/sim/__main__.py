"""Speed of the simulator on one core, beside MiniWorld and bare MuJoCo, all in one run.

Whole environment steps (motion, contact, IMU, lidar, people, camera) at two sizes of picture;
MiniWorld's whole step in an office of the same plan with as many objects (it has neither lidar nor
IMU); MuJoCo drawing as many separate objects and nothing else. The contenders take turns on one
core, so that what disturbs the machine disturbs them all. Then steps without pictures, resets into
other worlds, and memory over them. MiniWorld runs in a virtual environment of its own, made by
--install-peers; without one it is left out. Takes about five minutes.

Examples:
  python -m benchmarks.sim --install-peers
  python -m benchmarks.sim --json sim.json
  python -m benchmarks.sim --quick
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.sim import peers, report
from benchmarks.sim.turns import ROOT, Contender, in_turn, one_core

SIZES = ((64, 64), (128, 96))
INDOORS, OUTDOORS = ("office",), ("forest", "campus")
STATE_ONLY = {"images": "never", "goal": "pose", "lidar": False}
STATE_STEPS = 5  # times as many steps where nothing is drawn


@dataclass
class Args:
    """Measure steps a second, resets and memory of the simulator."""

    rounds: int = 5
    """turns of each contender"""
    steps: int = 300
    """environment steps in a turn"""
    worlds: int = 20
    """different worlds among the resets"""
    resets: int = 1000
    """resets in the first world over which memory is looked at, 100 at least; a fifth of them in
    the others"""
    pedestrians: int = 4
    """people who walk about outdoors"""
    peers: Path = peers.FOLDER
    """virtual environment with MiniWorld"""
    install_peers: bool = False
    """make that virtual environment and stop"""
    quick: bool = False
    """a look in two minutes, no figures to quote"""
    json: Path | None = None
    """also write all figures to this file"""


def main(args: Args) -> None:
    if args.install_peers:
        return peers.install(args.peers)
    if args.quick:
        args.rounds, args.steps, args.worlds, args.resets = 2, 100, 5, 500
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # whatever is started inherits it
    load = os.getloadavg()[0]
    figures: dict[str, Any] = {
        "indoors": {size: indoors(size, args) for size in map(name_of, SIZES)},
        "outdoors": {size: outdoors(size, args) for size in map(name_of, SIZES)},
        "state_only": state_only(args),
        "resets": [
            resets(world, args.worlds, args.resets if world in INDOORS else args.resets // 5)
            for world in (*INDOORS, *OUTDOORS)
        ],
        "load": [load, os.getloadavg()[0]],
        "pedestrians": args.pedestrians,
    }
    if args.json is not None:  # first: minutes of work must not depend on the table
        args.json.write_text(json.dumps(figures, indent=2))
    print(report.markdown(figures))


def name_of(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def sides(size: str) -> tuple[int, int]:
    width, height = map(int, size.split("x"))
    return width, height


def ours(name: str, **settings: Any) -> Contender:
    command = [sys.executable, "-m", "benchmarks.sim.contenders", "environment"]
    return Contender(name, [*command, json.dumps(settings)])


def separate_objects(like: Contender, size: str) -> Contender:
    width, height = sides(size)
    values = {"objects": like.facts["objects"], "size": like.facts["size"], "samples": 0}
    command = [sys.executable, "-m", "benchmarks.sim.contenders", "separate_objects"]
    values |= {"width": width, "height": height}
    name = f"bare MuJoCo, {like.facts['objects']} separate objects"
    return Contender(name, [*command, json.dumps(values)])


def miniworld(objects: int, size: str, folder: Path) -> Contender:
    command = [str(peers.python_of(folder)), "-m", "benchmarks.sim.miniworld_office", "office"]
    return Contender("MiniWorld", [*command, *map(str, (*sides(size), objects))], peers.HEADLESS)


def with_and_without_lidar(world: str, size: str, **settings: Any) -> list[Contender]:
    width, height = sides(size)
    settings |= {"world": world, "width": width, "height": height}
    return [ours(world, **settings), ours(f"{world}, no lidar", **settings, lidar=False)]


def indoors(size: str, args: Args) -> list[dict[str, Any]]:
    contenders = [each for world in INDOORS for each in with_and_without_lidar(world, size)]
    if peers.python_of(args.peers).exists():
        contenders.append(miniworld(contenders[0].facts["objects"], size, args.peers))
    else:
        hint = "python -m benchmarks.sim --install-peers"
        print(f"MiniWorld is left out: nothing in {args.peers}; `{hint}`", file=sys.stderr)
    contenders.append(separate_objects(contenders[0], size))
    return in_turn(contenders, args.rounds, args.steps)


def outdoors(size: str, args: Args) -> list[dict[str, Any]]:
    people = {"pedestrians": args.pedestrians}
    contenders = [
        each for world in OUTDOORS for each in with_and_without_lidar(world, size, **people)
    ]
    contenders.append(separate_objects(contenders[0], size))
    return in_turn(contenders, args.rounds, args.steps)


def state_only(args: Args) -> list[dict[str, Any]]:
    smallest = dict(zip(("width", "height"), SIZES[0], strict=True))
    contenders = [
        ours(world, world=world, **smallest, **STATE_ONLY) for world in (*INDOORS, *OUTDOORS)
    ]
    return in_turn(contenders, args.rounds, STATE_STEPS * args.steps)


def resets(world: str, worlds: int, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.sim.resets", world]
        done = subprocess.run(
            [*command, str(worlds), str(count), folder],
            cwd=ROOT,
            env={**os.environ, **one_core()},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
