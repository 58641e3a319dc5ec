"""The one exception for faults that a user can mend."""

from pathlib import Path


class NavOffrlError(Exception):
    """Says what is wrong, where (file, field) and what to do about it, in one line.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, remedy: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        prefix = f"{where}: " if where is not None else ""
        suffix = f" -> {remedy}" if remedy else ""
        super().__init__(f"{prefix}{what}{suffix}".replace("\n", " "))
