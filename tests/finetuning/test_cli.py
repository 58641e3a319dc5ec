"""`nav-offrl finetune` as a user meets it: from a run to a verdict, through a Ctrl-C."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.cli.main import main
from nav_offrl.finetuning.finetune import Finetuner
from nav_offrl.store import Store
from nav_offrl_sim import EnvConfig


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(autouse=True)
def short_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs out after 4 s of a drive instead of 60 s."""
    monkeypatch.setattr(
        "nav_offrl_sim.EnvConfig", lambda **given: EnvConfig(time_limit=4.0, **given)
    )


def command(run: Path, output: Path) -> tuple[str | Path, ...]:
    settings = ("--finetune.robot-minutes", "0.15", "--finetune.drives-per-round", "2")
    world = ("--world", "courtyard", "--drives", "2")
    return ("finetune", run, "--output", output, *world, *settings)


def test_from_a_run_to_a_verdict_through_ctrl_c(
    run: Path,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(self: Finetuner, *arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Finetuner, "_save", interrupted)  # after the first round
        assert call(*command(run, tmp_path)) == 130
    assert "the same command continues where it stopped" in capsys.readouterr().err
    incumbent = contents(tmp_path / "incumbent.bundle")
    assert call(*command(run, tmp_path)) == 0
    report = json.loads((tmp_path / "finetune.json").read_text())
    assert report["robot_steps"] == Store.open(tmp_path / "experience.zarr").steps >= 45
    assert report["before"]["drives"] == report["after"]["drives"] == 2
    assert contents(tmp_path / "incumbent.bundle") == incumbent
    assert contents(tmp_path / "candidate.bundle") != incumbent
    chosen = "candidate" if report["gate"]["promoted"] else "incumbent"
    assert f"drive with: {tmp_path / chosen}.bundle" in capsys.readouterr().out


def test_nothing_is_driven_where_nothing_could_be_measured(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*command(run, tmp_path / "out"), "--drives", "0") == 2
    assert "0 drives" in capsys.readouterr().err and not (tmp_path / "out").exists()
