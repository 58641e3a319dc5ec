"""Everything that the pages on logs and on the store tell one to type, typed."""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.cli.main import main
from nav_offrl.store import Store

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "bring_your_own_logs.md"
SCHEMA = ROOT / "datasets" / "README.md"
BLOCK = re.compile(r"^```(sh|yaml|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECOND = 1_000_000_000
Row = tuple[str, str, int, dict[str, Any]]


def with_lidar(rows: list[Row], camera_is_off: tuple[float, float]) -> list[Row]:
    """Add a scan to every odometry; leave out frames between two times, in s of the drive."""
    first, last = (100 * SECOND + round(second * SECOND) for second in camera_is_off)
    kept = [row for row in rows if row[1].endswith("Image") and not first <= row[2] <= last]
    others = [row for row in rows if not row[1].endswith("Image")]
    ranges = {
        "ranges": np.full(8, 4.0, np.float32),
        "angle_min": -1.0,
        "angle_increment": 0.25,
        "range_max": 10.0,
    }
    scans: list[Row] = [
        ("/scan", "sensor_msgs/msg/LaserScan", row[2], ranges | {"stamp": row[3]["stamp"]})
        for row in others
        if row[0] == "/odom"
    ]
    return kept + others + scans


@pytest.fixture
def logs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_bag: Callable[..., Path],
    drive: Callable[..., list[Row]],
    jpeg: bytes,
) -> Path:
    """Bags and images under the names that the page uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})  # no worker processes
    write_bag("ros1", with_lidar(drive(12.0, jpeg), (4.0, 7.0)), name="drive")
    (tmp_path / "bags").mkdir()
    for name in ("monday", "tuesday"):
        clean = with_lidar(drive(5.0, jpeg), (0.0, 0.15))  # commands are there before frames
        write_bag("ros1", clean, name=name).rename(tmp_path / "bags" / f"{name}.bag")
    run = tmp_path / "logs" / "drive_001"
    run.mkdir(parents=True)
    for step in range(20):
        grey = np.full((24, 32, 3), 10 * step, np.uint8)
        (run / f"{step}.jpg").write_bytes(cv2.imencode(".jpg", grey)[1].tobytes())
    return tmp_path


def call(line: str) -> int:
    arguments = shlex.split(line)
    assert arguments[0] == "nav-offrl", line
    with pytest.raises(SystemExit) as stopped:
        main(arguments[1:])
    return int(stopped.value.code or 0)


def test_every_command_of_the_page(logs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rerun", reason="pip install 'nav-offrl[viz]'")
    called = []
    for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "yaml":
            (logs / "my_robot.yaml").write_text(block, encoding="utf-8")
        elif language == "python":
            exec(compile(block, str(PAGE), "exec"), {})
        else:
            for line in block.splitlines():
                if not line.startswith("pip "):
                    assert call(line) == 0, line
                    called.append(line)
    assert len(called) == 12
    words = capfd.readouterr().out
    assert "by its type" in words and "split into 2 episodes" in words
    assert "2 of 2 sources were in the store already" in words
    assert "verified: 4 episodes" in words
    for name in ("drives", "mine", "fast", "labelled", "all", "checked", "from_images", "arrays"):
        assert Store.open(logs / f"{name}.zarr").steps > 0
    assert Store.open(logs / "fast.zarr").info.rate_hz == 10.0
    assert Store.open(logs / "mine.zarr").info.cameras["front"].horizontal_fov == 1.2
    assert "collision" in Store.open(logs / "labelled.zarr").info.fields
    assert len(Store.open(logs / "all.zarr").episodes) == 4  # two of drive.bag, one of each other
    assert "Import of bags" in (logs / "all.html").read_text(encoding="utf-8")
    assert (logs / "all.rrd").stat().st_size > 1000


@pytest.mark.filterwarnings("ignore:.*consolidated.*")
def test_every_snippet_of_the_schema(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_bag: Callable[..., Path],
    drive: Callable[..., list[Row]],
    jpeg: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("xarray")
    monkeypatch.chdir(tmp_path)
    write_bag("ros1", drive(2.9, jpeg), name="drive")
    assert call("nav-offrl import drive.bag -o drives.zarr") == 0
    capfd.readouterr()
    store = Store.open("drives.zarr")
    ran = 0
    for language, block in BLOCK.findall(SCHEMA.read_text(encoding="utf-8")):
        assert language == "python"
        found: dict[str, Any] = {}
        exec(compile(block, str(SCHEMA), "exec"), found)
        ran += 1
        if "frame" in found:
            np.testing.assert_array_equal(found["frame"], store.image("front", 0))
            np.testing.assert_array_equal(
                found["position"], store.field("position")[store.steps_of(0)]
            )
        if "frames" in found:
            assert len(found["frames"]) == len(found["action"]) > 0
    assert ran == 3
    assert capfd.readouterr().out == f"m/s, rad/s {store.steps}\n"


def test_the_schema_names_every_array() -> None:
    """Each array of a store that has all kinds stands in the page with its dtype and unit."""
    from nav_offrl.store.layout import NUMBER_COLUMNS
    from nav_offrl.store.schema import STEP_FIELDS, TEXT_COLUMNS

    text = SCHEMA.read_text(encoding="utf-8")
    for name, spec in STEP_FIELDS.items():
        line = re.search(rf"^    {name} +\(T.*$", text, re.MULTILINE)
        assert line and spec.dtype in line[0] and spec.unit in line[0], name
    for name, dtype in NUMBER_COLUMNS.items():
        line = re.search(rf"^    [a-z, ]*\b{name}\b[a-z, ]* +\(E,\) +{dtype}", text, re.MULTILINE)
        assert line, name
    for name, width in TEXT_COLUMNS.items():
        line = re.search(rf"^    [a-z_, ]*\b{name}\b.* \(E, {width}\) +uint8", text, re.MULTILINE)
        assert line, name
