"""The formats that can be imported: one module of this package each, imported when it is needed."""

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nav_offrl.errors import NavOffrlError

if TYPE_CHECKING:  # for `nav-offrl import --help` this module must be quick
    from nav_offrl_datasets.importing.run import Importer


@dataclass(frozen=True)
class Format:
    """One row of the table: the module `name` is a `nav_offrl_datasets.importing.run.Importer`."""

    name: str
    looks_like: str


# In the order in which they are tried: what is easiest to tell first.
FORMATS = (
    Format("gnm", "GNM / ViNT / NoMaD: folder of runs of 0.jpg 1.jpg ... + traj_data.pkl"),
    Format("recon", "RECON: .hdf5 files with images/rgb_left, commands/ and jackal/"),
    Format("badgr", "BADGR: .tfrecord files of overlapping windows"),
    Format("bag", "ROS: ROS 1 .bag, rosbag2 folder or file (sqlite3, mcap)"),
    Format("donkeycar", "Donkeycar tub v2: manifest.json, catalogs, images/"),
    Format("lerobot", "LeRobot v3: meta/info.json, data/*.parquet, videos/"),
    Format("frodobots", "FrodoBots-2K: ride_* folders of .csv and HLS video"),
    Format("ogbench", "OGBench: .npz with observations, actions, terminals"),
    Format("minari", "Minari: main_data.hdf5 or its data set's folder"),
    Format("sacson", "SACSoN / HuRoN: .pkl sample files"),
    Format("images", "folder of numbered images, no pose"),
)


def table() -> str:
    """Return the formats as lines of help."""
    width = max(len(row.name) for row in FORMATS)
    return "\n".join(f"  {row.name:<{width}}  {row.looks_like}" for row in FORMATS)


def named(name: str) -> "Importer":
    """Return the importer of the format `name`.

    Raises:
        NavOffrlError: there is none of that name.
    """
    for row in FORMATS:
        if row.name == name:
            return _load(row)
    names = [row.name for row in FORMATS]
    nearest = difflib.get_close_matches(name, names, n=1)
    raise NavOffrlError(
        f"unknown format '{name}'",
        where="--format",
        remedy=f"did you mean '{nearest[0]}'?" if nearest else f"formats are {', '.join(names)}",
    )


def recognise(path: Path) -> "Importer":
    """Return the importer of the first format that takes `path` for its own.

    Raises:
        NavOffrlError: none does, or nothing is at `path`.
    """
    if not path.exists():
        raise NavOffrlError("is not there", where=path, remedy="check the path")
    untried = []
    for row in FORMATS:
        try:
            importer = _load(row)
            if importer.recognises(path):
                return importer
        except ImportError as error:  # an optional package; another format may still fit
            untried.append(f"{row.name} (needs {error.name})")
    looks = "; ".join(f"{row.name}: {row.looks_like}" for row in FORMATS)
    missing = f" Not tried: {', '.join(untried)}." if untried else ""
    raise NavOffrlError(
        f"is of no format that can be recognised.{missing}",
        where=path,
        remedy=f"give the folder or file of a log, or name its format by --format. {looks}",
    )


def _load(row: Format) -> "Importer":
    return cast("Importer", importlib.import_module(f"{__name__}.{row.name}"))
