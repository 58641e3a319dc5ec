"""OGBench's point mazes: logs of them, made here, to train and to compare on.

`generate` drives as the published logs were driven (Park et al. 2024, arXiv 2410.20092, appendix):
a point follows the shortest way to random goals, with noise on its actions. The published ones came
from a seed that nobody knows, for their script seeds nothing; these are a function of --seed, and
of the versions in peers.txt. OGBench runs in a virtual environment of its own, made by `install`.

Examples:
  python -m benchmarks.ogbench install
  python -m benchmarks.ogbench generate pointmaze-medium-navigate --output data
  nav-offrl import data/pointmaze-medium-navigate-v0.npz --output data/medium.zarr
"""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

FOLDER = Path(__file__).parent
REQUIREMENTS = FOLDER / "peers.txt"
PEERS = FOLDER.parent / ".peers-ogbench"


@dataclass
class Install:
    """Make the virtual environment that OGBench runs in."""

    peers: Path = PEERS

    def run(self) -> int:
        venv.create(self.peers, with_pip=True, clear=True)
        python = self.peers / "bin" / "python"
        command = [python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]
        if subprocess.run(command).returncode:
            sys.exit(f"could not install {REQUIREMENTS} into {self.peers}; pip says why above")
        return 0


@dataclass
class Generate:
    """Drive through a maze and write NAME-v0.npz and, held out, NAME-v0-val.npz."""

    dataset: Annotated[str, tyro.conf.Positional]
    """such as pointmaze-medium-navigate: medium, large, giant or teleport; navigate or stitch"""
    output: Path = Path("benchmark_output/ogbench")
    seed: int = 0
    episodes: int | None = None
    """to learn from, a tenth as many are held out; as published where not given"""
    peers: Path = PEERS

    def run(self) -> int:
        python = self.peers / "bin" / "python"
        if not python.exists():
            sys.exit(f"there is no {python}; run python -m benchmarks.ogbench install")
        command = [python, FOLDER / "point_maze.py", self.dataset, self.output, str(self.seed)]
        return subprocess.run(command + ([str(self.episodes)] if self.episodes else [])).returncode


if __name__ == "__main__":
    sys.exit(tyro.cli(Install | Generate, description=__doc__).run())
