"""Crash-safe writing of a log store, whole episodes at a time (see `recorder.py` for live logs)."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.appender import Appender, file_errors
from nav_offrl.store.layout import create_arrays
from nav_offrl.store.location import writable_path
from nav_offrl.store.raw_array import sync_path
from nav_offrl.store.reader import Store
from nav_offrl.store.schema import Episode, StoreInfo, check_episode, check_info


class StoreWriter:
    """Appends episodes; each `append` is a transaction.

    A new store grows beside its final path under the suffix `.partial-store` and takes its name
    only in `finish()`, so that an interrupted import never opens as if complete. Creating the
    same store again continues it: `names` and `source_hashes` say which episodes are in.
    """

    def __init__(self, path: Path, final_path: Path | None) -> None:
        self._appender = Appender(path)
        self._path = path
        self._final_path = final_path
        self.info = self._appender.info

    @classmethod
    def create(cls, path: str | Path, info: StoreInfo) -> Self:
        """Start a store that will appear at `path` on `finish()`, or continue one.

        Raises:
            NavOffrlError: `path` exists, cannot be written, or an unfinished store of other
                settings stands beside it.
        """
        check_info(info)
        final_path = writable_path(path)
        partial = final_path.with_name(final_path.name + ".partial-store")
        if final_path.exists():
            raise NavOffrlError(
                "exists already", where=final_path, remedy="choose another path or delete it"
            )
        if (partial / "zarr.json").exists():
            writer = cls(partial, final_path)
            if writer.info.model_dump(exclude={"provenance"}) != info.model_dump(
                exclude={"provenance"}
            ):
                writer.close()
                raise NavOffrlError(
                    "is an unfinished store of other settings", where=partial, remedy="delete it"
                )
            writer._cut_damaged()
            return writer
        with file_errors(final_path):
            create_store(partial, info)
        return cls(partial, final_path)

    def _cut_damaged(self) -> None:
        """Take back what a power cut left half written; only `finish` waits for the disk."""
        if not self._appender.rows:
            return
        store = Store.open(self._path)
        for row in range(self._appender.rows):
            try:
                store.verify(row)
            except NavOffrlError:
                sources = store.episodes.source_hash
                while row and sources[row] and sources[row - 1] == sources[row]:
                    row -= 1  # the episodes of one log file go together
                self._appender.cut(row)
                return

    @classmethod
    def append_to(cls, path: str | Path) -> Self:
        """Open a finished store for more episodes."""
        return cls(writable_path(path), None)

    @property
    def path(self) -> Path:
        """Where the store lies at present: an unfinished one beside its final place."""
        return self._path

    @property
    def names(self) -> set[str]:
        """Names of the episodes that are in."""
        return self._appender.names

    @property
    def source_hashes(self) -> set[str]:
        """Hashes of the log files whose episodes are in."""
        return self._appender.source_hashes

    @property
    def splits(self) -> dict[str, str]:
        """Session -> split of the episodes that are in."""
        return dict(self._appender.sessions())

    def move_session(self, session: str, split: str) -> None:
        """Put the episodes of a session into another split, before anyone works with them."""
        with file_errors(self._path):
            for row, (name, _) in enumerate(self._appender.sessions()):
                if name == session:
                    self._appender.write_split(row, split)

    def append(self, episode: Episode) -> None:
        """Write and commit one episode.

        Raises:
            NavOffrlError: the episode does not fit the store, or the disk refuses. What was
                committed before stays whole.
        """
        self.append_all([episode])

    def append_all(self, episodes: Sequence[Episode]) -> None:
        """Write several episodes and commit them together: a reader sees all of them or none.

        In a finished store they survive a power cut from here on; in a new one from `finish` on.

        Raises:
            NavOffrlError: as `append`; then none of them is in.
        """
        appender = self._appender
        names = [episode.name for episode in episodes]
        for index, name in enumerate(names):
            if name in appender.names or name in names[:index]:
                raise NavOffrlError(f"episode '{name}' is in already", where=self._path)
        checked = [check_episode(episode, self.info) for episode in episodes]
        step = appender.steps
        with file_errors(self._path):
            for index, (episode, fields) in enumerate(zip(episodes, checked, strict=True)):
                appender.write_steps(step, fields, episode.images)
                appender.write_row(appender.rows + index, episode, step)
                step += episode.length
            if self._final_path is None:  # an unfinished store is checked when it is continued
                appender.sync()
            appender.commit(appender.rows, [episode.length for episode in episodes])
            if self._final_path is None:
                appender.sync(committed=True)
        appender.rows += len(episodes)
        appender.steps = step
        appender.names.update(names)
        appender.source_hashes.update({episode.source_hash for episode in episodes} - {""})

    def sync(self) -> None:
        """Return when all that was appended would survive a power cut."""
        with file_errors(self._path):
            self._appender.sync()
            self._appender.sync(committed=True)

    def finish(self) -> Path:
        """Trim the arrays, wait for the disk, give a new store its name; return its path.

        Raises:
            NavOffrlError: the store holds no episode.
        """
        if not self._appender.rows:
            raise NavOffrlError("nothing was written: no episode", where=self._path)
        with file_errors(self._path):
            self._appender.trim()
        self.sync()
        self.close()
        if self._final_path is not None:
            with file_errors(self._final_path):
                self._path.rename(self._final_path)
                sync_path(self._final_path.parent)
            self._path, self._final_path = self._final_path, None
        return self._path

    def discard(self) -> None:
        """Delete an unfinished store."""
        self.close()
        if self._final_path is not None:
            shutil.rmtree(self._path, ignore_errors=True)

    def close(self) -> None:
        """Let another writer in; an unfinished store stays where it is."""
        self._appender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave an unfinished store where it is: the same command continues it."""
        self.close()


def create_store(path: Path, info: StoreInfo) -> None:
    """Lay out an empty store at `path`, whole or not at all; replaces the remains of one.

    Raises:
        OSError: the disk refuses.
    """
    laying_out = path.with_name(path.name + ".layout")
    shutil.rmtree(laying_out, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)
    laying_out.parent.mkdir(parents=True, exist_ok=True)
    create_arrays(laying_out, info)
    for entry in (*laying_out.rglob("*"), laying_out):
        sync_path(entry)
    laying_out.rename(path)
    sync_path(path.parent)
