"""Pictures of an evaluation: held-out commands, and drives seen from above."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nav_offrl.evaluation.offline import Floats, OfflineReport
from nav_offrl.evaluation.rollouts import Drive
from nav_offrl.store.reader import Store

DRIVEN, POLICY, NEIGHBOUR, MEAN = "black", "tab:blue", "tab:orange", "tab:grey"
EXAMPLES = 5
DPI = 110


def draw_offline(report: OfflineReport, store: Store, camera: str, path: Path) -> None:
    """Draw examples, one episode's commands over time, and all errors beside the baselines."""
    figure = plt.figure(figsize=(13, 9))
    grid = figure.add_gridspec(4, EXAMPLES, height_ratios=[1, 1, 1.1, 1.1])
    _draw_examples(figure, grid, report, store, camera)
    traces = [figure.add_subplot(grid[row, :3]) for row in (2, 3)]
    _draw_traces(traces, report, store)
    for row, name in ((2, "linear"), (3, "angular")):
        _draw_errors(figure.add_subplot(grid[row, 3:]), report.figures["command_error"], name)
    figure.suptitle("held-out episodes: what the policy commands and what was driven")
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _draw_examples(
    figure: Figure, grid: Any, report: OfflineReport, store: Store, camera: str
) -> None:
    commands = report.commands
    for column, index in enumerate(np.linspace(0, len(commands.step) - 1, EXAMPLES).astype(int)):
        here = figure.add_subplot(grid[0, column])
        image = store.image(camera, int(commands.step[index]))
        here.imshow(image)
        for command, colour in ((commands.driven, DRIVEN), (commands.policy, POLICY)):
            _arrow(here, image.shape, command[index], colour)
        here.set_title("black: driven, blue: policy" if column == 0 else "", fontsize=8)
        goal = figure.add_subplot(grid[1, column])
        goal.imshow(store.image(camera, int(commands.goal[index])))
        seconds = (commands.goal[index] - commands.step[index]) / store.info.rate_hz
        goal.set_title(f"goal, {seconds:.0f} s ahead", fontsize=8)
        for axes in (here, goal):
            axes.set_axis_off()


def _arrow(axes: Axes, shape: tuple[int, ...], command: Floats, colour: str) -> None:
    """Show (v, omega) as where the robot would be after a second, seen from above."""
    height, width = shape[:2]
    linear, angular = command
    length, bearing = 0.6 * height * max(abs(linear), 0.05), angular / 2
    tip = (width / 2 - length * np.sin(bearing), height - length * np.cos(bearing))
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2}
    axes.annotate("", xy=tip, xytext=(width / 2, height - 1), arrowprops=style)


def _draw_traces(axes: list[Axes], report: OfflineReport, store: Store) -> None:
    """Draw the commands towards the nearest goal over the longest held-out episode."""
    commands = report.commands
    ahead = commands.goal - commands.step
    episodes = store.episodes.of_split("held_out")
    longest = int(episodes[np.argmax(store.episodes.length[episodes])])
    steps = store.steps_of(longest)
    chosen = np.flatnonzero(
        (ahead == ahead.min()) & (commands.step >= steps.start) & (commands.step < steps.stop)
    )
    seconds = (commands.step[chosen] - steps.start) / store.info.rate_hz
    for column, (axis, label) in enumerate(zip(axes, ("v (m/s)", "omega (rad/s)"), strict=True)):
        axis.plot(seconds, commands.driven[chosen, column], color=DRIVEN, label="driven")
        axis.plot(
            seconds,
            commands.pixel_neighbour[chosen, column],
            color=NEIGHBOUR,
            linewidth=0.8,
            alpha=0.7,
            label="pixel neighbour",
        )
        axis.plot(seconds, commands.policy[chosen, column], color=POLICY, label="policy")
        axis.set_ylabel(label)
    axes[0].legend(fontsize=8)
    axes[1].set_xlabel(f"s, episode {store.episodes.name[longest]}")


def _draw_errors(axes: Axes, errors: dict[str, dict[str, float]], name: str) -> None:
    names = ["policy", "pixel_neighbour", "mean_command"]
    values = [errors[key][f"{name}_mae"] for key in names]
    bars = axes.barh(range(3), values, color=[POLICY, NEIGHBOUR, MEAN])
    axes.set_yticks(range(3), [key.replace("_", " ") for key in names])
    axes.invert_yaxis()
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.set_xlabel(f"mean error, {'m/s' if name == 'linear' else 'rad/s'}")
    axes.margins(x=0.15)


def draw_drives(
    drives: list[Drive], picture: NDArray[np.uint8], to_pixel: Any, path: Path, title: str
) -> None:
    """Draw paths over a picture of the world from above; `to_pixel` maps (…, 2) m to pixels."""
    figure, axes = plt.subplots(figsize=(8, 8 * picture.shape[0] / picture.shape[1]))
    axes.imshow(picture)
    for one in drives:
        points = to_pixel(one.path[:, :2])
        axes.plot(points[:, 0], points[:, 1], color="lime" if one.success else "red", linewidth=1.5)
        axes.plot(*points[0], "o", color="cyan", markersize=4)
        axes.plot(*to_pixel(np.array(one.goal[:2])), "*", color="yellow", markersize=9)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
