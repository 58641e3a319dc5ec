"""The reports that a store keeps of its imports: `reports/import_<n>.json`, n from 1.

While an import runs, its rows gather in `import_<n>.jsonl`, a line a source, written before the
source is committed. So an import that is interrupted and goes on reports of all that it did.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.raw_array import replace_file
from nav_offrl_datasets.importing.report import ImportReport, RunReport

FOLDER = "reports"


class Journal:
    """The report of the import under way into the store at `path`.

    `interrupted`: hash of a source -> the rows of what an interrupted import made of it.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path / FOLDER
        unfinished = sorted(self._folder.glob("import_*.jsonl"), key=_number)
        finished = [_number(file) for file in self._folder.glob("import_*.json")]
        number = _number(unfinished[0]) if unfinished else 1 + max(finished, default=0)
        self._lines = self._folder / f"import_{number}.jsonl"
        self.path = self._lines.with_suffix(".json")
        self.interrupted: dict[str, list[RunReport]] = _read_lines(self._lines)

    def add(self, digest: str, rows: Sequence[RunReport]) -> None:
        """Note what became of a source, before it is committed.

        Raises:
            NavOffrlError: the disk refuses.
        """
        line = {"hash": digest, "runs": [row.model_dump(mode="json") for row in rows]}
        try:
            self._folder.mkdir(exist_ok=True)
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise _refusal(self._lines, error) from error

    def finish(self, report: ImportReport) -> None:
        """Replace the rows by the whole report.

        Raises:
            NavOffrlError: the disk refuses.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            replace_file(self.path, report.model_dump_json(indent=2).encode())
            self._lines.unlink(missing_ok=True)
        except OSError as error:
            raise _refusal(self.path, error) from error


def _number(file: Path) -> int:
    digits = file.stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0


def _read_lines(path: Path) -> dict[str, list[RunReport]]:
    rows = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            entry: dict[str, Any] = json.loads(line)
            rows[str(entry["hash"])] = [RunReport.model_validate(row) for row in entry["runs"]]
        except (ValueError, KeyError, TypeError):  # torn: its source was not committed
            continue
    return rows


def _refusal(path: Path, error: OSError) -> NavOffrlError:
    return NavOffrlError(f"cannot be written ({error.strerror or error})", where=path)
