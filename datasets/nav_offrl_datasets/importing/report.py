"""What an importer kept, what it dropped, and why: nothing goes missing in silence."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nav_offrl.config import Config
from nav_offrl_datasets.importing.cutting import END_SLACK, STALE

# On the screen; the saved report has all.
SHOWN_DETAILS = 5  # lines a run
SHOWN_RUNS = 60
SHOWN_NAMES = 3  # of runs that share a fact
COLUMNS = (
    *("run", "split", "parts", "kept", "lost", "m", "s"),
    *("Hz", "+-ms", "stale", "gaps", "jumps"),
)
# Dropped because a setting asks for it: no warning.
ASKED_FOR = (END_SLACK, STALE)


def as_utf8(text: str) -> str:
    """Return `text` with "?" for what is no UTF-8: names of files may be any bytes."""
    return text.encode(errors="replace").decode()


Utf8 = Annotated[str, AfterValidator(as_utf8)]


class RunReport(Config):
    """The fate of one run of the log."""

    name: Utf8
    session: str = ""
    split: str = ""
    split_by_log: bool = Field(default=False, description="the log itself says the split")
    kept: int = Field(default=0, description="steps in the store")
    episodes: int = 0
    dropped: dict[Utf8, int] = Field(default_factory=dict, description="reason -> steps")
    details: tuple[Utf8, ...] = Field(default=(), description="files and steps by name")
    facts: tuple[Utf8, ...] = Field(default=(), description="findings that lose nothing")
    refused: Utf8 | None = Field(default=None, description="why nothing of the run was taken")
    in_store: bool = Field(default=False, description="the same content was in the store already")
    distance: float = Field(default=0.0, description="m, along the kept steps")
    lateral_distance: float = Field(
        default=0.0, description="m moved sideways, which (v, omega) actions cannot express"
    )
    duration: float = Field(default=0.0, description="s, of the kept steps")
    period: float | None = Field(
        default=None, description="s, median between the run's steps; null: no timestamps"
    )
    jitter: float | None = Field(
        default=None, description="s, 95th percentile of the deviation from that period"
    )
    stale_poses: int = Field(default=0, description="steps with exactly the previous pose")
    gaps: int = Field(default=0, description="periods so long that the run was split there")
    position_jumps: int = 0
    clock_resets: int = Field(default=0, description="steps at which time goes back")

    @property
    def warnings(self) -> list[str]:
        """One line for each thing that is not in the store as it was in the log."""
        lines = [f"{self.name}: refused, {self.refused}"] if self.refused else []
        lines += [
            f"{self.name}: {count} dropped, {why}"
            for why, count in self.dropped.items()
            if why not in ASKED_FOR
        ]
        if self.episodes > 1:
            lines.append(f"{self.name}: split into {self.episodes} episodes")
        return lines


class ImportReport(Config):
    """The fate of a whole log."""

    source: Utf8
    format: str = ""
    settings: dict[str, Any] = Field(default_factory=dict, description="those not left at default")
    runs: tuple[RunReport, ...]
    unknown_files: tuple[Utf8, ...] = ()
    notes: tuple[Utf8, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Everything that `--strict` refuses."""
        lines = [line for run in self.runs for line in run.warnings]
        return lines + [f"{name}: not understood, ignored" for name in self.unknown_files]

    @property
    def kept(self) -> int:
        """Steps that this import brought into the store."""
        return sum(run.kept for run in self.runs)

    @property
    def distance(self) -> float:
        """Metres driven along the kept steps."""
        return sum(run.distance for run in self.runs)

    def print(self, console: Console) -> None:
        """Show a row a run, then every warning, fact and note."""
        console.print(self._table())
        for line in self.warnings:
            _print(console, f"warning: {line}", "yellow")
        for run in self.runs:
            for line in run.details[:SHOWN_DETAILS]:
                _print(console, f"  {run.name}: {line}")
            if len(run.details) > SHOWN_DETAILS:
                more = len(run.details) - SHOWN_DETAILS
                _print(console, f"  {run.name}: {more} more, see the saved report")
        for line in [*self._shared_facts(), *self.notes]:
            _print(console, f"note: {line}")

    def _shared_facts(self) -> list[str]:
        """Return each fact once, with the runs that it is true of."""
        names: dict[str, list[str]] = {}
        for run in self.runs:
            for fact in run.facts:
                names.setdefault(fact, []).append(run.name)
        total = sum(1 for run in self.runs if not run.in_store)
        return [f"{_whose(runs, total)}{fact}" for fact, runs in names.items()]

    def _table(self) -> Table:
        """Return a row a run, without the columns that are empty for all of them."""
        shown = self.runs
        if len(shown) > SHOWN_RUNS:  # those that were not kept as they are come first
            shown = tuple(sorted(shown, key=lambda run: not run.warnings)[:SHOWN_RUNS])
        rows = [_cells(run) for run in shown]
        total = _cells(self._total())
        # Text, since a name in square brackets would be taken for a style.
        table = Table(title=Text(f"import of {self.source}"), box=SIMPLE_HEAD, padding=0)
        used = [name for name in COLUMNS if any(row[name] for row in (*rows, total))]
        for name in used:
            table.add_column(
                name, justify="left" if name in ("run", "split") else "right", no_wrap=True
            )
        for run, row in zip(shown, rows, strict=True):
            cells = [Text(row[name]) for name in used]
            table.add_row(*cells, style="red" if run.refused else None)
        if len(shown) < len(self.runs):
            table.add_row(f"... and {len(self.runs) - len(shown)} more, see the saved report")
        table.add_section()
        table.add_row(*(total[name] for name in used))
        return table

    def _total(self) -> RunReport:
        return RunReport(
            name="total",
            kept=self.kept,
            episodes=sum(run.episodes for run in self.runs),
            dropped={"": sum(sum(run.dropped.values()) for run in self.runs)},
            distance=self.distance,
            duration=sum(run.duration for run in self.runs),
            stale_poses=sum(run.stale_poses for run in self.runs),
            gaps=sum(run.gaps for run in self.runs),
            position_jumps=sum(run.position_jumps for run in self.runs),
        )


def _cells(run: RunReport) -> dict[str, str]:
    dropped = sum(run.dropped.values())
    return {
        "run": run.name,
        "split": "refused" if run.refused else "in store" if run.in_store else run.split,
        "parts": str(run.episodes),
        "kept": str(run.kept),
        "lost": str(dropped or ""),
        "m": f"{run.distance:.1f}" if run.distance else "",
        "s": f"{run.duration:.1f}",
        "Hz": "" if run.period is None else f"{1 / run.period:.3g}",
        "+-ms": "" if run.jitter is None else f"{run.jitter * 1e3:.0f}",
        "stale": str(run.stale_poses or ""),
        "gaps": str(run.gaps or ""),
        "jumps": str(run.position_jumps or ""),
    }


def _whose(runs: list[str], total: int) -> str:
    if len(runs) == total:
        return "all runs: " if total > 1 else ""
    if len(runs) <= SHOWN_NAMES:
        return f"{', '.join(runs)}: "
    return f"{', '.join(runs[:SHOWN_NAMES])} and {len(runs) - SHOWN_NAMES} more runs: "


def _print(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, soft_wrap=True, highlight=False)
