"""`nav-offrl inspect`: what it prints and writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.cli.main import main
from nav_offrl.store import Episode, Store
from nav_offrl.store.schema import field_info

MakeEpisode = Callable[..., Episode]
WriteStore = Callable[..., Store]


@pytest.fixture
def store(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> Store:
    into = np.arange(11) == 4
    episodes = [
        drive_straight("first [red]", 11, {"collision": into}, robot="rover \x1b[31m"),
        drive_straight("second", 11, {"collision": into}, split="held_out", complete=False),
    ]
    return write_store(tmp_path / "drives.zarr", episodes)


@pytest.fixture
def inspect(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process; return its status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["inspect", *map(str, arguments)])
        status = stopped.value.code
        assert isinstance(status, int)
        return status, *capfd.readouterr()

    return run


Inspect = Callable[..., tuple[int, str, str]]


def test_table(store: Store, inspect: Inspect) -> None:
    status, out, err = inspect(store.path)
    assert (status, err) == (0, "")
    rows = {line.split(":")[0]: line for line in out.splitlines() if ":" in line}
    assert rows["steps"].split() == ["steps:", "22"]
    assert "10 Hz stated; measured 10 Hz" in rows["rate"]
    assert rows["collisions"].split(":")[1].strip() == "2 (2 steps, 2e+03 per km)"
    assert rows["interventions"].endswith("not recorded")
    assert "rover \ufffd[31m (1), not said (1)" in rows["robots"] and "\x1b" not in out
    assert "'second'" in rows["suspicious"]
    cells = [line.split() for line in out.splitlines()]
    assert ["train", "1", "1", "0.001", "0.0"] in cells
    assert ["front", "32x24", "jpeg", "unknown"] in cells
    assert any(row[:3] == ["action", "omega", "rad/s"] and len(row) == 8 for row in cells)


def test_json_of_a_store_from_an_address(store: Store, inspect: Inspect) -> None:
    status, out, err = inspect(store.path.as_uri(), "--json")
    summary: dict[str, Any] = json.loads(out)
    assert (status, err) == (0, "")
    assert summary["distance"] == pytest.approx({"train": 0.5, "held_out": 0.5}, abs=1e-4)
    assert summary["unfinished"] == ["second"] and summary["steps"] == 22


def test_state_based_store(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore, inspect: Inspect
) -> None:
    changes: dict[str, Any] = {"position": None, "yaw": None}
    changes |= {"observation": np.random.default_rng(0).normal(size=(11, 29))}
    fields = {
        "time": field_info("time"),
        "observation": field_info("observation", shape=(29,)),
        "action": field_info("action", shape=(2,), unit="", axes=()),
    }
    episode = drive_straight("a", 11, changes, images={})
    path = write_store(tmp_path / "s.zarr", [episode], fields=fields).path
    picture = tmp_path / "s.png"
    status, out, _ = inspect(path, "--picture", picture, "--html", tmp_path / "s.html", "--verify")
    assert status == 0 and "unknown" in out and "verified: 1 episodes, 11 steps, no fault" in out
    assert any(line.split()[:1] == ["observation"] for line in out.splitlines())
    assert cv2.imread(str(picture)).std() > 1


def test_all_that_it_writes(store: Store, tmp_path: Path, inspect: Inspect) -> None:
    pytest.importorskip("rerun", reason="pip install 'nav-offrl[viz]'")
    files = {option: tmp_path / f"out.{option}" for option in ("html", "rrd", "svg")}
    options = {"html": "--html", "rrd": "--rerun", "svg": "--picture"}
    arguments = [word for kind, file in files.items() for word in (options[kind], file)]
    status, out, err = inspect(store.path, *arguments, "--episodes", 1, "--json")
    assert (status, err) == (0, "") and json.loads(out)["steps"] == 22
    assert files["rrd"].read_bytes()[:3] == b"RRF"
    assert files["html"].read_text().startswith("<!DOCTYPE html>")
    assert "<svg" in files["svg"].read_text()


def test_damage_is_named_and_shown(store: Store, tmp_path: Path, inspect: Inspect) -> None:
    chunk = store.path / "data/yaw/c/0"
    content = bytearray(chunk.read_bytes())
    content[4] ^= 1
    chunk.write_bytes(content)
    page = tmp_path / "page.html"
    status, out, err = inspect(store.path, "--verify", "--html", page)
    assert status == 1 and "fault: " in err and "is damaged at step 1" in err
    assert "no fault" not in out and "is damaged at step 1" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--html", "page.pdf"], "--html must end in .html or .htm"),
        (["--rerun", "page.html"], "--rerun must end in .rrd"),
        (["--picture", "a.bmp"], "--picture must end in .png or .pdf or .svg"),
        (["--html", "/nowhere/at/all/page.html"], "/nowhere/at/all: the folder does not exist"),
        (["--episodes", "0"], "--episodes is for --rerun -> add --rerun FILE.rrd"),
        (["--episodes", "9", "--rerun", "out.rrd"], "there is no episode 9 -> episodes are 0 .. 1"),
    ],
)
def test_refusals(
    arguments: list[str],
    message: str,
    store: Store,
    inspect: Inspect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = inspect(store.path, *arguments)
    assert status == 2 and message in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["drives.zarr"]


def test_no_store(tmp_path: Path, inspect: Inspect) -> None:
    status, out, err = inspect(tmp_path)
    assert (status, out) == (2, "") and "is no log store" in err
