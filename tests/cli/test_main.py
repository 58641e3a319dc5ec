"""The command as a user meets it: quick help, one-line errors, exit statuses, Ctrl-C."""

import errno
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl import doctor
from nav_offrl.cli import main as command
from nav_offrl.errors import NavOffrlError

COMMAND = [sys.executable, "-m", "nav_offrl.cli.main"]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_imports_nothing_heavy(argument: str) -> None:
    code = (
        "import sys\nfrom nav_offrl.cli.main import main\n"
        f"try:\n    main(['{argument}'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'zarr', 'rclpy', 'mujoco', 'numpy', 'cv2', 'onnxruntime', 'tyro'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "" and "nav-offrl" in done.stdout


@pytest.mark.parametrize("verb", ["import", "inspect", "doctor"])
def test_help_of_a_verb_keeps_its_examples_apart(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        command.main([verb, "--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(f"  nav-offrl {verb}") for line in lines) >= 2


def test_unknown_verb_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["tarin"])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "nav-offrl: error: unknown verb 'tarin': did you mean 'train'?\n"
    )


def verb_that(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Put a verb in the table's place of 'train' that raises `error`."""
    module: Any = ModuleType("nav_offrl.cli.train")
    module.Args = importlib.import_module("nav_offrl.cli.doctor").Args

    def run(args: Any) -> int | None:
        if error is not None:
            raise error
        return None

    module.run = run
    monkeypatch.setitem(sys.modules, "nav_offrl.cli.train", module)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (None, 0, ""),
        (
            NavOffrlError("is\nbad", where="a.yaml", remedy="mend it"),
            2,
            "nav-offrl train: error: a.yaml: is bad -> mend it\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "nav-offrl train: interrupted; add --resume to continue\n",
        ),
        (
            ModuleNotFoundError("no", name="torch.nn"),
            2,
            "nav-offrl train: error: needs 'torch', which cannot be imported -> "
            "pip install 'nav-offrl[train]'\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/disk"),
            2,
            "nav-offrl train: error: /disk: No space left on device\n",
        ),
    ],
)
def test_errors_that_a_user_can_mend_are_one_line(
    error: BaseException | None,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    verb_that(monkeypatch, error)
    with pytest.raises(SystemExit) as end:
        command.main(["train"])
    assert (end.value.code, capsys.readouterr().err) == (status, line)


@pytest.mark.parametrize(
    "bug", [ValueError("bug"), OSError(errno.EBADF, "bad"), ImportError("x", name="nav_offrl.x")]
)
def test_a_bug_shows_its_traceback(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    verb_that(monkeypatch, bug)
    with pytest.raises(type(bug)):
        command.main(["train"])


def test_a_pipe_that_broke_inside_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    verb_that(monkeypatch, BrokenPipeError())
    with pytest.raises(BrokenPipeError):
        command.main(["train"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_output_is_silent(unbuffered: str) -> None:
    script = f"{{ sleep 0.3; {' '.join(COMMAND)} --help; echo status $? >&2; }} | true"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert done.stderr == "status 141\n"


def test_import_then_inspect(tmp_path: Path) -> None:
    run = tmp_path / "logs" / "run"
    run.mkdir(parents=True)
    picture = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    for step in range(8):
        (run / f"{step}.jpg").write_bytes(picture)
    poses = {"position": [[0.1 * step, 0.0] for step in range(8)], "yaw": [0.0] * 8}
    (run / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    store = tmp_path / "drives.zarr"

    bad = call("import", run.parent, "-o", store, "--rate-hz", "-1")
    assert (bad.returncode, bad.stdout) == (2, "") and "--rate-hz" in bad.stderr
    done = call("import", run.parent, "-o", store, "--rate-hz", "10")
    assert done.returncode == 0 and "total" in done.stdout and "nominal" in done.stdout

    picture_path = tmp_path / "drives.png"
    done = call("inspect", store, "--verify", "--json", "--picture", picture_path)
    assert done.returncode == 0 and "repeated frames" in done.stderr
    assert json.loads(done.stdout)["steps"] == 8
    assert cv2.imread(str(picture_path)).shape[1] > 1000

    chunk = store / "data" / "image" / "front" / "jpeg" / "c" / "0"
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    done = call("inspect", store, "--verify")
    assert done.returncode == 1 and "damaged" in done.stderr
    (store / "data" / "time" / "c" / "0").write_bytes(b"garbage")
    done = call("inspect", store)
    assert done.returncode == 2 and "'data/time' cannot be decoded" in done.stderr
    assert done.stderr.count("\n") == 1


def test_doctor_reports_every_part_as_json() -> None:
    done = call("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert {"Python", "torch", "ONNX Runtime", "rendering", "disk", "cores"} <= set(checks)
    assert "CPUExecutionProvider" in checks["ONNX Runtime"]["found"]
    assert done.returncode == any(check["status"] == "broken" for check in checks.values())
    assert all(check["remedy"] for check in checks.values() if check["status"] != "ok")


def test_doctor_finds_two_packages_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    clash = doctor._clashes()[0]
    assert (
        clash.status == "broken" and "pip uninstall -y onnxruntime onnxruntime-gpu" in clash.remedy
    )


def test_doctor_survives_a_part_that_crashes() -> None:
    check = doctor._probe("part", "import os; os.abort()", "mend it")
    assert (check.status, check.remedy) == ("broken", "mend it")
