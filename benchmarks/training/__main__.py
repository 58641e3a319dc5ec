"""Speed of updates beside CORL, d3rlpy and OGBench's JAX agents, all in one run.

Every row is one method at one size: updates alone, on batches drawn beforehand, or sampling from a
log of a million rows and updates. The contenders take turns on the same cores. With ours goes the
limit: the matrix products of our own update and nothing else of it. "like peers" is ours with
ReLU and without LayerNorm, as the peer's networks are, and with one goal for value and policy.

Peers run in a virtual environment of their own, made by --install-peers. CORL's files and OGBench's
agents are no packages: say where checkouts of github.com/tinkoff-ai/CORL and
github.com/seohongpark/ogbench are. A peer that is not there is left out.

Examples:
  python -m benchmarks.training --install-peers
  python -m benchmarks.training --corl ~/CORL --ogbench ~/ogbench
  python -m benchmarks.training --rows iql_256 --cores 2 --quick
"""

import datetime
import itertools
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.sim.turns import ROOT, Contender, in_turn
from benchmarks.training import peers, report
from benchmarks.training.ours import write_store
from benchmarks.training.synthetic import Case

SMALL, LARGE = (256, 256), (512, 512, 512)
UPDATE, SAMPLE = "update", "sample and update"


@dataclass(frozen=True)
class Row:
    """A method at one size, who else does it, and how many steps a turn has."""

    title: str
    case: Case
    steps: int
    peers: tuple[str, ...] = ()
    like_peers: bool = False


ROWS = {
    "iql_256": Row("IQL, batch 256, 256x2", Case("iql", 256, SMALL), 60, ("corl", "d3rlpy"), True),
    "iql_1024": Row(
        "IQL, batch 1024, 512x3", Case("iql", 1024, LARGE), 5, ("corl", "d3rlpy"), True
    ),
    "gciql_256": Row(
        "goal-conditioned IQL, batch 256, 256x2", Case("iql", 256, SMALL), 60, ("ogbench",)
    ),
    "gciql_1024": Row(
        "goal-conditioned IQL, batch 1024, 512x3", Case("iql", 1024, LARGE), 5, ("ogbench",)
    ),
    "cql_256": Row(
        "CQL(H), batch 256, 256x2, 30 samples", Case("cql", 256, SMALL), 8, ("corl", "d3rlpy"), True
    ),
    "images_256": Row(
        "IQL end to end, batch 256, 64x48 frames", Case("iql", 256, SMALL, images=True), 5
    ),
}
NAMES = {"corl": "CORL", "d3rlpy": "d3rlpy", "ogbench": "OGBench (JAX)"}


@dataclass
class Args:
    """Measure updates a second."""

    rows: list[str] = field(default_factory=lambda: list(ROWS))
    """which rows"""
    cores: list[int] = field(default_factory=lambda: [1, 2])
    """processor cores, each count apart"""
    work: list[str] = field(default_factory=lambda: [UPDATE, SAMPLE])
    """updates alone, or with sampling"""
    rounds: int = 5
    """turns of each contender"""
    peers: Path = peers.FOLDER
    """virtual environment with the peers"""
    install_peers: bool = False
    """make that virtual environment and stop"""
    corl: Path | None = None
    """checkout of github.com/tinkoff-ai/CORL"""
    ogbench: Path | None = None
    """checkout of github.com/seohongpark/ogbench"""
    quick: bool = False
    """a look in a minute or two, no figures to quote"""
    json: Path | None = None
    """also write all figures to this file and a table beside it; what it has of other rows stays"""
    store: Path | None = None
    """where to keep the synthetic log between runs"""


def main(args: Args) -> None:
    if args.install_peers:
        return peers.install(args.peers)
    if args.quick:
        args.rounds = 2
    if max(args.cores) > (allowed := len(os.sched_getaffinity(0))):
        sys.exit(f"--cores {max(args.cores)}: this process may use {allowed}")
    if unknown := set(args.rows) - set(ROWS):
        sys.exit(f"no row is called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder) / "log.zarr"
        if not store.exists():
            write_store(store, Case.rows)
        for name, cores, work in itertools.product(args.rows, args.cores, args.work):
            figures = kept(measure(name, cores, work, store, args), args.json)
            print(report.markdown(figures | {"groups": [figures["latest"]]}), flush=True)


def measure(name: str, cores: int, work: str, store: Path, args: Args) -> dict[str, Any]:
    """Let all contenders of a row take turns on so many cores."""
    row = ROWS[name]
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, available[-cores:])  # whatever is started inherits it
    load = os.getloadavg()[0]
    case = replace(row.case, sampling=work == SAMPLE, where=str(store))
    contenders = [ours("ours", case, cores)]
    if row.like_peers:
        contenders.append(ours("ours, like peers", replace(case, like_peers=True), cores))
    if work == UPDATE:
        contenders.append(ours("products alone", replace(case, products=True), cores))
    contenders += [peer for each in row.peers if (peer := peer_of(each, case, cores, args))]
    figures = in_turn(contenders, args.rounds, row.steps * cores)
    os.sched_setaffinity(0, available)
    return {
        "row": name,
        "title": row.title,
        "work": work,
        "cores": cores,
        "date": datetime.date.today().isoformat(),
        "load": [load, os.getloadavg()[0]],
        "contenders": figures,
    }


def ours(name: str, case: Case, cores: int) -> Contender:
    command = [sys.executable, "-m", "benchmarks.training.ours", json.dumps(asdict(case))]
    return Contender(name, command, threads(cores))


def peer_of(name: str, case: Case, cores: int, args: Args) -> Contender | None:
    python = peers.python_of(args.peers)
    checkout = {"corl": args.corl, "ogbench": args.ogbench, "d3rlpy": ROOT}[name]
    if checkout is None or not python.exists():
        print(f"{NAMES[name]} is left out; see --help for where to get it", file=sys.stderr)
        return None
    values = json.dumps(asdict(replace(case, where=str(checkout))))
    command = [str(python), "-m", f"benchmarks.training.peer_{name}", values]
    return Contender(NAMES[name], command, threads(cores))


def threads(count: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(count))


def kept(group: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """Put a group in the place of the one that an earlier run wrote to `path`, if any."""
    before = json.loads(path.read_text())["groups"] if path is not None and path.exists() else []
    groups = {place(each): each for each in [*before, group]}
    figures = {
        "machine": machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "groups": sorted(groups.values(), key=place),
    }
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")
        path.with_suffix(".md").write_text(report.markdown(figures) + "\n")
    return figures | {"latest": group}


def place(group: dict[str, Any]) -> tuple[int, int, int]:
    """Where a group stands in the table."""
    return list(ROWS).index(group["row"]), (UPDATE, SAMPLE).index(group["work"]), group["cores"]


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), ""
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
