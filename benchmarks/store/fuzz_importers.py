"""Damages small logs of every format and imports them: a whole store or a refusal must come of it.

A case is a copy of a sample log whose files were cut, flipped, overwritten with huge numbers, moved
about, emptied, deleted, renamed, given another format's content or turned into folders, or whose
numbers were NaN, infinite or mis-shaped before they were packed. It is imported by what `nav-offrl
import` calls, in a process with limits on time and memory. A fault is anything but a store that
verifies (checksums, frames that decode, finite fields, increasing time) or one clear error that
leaves nothing behind. The input of each fault is kept.

Examples:
  python benchmarks/store/fuzz_importers.py --cases 10000
  python benchmarks/store/fuzz_importers.py --cases 500 --format bag --seed 7 --json fuzz.json
"""

import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

if not __package__:  # run as a file, not by -m: its neighbours are modules of `benchmarks.store`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.store.fuzz_case import LOG, Case, Outcome
from benchmarks.store.fuzz_pool import Limits, Pool
from benchmarks.store.log_damage import Spoiler, damage_folder
from benchmarks.store.sample_logs import RECIPE, SAMPLES, Sample

MEMORY_FOLDER = Path("/dev/shm")
ROOM = 1 << 30  # bytes that it must have free
SPOILT = 0.25  # share of the cases whose content is damaged before it is packed


@dataclass
class Args:
    """Import damaged logs and count what comes of them."""

    cases: int = 10_000
    """over all formats, the same number of each"""
    format: str = ""
    """only samples whose name begins so: gnm, bag, bag-mcap, store ... (default: all)"""
    seed: int = 0
    """of the damage: the same seed damages the same way"""
    processes: int = 0
    """that import at the same time (default: one a core)"""
    limits: Limits = field(default_factory=Limits)
    """of one case"""
    keep: Path = Path("benchmark_output/fuzz")
    """folder for the inputs of faults"""
    json: Path | None = None
    """also write the table and the faults to this file"""


@dataclass
class Row:
    """What came of the cases of one sample; `memory`: MiB beyond what the process had before."""

    name: str
    stores: int = 0
    refusals: int = 0
    faults: int = 0
    slowest: float = 0.0
    memory: float = 0.0

    @property
    def cases(self) -> int:
        return self.stores + self.refusals + self.faults

    def add(self, outcome: Outcome) -> None:
        self.stores += outcome.kind == "store"
        self.refusals += outcome.kind == "refusal"
        self.faults += outcome.is_fault
        self.slowest = max(self.slowest, outcome.seconds)
        self.memory = max(self.memory, outcome.memory)

    def __add__(self, other: "Row") -> "Row":
        return Row(
            self.name,
            self.stores + other.stores,
            self.refusals + other.refusals,
            self.faults + other.faults,
            max(self.slowest, other.slowest),
            max(self.memory, other.memory),
        )


@dataclass(frozen=True)
class Made:
    """Of which sample a case is, and what was done to it."""

    sample: str
    number: int
    damage: list[str]


@dataclass(frozen=True)
class Fault:
    """One fault and how to see it again: `nav-offrl import` on the log that was kept."""

    made: Made
    case: Case
    outcome: Outcome
    kept: Path


class Logs:
    """Makes damaged copies of the samples in `folder`; `made` describes those under way."""

    def __init__(self, samples: Sequence[Sample], folder: Path, seed: int) -> None:
        self.samples, self._folder, self._seed = samples, folder, seed
        self.made: dict[Case, Made] = {}
        self._whole = folder / "whole"
        for sample in samples:
            (self._whole / sample.name).mkdir(parents=True)
            sample.write(self._whole / sample.name, Spoiler())
        self._files = {
            sample.name: [path for path in (self._whole / sample.name).rglob("*") if path.is_file()]
            for sample in samples
        }

    def cases(self, count: int) -> Iterator[Case]:
        """Make one log after the other, of each sample in turn."""
        for number in range(count):
            sample = self.samples[number % len(self.samples)]
            rng = random.Random(f"{self._seed} {sample.name} {number}")
            folder = self._folder / f"case_{number:06d}"
            lines = self._damage(sample, folder / LOG, rng)
            case = self._case(sample, folder, rng)
            self.made[case] = Made(sample.name, number, lines)
            yield case

    def _damage(self, sample: Sample, log: Path, rng: random.Random) -> list[str]:
        lines = []
        if rng.random() < SPOILT:
            log.mkdir(parents=True)
            sample.write(log, Spoiler(rng))
            lines.append("spoilt before packing")
        else:
            shutil.copytree(self._whole / sample.name, log)
        if not lines or rng.random() < 0.3:
            others = [name for name in self._files if name != sample.name] or [sample.name]
            lines += damage_folder(log, rng, self._files[rng.choice(others)])
        return lines

    def _case(self, sample: Sample, folder: Path, rng: random.Random) -> Case:
        log = folder / LOG
        files = sorted(path for path in log.rglob("*") if path.is_file())
        path = rng.choice(files) if files and rng.random() < 0.1 else log
        case = Case(str(folder), str(path))
        if not sample.format:
            return replace(case, store=True)
        other = rng.choice([row.format for row in self.samples if row.format] or ["images"])
        recipe = log / RECIPE
        return replace(
            case,
            format=rng.choices(("auto", sample.format, other), (5, 4, 1))[0],
            workers=1 if rng.random() < 0.9 else 2,
            label=rng.random() < 0.25,
            strict=rng.random() < 0.1,
            recipe=str(recipe) if recipe.is_file() and rng.random() < 0.7 else "generic",
        )


def fuzz(args: Args, samples: Sequence[Sample]) -> tuple[list[Row], list[Fault], bool]:
    """Return a row a sample, the faults, and whether all cases were run (False: Ctrl-C)."""
    rows = {sample.name: Row(sample.name) for sample in samples}
    faults: list[Fault] = []
    processes = args.processes or len(os.sched_getaffinity(0))
    bar = tqdm(total=args.cases, unit="case", smoothing=0, disable=None)
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder, bar:
        logs = Logs(samples, Path(folder), args.seed)
        try:
            with Pool(processes, args.limits) as pool:
                for case, outcome in pool.judge(logs.cases(args.cases)):
                    made = logs.made.pop(case)
                    rows[made.sample].add(outcome)
                    if outcome.is_fault:
                        faults.append(_keep(made, case, outcome, args))
                        bar.set_postfix(faults=len(faults))
                    shutil.rmtree(case.folder, ignore_errors=True)
                    bar.update()
        except KeyboardInterrupt:
            return list(rows.values()), faults, False
    return list(rows.values()), faults, True


def _fast_folder() -> Path | None:
    """Return a folder in memory if there is one with room: imports wait for the disk."""
    try:
        room = shutil.disk_usage(MEMORY_FOLDER).free
    except OSError:
        return None
    return MEMORY_FOLDER if room > ROOM and os.access(MEMORY_FOLDER, os.W_OK) else None


def _keep(made: Made, case: Case, outcome: Outcome, args: Args) -> Fault:
    """Copy the log of a fault to a folder of its own, with a note."""
    kept = args.keep / f"{made.sample}-{args.seed}-{made.number}"
    fault = Fault(made, case, outcome, kept)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    shutil.copytree(Path(case.folder) / LOG, kept / LOG, symlinks=True)
    (kept / "fault.json").write_text(json.dumps(asdict(fault), indent=2, default=str))
    return fault


def table(rows: Sequence[Row]) -> str:
    """Return the rows and their sum in Markdown."""
    lines = [
        "| format | cases | stores | refusals | faults | slowest, s | peak memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in (*rows, sum(rows, Row("all"))):
        counts = f"{row.cases} | {row.stores} | {row.refusals} | {row.faults}"
        lines.append(f"| {row.name} | {counts} | {row.slowest:.2f} | {row.memory:.0f} |")
    return "\n".join(lines)


def _print_faults(faults: Sequence[Fault]) -> None:
    for fault in faults:
        what = fault.outcome.what or (fault.outcome.detail.splitlines() or [""])[-1]
        what = what.encode(errors="replace").decode()
        print(f"{fault.kept}: {fault.outcome.kind}: {what[:300]}")


def main(args: Args, samples: Sequence[Sample] = SAMPLES) -> int:
    """Run, print, and return the exit status: 1 on faults, 130 after Ctrl-C."""
    samples = [sample for sample in samples if sample.name.startswith(args.format)]
    if not samples:
        print(f"no sample is called '{args.format}...'", file=sys.stderr)
        return 2
    rows, faults, is_whole = fuzz(args, samples)
    print(table(rows))
    _print_faults(faults)
    if args.json is not None:
        figures: dict[str, Any] = {"seed": args.seed, "limits": asdict(args.limits)}
        figures |= {"rows": [asdict(row) for row in rows]}
        figures |= {"faults": [asdict(fault) for fault in faults]}
        args.json.write_text(json.dumps(figures, indent=2, default=str))
    if not is_whole:
        print("interrupted: the table holds what was known by then", file=sys.stderr)
    return 1 if faults else 0 if is_whole else 130


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))
