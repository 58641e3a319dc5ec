"""Checks of the machine: what is there, what is broken, and how to mend it.

Everything that may crash or that must come first in a process (torch, ONNX Runtime, OpenGL) is
tried in a process of its own, so that the doctor survives its patients.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "missing", "broken"]

# distribution -> the extra that brings it; "" is the base that every use needs.
PACKAGES = {
    **dict.fromkeys(("numpy", "pydantic", "zarr", "tyro", "rich"), ""),
    **dict.fromkeys(("torch", "safetensors", "tensorboard", "matplotlib"), "train"),
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
    **dict.fromkeys(("gymnasium", "mujoco", "scipy"), "sim"),
}
# Each pair installs the same folder; whichever comes last overwrites the other without a word.
CLASHES = (("onnxruntime", "onnxruntime-gpu"), ("opencv-python", "opencv-python-headless"))
DISK_FLOOR = 5e9  # bytes
MEMORY_FLOOR = 4e9  # bytes
PROBE_SECONDS = 120.0

_TORCH = """
import torch, json
cuda = torch.cuda.is_available()
name = torch.cuda.get_device_name(0) if cuda else "no CUDA, the CPU is used"
float(torch.ones(2, 2).to("cuda" if cuda else "cpu").sum())
print(json.dumps(f"{torch.__version__}, {name}"))
"""
# get_available_providers() names what was compiled in, even where no such device exists.
_ONNXRUNTIME = """
import onnxruntime, json
names = list(dict.fromkeys(device.ep_name for device in onnxruntime.get_ep_devices()))
assert "CPUExecutionProvider" in names, names
print(json.dumps(f"{onnxruntime.__version__}, really available: {', '.join(names)}"))
"""
_RENDERING = """
import json
from nav_offrl_sim.rendering import probe_rendering
print(json.dumps(probe_rendering()))
"""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report. `broken` is in the way of the main job; `missing` is not."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def examine(folder: Path) -> list[Check]:
    """Run every check; `folder` is where stores and runs would be written."""
    return [
        _python(),
        *_packages(),
        *_clashes(),
        _probe("torch", _TORCH, "pip install 'nav-offrl[train]'", needs="torch"),
        _probe("ONNX Runtime", _ONNXRUNTIME, "pip install --force-reinstall onnxruntime-gpu"),
        _rendering(),
        *_ros(),
        *_build_tools(),
        *_machine(folder),
    ]


def _python() -> Check:
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Python", "ok" if fits else "broken", found, "" if fits else "use 3.11 to 3.13")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> list[Check]:
    checks = []
    for extra in dict.fromkeys(PACKAGES.values()):
        versions = {name: _version(name) for name, of in PACKAGES.items() if of == extra}
        lacking = [name for name, version in versions.items() if version is None]
        found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        title = f"packages [{extra}]" if extra else "packages"
        if lacking:
            target = f"'nav-offrl[{extra}]'" if extra else "nav-offrl"
            found = f"lacks {', '.join(lacking)}" + (f"; has {found}" if found else "")
            status: Status = "missing" if extra else "broken"
            checks.append(Check(title, status, found, f"pip install {target}"))
        else:
            checks.append(Check(title, "ok", found))
    return checks


def _clashes() -> list[Check]:
    checks = []
    for names in CLASHES:
        present = [name for name in names if _version(name)]
        title = " / ".join(names)
        found = ", ".join(f"{name} {_version(name)}" for name in present) or "none"
        if len(present) == 1:
            checks.append(Check(title, "ok", found))
        elif present:
            remedy = f"pip uninstall -y {' '.join(names)} && pip install {names[1]}"
            checks.append(Check(title, "broken", f"both installed: {found}", remedy))
        else:
            checks.append(Check(title, "broken", found, f"pip install {names[1]}"))
    return checks


def _probe(name: str, code: str, remedy: str, needs: str = "") -> Check:
    """Run `code` in a process of its own; it prints what it found as one line of JSON."""
    if needs and importlib.util.find_spec(needs) is None:
        return Check(name, "missing", "not installed", remedy)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Check(name, "broken", f"no answer within {PROBE_SECONDS:.0f} s", remedy)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Check(name, "broken", last[:200], remedy)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Check(name, "broken" if found is None else "ok", str(found), remedy if not found else "")


def _rendering() -> Check:
    remedy = "apt-get install libegl1 libgl1-mesa-dri libosmesa6; unset MUJOCO_GL if it is wrong"
    if importlib.util.find_spec("mujoco") is None:
        return Check("rendering", "missing", "needs mujoco", "pip install 'nav-offrl[sim]'")
    check = _probe("rendering", _RENDERING, remedy)
    if check.found == "None":
        return Check("rendering", "broken", "no OpenGL back end renders off screen", remedy)
    return check


def _ros() -> list[Check]:
    """ROS is needed on the robot and to build the nodes, not to train."""
    from nav_offrl.ros_environment import ros_status

    return [
        Check(
            finding.name,
            "ok" if finding.ok else "missing",
            finding.found,
            "" if finding.ok else finding.remedy,
        )
        for finding in ros_status()
    ]


def _build_tools() -> list[Check]:
    checks = []
    for tool, package in (("g++", "g++"), ("cmake", "cmake"), ("make", "make")):
        path = shutil.which(tool)
        remedy = "" if path else f"apt-get install {package} (only to build ROS messages)"
        checks.append(Check(tool, "ok" if path else "missing", path or "not found", remedy))
    return checks


def _machine(folder: Path) -> list[Check]:
    free = shutil.disk_usage(folder).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Check(
            "disk",
            "ok" if free > DISK_FLOOR else "missing",
            f"{free / 1e9:.0f} GB free in {folder}",
            "" if free > DISK_FLOOR else "free some: a store takes about 30 kB a frame",
        ),
        Check(
            "memory",
            "ok" if memory > MEMORY_FLOOR else "missing",
            f"{memory / 1e9:.0f} GB",
            "" if memory > MEMORY_FLOOR else "train with a smaller batch and image",
        ),
        Check("cores", "ok", f"{cores}"),
    ]
