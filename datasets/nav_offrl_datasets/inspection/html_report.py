"""A store on one page of HTML: what is in it, drawn, with all pictures embedded."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.schema import SPLITS
from nav_offrl_datasets.importing.report import ImportReport
from nav_offrl_datasets.inspection import markup
from nav_offrl_datasets.inspection.contact_sheet import row_of, spread_steps, strips, thumbnail
from nav_offrl_datasets.inspection.picture import actions_png, paths_png, speed_png
from nav_offrl_datasets.inspection.summary import (
    StoreSummary,
    describe_counts,
    describe_events,
    describe_timing,
    episode_distances,
    episode_durations,
    event_starts,
)

SHEET_FRAMES = 24
STRIP_FRAMES = 8
COLLISION_STRIPS = 4
MAX_CAMERAS = 6  # with pictures
MAX_EPISODES = 300  # rows of the table
MAX_RUNS = 200  # rows of an import report's table
MAX_REPORTS = 50
QUALITY = 80  # of the small JPEGs


def write_html(store: Store, summary: StoreSummary, faults: Sequence[str], path: Path) -> None:
    """Write the page to `path`, whole or not at all.

    `faults`: what `inspection.verify` found, if it was asked.

    Raises:
        OSError: `path` cannot be written.
    """
    name = summary.path.rstrip("/").rsplit("/", 1)[-1]
    amounts = f"{len(store.episodes):,} episodes, {store.steps:,} steps"
    body = [
        f"<h1>{markup.text(name)}</h1>",
        f'<p class="soft">{markup.text(summary.path)} · sha256 {summary.fingerprint[:16]}</p>',
        _tiles(summary),
        markup.section("Damaged", markup.lines(faults), kind="fault"),
        markup.section("Suspicious", markup.lines(summary.suspicious), kind="warn"),
        _contents(summary),
        markup.section("Paths from above", markup.wide_image(paths_png(store), "paths")),
        markup.section("Actions", markup.wide_image(actions_png(store), "action histograms")),
        markup.section("Speed over time", markup.wide_image(speed_png(store), "speed over time")),
        *(_camera(store, camera) for camera in list(store.info.cameras)[:MAX_CAMERAS]),
        _fields(summary),
        _episodes(store),
        *_reports(store),
    ]
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(markup.page(f"{name}: {amounts}", body), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _tiles(summary: StoreSummary) -> str:
    metres = None if summary.distance is None else sum(summary.distance.values())
    tiles = {
        "episodes": markup.number(sum(summary.episodes.values())),
        "steps": markup.number(summary.steps),
        "km": "unknown" if metres is None else f"{metres / 1e3:.3g}",
        "minutes": f"{sum(summary.duration.values()) / 60:.1f}",
        "Hz": f"{summary.timing.stated_hz:g}",
        "collisions": "not recorded"
        if summary.collisions is None
        else markup.number(summary.collisions.count),
        "suspicious": markup.number(len(summary.suspicious)),
    }
    shown = (f'<div class="tile"><b>{markup.text(v)}</b>{k}</div>' for k, v in tiles.items())
    return f'<div class="tiles">{"".join(shown)}</div>'


def _contents(summary: StoreSummary) -> str:
    metres = summary.distance
    splits = markup.table(
        ("split", "episodes", "sessions", "km", "minutes"),
        [
            (
                split,
                summary.episodes[split],
                summary.sessions[split],
                None if metres is None else metres[split] / 1e3,
                summary.duration[split] / 60,
            )
            for split in SPLITS
        ],
    )
    facts = {
        "rate": describe_timing(summary.timing),
        "actions": summary.action_source or "none",
        "collisions": describe_events(summary.collisions),
        "interventions": describe_events(summary.interventions),
        "robots": describe_counts(summary.robots),
        "licences": describe_counts(summary.licences),
        "unfinished episodes": f"{len(summary.unfinished):,}",
        "missing fields": ", ".join(summary.missing_fields) or "none",
        "notes": summary.notes or "none",
    }
    return markup.section("Contents", splits, markup.table(("", ""), facts.items()))


def _camera(store: Store, camera: str) -> str:
    table = store.episodes
    frames = []
    for step in spread_steps(store, SHEET_FRAMES):
        row = row_of(store, step)
        at = step - int(table.start[row])
        frames.append(_frame(store, camera, step, f"step {step:,}: {table.name[row]}, {at}"))
    parts = ["<h3>Contact sheet</h3>", f'<div class="frames">{"".join(frames)}</div>']
    for strip in strips(store, STRIP_FRAMES, COLLISION_STRIPS):
        shown = (_frame(store, camera, step, f"step {step:,}") for step in strip.steps)
        parts.append(f"<h3>{markup.text(strip.caption)}</h3>")
        parts.append(f'<div class="frames">{"".join(shown)}</div>')
    return markup.section(f"Camera '{camera}'", *parts)


def _frame(store: Store, camera: str, step: int, caption: str) -> str:
    image = thumbnail(store, camera, step)
    if image is None:
        return markup.figure(None, caption)
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return markup.figure(jpeg, caption)


def _fields(summary: StoreSummary) -> str:
    headers = ("field", "shape", "unit", "frame", "source")
    fields = markup.table(
        (*headers, "min", "1 %", "median", "99 %", "max", "not finite"),
        [
            (
                row.name,
                "x".join(map(str, row.shape)) or "scalar",
                row.unit,
                row.frame,
                row.source,
                *row.figures,
                f"{row.not_finite:.1%}" if row.not_finite else "",
            )
            for row in summary.fields
        ],
    )
    cameras = markup.table(
        ("camera", "pixels", "coding", "Hz", "frame", "calibration"),
        [
            (name, f"{row.width}x{row.height}", row.coding, row.rate_hz, row.frame, row.calibration)
            for name, row in summary.cameras.items()
        ],
    )
    return markup.section("Fields", fields, cameras if summary.cameras else "")


def _episodes(store: Store) -> str:
    table = store.episodes
    metres, seconds = episode_distances(store), episode_durations(store)
    hits = np.zeros(len(table), np.int64)
    if "collision" in store.info.fields:
        rows = np.searchsorted(table.start, event_starts(store, "collision"), side="right") - 1
        np.add.at(hits, rows, 1)
    headers = ("episode", "session", "split", "state", "robot", "source", "steps", "s", "m")
    shown = [
        (
            table.name[row],
            table.session[row],
            SPLITS[table.split[row]],
            "" if table.complete[row] else "unfinished",
            table.robot[row],
            table.source[row],
            int(table.length[row]),
            float(seconds[row]),
            None if metres is None else float(metres[row]),
            int(hits[row]) if "collision" in store.info.fields else None,
        )
        for row in range(min(len(table), MAX_EPISODES))
    ]
    more = len(table) - len(shown)
    rest = f"<p>... and {more:,} more episodes.</p>" if more else ""
    return markup.section("Episodes", markup.table((*headers, "collisions"), shown), rest)


def _reports(store: Store) -> list[str]:
    if store.location.remote is not None:
        return [markup.section("Imports", "<p>Import reports are read from local stores only.</p>")]
    found = (store.path / "reports").glob("*.json")
    files = sorted(found, key=lambda file: (len(file.name), file.name))  # 10 after 9
    more = f"<p>... and {len(files) - MAX_REPORTS} older reports.</p>"
    shown = [_report(file) for file in files[-MAX_REPORTS:]]
    return shown + ([markup.section("Imports", more)] if len(files) > MAX_REPORTS else [])


def _report(file: Path) -> str:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        report = parse_config(ImportReport, values, file)
    except (OSError, ValueError, NavOffrlError) as error:
        return markup.section(f"Import {file.stem}", f"<p>{markup.text(error)}</p>", kind="warn")
    runs = [
        (
            run.name,
            "refused" if run.refused else "in store" if run.in_store else run.split,
            run.kept,
            sum(run.dropped.values()),
            run.episodes,
            "; ".join(f"{count} {why}" for why, count in run.dropped.items()) or run.refused or "",
        )
        for run in report.runs
    ]
    headers = ("run", "split", "kept", "dropped", "parts", "why dropped")
    kept = f"{report.kept:,} steps kept of {len(report.runs):,} runs"
    facts = [f"{run.name}: {fact}" for run in report.runs for fact in run.facts]
    details = [f"{run.name}: {detail}" for run in report.runs for detail in run.details]
    more = f"<p>... and {len(runs) - MAX_RUNS:,} more runs.</p>" if len(runs) > MAX_RUNS else ""
    return markup.section(
        f"Import of {report.source}",
        f'<p class="soft">{markup.text(kept)}; {markup.text(file.name)}</p>',
        markup.lines(report.warnings),
        markup.lines(report.notes),
        _folded("runs", markup.table(headers, runs[:MAX_RUNS]) + more),
        _folded("facts", markup.lines(facts)),
        _folded("files and steps by name", markup.lines(details)),
    )


def _folded(summary: str, content: str) -> str:
    if not content:
        return ""
    return f"<details><summary>{markup.text(summary)}</summary>{content}</details>"
