"""Imports as a whole: parallel, twice, into an existing store, strict, interrupted, with deaths."""

import hashlib
import importlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store, StoreWriter
from nav_offrl_datasets import formats
from nav_offrl_datasets.config import ImportConfig, LabelConfig
from nav_offrl_datasets.formats import gnm
from nav_offrl_datasets.importing import driver
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.plan import make_plan
from nav_offrl_datasets.importing.reading import read_source, source_hash
from nav_offrl_datasets.importing.report import ImportReport
from nav_offrl_datasets.importing.run import Source

CONFIG = ImportConfig(rate_hz=5.0, workers=1)


def write_run(folder: Path, seed: int, steps: int = 8, size: tuple[int, int] = (16, 24)) -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for step in range(steps):
        colours = random.integers(0, 255, (2, 2, 3), dtype=np.uint8)
        picture = cv2.resize(colours, size[::-1], interpolation=cv2.INTER_NEAREST)
        (folder / f"{step}.jpg").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    position = np.stack([0.1 * np.arange(steps), np.full(steps, 0.1 * seed)], axis=1)
    poses = {"position": position, "yaw": np.zeros(steps)}
    (folder / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    return folder


def write_log(folder: Path, names: str = "abc", first_seed: int = 0, **options: Any) -> Path:
    for index, name in enumerate(names):
        write_run(folder / name, first_seed + index, **options)
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "log")


def run_import(
    log: Path, output: Path, config: ImportConfig = CONFIG, **changes: Any
) -> ImportReport:
    return import_log(log, output, config.model_copy(update=changes), progress=False)


def contents(folder: Path) -> dict[str, str]:
    """Return path -> hash of every file, but for the lock, which is empty."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_workers_make_the_very_store_that_one_makes(log: Path, tmp_path: Path) -> None:
    run_import(log, tmp_path / "one.zarr")
    run_import(log, tmp_path / "two.zarr", workers=2)
    assert contents(tmp_path / "one.zarr") == contents(tmp_path / "two.zarr")
    assert Store.open(tmp_path / "one.zarr").episodes.source == ["log/a", "log/b", "log/c"]


def test_importing_twice_adds_nothing(log: Path, tmp_path: Path) -> None:
    run_import(log, tmp_path / "out.zarr")
    before = contents(tmp_path / "out.zarr")
    elsewhere = Path(shutil.move(log, tmp_path / "moved"))
    report = run_import(elsewhere, tmp_path / "out.zarr")
    assert contents(tmp_path / "out.zarr") == before
    assert report.kept == 0 and report.warnings == []
    assert [run.in_store for run in report.runs] == [True] * 3
    assert "3 of 3 sources were in the store already" in report.notes


def test_same_content_twice_in_a_log_is_taken_once(log: Path, tmp_path: Path) -> None:
    shutil.copytree(log / "a", log / "copy_of_a")
    report = run_import(log, tmp_path / "out.zarr")
    assert [run.name for run in report.runs if run.in_store] == ["copy_of_a"]
    assert Store.open(tmp_path / "out.zarr").episodes.name == ["a", "b", "c"]


def test_new_runs_are_added_and_old_ones_stay_as_they_are(log: Path, tmp_path: Path) -> None:
    run_import(log, tmp_path / "out.zarr")
    before = Store.open(tmp_path / "out.zarr")
    more = write_log(tmp_path / "more", "abcd", first_seed=1)  # d is new; a is what b was
    report = run_import(more, tmp_path / "out.zarr")
    after = Store.open(tmp_path / "out.zarr")
    assert [run.in_store for run in report.runs] == [True, True, False, False]
    assert after.episodes.name == ["a", "b", "c", "c#2", "d"]
    assert after.episodes.session == after.episodes.name
    assert after.episodes.split[:3].tolist() == before.episodes.split.tolist()
    assert after.fingerprint() != before.fingerprint()
    assert "another run called 'c' is in the store" in report.runs[2].facts
    saved = [json.loads((after.path / "reports" / f"import_{n}.json").read_text()) for n in (1, 2)]
    assert [sum(run["kept"] for run in one["runs"]) for one in saved] == [24, 16]
    assert sorted(path.name for path in (after.path / "reports").iterdir()) == [
        "import_1.json",
        "import_2.json",
    ]


@pytest.mark.parametrize(
    ("options", "changes", "reason"),
    [
        ({}, {"rate_hz": 4.0}, r"rate_hz is 4\.0, the store's is 5\.0 .*--rate-hz 5"),
        ({"size": (16, 32)}, {}, "width of camera 'front' is 32, the store's is 24"),
        ({}, {"camera": "rear"}, "no camera 'front'; the store has no camera 'rear'"),
        ({}, {"without": ("velocity",)}, "the log has no field 'velocity'"),
    ],
)
def test_log_that_does_not_fit_the_store_is_refused(
    log: Path, tmp_path: Path, options: Any, changes: Any, reason: str
) -> None:
    run_import(log, tmp_path / "out.zarr")
    before = contents(tmp_path / "out.zarr")
    other = write_log(tmp_path / "other", first_seed=9, **options)
    with pytest.raises(NavOffrlError, match=reason):
        run_import(other, tmp_path / "out.zarr", **changes)
    assert contents(tmp_path / "out.zarr") == before


def test_field_too_many_for_the_store_comes_with_the_remedy(log: Path, tmp_path: Path) -> None:
    run_import(log, tmp_path / "out.zarr", without=("velocity",))
    other = write_log(tmp_path / "other", first_seed=9)
    with pytest.raises(
        NavOffrlError, match=r"the store has no field 'velocity'.*--without velocity"
    ):
        run_import(other, tmp_path / "out.zarr")
    run_import(other, tmp_path / "out.zarr", without=("velocity",))
    assert len(Store.open(tmp_path / "out.zarr").episodes) == 6


def test_output_that_is_no_store_is_left_alone(log: Path, tmp_path: Path) -> None:
    (tmp_path / "out.zarr").mkdir()
    with pytest.raises(NavOffrlError, match="is no log store"):
        run_import(log, tmp_path / "out.zarr")


def test_strict_writes_nothing_when_anything_is_lost(log: Path, tmp_path: Path) -> None:
    run_import(log, tmp_path / "out.zarr")
    before = contents(tmp_path / "out.zarr")
    more = write_log(tmp_path / "more", "de", first_seed=7, steps=12)
    (more / "e" / "0.jpg").unlink()
    for output in ("new.zarr", "out.zarr"):
        with pytest.raises(NavOffrlError, match=r"strict is set: e: 1 dropped, image is missing"):
            run_import(more, tmp_path / output, strict=True)
    assert contents(tmp_path / "out.zarr") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "more", "out.zarr"]
    run_import(log, tmp_path / "new.zarr", strict=True)
    assert Store.open(tmp_path / "new.zarr").steps == 24


class Interrupter:
    """Stands in for `StoreWriter.append_all` and is interrupted at the second source."""

    def __init__(self, append_all: Any) -> None:
        self.append_all, self.calls = append_all, 0

    def __call__(self, writer: StoreWriter, episodes: Any) -> None:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        self.append_all(writer, episodes)


def interrupt(patch: pytest.MonkeyPatch, log: Path, output: Path) -> None:
    with patch.context() as changed:
        interrupter = Interrupter(StoreWriter.append_all)
        changed.setattr(StoreWriter, "append_all", lambda *args: interrupter(*args))
        with pytest.raises(KeyboardInterrupt):
            run_import(log, output)


def test_interrupted_import_goes_on_to_the_same_store(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (log / "a" / "7.jpg").unlink()
    run_import(log, tmp_path / "whole.zarr")
    output = tmp_path / "out.zarr"
    interrupt(monkeypatch, log, output)
    with pytest.raises(NavOffrlError, match="unfinished"):
        Store.open(output)
    report = run_import(log, output)
    assert [run.kept for run in report.runs] == [7, 8, 8]
    assert report.runs[0].dropped == {"image is missing": 1}
    assert contents(output) == contents(tmp_path / "whole.zarr")


def test_interrupted_addition_goes_on(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.zarr"
    run_import(log, output)
    more = write_log(tmp_path / "more", "de", first_seed=7)
    interrupt(monkeypatch, more, output)
    assert Store.open(output).episodes.name == ["a", "b", "c", "d"]
    report = run_import(more, output)
    assert Store.open(output).episodes.name == ["a", "b", "c", "d", "e"]
    assert [(run.name, run.kept) for run in report.runs] == [("d", 8), ("e", 8)]
    assert sorted(path.name for path in (output / "reports").iterdir()) == [
        "import_1.json",
        "import_2.json",
    ]


def test_interrupted_addition_is_reported_though_another_log_comes_next(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.zarr"
    run_import(log, output)
    interrupt(monkeypatch, write_log(tmp_path / "more", "de", first_seed=7), output)
    report = run_import(write_log(tmp_path / "other", "f", first_seed=11), output)
    assert [(run.name, run.kept) for run in report.runs] == [("f", 8), ("d", 8)]


def test_unfinished_import_of_other_settings_is_not_continued(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, log, tmp_path / "out.zarr")
    with pytest.raises(NavOffrlError, match="other settings"):
        run_import(log, tmp_path / "out.zarr", robot="go2")


@pytest.mark.flaky(reruns=2)  # on a busy machine all may be done before the key is pressed
def test_control_c_leaves_what_the_same_command_completes(tmp_path: Path) -> None:
    # Frames that take longer to decode than the moment between two looks at the journal.
    log = write_log(tmp_path / "log", "abcdefghijklmnop", size=(1600, 1600))
    command = [sys.executable, "-m", "nav_offrl.cli.main", "import", str(log)]
    command += ["-o", str(tmp_path / "out.zarr"), "--workers", "2"]
    journal = tmp_path / "out.zarr.partial-store" / "reports" / "import_1.jsonl"
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        while not journal.exists() and started.poll() is None:
            time.sleep(0.01)
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, errors = started.communicate(timeout=60)
    assert started.returncode == 130 and "Traceback" not in errors
    assert "the same command continues" in errors
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    store = Store.open(tmp_path / "out.zarr")
    assert store.episodes.name == list("abcdefghijklmnop")
    for row in range(len(store.episodes)):
        store.verify(row)


DEADLY = """
import os, signal
from nav_offrl_datasets.importing.reading import read_source

def deadly(source, **options):
    if source.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return read_source(source, **options)
"""


def test_worker_that_dies_costs_its_own_source_only(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "deadly_reader.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.setattr(driver, "read_source", importlib.import_module("deadly_reader").deadly)
    report = run_import(log, tmp_path / "out.zarr", workers=2)
    assert Store.open(tmp_path / "out.zarr").episodes.name == ["a", "c"]
    refusals = {run.name: run.refused for run in report.runs if run.refused}
    assert refusals == {"b": "the process reading it was killed by SIGKILL (out of memory?)"}


def test_fault_in_an_importer_costs_its_own_source_and_is_not_hidden(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = gnm.read

    def faulty(source: Any, *rest: Any) -> Any:
        if source.name == "b":
            raise KeyError("velocity")
        return read(source, *rest)

    monkeypatch.setattr(gnm, "read", faulty)
    report = run_import(log, tmp_path / "out.zarr")
    bad = report.runs[1]
    assert "the importer failed (KeyError: 'velocity')" in (bad.refused or "")
    assert any("in faulty" in line for line in bad.details)
    assert report.kept == 16
    with pytest.raises(NavOffrlError, match="strict is set: b: refused"):
        run_import(log, tmp_path / "new.zarr", strict=True)


def test_missing_package_is_no_fault_of_a_source(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs_package(*args: Any) -> Any:
        raise ModuleNotFoundError("No module named 'h5py'", name="h5py")

    monkeypatch.setattr(gnm, "read", needs_package)
    with pytest.raises(ModuleNotFoundError) as error:
        run_import(log, tmp_path / "out.zarr")
    assert error.value.name == "h5py"


def test_asking_for_labels_that_cannot_be_made_is_answered(log: Path, tmp_path: Path) -> None:
    report = run_import(log, tmp_path / "out.zarr", labels=LabelConfig())
    assert any("nothing is labelled" in note for note in report.notes)


def test_hash_is_of_names_contents_and_key_and_not_of_the_folder(log: Path) -> None:
    files = (log / "a" / "0.jpg", log / "a" / "1.jpg")
    known = source_hash(Source("a", files))
    moved = Path(shutil.copytree(log / "a", log / "z"))
    assert source_hash(Source("z", (moved / "0.jpg", moved / "1.jpg"))) == known
    assert source_hash(Source("a", files, key="1")) != known
    assert source_hash(Source("a", files[::-1])) != known
    (moved / "1.jpg").rename(moved / "2.jpg")
    assert source_hash(Source("z", (moved / "0.jpg", moved / "2.jpg"))) != known
    (moved / "2.jpg").write_bytes(files[1].read_bytes() + b"x")
    (moved / "2.jpg").rename(moved / "1.jpg")
    assert source_hash(Source("z", (moved / "0.jpg", moved / "1.jpg"))) != known


def test_file_that_vanishes_costs_its_own_source(log: Path) -> None:
    sources, _ = gnm.sources(log, CONFIG)
    plan = make_plan("gnm", "log", gnm.layout(sources, CONFIG), CONFIG)
    shutil.rmtree(log / "b")
    results = [read_source(source, plan, frozenset()).reports[0] for source in sources]
    assert [result.refused for result in results] == [
        None,
        "traj_data.pkl cannot be read (No such file or directory)",
        None,
    ]


def test_small_log_has_a_run_held_out_and_the_report_says_which(log: Path, tmp_path: Path) -> None:
    report = run_import(log, tmp_path / "out.zarr", held_out_fraction=0.001)
    store = Store.open(tmp_path / "out.zarr")
    (held_out,) = store.episodes.of_split("held_out")
    chosen = [run.name for run in report.runs if run.split == "held_out"]
    assert chosen == [store.episodes.name[held_out]]


def test_format_is_recognised_or_the_error_lists_them_all(log: Path, tmp_path: Path) -> None:
    assert formats.recognise(log).FORMAT == "gnm"
    assert formats.recognise(log / "a").FORMAT == "gnm"
    (tmp_path / "empty").mkdir()
    with pytest.raises(NavOffrlError, match=r"gnm: GNM.*images: "):
        formats.recognise(tmp_path / "empty")
    with pytest.raises(NavOffrlError, match="is not there"):
        formats.recognise(tmp_path / "nowhere")
    with pytest.raises(NavOffrlError, match="did you mean 'recon'"):
        formats.named("recn")


def test_missing_package_hinders_no_other_format(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nav_offrl_datasets.formats.gnm", None)
    monkeypatch.setitem(sys.modules, "nav_offrl_datasets.formats.recon", None)
    (log / "a" / "traj_data.pkl").unlink()
    assert formats.recognise(log / "a").FORMAT == "images"
    (tmp_path / "empty").mkdir()
    with pytest.raises(NavOffrlError, match=r"Not tried: gnm \(needs .*gnm\), recon \(needs"):
        formats.recognise(tmp_path / "empty")


def test_report_on_the_screen_says_each_fact_once(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    (log / "b" / "3.jpg").unlink()
    run_import(log, tmp_path / "out.zarr", min_episode_length=2).print(Console(width=120))
    printed = capsys.readouterr().out
    assert printed.count("field 'yaw' is constant (0)") == 1
    assert "note: all runs: field 'yaw' is constant (0)" in printed
    assert "warning: b: 1 dropped, image is missing" in printed
    assert "warning: b: split into 2 episodes" in printed
    assert "  b: 3.jpg: image is missing" in printed
