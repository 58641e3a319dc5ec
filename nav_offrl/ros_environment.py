"""How to run ROS 2 processes from here: their environment, or what is missing for it.

Imports no ROS. Either the environment already has the workspace (its setup.bash was sourced), or
the workspace beside this package is sourced in a shell and the result used.
"""

import fcntl
import functools
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nav_offrl.errors import NavOffrlError

WORKSPACE_VARIABLE = "NAV_OFFRL_ROS_WORKSPACE"
PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
# Set by the wheels' start-up hook together with LD_LIBRARY_PATH; it must not travel without it.
WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
# Above 101 the ports of a domain reach into Linux' ephemeral range.
DOMAINS = range(1, 102)

_held_domains: list[IO[str]] = []


@dataclass(frozen=True)
class RosFinding:
    """One thing that ROS needs: whether it is there, what was found, and how to mend it."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def workspace() -> Path:
    """Return the ROS workspace's folder, from $NAV_OFFRL_ROS_WORKSPACE or beside this package."""
    given = os.environ.get(WORKSPACE_VARIABLE)
    return Path(given) if given else Path(__file__).parents[1] / "ros2_ws"


def is_sourced() -> bool:
    """Whether this process' own environment holds the built workspace."""
    return importlib.util.find_spec("nav_offrl_msgs") is not None and (
        find_executable(os.environ, "navigator") is not None
    )


def ros_status() -> list[RosFinding]:
    """Return what driving over ROS needs and whether it is here, for `nav-offrl doctor`."""
    requirements = workspace() / "requirements.txt"
    rclpy = importlib.util.find_spec("rclpy")
    setup = workspace() / "install" / "setup.bash"
    built = is_sourced() or setup.is_file()
    return [
        RosFinding(
            "rclpy",
            rclpy is not None,
            str(rclpy.origin) if rclpy is not None else "not importable",
            f"source /opt/ros/jazzy/setup.bash, or pip install -r {requirements}",
        ),
        RosFinding(
            "ROS workspace",
            built,
            "sourced" if is_sourced() else str(setup) if built else f"not built ({setup})",
            f"run {workspace() / 'build.sh'}",
        ),
        RosFinding("bash", shutil.which("bash") is not None, "", "install bash"),
    ]


def ros_environment(log_folder: Path) -> dict[str, str]:
    """Return environment variables under which the workspace's nodes run and find each other.

    A domain is picked that nobody on this machine uses, unless ROS_DOMAIN_ID is set, and nothing
    leaves the machine: see nav_offrl_bringup/config/fastdds.xml.

    Raises:
        NavOffrlError: ROS or the built workspace is missing; says how to get it.
    """
    for finding in ros_status():
        if not finding.ok:
            raise NavOffrlError(finding.found, where=finding.name, remedy=finding.remedy)
    environment = dict(os.environ) if is_sourced() else dict(_sourced_environment())
    profile = share_file(environment, "config/fastdds.xml")
    environment.setdefault(PROFILE_VARIABLE, str(profile))
    if "ROS_DOMAIN_ID" not in os.environ:
        environment["ROS_DOMAIN_ID"] = str(reserve_domain())
    environment["ROS_LOG_DIR"] = str(log_folder)
    # Lines of a node appear in its log file when they are written.
    environment["PYTHONUNBUFFERED"] = environment["RCUTILS_LOGGING_BUFFERED_STREAM"] = "1"
    if str(Path(sys.prefix) / "lib") not in environment.get("LD_LIBRARY_PATH", "").split(":"):
        environment.pop(WHEELS_GUARD, None)
    return environment


@functools.cache
def _sourced_environment() -> Mapping[str, str]:
    """Source the workspace in a shell and return the environment that results."""
    base = dict(os.environ)
    wheels = (Path(sys.prefix) / "share" / "rclpy").is_dir()
    if wheels:
        base["AMENT_PREFIX_PATH"] = _prepend(sys.prefix, base.get("AMENT_PREFIX_PATH"))
    script = workspace() / "install" / "setup.bash"
    command = ["bash", "-c", 'source "$1" >&2 && exec env -0', "bash", str(script)]
    done = subprocess.run(command, env=base, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise NavOffrlError(
            f"cannot be sourced ({done.stderr.decode(errors='replace').strip()[-300:]})",
            where=script,
            remedy=f"run {workspace() / 'build.sh'} again",
        )
    entries = (entry.partition("=") for entry in done.stdout.decode().split("\0") if entry)
    environment = {name: value for name, _, value in entries}
    if wheels:  # setup.bash drops prefixes that hold no setup script of their own
        path = environment.get("AMENT_PREFIX_PATH", "")
        if sys.prefix not in path.split(":"):
            environment["AMENT_PREFIX_PATH"] = f"{path}:{sys.prefix}"
    return environment


def _prepend(entry: str, path: str | None) -> str:
    return entry if not path else f"{entry}:{path}"


def find_executable(environment: Mapping[str, str], name: str) -> Path | None:
    """Return a node's executable as `ros2 run nav_offrl_ros NAME` finds it, or None."""
    for prefix in environment.get("AMENT_PREFIX_PATH", "").split(":"):
        executable = Path(prefix) / "lib" / "nav_offrl_ros" / name
        if prefix and executable.is_file():
            return executable
    return None


def share_file(environment: Mapping[str, str], file: str) -> Path:
    """Return an installed file of nav_offrl_bringup, e.g. "config/sim.yaml".

    Raises:
        NavOffrlError: the workspace was built without it.
    """
    for prefix in environment.get("AMENT_PREFIX_PATH", "").split(":"):
        path = Path(prefix) / "share" / "nav_offrl_bringup" / file
        if prefix and path.is_file():
            return path
    raise NavOffrlError(
        f"{file} is not installed",
        where="nav_offrl_bringup",
        remedy=f"run {workspace() / 'build.sh'} again",
    )


def reserve_domain() -> int:
    """Return a ROS domain that nobody on this machine uses, and hold it while this process lives.

    Raises:
        NavOffrlError: all are taken.
    """
    busy = _busy_ports()
    for domain in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
        # DDS: port = 7400 + 250 * domain + offset.
        first = 7400 + 250 * domain
        if busy.isdisjoint(range(first, first + 250)) and _hold(domain):
            return domain
    raise NavOffrlError("all ROS domains of this machine are in use", remedy="set ROS_DOMAIN_ID")


def _busy_ports() -> set[int]:
    table = Path("/proc/net/udp")
    if not table.is_file():
        return set()
    lines = table.read_text().splitlines()[1:]
    return {int(line.split()[1].rpartition(":")[2], 16) for line in lines}


def _hold(domain: int) -> bool:
    """Lock a file that stands for the domain; the lock ends with this process."""
    path = Path(tempfile.gettempdir()) / f"nav-offrl-ros-domain-{os.getuid()}-{domain}.lock"
    handle = path.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _held_domains.append(handle)
    return True
