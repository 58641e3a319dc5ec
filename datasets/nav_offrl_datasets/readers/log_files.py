"""Finding the files of a log that is a folder of files, one run or more each."""

import re
from collections.abc import Sequence
from pathlib import Path

from nav_offrl.errors import NavOffrlError

HARMLESS_NAMES = re.compile(r"\..*|Thumbs\.db|desktop\.ini|(LICEN[CS]E|README).*", re.IGNORECASE)


def find_files(path: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files under `path` with one of `suffixes`, by name, and the names of the others.

    A `path` that is a file is returned whatever its suffix. Names known to be harmless (LICENSE,
    .DS_Store, ...) are not among the others.

    Raises:
        NavOffrlError: there is no such file.
    """
    if path.is_file():
        return [path], []
    if not path.exists():
        raise NavOffrlError("is not there", where=path, remedy="check the path")
    files = sorted(entry for entry in path.rglob("*") if entry.is_file())
    wanted = [file for file in files if file.suffix.lower() in suffixes]
    if not wanted:
        raise NavOffrlError(
            f"holds no {' or '.join(suffixes)} file",
            where=path,
            remedy="give the folder of the log, or one of its files",
        )
    others = set(files) - set(wanted)
    unknown = [file for file in sorted(others) if not HARMLESS_NAMES.fullmatch(file.name)]
    return wanted, [file.relative_to(path).as_posix() for file in unknown]


def run_name(file: Path, path: Path) -> str:
    """Return what the run in `file` is called: its path below `path`, without the suffix."""
    if file == path:
        return file.stem
    return file.relative_to(path).with_suffix("").as_posix()
