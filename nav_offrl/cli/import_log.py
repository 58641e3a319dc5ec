"""Bring recorded robot logs into a store.

Reports, run by run, what was kept, what was dropped and why; the same report lies as JSON beside
the store (STORE.import_report.json). Frames keep the very bytes of the log. Whole runs are held
out of training, chosen by --seed. An import that was interrupted goes on when called again.

Examples:
  nav-offrl import logs/ --output drives.zarr --rate-hz 10
  nav-offrl import logs/ -o drives.zarr --strict --robot unitree_go2 --licence MIT

Formats:
  gnm   GNM / ViNT / NoMaD: a folder of runs, each 0.jpg 1.jpg ... and traj_data.pkl
        with position (T, 2) in m and yaw (T,) in rad; or one such run
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nav_offrl_datasets.config import GnmImportConfig


@dataclass
class Args:
    """Arguments of `nav-offrl import`."""

    folder: tyro.conf.Positional[Path]
    """Folder of the log."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Path of the store to make; must not exist."""
    format: Literal["auto", "gnm"] = "auto"
    """Format of the log; auto recognises it by its files."""
    settings: Annotated[GnmImportConfig, tyro.conf.arg(name="")] = field(
        default_factory=GnmImportConfig
    )


def run(args: Args) -> int:
    """Import and print the report."""
    from rich.console import Console

    from nav_offrl_datasets.gnm import import_gnm, report_path

    # gnm is the only format so far, so that recognising it is its importer's own check.
    report = import_gnm(args.folder, args.output, args.settings, progress=True)
    console = Console()
    report.print(console)
    console.print(f"store:  {args.output}\nreport: {report_path(args.output)}", soft_wrap=True)
    return 0
