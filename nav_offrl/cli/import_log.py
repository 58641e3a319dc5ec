"""Bring recorded robot logs into a store, a new one or one that is there already.

Reports, run by run, what was kept, what was dropped and why; the same report lies in the store
(STORE/reports/). JPEG frames keep the very bytes of the log. Whole sessions are held out of
training, chosen by --seed. What is in the store already is skipped; an import that was interrupted
goes on when called again.

Examples:
  nav-offrl import logs/ -o drives.zarr --rate-hz 10
  nav-offrl import drive.bag -o drives.zarr --recipe jackal --label --labels.close-range 0.5
  nav-offrl import logs/ -o drives.zarr --strict --robot unitree_go2 --licence MIT

A store of an earlier schema version is copied into a new one of the present version.

Formats:
{formats}
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig, LabelConfig
from nav_offrl_datasets.formats import table

__doc__ = (__doc__ or "").format(formats=table())


@dataclass
class Args:
    """Arguments of `nav-offrl import`."""

    path: tyro.conf.Positional[Path]
    """File or folder of the log, or a store of an earlier version."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Path of the store to make, or of one to add to."""
    format: str = "auto"
    """Format of the log, from the list above; auto recognises it by its files."""
    label: bool = False
    """Label collisions and bumpiness from lidar, IMU and motion where the log has no such field;
    giving any threshold does so too. A bag's recipe may say so itself."""
    labels: LabelConfig = field(default_factory=LabelConfig)
    """Thresholds of the labels."""
    # `labels` of the settings is an either-or that no flag can express: the two above stand for it.
    settings: Annotated[ImportConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands] = field(
        default_factory=ImportConfig
    )


def run(args: Args) -> int:
    """Import and print the report."""
    from rich.console import Console

    from nav_offrl_datasets.importing.driver import import_log

    if (args.path / "zarr.json").is_file():
        _migrate(args)
        return 0
    settings = args.settings
    if args.label or args.labels != LabelConfig():
        settings = settings.model_copy(update={"labels": args.labels})
    report = import_log(args.path, args.output, settings, args.format)
    console = Console()
    report.print(console)
    console.print(f"store: {args.output}", soft_wrap=True, highlight=False)
    return 0


def _migrate(args: Args) -> None:
    from tqdm import tqdm

    from nav_offrl.store.migration import migrate

    if args != Args(args.path, args.output):
        raise NavOffrlError(
            "is a store, which is copied as it is", where=args.path, remedy="give --output alone"
        )
    path = migrate(args.path, args.output, lambda rows: tqdm(rows, "copy", unit="episode"))
    print(f"store: {path}")
