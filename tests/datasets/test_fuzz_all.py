"""Damaged logs of every format become whole stores or are refused; and the harness can tell."""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
for package in ("av", "h5py", "pyarrow", "rosbags"):
    pytest.importorskip(package)

PLANTED = """
import os, signal, sys, time
from pathlib import Path

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import StoreWriter
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.importing.run import Layout, Run, Source

FORMAT, HELP = "planted", ""


def recognises(path):
    return (path / "1.txt").is_file()


def sources(path, config):
    files = sorted(path.glob("*.txt"))
    if not files:
        raise NavOffrlError("holds no text", where=path)
    return [Source(file.stem, (file,)) for file in files], []


def layout(sources, config):
    if sources[0].files[0].read_bytes() == b"fails at once":
        raise ValueError("planted")
    return Layout(10.0, True, {}, {"reward": field_info("reward")})


def read(source, layout, config):
    file = source.files[0]
    what = file.read_bytes().decode(errors="replace")
    if what in ACTS:
        ACTS[what](file)
    elif what != "whole":
        raise NavOffrlError("says nothing known", where=file)
    yield Run(file.stem, np.arange(9) * 10**8, {"reward": np.arange(9.0)})


def fails(file):
    raise ValueError("planted")


def hangs(file):
    file.with_name("pid").write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def hides_its_want_of_memory(file):
    try:
        bytearray(1 << 40)
    except MemoryError as error:
        raise NavOffrlError("is odd", where=file) from error


def takes_memory(file):
    np.ones(150 << 17)


def writes_a_bad_store(file):
    finish = StoreWriter.finish

    def flawed(writer):
        StoreWriter.finish = finish
        path = finish(writer)
        chunk = path / "data" / "reward" / "c" / "0"
        content = bytearray(chunk.read_bytes())
        content[3] ^= 1
        chunk.write_bytes(content)
        return path

    StoreWriter.finish = flawed


def leaves_something(file):
    (file.parent.parent / "remains").mkdir()
    raise NavOffrlError("is refused", where=file)


ACTS = {
    "fails": fails,
    "hangs": hangs,
    "needs much": lambda file: bytearray(1 << 40),
    "hides": hides_its_want_of_memory,
    "takes memory": takes_memory,
    "crashes": lambda file: os.kill(os.getpid(), signal.SIGSEGV),
    "ends": lambda file: os._exit(0),
    "bad store": writes_a_bad_store,
    "leaves": leaves_something,
    "changes": lambda file: file.with_name("new").touch(),
}
"""

# Imported by every Python process at its start: the program's table of formats has one more row.
AT_START = """
import sys
import nav_offrl_datasets.formats as formats
import planted_importer
formats.FORMATS += (formats.Format("planted", "text"),)
sys.modules["nav_offrl_datasets.formats.planted"] = planted_importer
"""


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that imports a module of the benchmarks, which are not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.store.{name}")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "planted_importer.py").write_text(PLANTED)
    (tmp_path / "code" / "sitecustomize.py").write_text(AT_START)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))


def write_log(folder: Path, *words: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, word in enumerate(words):
        (folder / f"{number}.txt").write_text(word)


def test_damaged_logs_of_every_format(harness: Any, tmp_path: Path) -> None:
    fuzz_importers, samples = harness("fuzz_importers"), harness("sample_logs").SAMPLES
    args = fuzz_importers.Args(cases=14 * len(samples), processes=2, keep=tmp_path)
    rows, faults, is_whole = fuzz_importers.fuzz(args, samples)
    assert not [(fault.kept.name, fault.outcome) for fault in faults]
    assert is_whole
    for row in rows:
        assert row.refusals > 0, row
        assert row.stores > 0 or row.name == "store-v2", row


def ends(pid: int) -> bool:
    """Wait some seconds for a process to be no more."""
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


EXPECTED = {  # what the two files of a log say, and the number of workers
    ("whole", "whole", 1): ("store", ""),
    ("whole", "nonsense", 1): ("store", ""),
    ("nonsense", "nonsense", 1): ("refusal", "says nothing known"),
    ("whole", "fails", 1): ("fault: exception", "ValueError: planted"),
    ("fails at once", "whole", 1): ("fault: exception", "ValueError: planted"),
    ("nonsense", "needs much", 1): ("fault: memory", "MemoryError"),
    ("whole", "hides", 1): ("fault: memory", "MemoryError"),
    ("whole", "takes memory", 1): ("fault: memory", ""),
    ("whole", "crashes", 1): ("fault: crash (SIGSEGV)", ""),
    ("whole", "ends", 1): ("fault: exit with status 0", ""),
    ("whole", "hangs", 1): ("fault: timeout", ""),
    ("whole", "bad store", 1): ("fault: bad store: NavOffrlError", ""),
    ("leaves", "nonsense", 1): ("fault: left behind: remains", ""),
    ("whole", "leaves", 1): ("fault: bad store: beside it are remains", ""),
    ("nonsense", "changes", 1): ("fault: log changed", ""),
    ("whole", "whole", 2): ("store", ""),
    ("whole", "fails", 2): ("fault: exception", "ValueError: planted"),
    ("fails", "fails", 2): ("fault: exception", "ValueError: planted"),
    ("whole", "crashes", 2): ("fault: exception", "was killed by SIGSEGV"),
    ("whole", "hangs", 2): ("fault: timeout", ""),
}


def test_planted_faults_are_found(harness: Any, planted: None, tmp_path: Path) -> None:
    case_of, pools = harness("fuzz_case").Case, harness("fuzz_pool")
    cases = []
    for number, (first, second, workers) in enumerate(EXPECTED):
        folder = tmp_path / f"case_{number}"
        write_log(folder / "log", first, second)
        cases.append(case_of(str(folder), str(folder / "log"), "planted", workers))
    found = {}
    with pools.Pool(2, pools.Limits(seconds=4, memory=100)) as pool:
        for case, outcome in pool.judge(cases):
            found[list(EXPECTED)[cases.index(case)]] = outcome
    for key, (kind, what) in EXPECTED.items():
        outcome = found[key]
        assert outcome.kind.startswith(kind) and what in outcome.what, (key, outcome)
        assert outcome.is_fault == kind.startswith("fault")
    assert "hangs" in found["whole", "hangs", 1].detail  # where it hung
    assert "planted_importer" in found["whole", "fails", 1].detail
    hung = [int(path.read_text()) for path in tmp_path.glob("case_*/log/pid")]
    assert len(hung) == 2 and all(map(ends, hung))


def test_faults_are_kept_and_the_status_says_so(
    harness: Any, planted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz_importers, sample_of = harness("fuzz_importers"), harness("sample_logs").Sample

    def write(folder: Path, spoiler: Any) -> None:
        write_log(folder, "fails", "fails")

    args = fuzz_importers.Args(
        cases=6, processes=1, keep=tmp_path / "kept", json=tmp_path / "figures.json"
    )
    assert fuzz_importers.main(args, [sample_of("bad", "planted", write)]) == 1
    figures = json.loads(args.json.read_text())
    count = figures["rows"][0]["faults"]
    assert count == len(figures["faults"]) >= 3
    assert f"| all | 6 | 0 | {6 - count} | {count} |" in capsys.readouterr().out
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == count
    for folder in kept:
        note = json.loads((folder / "fault.json").read_text())
        assert note["outcome"]["kind"] == "fault: exception" and note["made"]["damage"]
        assert b"fails" in {file.read_bytes() for file in (folder / "log").glob("*.txt")}


def test_ctrl_c_prints_what_is_known(
    harness: Any, planted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz_importers, sample_of = harness("fuzz_importers"), harness("sample_logs").Sample
    written = []

    def write(folder: Path, spoiler: Any) -> None:
        written.append(folder)
        if len(written) > 3:
            raise KeyboardInterrupt
        write_log(folder, "whole", "whole")

    args = fuzz_importers.Args(cases=1000, processes=1, keep=tmp_path)
    assert fuzz_importers.main(args, [sample_of("good", "planted", write)]) == 130
    shown = capsys.readouterr()
    assert "| good |" in shown.out and "interrupted" in shown.err
    assert not Path(written[0]).exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_damages_the_same_way(harness: Any, tmp_path: Path) -> None:
    samples = [
        s for s in harness("sample_logs").SAMPLES if s.name in ("gnm", "ogbench", "bag-ros1")
    ]
    made: dict[int, list[Any]] = {}
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        logs = harness("fuzz_importers").Logs(samples, folder, seed)
        for case in logs.cases(24):
            settings = json.dumps(vars(case)).replace(str(folder), "")
            found = settings, logs.made[case].damage, contents(Path(case.folder))
            made.setdefault(number, []).append(found)
    assert made[0] == made[1]
    assert all(one != other for one, other in zip(made[0], made[2], strict=True))


def test_it_runs_as_a_file(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "store" / "fuzz_importers.py"
    options = ["--cases", "4", "--format", "images", "--keep", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(script), *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| images | 4 |" in done.stdout
