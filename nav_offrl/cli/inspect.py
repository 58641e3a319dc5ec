"""Show what a store holds, check it, draw it.

Prints amounts, rates, collisions, the range of every field, what is missing, and values that often
mean a fault of the recording (stale poses, gaps, jumps, outliers, constant fields, ...). With
--verify every checksum is compared and every frame decoded; the exit status is then 1 if the store
is damaged.

Examples:
  nav-offrl inspect drives.zarr
  nav-offrl inspect drives.zarr --verify --html drives.html
  nav-offrl inspect drives.zarr --rerun drives.rrd --episodes 0 3 && rerun drives.rrd
  nav-offrl inspect s3://bucket/drives.zarr --json | jq .distance
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nav_offrl_datasets.inspection.summary import StoreSummary

PICTURES = (".png", ".pdf", ".svg")


@dataclass
class Args:
    """Arguments of `nav-offrl inspect`."""

    store: tyro.conf.Positional[str]
    """Path or URL of the store."""
    verify: bool = False
    """Compare every checksum and decode every frame."""
    html: Path | None = None
    """Write one self-contained page: tables, paths, histograms, frames, import reports (.html)."""
    rerun: Path | None = None
    """Write a recording for the Rerun viewer: frames, path, time series (.rrd)."""
    episodes: tuple[int, ...] = ()
    """Which episodes go into --rerun, counted from 0; default: all."""
    picture: Path | None = None
    """Write paths, action histograms and sample frames to this image file (.png, .pdf, .svg)."""
    json: bool = False
    """Print the summary as JSON instead of tables."""


def run(args: Args) -> int:
    """Print the summary; return 1 if verification found a fault."""
    from nav_offrl.store import Store
    from nav_offrl_datasets.inspection.markup import printable
    from nav_offrl_datasets.inspection.summary import summarise, verify

    _check_files(args)
    store = Store.open(args.store)
    summary = summarise(store)
    if args.json:
        print(summary.model_dump_json(indent=2))
    else:
        _print_summary(summary)
    faults, remarks = verify(store) if args.verify else ([], [])
    for line in [f"fault: {fault}" for fault in faults] + [f"suspicious: {r}" for r in remarks]:
        print(printable(line), file=sys.stderr)
    if args.verify and not faults and not args.json:
        print(f"verified: {len(store.episodes)} episodes, {store.steps} steps, no fault")
    summary = summary.model_copy(update={"suspicious": (*summary.suspicious, *remarks)})
    if args.picture is not None:
        from nav_offrl_datasets.inspection.picture import draw_store

        draw_store(store, args.picture)
    if args.html is not None:
        from nav_offrl_datasets.inspection.html_report import write_html

        write_html(store, summary, faults, args.html)
    if args.rerun is not None:
        from nav_offrl_datasets.inspection.rerun_view import write_recording

        write_recording(store, args.rerun, args.episodes)
    return 1 if faults else 0


def _check_files(args: Args) -> None:
    """Raise NavOffrlError before any work is done for a file that cannot be written."""
    from nav_offrl.errors import NavOffrlError

    wanted = {"picture": PICTURES, "html": (".html", ".htm"), "rerun": (".rrd",)}
    for option, endings in wanted.items():
        path: Path | None = getattr(args, option)
        if path is None:
            continue
        if path.suffix not in endings:
            raise NavOffrlError(f"--{option} must end in {' or '.join(endings)}", where=path)
        if not path.parent.is_dir():
            raise NavOffrlError(
                "the folder does not exist", where=path.parent, remedy=f"mkdir -p {path.parent}"
            )
    if args.episodes and args.rerun is None:
        raise NavOffrlError("--episodes is for --rerun", remedy="add --rerun FILE.rrd")


def _print_summary(summary: "StoreSummary") -> None:
    from rich.console import Console

    from nav_offrl_datasets.inspection.markup import printable

    console = Console()
    for name, value in _facts(summary).items():
        _print_line(console, f"{name + ':':<15}{printable(value)}")
    for make in (_amounts, _cameras, _fields, _sources):
        table = make(summary)
        if table.row_count:
            console.print(table)
    for line in summary.suspicious:
        _print_line(console, f"suspicious: {printable(line)}", "yellow")


def _print_line(console: "Console", line: str, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _facts(summary: "StoreSummary") -> dict[str, str]:
    from nav_offrl_datasets.inspection.summary import (
        describe_counts,
        describe_events,
        describe_timing,
    )

    facts = {
        "store": summary.path,
        "content": f"sha256 {summary.fingerprint[:16]}",
        "steps": f"{summary.steps:,}",
        "rate": describe_timing(summary.timing),
        "actions": summary.action_source or "none",
        "collisions": describe_events(summary.collisions),
        "interventions": describe_events(summary.interventions),
        "robots": describe_counts(summary.robots),
        "licences": describe_counts(summary.licences),
        "missing": ", ".join(summary.missing_fields) or "nothing",
    }
    if summary.unfinished:
        facts["unfinished"] = f"{len(summary.unfinished)} episodes, see below"
    return facts | ({"notes": summary.notes} if summary.notes else {})


def _amounts(summary: "StoreSummary") -> "Table":
    table = _table("split", "episodes", "sessions", "km", "minutes")
    for split, count in summary.episodes.items():
        metres = None if summary.distance is None else summary.distance[split]
        kilometres = "unknown" if metres is None else f"{metres / 1e3:.3f}"
        minutes = f"{summary.duration[split] / 60:.1f}"
        table.add_row(split, str(count), str(summary.sessions[split]), kilometres, minutes)
    return table


def _cameras(summary: "StoreSummary") -> "Table":
    from rich.text import Text

    from nav_offrl_datasets.inspection.markup import printable

    table = _table("camera", "pixels", "coding", "calibration")
    for name, row in summary.cameras.items():
        cells = (name, f"{row.width}x{row.height}", row.coding, row.calibration)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _fields(summary: "StoreSummary") -> "Table":
    from rich.text import Text

    from nav_offrl_datasets.inspection.markup import printable

    figures = ("min", "1 %", "median", "99 %", "max", "NaN")
    table = _table("field", "unit", *figures)
    for column in table.columns:
        column.no_wrap = True
        column.justify = "right" if column.header in figures else "left"
    for row in summary.fields:
        not_finite = f"{row.not_finite:.1%}" if row.not_finite else ""
        words = (Text(printable(cell)) for cell in (row.name, row.unit))
        table.add_row(*words, *row.figures, not_finite)
    return table


def _sources(summary: "StoreSummary") -> "Table":
    from rich.text import Text

    from nav_offrl_datasets.inspection.markup import printable

    table = _table("field", "frame", "source")
    told = {row.field: (row.field, row.frame, row.source) for row in summary.fields if row.source}
    for cells in told.values():
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _table(*headers: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*headers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
