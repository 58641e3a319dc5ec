"""Running the ROS nodes as processes of their own, and leaving none behind whatever happens."""

import ctypes
import json
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nav_offrl.errors import NavOffrlError
from nav_offrl.ros_environment import find_executable

ParameterValue = bool | int | float | str | list[float]
PR_SET_PDEATHSIG = 1
GRACE = 3.0  # s that a node has to end by itself


class RosProcesses:
    """Nodes started under one environment; leaving the `with` block ends them all.

    Each writes to `<folder>/<name>.log`. They are in sessions of their own, so Ctrl-C reaches only
    this process, which takes them down in order; should this process be killed, Linux kills them.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        executable: str,
        parameters: Mapping[str, ParameterValue] | None = None,
        parameter_files: Sequence[Path] = (),
        arguments: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a node of nav_offrl_ros.

        Raises:
            NavOffrlError: the workspace holds no such executable.
        """
        path = find_executable(self._environment, executable)
        if path is None:
            raise NavOffrlError(
                "no such executable in the workspace",
                where=f"nav_offrl_ros/{executable}",
                remedy="run ros2_ws/build.sh again",
            )
        command = [str(path), *arguments, "--ros-args"]
        for file in parameter_files:
            command += ["--params-file", str(file)]
        for name, value in (parameters or {}).items():
            command += ["-p", f"{name}:={json.dumps(value)}"]  # JSON is YAML
        with self.log(executable).open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._running[executable] = process
        return process

    def log(self, executable: str) -> Path:
        """Return the file that holds a node's output."""
        return self._folder / f"{executable}.log"

    def last_line(self, executable: str) -> str:
        """Return the last line that a node has finished writing, or an empty one."""
        text = self.log(executable).read_text(errors="replace")
        lines = text[: text.rfind("\n") + 1].strip().splitlines()
        return lines[-1] if lines else ""

    def check(self, except_for: str = "") -> None:
        """Raise when a node has ended by itself.

        Raises:
            NavOffrlError: names the node and the last line it wrote.
        """
        for name, process in self._running.items():
            if name != except_for and process.poll() is not None:
                said = self.last_line(name).removeprefix("error: ")
                raise NavOffrlError(
                    f"node '{name}' ended with status {process.returncode}: "
                    f"{said or 'it said nothing'}",
                    where=self.log(name),
                )

    def stop(self) -> None:
        """End all nodes, the latest first; those that do not obey are killed."""
        running = [
            process for process in reversed(self._running.values()) if process.poll() is None
        ]
        try:
            for process in running:
                process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline and any(p.poll() is None for p in running):
                time.sleep(0.02)
        finally:  # also when Ctrl-C comes a second time
            for process in running:
                process.kill()
                process.wait()
            self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _die_with_parent() -> None:
    """In the child: ask Linux for SIGKILL when the parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
