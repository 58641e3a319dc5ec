"""What every importer yields: runs of a log, step by step, still with their faults.

An importer only reads. What is common to all formats (cutting at gaps and jumps, deriving actions,
labelling collisions, the split, the report, writing) happens once, in `assemble.py` and
`driver.py`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo
from nav_offrl_datasets.config import ImportConfig, LabelConfig

Frame = bytes | NDArray[np.uint8] | None


@dataclass(frozen=True)
class Source:
    """One unit of work of an import: a file, or a folder that is one run.

    `files` are hashed to tell whether this content is in the store already; `name` is what the
    report calls it; `key` is the importer's own note to `read` (an episode's index, say).
    """

    name: str
    files: tuple[Path, ...]
    key: str = ""


@dataclass(frozen=True)
class Layout:
    """What the runs of a log have in common: what the store's `StoreInfo` is made of.

    `fields` holds what the importer reads, without what is derived or labelled later.
    `rate_hz` is the rate of the steps that `read` yields; `rate_is_nominal` where the log has no
    timestamps. `robot`, `licence` and `labels` are what the format or its recipe says of them;
    the user's own settings win.
    `notes` go into the report and the store ("throttle is not m/s").
    """

    rate_hz: float
    rate_is_nominal: bool
    cameras: Mapping[str, CameraInfo]
    fields: Mapping[str, FieldInfo]
    action_source: str = ""
    frame: str = "odom"
    robot: str = ""
    licence: str = ""
    labels: LabelConfig | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Run:
    """T steps of a log in the order of time, faults included.

    `time` (T,) int64 ns. `fields` maps a name of the schema to (T, *shape); NaN where the log has
    no value for a step. `images` maps a camera to T frames: JPEG bytes as recorded (or uint8
    (H, W, 3) RGB where the layout's camera is coded "raw"), None where there is no usable frame.
    `breaks` are steps at which a new episode must begin whatever the clock says (a deleted row, a
    new session). `split`: "train" or "held_out" where the log itself says so, else "": drawn by
    session.

    A step that cannot be used stays in the run, and the run is split there: `fault` says why;
    without a word of the reader, its None frame, its damaged or ill-sized JPEG or its NaN does
    (every JPEG is checked once, by `assemble`). `dropped` counts only what the reader did not
    even make a step of (a deleted row, an image without a pose), reason -> steps; `details` say
    which, by file and step. `facts` are findings that lose nothing ("steering is mirrored").
    """

    name: str
    time: NDArray[np.int64]
    fields: dict[str, NDArray[Any]]
    images: dict[str, Sequence[Frame]] = field(default_factory=dict)
    session: str = ""
    split: str = ""
    breaks: tuple[int, ...] = ()
    faults: dict[int, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def fault(self, step: int, why: str, detail: str = "") -> None:
        """Note why a step of the run cannot be used."""
        self.faults[step] = why
        self.details.append(detail or f"step {step}: {why}")

    def drop(self, why: str, detail: str = "", count: int = 1) -> None:
        """Note that `count` rows of the log were not made steps, and which."""
        self.dropped[why] += count
        if detail:
            self.details.append(detail)


def nominal_time(steps: int, rate_hz: float) -> NDArray[np.int64]:
    """Return the time of steps that have no timestamps, ns, from 0."""
    return np.round(np.arange(steps) * (1e9 / rate_hz)).astype(np.int64)


class Importer(Protocol):
    """A module of `nav_offrl_datasets.formats`: it has these four as top-level names."""

    FORMAT: str  # what --format calls it
    HELP: str  # one line for `nav-offrl import --help`

    def recognises(self, path: Path) -> bool:
        """Tell by file names and first bytes whether `path` is a log of this format; cheap."""

    def sources(self, path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
        """Return the units of work in order, and names of files that are not understood.

        Raises:
            NavOffrlError: there is nothing of this format at `path`.
        """

    def layout(self, sources: Sequence[Source], config: ImportConfig) -> Layout:
        """Describe the runs by looking into as few sources as will do.

        Raises:
            NavOffrlError: no source can be read; names the first one's fault.
        """

    def read(self, source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
        """Yield the runs of one source; called in a worker process.

        Raises:
            NavOffrlError: nothing of the source can be used. Never anything else, whatever the
                bytes: every size that the file declares is held against the file's own.
        """
