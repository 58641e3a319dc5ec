"""Show what a store holds, check it, draw it.

Prints amounts, action ranges, missing fields, and values that often mean a fault of the recording
(stale poses, gaps, outliers). With --verify every checksum is compared and every frame decoded;
the exit status is then 1 if the store is damaged.

Examples:
  nav-offrl inspect drives.zarr
  nav-offrl inspect drives.zarr --verify --picture drives.png
  nav-offrl inspect drives.zarr --json | jq .distance
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from nav_offrl_datasets.inspection import StoreSummary


@dataclass
class Args:
    """Arguments of `nav-offrl inspect`."""

    store: tyro.conf.Positional[Path]
    """Path of the store."""
    verify: bool = False
    """Compare every checksum and decode every frame."""
    picture: Path | None = None
    """Write paths, action histograms and sample frames to this image file (.png, .pdf, .svg)."""
    json: bool = False
    """Print the summary as JSON instead of tables."""


def run(args: Args) -> int:
    """Print the summary; return 1 if verification found a fault."""
    from nav_offrl.errors import NavOffrlError
    from nav_offrl.store import Store
    from nav_offrl_datasets.inspection import summarise, verify

    if args.picture is not None and args.picture.suffix not in (".png", ".pdf", ".svg"):
        raise NavOffrlError("--picture must end in .png, .pdf or .svg", where=args.picture)
    store = Store.open(args.store)
    summary = summarise(store)
    if args.json:
        print(summary.model_dump_json(indent=2))
    else:
        _print_summary(summary)
    if args.picture is not None:
        from nav_offrl_datasets.picture import draw_store

        draw_store(store, args.picture)
    faults, remarks = verify(store) if args.verify else ([], [])
    for line in [f"fault: {fault}" for fault in faults] + [f"suspicious: {r}" for r in remarks]:
        print(line, file=sys.stderr)
    if args.verify and not faults and not args.json:
        print(f"verified: {len(store.episodes)} episodes, {store.steps} steps, no fault")
    return 1 if faults else 0


def _print_summary(summary: "StoreSummary") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    nominal = " (nominal: the log has no timestamps)" if summary.rate_is_nominal else ""
    lines = [
        f"store:     {summary.path}",
        f"rate:      {summary.rate_hz:g} Hz{nominal}",
        f"actions:   {summary.action_source}",
        *(f"camera:    {name}, {text}" for name, text in summary.cameras.items()),
        f"collision: {'not recorded' if summary.collisions is None else summary.collisions}",
        f"missing:   {', '.join(summary.missing_fields) or 'nothing'}",
        f"content:   sha256 {summary.fingerprint[:16]}",
    ]
    amounts = Table("split", "episodes", "km", "minutes", box=SIMPLE_HEAD, padding=0)
    for split, count in summary.episodes.items():
        kilometres, minutes = summary.distance[split] / 1e3, summary.duration[split] / 60
        amounts.add_row(split, str(count), f"{kilometres:.3f}", f"{minutes:.1f}")
    ranges = Table("action", "min", "1 %", "median", "99 %", "max", box=SIMPLE_HEAD, padding=0)
    for name, values in summary.actions.items():
        ranges.add_row(name, *(f"{value:.2f}" for value in values))
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"steps:     {summary.steps}", highlight=False)
    console.print(amounts)
    console.print(ranges)
    for line in summary.suspicious:
        console.print(
            f"suspicious: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
