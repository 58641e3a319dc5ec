"""The screen at the end of the demo, from reports written by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.summary import summarise_folder

ERRORS = {
    "policy": {"linear_mae": 0.101, "angular_mae": 0.202},
    "pixel_neighbour": {"linear_mae": 0.303, "angular_mae": 0.404},
    "mean_command": {"linear_mae": 0.505, "angular_mae": 0.606},
}
HELD_OUT = {
    "command_error": ERRORS,
    "place_recognition": {
        "learned": {"median_position_error_m": 0.71, "median_yaw_error_rad": 0.07},
        "pixel_neighbour": {"median_position_error_m": 0.82, "median_yaw_error_rad": 0.08},
    },
}
BUNDLE = {
    "latency": {"graphs": {"encoder": {"p50_ms": 2.0}, "policy": {"p50_ms": 0.5}}},
    "parity": {"relative_error": {"encoder": 1e-7, "policy": 3e-6}},
}
DRIVES = {
    "summary": {"successes": 1, "drives": 2},
    "drives": [
        {
            "success": reached,
            "path_length_m": 4.2,
            "closest_distance_m": 0.93,
            "image_to_command": {"p50_ms": latency},
        }
        for reached, latency in ((True, 12.3), (False, None))
    ],
}
SHARE = {"drives": 20, "success": 0.25, "success_low": 0.1, "success_high": 0.5}
FINETUNED = {
    "robot_steps": 6000,
    "before": SHARE,
    "after": SHARE | {"success": 0.5},
    "gate": {"promoted": True, "reason": "the candidate reaches 5 goals more"},
}


def write(path: Path, report: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "held_out" / "evaluation.json", HELD_OUT)
    write(tmp_path / "policy.bundle" / "bundle.json", BUNDLE)
    return tmp_path


def test_the_least_that_a_demo_made(folder: Path) -> None:
    text = summarise_folder(folder)
    assert "v 0.101, 0.303, 0.505 m/s    omega 0.202, 0.404, 0.606 rad/s" in text
    assert "0.71, 0.82 m; 0.070, 0.080 rad" in text
    assert "the policy's commands beat the pixel neighbour's" in text
    assert "agrees with torch to 3e-06" in text and "2.5 ms of inference" in text
    assert "ROS 2" not in text and "finetuning" not in text
    assert f"{folder / 'policy.bundle'}  (what a robot loads)" in text


def test_a_policy_worse_than_its_baseline_is_called_so(folder: Path) -> None:
    worse = ERRORS | {"policy": {"linear_mae": 0.1, "angular_mae": 0.5}}
    report = {"command_error": worse, "place_recognition": {"left_out": "no shared frame"}}
    write(folder / "held_out" / "evaluation.json", report)
    text = summarise_folder(folder)
    assert "do NOT beat" in text and "place found" not in text


def test_everything_that_a_demo_can_make(folder: Path) -> None:
    scores = {"mean_absolute_error": 0.125, "mean_error": 0.25, "correlation": None}
    write(folder / "drive" / "drive.json", DRIVES)
    write(folder / "replay" / "drive.json", {"summary": {"imitation": {"linear": scores}}})
    write(folder / "finetuned" / "finetune.json", FINETUNED)
    (folder / "times.tsv").write_text("collect\t30\ntrain\t95\n")
    text = summarise_folder(folder)
    assert "1 of 2 reached" in text
    assert "image to command 12 ms" in text and "image to command -" in text
    assert "linear: error 0.125, mean command 0.250, correlation none" in text
    assert "6000 robot steps: success 25% -> 50% of 20 drives" in text
    assert "promoted, the candidate reaches 5 goals more" in text
    assert "  125 s  in all" in text
    assert all(len(line) < 200 for line in text.splitlines())


@pytest.mark.parametrize("part", ["held_out/evaluation.json", "policy.bundle/bundle.json"])
def test_a_missing_part_is_named(part: str, folder: Path) -> None:
    (folder / part).unlink()
    with pytest.raises(NavOffrlError, match="cannot be read") as caught:
        summarise_folder(folder)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "cannot be read"), ("{}", "lacks a figure"), ("[]", "lacks")]
)
def test_a_damaged_report_is_named(text: str, complaint: str, folder: Path) -> None:
    (folder / "drive").mkdir()
    (folder / "drive" / "drive.json").write_text(text)
    with pytest.raises(NavOffrlError, match=complaint) as caught:
        summarise_folder(folder)
    assert "drive.json" in str(caught.value)


@pytest.mark.parametrize("arguments", [(), ("nowhere",)])
def test_mistakes_on_the_command_line_cost_one_line(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "nav_offrl.evaluation.summary", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
