"""The main job at toy size: the very script behind `make demo`, every part of it real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("NAV_OFFRL_DATA", ROOT.parent / "shared" / "data"))
GO2 = DATA / "go2_gnm_real"


def run_demo(output: Path, *arguments: str) -> str:
    environment = os.environ | {
        "SIZE": "tiny",
        "OUTPUT": str(output),
        "NAV_OFFRL": str(Path(sys.executable).with_name("nav-offrl")),
    }
    done = subprocess.run(
        [str(ROOT / "scripts" / "demo.sh"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.timeout(600)
def test_from_driving_in_the_simulator_to_a_finetuned_bundle(tmp_path: Path) -> None:
    screen = run_demo(tmp_path)
    made = tmp_path / "simulator"

    for verb in ("collect", "inspect", "train", "evaluate", "export", "drive", "finetune"):
        assert f"$ nav-offrl {verb} " in screen
    assert "ROS 2 drives to goal photos" in screen and "online finetuning" in screen

    held_out = read(made / "held_out" / "evaluation.json")
    assert held_out["command_pairs"] > 50
    parity = read(made / "policy.bundle" / "bundle.json")["parity"]["relative_error"]
    assert max(parity.values()) < 1e-3

    (drive,) = read(made / "drive" / "drive.json")["drives"]
    assert drive["image_to_command"]["matched"] > 0
    assert 0 < drive["image_to_command"]["p50_ms"] < 1000
    assert (made / "drive" / "drive.png").stat().st_size > 10_000

    finetuned = read(made / "finetuned" / "finetune.json")
    assert finetuned["robot_steps"] >= 300 and finetuned["updates"] > 0
    assert finetuned["gate"]["reason"]
    for name in ("incumbent", "candidate"):
        assert (made / "finetuned" / f"{name}.bundle" / "bundle.json").is_file()

    again = run_demo(tmp_path)
    assert again.count("(there already: ") == 7, "a finished demo must not do anything twice"


@pytest.mark.timeout(600)
@pytest.mark.skipif(not GO2.is_dir(), reason=f"the real Go2 log is not at {GO2}")
def test_a_real_log_goes_through_training_and_the_ros_nodes(tmp_path: Path) -> None:
    screen = run_demo(tmp_path, str(GO2))
    made = tmp_path / GO2.name
    assert "110 images" in screen, "the run with an image too many must be reported"

    held_out = read(made / "held_out" / "evaluation.json")
    assert held_out["held_out_steps"] > 200
    assert "learned" in held_out["place_recognition"]

    (piece,) = read(made / "replay" / "drive.json")["drives"]
    assert piece["compared"] > 20
    assert piece["image_to_command"]["p50_ms"] is not None
