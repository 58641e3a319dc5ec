"""What an importer kept, what it dropped, and why: nothing goes missing in silence."""

from pathlib import Path

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from nav_offrl.config import Config

SHOWN_DETAILS = 5  # lines a run on the screen; the saved report has all


class RunReport(Config):
    """The fate of one run of the log."""

    name: str
    split: str = ""
    kept: int = Field(default=0, description="steps in the store")
    episodes: int = 0
    dropped: dict[str, int] = Field(default_factory=dict, description="reason -> steps")
    details: tuple[str, ...] = Field(default=(), description="files and steps by name")
    refused: str | None = Field(default=None, description="why nothing of the run was taken")
    distance: float = Field(default=0.0, description="m, along the kept steps")
    lateral_distance: float = Field(
        default=0.0, description="m moved sideways, which (v, omega) actions cannot express"
    )
    duration: float = Field(default=0.0, description="s, at the nominal rate")
    stale_poses: int = Field(default=0, description="steps with exactly the previous pose")
    position_jumps: int = 0

    @property
    def warnings(self) -> list[str]:
        """One line for each thing that is not in the store as it was in the log."""
        if self.refused:
            return [f"{self.name}: refused, {self.refused}"]
        lines = [f"{self.name}: {count} dropped, {why}" for why, count in self.dropped.items()]
        if self.episodes > 1:
            lines.append(f"{self.name}: split into {self.episodes} episodes")
        return lines


class ImportReport(Config):
    """The fate of a whole log folder."""

    source: str
    runs: tuple[RunReport, ...]
    unknown_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Everything that `--strict` refuses."""
        lines = [line for run in self.runs for line in run.warnings]
        return lines + [f"{name}: not understood, ignored" for name in self.unknown_files]

    @property
    def kept(self) -> int:
        """Steps in the store."""
        return sum(run.kept for run in self.runs)

    @property
    def distance(self) -> float:
        """Metres driven along the kept steps."""
        return sum(run.distance for run in self.runs)

    def save(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(self.model_dump_json(indent=2), encoding="utf-8")
        partial.replace(path)

    def print(self, console: Console) -> None:
        """Show a row a run, then every warning and note in full."""
        console.print(self._table())
        for line in self.warnings:
            console.print(
                f"warning: {line}", style="yellow", markup=False, soft_wrap=True, highlight=False
            )
        for run in self.runs:
            for line in run.details[:SHOWN_DETAILS]:
                console.print(
                    f"  {run.name}: {line}", markup=False, soft_wrap=True, highlight=False
                )
            if len(run.details) > SHOWN_DETAILS:
                more = len(run.details) - SHOWN_DETAILS
                console.print(
                    f"  {run.name}: {more} more, see the saved report", markup=False, soft_wrap=True
                )
        for line in self.notes:
            console.print(f"note: {line}", markup=False, soft_wrap=True, highlight=False)

    def _table(self) -> Table:
        table = Table(title=f"import of {self.source}", box=SIMPLE_HEAD, padding=0)
        table.add_column("run", no_wrap=True)
        for header in ("split", "parts", "kept", "dropped", "m", "s", "stale", "jumps"):
            table.add_column(header, justify="left" if header == "split" else "right")
        for run in self.runs:
            table.add_row(*_cells(run), style="red" if run.refused else None)
        table.add_section()
        total = RunReport(
            name="total",
            kept=self.kept,
            episodes=sum(run.episodes for run in self.runs),
            dropped={"": sum(sum(run.dropped.values()) for run in self.runs)},
            distance=self.distance,
            duration=sum(run.duration for run in self.runs),
            stale_poses=sum(run.stale_poses for run in self.runs),
            position_jumps=sum(run.position_jumps for run in self.runs),
        )
        table.add_row(*_cells(total))
        return table


def _cells(run: RunReport) -> list[str]:
    dropped = sum(run.dropped.values())
    return [
        run.name,
        "refused" if run.refused else run.split,
        str(run.episodes),
        str(run.kept),
        str(dropped) if dropped else "",
        f"{run.distance:.1f}",
        f"{run.duration:.1f}",
        str(run.stale_poses) if run.stale_poses else "",
        str(run.position_jumps) if run.position_jumps else "",
    ]
