"""Recording a live robot into a store, step by step, while others read it.

The caller's loop only puts steps into memory; a thread writes, waits for the disk and commits a few
times a second. So whatever happens (kill -9, power cut, full disk), all but the last moments are
in the store, which opens as ever; the episode that was cut short is not marked complete.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.appender import Appender, file_errors
from nav_offrl.store.location import writable_path
from nav_offrl.store.schema import (
    Episode,
    Frames,
    StoreInfo,
    check_info,
    check_steps,
    check_texts,
)
from nav_offrl.store.writer import create_store

MAX_BACKLOG_BYTES = 64 << 20


@dataclass
class RecorderStatus:
    """How the recording goes; a copy that does not change."""

    recorded: int = 0  # steps taken
    committed: int = 0  # of these, steps that survive a power cut
    flushes: int = 0
    slowest_flush: float = 0.0  # s
    fault: str = ""  # why recording stopped


@dataclass(frozen=True)
class _Item:
    """What the thread has to do: 'begin', 'step' or 'end'."""

    kind: str
    episode: Episode | None = None
    fields: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    images: Mapping[str, Frames] = field(default_factory=dict)


class Recorder:
    """Appends steps to the store at `path`, which is made if it is not there.

    `begin`, `record` and `end` return at once; none may be called by two threads at a time.
    A fault of the disk is raised by the next of these calls, and recording is then over.
    """

    def __init__(self, path: str | Path, info: StoreInfo, flush_period: float = 0.25) -> None:
        """Open or make the store and start the writing thread.

        `flush_period`: s between commits; what is younger is lost in a crash.

        Raises:
            NavOffrlError: the disk refuses, another process writes the store, or it holds other
                fields, cameras or rates than `info`.
        """
        check_info(info)
        self.path = writable_path(path)
        if not self.path.exists():
            with file_errors(self.path):
                create_store(self.path, info)
        self._appender = Appender(self.path)
        self.info = self._appender.info
        _check_same(self.info, info, self.path)
        self._flush_period = flush_period
        self._status = RecorderStatus()
        self._items: list[_Item] = []
        self._backlog = 0  # bytes of frames in memory
        self._unwritten = 0  # items that are not on the disk
        self._last_time: int | None = None
        self._in_episode = False
        self._row_length = 0
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def status(self) -> RecorderStatus:
        """Return how far recording has come."""
        with self._wake:
            return replace(self._status)

    def begin(self, name: str, **texts: str) -> None:
        """Start an episode; `texts`: session, split, source, robot, licence.

        Raises:
            NavOffrlError: one is being recorded, the name is taken, or the disk failed.
        """
        episode = Episode(name=name, images={}, fields={}, complete=False, **texts)
        self._raise_fault()
        if self._in_episode:
            raise NavOffrlError("an episode is being recorded already", where=self.path)
        if name in self._appender.names:
            raise NavOffrlError(f"episode '{name}' is in already", where=self.path)
        check_texts(episode, f"episode '{name}'")
        self._appender.names.add(name)
        self._in_episode, self._last_time = True, None
        self._put(_Item("begin", episode=episode), 0)

    def record(self, fields: Mapping[str, Any], images: Mapping[str, Any]) -> None:
        """Take one step: a value for each field of the store, a frame for each camera.

        Raises:
            NavOffrlError: no episode was begun; the step does not fit the store (it is not
                recorded, the next one may be); the disk failed or is too slow.
        """
        self._raise_fault()
        if not self._in_episode:
            raise NavOffrlError("no episode was begun", where=self.path)
        rows = {name: np.asarray(value)[None] for name, value in fields.items()}
        frames = {camera: [frame] for camera, frame in images.items()}
        cast = check_steps(rows, frames, self.info, f"{self.path}, step to record")
        stamp = int(cast["time"][0])
        if self._last_time is not None and stamp <= self._last_time:
            raise NavOffrlError(
                f"'time' {stamp} does not follow {self._last_time}", where=self.path
            )
        size = sum(
            len(frame) if isinstance(frame, bytes) else frame.nbytes for frame in images.values()
        )
        self._put(_Item("step", fields=cast, images=frames), size)
        self._last_time = stamp

    def end(self) -> None:
        """End the episode as intended: it will be marked complete."""
        self._raise_fault()
        if self._in_episode:
            self._in_episode = False
            self._put(_Item("end"), 0)

    def flush(self, timeout: float = 10.0) -> None:
        """Return when all that was recorded so far is on the disk.

        Raises:
            NavOffrlError: the disk failed, or took longer than `timeout` s.
        """
        with self._wake:
            self._wake.notify_all()
            done = self._wake.wait_for(lambda: not self._unwritten or self._status.fault, timeout)
        self._raise_fault()
        if not done:
            raise NavOffrlError(f"the disk took longer than {timeout:g} s", where=self.path)

    def close(self) -> None:
        """Write what is left and trim the store; an episode without `end` stays unfinished.

        Raises:
            NavOffrlError: the disk failed, now or earlier.
        """
        if self._closing:
            return
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()
        try:
            if not self._status.fault:
                with file_errors(self.path):
                    self._appender.trim()
        finally:
            self._appender.close()
        self._raise_fault()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _put(self, item: _Item, size: int) -> None:
        with self._wake:
            if self._backlog + size > MAX_BACKLOG_BYTES:
                raise NavOffrlError(
                    f"the disk is slower than the sensors ({MAX_BACKLOG_BYTES >> 20} MiB wait)",
                    where=self.path,
                    remedy="record fewer or smaller frames, or onto a faster disk",
                )
            self._items.append(item)
            self._unwritten += 1
            self._backlog += size
            self._status.recorded += item.kind == "step"

    def _raise_fault(self) -> None:
        if self._status.fault:
            raise NavOffrlError(
                f"recording stopped: {self._status.fault}",
                where=self.path,
                remedy=f"{self._status.committed} steps are safe; mend this and record anew",
            )

    def _run(self) -> None:
        while True:
            begin = time.monotonic()
            with self._wake:
                closing = self._closing
                items, self._items, self._backlog = self._items, [], 0
            try:
                with file_errors(self.path):
                    self._write(items)
                    if closing:
                        self._end_row()
            except NavOffrlError as error:
                with self._wake:
                    self._status.fault = error.what
                    self._wake.notify_all()
                return
            took = time.monotonic() - begin
            with self._wake:
                self._unwritten -= len(items)
                if items:
                    self._status.flushes += 1
                    self._status.slowest_flush = max(self._status.slowest_flush, took)
                self._wake.notify_all()
                if closing:
                    return
                if not self._closing:
                    self._wake.wait(max(0.0, self._flush_period - took))

    def _write(self, items: list[_Item]) -> None:
        appender = self._appender
        for kind, group in groupby(items, key=lambda item: item.kind):
            if kind == "step":
                self._write_steps(list(group))
                continue
            for item in group:
                if item.episode is not None:
                    self._row_length = 0
                    self._appender.write_row(
                        self._appender.rows, item.episode, self._appender.steps
                    )
                elif self._row_length:
                    appender.mark_complete(appender.rows)
                    appender.sync(committed=True)
                    self._end_row()

    def _end_row(self) -> None:
        """Count the episode in flight, if it has a step, so that the next one follows it."""
        self._appender.rows += self._row_length > 0
        self._appender.steps += self._row_length
        self._row_length = 0

    def _write_steps(self, items: list[_Item]) -> None:
        appender = self._appender
        fields = {
            name: np.concatenate([item.fields[name] for item in items]) for name in self.info.fields
        }
        images: dict[str, Any] = {
            camera: [item.images[camera][0] for item in items] for camera in self.info.cameras
        }
        appender.write_steps(appender.steps + self._row_length, fields, images)
        # The disk has the steps before it hears that they count.
        appender.sync()
        self._row_length += len(items)
        appender.commit(appender.rows, [self._row_length])
        appender.sync(committed=True)
        with self._wake:
            self._status.committed += len(items)


def _check_same(found: StoreInfo, wanted: StoreInfo, path: Path) -> None:
    for part in ("rate_hz", "fields", "cameras", "frame"):
        if getattr(found, part) != getattr(wanted, part):
            raise NavOffrlError(
                f"'{part}' of the store is {str(getattr(found, part))[:200]}, of the robot "
                f"{str(getattr(wanted, part))[:200]}",
                where=path,
                remedy="record into a store of its own; several stores train as one",
            )
