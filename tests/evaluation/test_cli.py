"""`nav-offrl evaluate` as a user meets it."""

import json
from pathlib import Path

import cv2
import pytest

from nav_offrl.cli.main import main
from nav_offrl_export.example import write_example_bundle


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_a_folder_of_neither_kind_costs_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", tmp_path, "--output", tmp_path / "report") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "neither a run (config.yaml) nor a bundle" in line
    assert str(tmp_path) in line and not (tmp_path / "report").exists()


def test_a_run_is_judged_on_its_held_out_episodes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", run, "--output", tmp_path / "deep" / "report") == 0
    figures = json.loads((tmp_path / "deep" / "report" / "evaluation.json").read_text())
    assert figures["held_out_steps"] == 30
    assert cv2.imread(str(tmp_path / "deep" / "report" / "held_out.png")) is not None
    printed = capsys.readouterr().out
    assert "rank correlation" in printed and "pixel neighbour" in printed


def test_a_bundle_drives_in_a_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_example_bundle(tmp_path / "example", height=96, width=128, rate_hz=5.0)
    arguments = ("--world", "courtyard", "--drives", "1", "--no-baselines")
    assert call("evaluate", bundle, "--output", tmp_path / "report", *arguments) == 0
    figures = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert figures["policy"]["drives"] == 1 and "oracle" not in figures
    assert (tmp_path / "report" / "drives_policy.png").is_file()
    assert "of 1, SPL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "field"), [({"horizontal_fov": 1.0}, "horizontal_fov"), ({"rate_hz": 10.0}, "rate")]
)
def test_a_bundle_for_another_robot_does_not_drive(
    changes: dict[str, float], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"height": 96, "width": 128, "rate_hz": 5.0} | changes
    bundle = write_example_bundle(tmp_path / "example", **settings)
    arguments = ("--output", tmp_path / "report", "--world", "courtyard", "--drives", "1")
    assert call("evaluate", bundle, *arguments) == 2
    line = capsys.readouterr().err
    assert field in line and line.count("\n") == 1
