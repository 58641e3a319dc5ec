"""What a worker process does with one source of a log: hash it, read it, assemble its runs."""

import functools
import hashlib
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode
from nav_offrl_datasets import formats
from nav_offrl_datasets.importing.assemble import assemble
from nav_offrl_datasets.importing.plan import Plan
from nav_offrl_datasets.importing.report import RunReport
from nav_offrl_datasets.importing.run import Source

SHOWN_FRAMES = 6  # lines of the traceback of a fault in an importer


@dataclass
class ReadSource:
    """The runs of one source; `in_store` where its content was known by its hash."""

    name: str
    digest: str = ""
    runs: list[tuple[list[Episode], RunReport]] = field(default_factory=list)
    in_store: bool = False

    @property
    def reports(self) -> list[RunReport]:
        """The reports of the runs."""
        return [report for _, report in self.runs]


def read_source(
    source: Source, plan: Plan, known: frozenset[str], judge_only: bool = False
) -> ReadSource:
    """Read one source, unless its hash is `known`; whatever is wrong with it is in the reports.

    `judge_only`: leave the episodes out, only the reports are wanted.

    Raises:
        ImportError: an optional package is missing.
    """
    result = ReadSource(source.name)
    try:
        result.digest = source_hash(source)
        if result.digest in known:
            result.in_store = True
            return result
        importer = formats.named(plan.format)
        for run in importer.read(source, plan.layout, plan.config):
            episodes, report = assemble(run, plan)
            result.runs.append(([] if judge_only else episodes, report))
    except NavOffrlError as error:
        return refused(result, error.what + (f" -> {error.remedy}" if error.remedy else ""))
    except OSError as error:
        file = f"{Path(error.filename).name} " if isinstance(error.filename, str) else ""
        return refused(result, f"{file}cannot be read ({error.strerror or error})")
    except MemoryError:
        return refused(result, "does not fit into memory")
    except ImportError:
        raise
    except Exception as error:  # one file must not cost the others; nothing of it is hidden
        what = f"the importer failed ({type(error).__name__}: {error}); please report this"
        lines = "".join(traceback.format_exception(error)).splitlines()
        return refused(result, what, tuple(lines[-SHOWN_FRAMES:]))
    if not result.runs:
        return refused(result, "holds no run")
    result.runs = [
        (_sign(episodes, source, plan, result.digest), report) for episodes, report in result.runs
    ]
    return result


def refused(result: ReadSource, why: str, details: tuple[str, ...] = ()) -> ReadSource:
    """Return `result` with nothing taken of it but the reason."""
    result.runs = [([], RunReport(name=result.name, refused=why, details=details))]
    return result


def _sign(episodes: list[Episode], source: Source, plan: Plan, digest: str) -> list[Episode]:
    name = source.name if source.name == plan.log else f"{plan.log}/{source.name}"
    text = name.encode(errors="replace")[-256:].decode(errors="ignore")
    return [replace(episode, source=text, source_hash=digest) for episode in episodes]


def source_hash(source: Source) -> str:
    """Return the SHA-256 (hex) of the names and contents of a source's files, and of its key.

    The folder is no part of it: a log that was moved is the same log.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(source.key.encode(errors="surrogateescape"))
    for path in source.files:
        digest.update(b"\0" + path.name.encode(errors="surrogateescape") + b"\0")
        digest.update(_file_hash(path, path.stat().st_mtime_ns))
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)  # a file of many episodes is a file of many sources
def _file_hash(path: Path, changed: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
