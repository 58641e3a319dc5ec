"""What recording costs a robot: two 640x480 cameras at 30 Hz and its state, for a while.

Three recordings in turn, each as fast as a robot delivers: into the store with every commit synced
to the disk; into the store without waiting for the disk (what safety from power cuts costs); and
the same bytes appended to one plain file, synced as often (the least that any recorder must do).
Frames are JPEG of a synthetic scene; the share is of one core, of the whole process, less what the
loop costs that delivers the steps.

Examples:
  python benchmarks/store/recorder.py --seconds 30
  python benchmarks/store/recorder.py --seconds 10 --folder /mnt/robot_disk --json recorder.json
"""

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro
from tqdm import tqdm

from nav_offrl.store import CameraInfo, Recorder, StoreInfo
from nav_offrl.store.appender import Appender

CAMERAS = ("front", "rear")
INFO = StoreInfo(
    rate_hz=30.0,
    action_source="commanded",
    cameras={camera: CameraInfo(height=480, width=640) for camera in CAMERAS},
    fields=(
        *("time", "position", "yaw", "action", "velocity", "collision", "bumpiness"),
        *("intervention", "imu", "gps"),
    ),
)


@dataclass
class Args:
    """Measure the cost of recording."""

    seconds: float = 20.0
    """how long each of the recordings is"""
    folder: Path | None = None
    """where to record; default: a temporary folder. The disk decides what a sync costs"""
    quality: int = 85
    """of the JPEG frames"""
    json: Path | None = None
    """also write the figures to this file"""


Step = Callable[[int], tuple[dict[str, Any], dict[str, bytes]]]


def main(args: Args) -> None:
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    step = make_steps(args.quality)
    try:
        base = deliver(args.seconds / 4, step, lambda fields, images: None, "deliver only")
        figures = {
            "synced": record(folder / "synced.zarr", args.seconds, step, base["cpu_share"]),
            "not synced": without_sync(
                lambda: record(folder / "plain.zarr", args.seconds, step, base["cpu_share"])
            ),
            "plain file": append_file(folder / "file", args.seconds, step, base["cpu_share"]),
        }
    finally:
        shutil.rmtree(folder)
    frame = step(0)[1]["front"]
    size = len(frame) / 1e3
    print(f"2 cameras 640x480 at 30 Hz, {size:.0f} kB a frame, {args.seconds:g} s each")
    print(
        f"{'recording':<12}{'CPU':>8}{'record() max':>14}{'flush max':>11}{'lost in a crash':>17}"
    )
    for name, row in figures.items():
        print(
            f"{name:<12}{row['cpu_share']:8.1%}{row['slowest_call'] * 1e3:11.2f} ms"
            f"{row['slowest_flush'] * 1e3:8.0f} ms{row['at_risk']:14.2f} s"
        )
    ratio = figures["synced"]["cpu_share"] / figures["plain file"]["cpu_share"]
    print(f"CPU of the store over that of a plain file: {ratio:.1f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2))
    if figures["synced"]["cpu_share"] > 0.15:
        sys.exit("recording takes more than 15 % of a core")


def make_steps(quality: int) -> Step:
    rng = np.random.default_rng(0)
    jpegs = []
    for _ in range(10):
        scene = cv2.GaussianBlur(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), (0, 0), 1.2)
        jpegs.append(cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())

    def step(index: int) -> tuple[dict[str, Any], dict[str, bytes]]:
        fields = {
            "time": index * 33_333_333,
            "position": (0.03 * index, 0.0),
            "yaw": 0.1,
            "action": (1.0, 0.2),
            "velocity": (1.0, 0.2),
            "collision": False,
            "bumpiness": 0.1,
            "intervention": False,
            "imu": np.zeros(6),
            "gps": (np.nan, np.nan, np.nan),
        }
        return fields, {camera: jpegs[(index + k) % 10] for k, camera in enumerate(CAMERAS)}

    return step


def deliver(
    seconds: float, step: Step, take: Callable[[dict[str, Any], dict[str, bytes]], None], name: str
) -> dict[str, float]:
    """Hand steps to `take` at 30 Hz; return the share of a core and the slowest call, s."""
    slowest, begin, cpu = 0.0, time.monotonic(), cpu_seconds()
    for index in tqdm(range(round(seconds * 30)), desc=name, unit="step"):
        time.sleep(max(0.0, begin + index / 30 - time.monotonic()))
        fields, images = step(index)
        before = time.perf_counter()
        take(fields, images)
        slowest = max(slowest, time.perf_counter() - before)
    share = (cpu_seconds() - cpu) / (time.monotonic() - begin)
    return {"cpu_share": share, "slowest_call": slowest}


def record(path: Path, seconds: float, step: Step, base: float) -> dict[str, float]:
    recorder = Recorder(path, INFO)
    recorder.begin("drive")
    row = deliver(seconds, step, recorder.record, path.stem)
    status = recorder.status
    recorder.end()
    recorder.close()
    return row | {
        "cpu_share": row["cpu_share"] - base,
        "slowest_flush": status.slowest_flush,
        "at_risk": 0.25 + status.slowest_flush,
    }


def without_sync(action: Callable[[], dict[str, float]]) -> dict[str, float]:
    original = Appender.sync
    Appender.sync = lambda self, committed=False: None  # type: ignore[method-assign]
    try:
        return action()
    finally:
        Appender.sync = original  # type: ignore[method-assign]


def append_file(path: Path, seconds: float, step: Step, base: float) -> dict[str, float]:
    """Append every frame to one file, and sync it four times a second."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    slowest, last = 0.0, time.monotonic()

    def take(fields: dict[str, Any], images: dict[str, bytes]) -> None:
        nonlocal slowest, last
        for image in images.values():
            os.write(descriptor, image)
        if time.monotonic() - last > 0.25:
            last = time.monotonic()
            os.fdatasync(descriptor)
            slowest = max(slowest, time.monotonic() - last)

    row = deliver(seconds, step, take, "plain file")
    os.close(descriptor)
    return row | {
        "cpu_share": row["cpu_share"] - base,
        "slowest_flush": slowest,
        "at_risk": 0.25 + slowest,
    }


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
