"""One damaged log, imported and judged: a store that is whole, a clear refusal, or a fault.

Run as a program it answers cases, a JSON object a line, until its input ends. It may crash, run out
of memory or be ended by its own watchdog over any of them: `fuzz_pool` sees to that.
"""

import faulthandler
import json
import os
import re
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nav_offrl.cli import import_log
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.schema import STEP_FIELDS
from nav_offrl_datasets import formats
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing import reading
from nav_offrl_datasets.importing.workers import ordered_map

# What reports and refusals say of faults of the program, of which the importer made a text.
OWN_FAULT = re.compile(r"please report this|the process reading it|does not fit into memory")
SHOWN = 6000  # characters of a traceback
LOG, OUTPUT = "log", "out.zarr"  # in the folder of a case


@dataclass(frozen=True)
class Case:
    """What is given to `nav-offrl import`: `path` lies at or below `folder`/log.

    `store`: the log is a store of an older version, which no setting applies to.
    """

    folder: str
    path: str
    format: str = "auto"
    workers: int = 1
    label: bool = False
    strict: bool = False
    recipe: str = "generic"
    store: bool = False

    @property
    def output(self) -> Path:
        return Path(self.folder) / OUTPUT

    def arguments(self) -> import_log.Args:
        if self.store:
            return import_log.Args(Path(self.path), self.output)
        settings = ImportConfig(workers=self.workers, strict=self.strict, recipe=self.recipe)
        return import_log.Args(
            Path(self.path), self.output, self.format, label=self.label, settings=settings
        )


@dataclass
class Outcome:
    """`kind` is "store", "refusal" or "fault: ..."; `memory` is the most that it took, MiB."""

    kind: str
    what: str = ""
    detail: str = ""
    seconds: float = 0.0
    memory: float = 0.0

    @property
    def is_fault(self) -> bool:
        return self.kind.startswith("fault")


class Judge:
    """Runs cases in this process; `most_memory` is in MiB."""

    def __init__(self, most_memory: float) -> None:
        self._most_memory = most_memory
        self._hidden: list[BaseException] = []
        self._watch()

    def _watch(self) -> None:
        # `read_source` makes one line of whatever is raised in it; here the exception is kept.
        plain = reading.refused

        def refused(
            result: reading.ReadSource, why: str, details: tuple[str, ...] = ()
        ) -> reading.ReadSource:
            error = sys.exception()
            if error is not None:
                self._hidden.append(error)
            return plain(result, why, details)

        reading.refused = refused

    def judge(self, case: Case) -> Outcome:
        self._hidden.clear()
        before = _listing(Path(case.folder) / LOG)
        begin, resident = time.monotonic(), _start_peak()
        try:
            import_log.run(case.arguments())
            outcome = Outcome("store", _say_faults_of(case.output))
        except NavOffrlError as error:
            self._hidden.append(error)
            outcome = Outcome("refusal", str(error))
        except Exception as error:
            outcome = _fault_of(error)
        fault = outcome if outcome.is_fault else self._fault_after(outcome, case, before)
        fault = fault or outcome
        fault.seconds, fault.memory = time.monotonic() - begin, _peak() - resident
        if fault.memory > self._most_memory and not fault.is_fault:
            fault.kind = "fault: memory"
        self._hidden.clear()
        return fault

    def _fault_after(
        self, outcome: Outcome, case: Case, before: dict[str, tuple[int, int]]
    ) -> Outcome | None:
        for error in self._hidden:
            for link in _chain(error):
                if _wants_memory(link) or not isinstance(error, NavOffrlError | OSError):
                    return _fault_of(link)
        if OWN_FAULT.search(outcome.what):
            return Outcome("fault: exception", outcome.what)
        if _listing(Path(case.folder) / LOG) != before:
            return Outcome("fault: log changed", outcome.what)
        fault = _fault_of_place(case, outcome.kind == "store")
        return Outcome(f"fault: {fault}", outcome.what) if fault else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__


def _wants_memory(error: BaseException) -> bool:
    # FFmpeg has a limit of its own: what it refuses by that was never asked of the system.
    return isinstance(error, MemoryError) and type(error).__module__ != "av.error"


def _fault_of(error: BaseException) -> Outcome:
    kind = "memory" if _wants_memory(error) else "exception"
    text = "".join(traceback.format_exception(error))[-SHOWN:]
    return Outcome(f"fault: {kind}", f"{type(error).__name__}: {error}", text)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return name -> (bytes, ns of the last change) of all files."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if not path.is_dir():
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def _fault_of_place(case: Case, made: bool) -> str:
    """Say what is wrong with what an import left behind, "" if nothing."""
    left = {entry.name for entry in Path(case.folder).iterdir()} - {LOG}
    if case.store and not made:  # a copy of a store may be continued
        left -= {OUTPUT + ".partial-store"}
    if not made:
        return f"left behind: {', '.join(sorted(left))}" if left else ""
    if left != {OUTPUT}:
        return f"bad store: beside it are {', '.join(sorted(left - {OUTPUT})) or 'nothing'}"
    try:
        return _fault_of_store(Store.open(case.output))
    except Exception as error:
        return f"bad store: {type(error).__name__}: {error}"


def _fault_of_store(store: Store) -> str:
    if not store.episodes.complete.all():
        return "bad store: an episode is not complete"
    for episode in range(len(store.episodes)):
        store.verify(episode)
        steps = store.steps_of(episode)
        if not (np.diff(store.field("time")[steps]) > 0).all():
            return f"bad store: time of episode {episode} does not increase"
        for name in store.info.fields:
            if STEP_FIELDS[name].finite and not np.isfinite(store.field(name)[steps]).all():
                return f"bad store: {name} of episode {episode} is not finite"
        for camera, info in store.info.cameras.items():
            shape = (steps.stop - steps.start, info.height, info.width, 3)
            if store.images(camera, steps).shape != shape:
                return f"bad store: frames of {camera} in episode {episode} are not {shape}"
    return ""


def _say_faults_of(output: Path) -> str:
    """Return what the reports in a store say of the program's own faults."""
    reports = sorted((output / "reports").glob("*.json"))
    return "".join(text for path in reports if OWN_FAULT.search(text := path.read_text()))


def _status(name: str) -> float:
    """Return an entry of /proc/self/status, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def _start_peak() -> float:
    """Let the peak of resident memory begin anew; return what is resident, MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def serve(seconds: float, address_space: float, most_memory: float) -> None:
    """Answer the cases of standard input on standard output; sizes are in MiB."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what importers print is no answer
        _load_everything()
        limit = round((_status("VmSize") + address_space) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        list(ordered_map(str, range(2), workers=2))  # starts what imports fork their workers from
        faulthandler.enable()
        judge = Judge(most_memory)
        for line in sys.stdin:
            faulthandler.dump_traceback_later(seconds, exit=True)
            outcome = judge.judge(Case(**json.loads(line)))
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(asdict(outcome)), file=answers, flush=True)


def _load_everything() -> None:
    """Import all that an import may need, so that no case is charged for it."""
    import av  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import rich.console  # noqa: F401

    for row in formats.FORMATS:
        formats.named(row.name)


if __name__ == "__main__":
    serve(*map(float, sys.argv[1:]))
