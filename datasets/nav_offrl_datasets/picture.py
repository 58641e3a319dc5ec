"""One picture of a store: paths from above, action histograms, a contact sheet of frames."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nav_offrl.store import Store
from nav_offrl.store.schema import SPLITS

matplotlib.use("Agg")

COLOURS = {"train": "tab:blue", "held_out": "tab:orange"}
FRAMES = 12


def draw_store(store: Store, path: Path) -> None:
    """Write the picture to `path` (.png, .pdf, .svg)."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    grid = figure.add_gridspec(4, 6)
    _draw_paths(figure.add_subplot(grid[:2, :3]), store)
    names = ("linear velocity v (m/s)", "angular velocity omega (rad/s)")
    for axis, name in enumerate(names):
        _draw_histogram(figure.add_subplot(grid[axis, 3:]), store, axis, name)
    camera = next(iter(store.info.cameras))
    for index, step in enumerate(np.linspace(0, store.steps - 1, FRAMES).astype(int)):
        axes = figure.add_subplot(grid[2 + index // 6, index % 6])
        axes.imshow(store.image(camera, int(step)))
        axes.set_title(f"step {step}", fontsize=8)
        axes.set_axis_off()
    figure.suptitle(f"{store.path.name}: {len(store.episodes)} episodes, {store.steps} steps")
    figure.savefig(path, dpi=110)


def _draw_paths(axes: Axes, store: Store) -> None:
    for row in range(len(store.episodes)):
        split = SPLITS[store.episodes.split[row]]
        x, y = store.field("position")[store.steps_of(row)].T
        axes.plot(x, y, color=COLOURS[split], linewidth=1)
        axes.plot(x[0], y[0], "o", color=COLOURS[split], markersize=3)
    for split in SPLITS:
        axes.plot([], [], color=COLOURS[split], label=f"{split} (dot: start)")
    axes.set(xlabel="x (m)", ylabel="y (m)", title=f"paths, frame '{store.info.frame}'")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _draw_histogram(axes: Axes, store: Store, axis: int, name: str) -> None:
    axes.hist(store.field("action")[:, axis], bins=80, color="tab:gray")
    axes.set(xlabel=name, ylabel="steps")
    axes.set_title(f"action, {store.info.action_source}", fontsize=9)
