"""A short video of a policy on a suite: what the robot sees, its goal, and its way on the map."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.rollouts import Drive
from nav_offrl.evaluation.suite_run import Driver, SuiteRun

HEIGHT = 288  # pixels
FRAMES_A_SECOND = 20.0
FRAMES_A_DRIVE = 140
FRAMES_AT_END = 20
WHITE, GREEN, RED, YELLOW = (255, 255, 255), (60, 230, 60), (230, 60, 60), (255, 220, 0)

Image = NDArray[np.uint8]


def write_video(run: SuiteRun, driver: Driver, path: Path) -> None:
    """Write one drive of each distance bin as MPEG-4, rendered again from the poses driven.

    Raises:
        NavOffrlError: OpenCV cannot write or read back such a file here.
    """
    writer: cv2.VideoWriter | None = None
    for number in _chosen(run):
        for frame in _frames(run, driver, number):
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(path), code, FRAMES_A_SECOND, size)
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if writer is not None:
        writer.release()
    if not cv2.VideoCapture(str(path)).read()[0]:
        raise NavOffrlError("OpenCV cannot write MPEG-4 here", where=path, remedy="use --no-video")


def _chosen(run: SuiteRun) -> list[int]:
    """The first task of each bin."""
    bins = [task.distance_bin for task in run.tasks]
    return [bins.index(number) for number in sorted(set(bins))]


def _frames(run: SuiteRun, driver: Driver, number: int) -> Iterator[Image]:
    from nav_offrl_sim.camera import RobotCamera

    task, drive = run.tasks[number], run.scored(driver)[number].drive
    camera: Any = RobotCamera(run.world(task.world_seed), run.robot.camera)
    try:
        goal = _scaled(camera.image(*task.goal), HEIGHT // 2)
        last = len(drive.path) - 1
        shown = np.linspace(0, last, min(last + 1, FRAMES_A_DRIVE)).astype(int)
        for step in [*shown, *[last] * FRAMES_AT_END]:
            texts = [driver.name, *_texts(run, number, drive, int(step))]
            view = _scaled(camera.image(*drive.path[step]), HEIGHT)
            here = _map_panel(run, number, drive.path[: step + 1])
            yield np.hstack([view, _goal_panel(goal, texts), here])
    finally:
        camera.close()


def _texts(run: SuiteRun, number: int, drive: Drive, step: int) -> list[str]:
    last = step == len(drive.path) - 1
    outcome = ("arrived" if drive.success else "not reached") if last else ""
    seconds = step * run.robot.control_period
    return [f"goal {run.tasks[number].shortest:.0f} m away", f"{seconds:.0f} s", outcome]


def _scaled(image: Image, height: int) -> Image:
    width = 2 * round(image.shape[1] * height / image.shape[0] / 2)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _goal_panel(goal: Image, texts: list[str]) -> Image:
    panel = np.zeros((HEIGHT, goal.shape[1], 3), np.uint8)
    panel[: goal.shape[0]] = goal
    for line, text in enumerate(texts):
        at = (6, goal.shape[0] + 24 + 24 * line)
        cv2.putText(panel, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, WHITE, 1, cv2.LINE_AA)
    return panel


def _map_panel(run: SuiteRun, number: int, path: NDArray[np.float64]) -> Image:
    task = run.tasks[number]
    picture, to_pixel = run.maps[task.world_seed]
    scale = HEIGHT / picture.shape[0]
    panel = np.ascontiguousarray(_scaled(picture, HEIGHT))
    points = np.rint(to_pixel(path[:, :2]) * scale).astype(np.int32)
    goal = tuple(int(v) for v in np.rint(to_pixel(np.array(task.goal[:2])) * scale))
    cv2.polylines(panel, [points.reshape(-1, 1, 2)], False, GREEN, 2, cv2.LINE_AA)
    cv2.circle(panel, goal, 6, YELLOW, -1, cv2.LINE_AA)
    cv2.circle(panel, tuple(int(v) for v in points[-1]), 5, RED, -1, cv2.LINE_AA)
    return panel
