"""Pictures of a suite: every drive of a policy, seen from above, one panel a world."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from nav_offrl.evaluation.suite_run import Driver, SuiteRun

PANELS_A_ROW = 4
DPI = 100


def draw_suite(run: SuiteRun, driver: Driver, path: Path) -> None:
    """Draw the drives of a policy: green arrived, red did not; circles start, stars goal."""
    seeds = run.suite.world_seeds
    columns = min(PANELS_A_ROW, len(seeds))
    rows = math.ceil(len(seeds) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 4.2 * rows), squeeze=False)
    scored = run.scored(driver)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, seed in zip(axes.flat, seeds, strict=False):
        picture, to_pixel = run.maps[seed]
        axis.imshow(picture)
        axis.set_title(f"{run.suite.world} {seed}", fontsize=9)
        for task, one in zip(run.tasks, scored, strict=True):
            if task.world_seed != seed:
                continue
            points = to_pixel(one.drive.path[:, :2])
            colour = "lime" if one.drive.success else "red"
            axis.plot(points[:, 0], points[:, 1], color=colour, linewidth=1.3)
            axis.plot(*points[0], "o", color="cyan", markersize=4)
            axis.plot(*to_pixel(np.array(task.goal[:2])), "*", color="yellow", markersize=9)
    reached = sum(one.drive.success for one in scored)
    figure.suptitle(f"{driver.name}: {reached} of {len(scored)} goals of suite {run.suite.name}")
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
