"""Pictures of drives: the map with the path, what the robot saw, and commands beside actions."""

from pathlib import Path
from typing import Any

import cv2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from nav_offrl.drive import FIGURE, SimulationOptions
from nav_offrl.drive_metrics import paired_actions

SHOWN_DRIVES = 4
DPI = 110


def draw_simulated(
    records: list[dict[str, Any]],
    drives: list[dict[str, Any]],
    options: SimulationOptions,
    folder: Path,
) -> None:
    """Draw the first drives: the world from above with the path; goal image and last image."""
    from nav_offrl_sim import generate_world, load_world_config
    from nav_offrl_sim.top_down import render_top_down

    world = generate_world(load_world_config(options.world), options.world_seed)
    picture, to_pixel = render_top_down(world, pixels_per_metre=20.0)
    shown = min(len(records), SHOWN_DRIVES)
    figure, rows = plt.subplots(shown, 3, figsize=(13, 4.6 * shown), squeeze=False, dpi=DPI)
    for index in range(shown):
        left, middle, right = rows[index]
        left.imshow(picture)
        _draw_path(left, records[index], to_pixel)
        left.set_title(_headline(drives[index]), fontsize=9)
        _show_file(middle, folder / f"goal_image_{index}.png", "goal photo")
        _show_file(right, folder / f"last_image_{index}.jpg", "last image")
        for axes in rows[index]:
            axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(folder / FIGURE)
    plt.close(figure)


def _draw_path(axes: Axes, record: dict[str, Any], to_pixel: Any) -> None:
    path = to_pixel(np.asarray(record["truth"])[:, 1:3])
    axes.plot(path[:, 0], path[:, 1], color="yellow", linewidth=2, label="path")
    for name, colour in (("start", "cyan"), ("goal", "red")):
        x, y, yaw = record[name]
        column, row = to_pixel(np.array([x, y]))
        axes.plot(column, row, "o", color=colour, markersize=7, label=name)
        axes.annotate(
            "",
            xytext=(column, row),
            xy=(column + 22 * np.cos(yaw), row - 22 * np.sin(yaw)),
            arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 2},
        )
    ring = Circle(
        tuple(to_pixel(np.asarray(record["goal"][:2]))),
        record["success_radius"] * to_pixel.scale,
        fill=False,
        color="red",
        linestyle="--",
    )
    axes.add_patch(ring)
    axes.legend(loc="upper right", fontsize=7)


def _headline(drive: dict[str, Any]) -> str:
    verdict = "SUCCESS" if drive["success"] else "not reached"
    said = "said 'arrived'" if drive["arrived"] else drive["error"]
    return (
        f"{verdict} ({said}); ended {drive['final_distance_m']:.2f} m from the goal,\n"
        f"closest {drive['closest_distance_m']:.2f} m, drove {drive['path_length_m']:.1f} m, "
        f"in contact {100 * (drive['collision_share'] or 0):.0f} % of the time"
    )


def _show_file(axes: Axes, file: Path, title: str) -> None:
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR) if file.is_file() else None
    if picture is not None:
        axes.imshow(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    axes.set_title(title if picture is not None else f"{title}: none", fontsize=9)


def draw_replayed(records: list[dict[str, Any]], folder: Path) -> None:
    """Draw commands and recorded actions over the images, and one against the other."""
    pairs = [paired_actions(record) for record in records]
    commands, actions = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
    figure, rows = plt.subplots(
        2, 2, figsize=(13, 6), dpi=DPI, squeeze=False, gridspec_kw={"width_ratios": [3, 1]}
    )
    for column, name in enumerate(("v (m/s)", "omega (rad/s)")):
        line, cloud = rows[column]
        line.plot(actions[:, column], color="black", linewidth=1, label="recorded")
        line.plot(commands[:, column], color="tab:red", linewidth=1, label="policy over ROS")
        for edge in np.cumsum([len(pair[0]) for pair in pairs])[:-1]:
            line.axvline(edge, color="lightgrey", linewidth=0.8)
        line.set(xlabel="image", ylabel=name)
        line.legend(fontsize=8)
        cloud.plot(actions[:, column], commands[:, column], ".", markersize=3)
        cloud.axline((0, 0), slope=1, color="grey", linewidth=0.8)
        cloud.set(xlabel=f"recorded {name}", ylabel="policy")
    figure.tight_layout()
    figure.savefig(folder / FIGURE)
    plt.close(figure)
