"""Drawings of a store: paths from above, action histograms, speed over time, frames."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nav_offrl.store import Store
from nav_offrl.store.schema import SPLITS
from nav_offrl_datasets.inspection.contact_sheet import spread_steps, thumbnail
from nav_offrl_datasets.inspection.summary import component_names, event_starts

COLOURS = {"train": "#1f77b4", "held_out": "#ff7f0e"}
COLLISION = "#d62728"
INTERVENTION = "#9467bd"
MAX_POINTS = 200_000  # of all paths together; the rest is left out evenly
MAX_HISTOGRAMS = 6
BINS = 1000  # of the time axis
MAX_BOUNDARIES = 60  # more episodes than these are not told apart on the time axis
FRAMES = 12


def draw_store(store: Store, path: Path) -> None:
    """Write everything that the store has onto one picture (.png, .pdf, .svg)."""
    figure = Figure(figsize=(13, 11), layout="constrained")
    grid = figure.add_gridspec(5, FRAMES // 2, height_ratios=(2, 2, 1.6, 1.6, 1.6))
    draw_paths(figure.add_subplot(grid[:2, :3]), store, "split")
    draw_histograms([figure.add_subplot(grid[row, 3:]) for row in range(2)], store)
    draw_speed(figure.add_subplot(grid[2, :]), store)
    _draw_frames([figure.add_subplot(grid[3 + i // 6, i % 6]) for i in range(FRAMES)], store)
    name = store.where.rstrip("/").rsplit("/", 1)[-1]
    title = f"{name}: {len(store.episodes)} episodes, {store.steps} steps"
    figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=110)


def paths_png(store: Store) -> bytes | None:
    """Return paths by episode and by split, side by side; None if there are no positions."""
    if "position" not in store.info.fields:
        return None
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_paths(left, store, "episode")
    draw_paths(right, store, "split")
    return as_png(figure)


def actions_png(store: Store) -> bytes | None:
    """Return a histogram of every component of the action, and of (v, omega) together."""
    count = len(_actions(store))
    if not count:
        return None
    together = count == 2
    columns = min(3, count + together)
    rows = -(-(count + together) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.2 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    draw_histograms(axes[:count], store)
    for rest in axes[count + together :]:
        rest.set_axis_off()
    if together:
        _draw_together(axes[count], store)
    return as_png(figure)


def speed_png(store: Store) -> bytes | None:
    """Return speed over time; None if the store tells no speed."""
    if _speed(store) is None:
        return None
    figure = Figure(figsize=(13, 3.0), layout="constrained")
    draw_speed(figure.subplots(), store)
    return as_png(figure)


def as_png(figure: Figure) -> bytes:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def draw_paths(axes: Axes, store: Store, colour_by: str) -> None:
    """Draw the paths from above, coloured by "split" or "episode"; crosses are collisions."""
    _tidy(axes)
    if "position" not in store.info.fields:
        _say(axes, "no positions")
        return
    position = store.field("position")
    rows = range(len(store.episodes))
    stride = -(-store.steps // MAX_POINTS)
    lines = [position[store.steps_of(row)][::stride] for row in rows]
    if colour_by == "episode":
        shades = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(rows)))
        axes.set_title(f"by episode (first blue, last red of {len(rows)})", fontsize=9)
    else:
        shades = np.array([COLOURS[SPLITS[code]] for code in store.episodes.split])
        axes.set_title("by split", fontsize=9)
        for split in SPLITS:
            axes.plot([], [], color=COLOURS[split], label=split)
    axes.add_collection(LineCollection(lines, colors=shades, linewidths=1.0, alpha=0.8))
    x, y = position[store.episodes.start].T
    axes.scatter(x, y, c=shades, s=12, zorder=3, label="start", edgecolors="none")
    if "collision" in store.info.fields:
        hits = position[event_starts(store, "collision")]
        axes.plot(*hits.T, "x", color=COLLISION, markersize=6, zorder=4, label="collision begins")
    axes.autoscale()
    axes.set(xlabel="x (m)", ylabel="y (m)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8, loc="best", framealpha=0.7)


def draw_histograms(axes: Sequence[Axes], store: Store) -> None:
    """Draw the distribution of the action's components, one to an axes."""
    actions = _actions(store)
    for one in axes[len(actions) :]:
        _say(one, "" if actions else "no actions")
    for one, (label, values) in zip(axes, actions.items(), strict=False):
        _tidy(one)
        one.hist(values, bins=80, color="#5b7c99")
        one.set_xlabel(label, parse_math=False)
        one.set_ylabel("steps")
        low, high = np.percentile(values, [1, 99])
        for limit in (low, high):
            one.axvline(limit, color="black", linewidth=0.8, linestyle=":")
        one.set_title(f"98 % within {low:.3g} .. {high:.3g}", fontsize=9)


def _draw_together(axes: Axes, store: Store) -> None:
    (x_label, x), (y_label, y) = _actions(store).items()
    _tidy(axes)
    axes.hist2d(y, x, bins=60, norm=LogNorm(vmin=0.2), cmap="Blues")
    axes.set_xlabel(y_label, parse_math=False)
    axes.set_ylabel(x_label, parse_math=False)
    axes.set_title("both together (logarithmic)", fontsize=9)


def draw_speed(axes: Axes, store: Store) -> None:
    """Draw speed over the time driven, pauses between episodes left out."""
    _tidy(axes)
    told = _speed(store)
    if told is None:
        _say(axes, "no speed: neither velocity, positions nor actions in m/s")
        return
    speed, source = told
    minutes = _driven_minutes(store)
    edges = np.linspace(0, minutes[-1] + 1e-9, min(BINS, store.steps) + 1)
    first = np.unique(np.searchsorted(minutes, edges[:-1]))
    low, high = np.minimum.reduceat(speed, first), np.maximum.reduceat(speed, first)
    mean = np.add.reduceat(speed, first) / np.diff(np.append(first, store.steps))
    at = minutes[first]
    axes.fill_between(at, low, high, color="#5b7c99", alpha=0.35, linewidth=0)
    axes.plot(at, mean, color="#1f3b57", linewidth=0.8, label=source)
    if len(store.episodes) <= MAX_BOUNDARIES:
        for start in store.episodes.start[1:]:
            axes.axvline(minutes[start], color="0.6", linewidth=0.6, linestyle=":")
    for name, colour in (("collision", COLLISION), ("intervention", INTERVENTION)):
        if name in store.info.fields:
            steps = event_starts(store, name)
            bottom = np.full(len(steps), float(low.min()))
            axes.plot(minutes[steps], bottom, "|", color=colour, markersize=12, label=name)
    axes.set(xlabel="time driven (min; dotted: next episode)", ylabel="m/s")
    axes.margins(x=0.005)
    axes.legend(fontsize=8, loc="upper right", framealpha=0.7)


def _speed(store: Store) -> tuple[NDArray[np.float64], str] | None:
    """Return m/s at each step (steps,) and what tells it."""
    fields = store.info.fields
    for name, label in (("velocity", "measured v"), ("action", "v of the action")):
        if name in fields and fields[name].axes[:1] == ("v",):
            return store.field(name)[:, 0].astype(np.float64), label
    if "position" not in fields or store.steps < 2:
        return None
    moved = np.linalg.norm(np.diff(store.field("position").astype(np.float64), axis=0), axis=1)
    speed = np.append(moved / (np.diff(store.field("time")) * 1e-9), 0.0)
    last = store.episodes.start + store.episodes.length - 1
    speed[last] = speed[np.maximum(last - 1, store.episodes.start)]
    return speed, "speed of the positions"


def _driven_minutes(store: Store) -> NDArray[np.float64]:
    """Return the time of each step (steps,) in min, as if every episode followed at once."""
    periods = np.diff(store.field("time"), prepend=0) / 60e9
    periods[store.episodes.start] = 1.0 / store.info.rate_hz / 60
    periods[0] = 0.0
    return np.cumsum(periods)


def _actions(store: Store) -> dict[str, NDArray[np.float32]]:
    """Return the first components of the action by label and unit, each (steps,)."""
    if "action" not in store.info.fields:
        return {}
    values = store.field("action").reshape(store.steps, -1)
    labels = component_names(store, "action")[:MAX_HISTOGRAMS]
    return {
        f"{label} ({unit})" if unit else label: values[:, axis]
        for axis, (label, unit) in enumerate(labels)
    }


def _draw_frames(axes: Sequence[Axes], store: Store) -> None:
    for one in axes:
        one.set_axis_off()
    cameras = list(store.info.cameras)
    if not cameras:
        return
    for one, step in zip(axes, spread_steps(store, FRAMES), strict=False):
        image = thumbnail(store, cameras[0], step)
        if image is not None:
            one.imshow(image)
        one.set_title(f"step {step}", fontsize=8)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)


def _say(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
