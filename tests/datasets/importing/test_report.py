"""Reports: names of files may be any bytes, and may look like a style of the terminal."""

import io
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.report import ImportReport, RunReport

NO_UTF8 = os.fsdecode(b"caf\xe9.txt")


def printed(report: ImportReport) -> str:
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    report.print(Console(file=text, width=120))
    text.seek(0)
    return text.read()


def test_names_that_are_no_utf8_are_printed_and_saved(tmp_path: Path) -> None:
    run = tmp_path / "log" / "a"
    run.mkdir(parents=True)
    for step in range(6):
        picture = np.full((16, 24, 3), 40 * step, np.uint8)
        (run / f"{step}.jpg").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    poses = {"position": np.stack([0.1 * np.arange(6), np.zeros(6)], 1), "yaw": np.zeros(6)}
    (run / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    (tmp_path / "log" / NO_UTF8).write_bytes(b"")
    report = import_log(tmp_path / "log", tmp_path / "out.zarr", ImportConfig(workers=1), "gnm")
    assert report.unknown_files == ("caf?.txt",)
    assert "caf?.txt: not understood" in printed(report)
    saved = (tmp_path / "out.zarr" / "reports" / "import_1.json").read_text()
    assert ImportReport.model_validate_json(saved) == report


def test_every_text_of_a_report_is_made_utf8() -> None:
    row = RunReport(
        name=NO_UTF8, dropped={NO_UTF8: 1}, details=(NO_UTF8,), facts=(NO_UTF8,), refused=NO_UTF8
    )
    report = ImportReport(source=NO_UTF8, runs=(row,), notes=(NO_UTF8,))
    assert ImportReport.model_validate_json(report.model_dump_json()) == report
    assert printed(report).count("caf?.txt") >= 6


@pytest.mark.parametrize("name", ["[red]a[/red]", "tub_[/]", "[b", "a[/b]"])
def test_brackets_in_a_name_are_no_style(name: str) -> None:
    text = printed(ImportReport(source=f"log {name}", runs=(RunReport(name=name, facts=(name,)),)))
    assert f"import of log {name}" in text and text.count(name) == 3


def test_a_log_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    name = tmp_path / ("x" * 300)
    with pytest.raises(NavOffrlError, match=r"x{300}: cannot be read \(File name too long\)"):
        import_log(name, tmp_path / "out.zarr", ImportConfig(workers=1), "gnm")
