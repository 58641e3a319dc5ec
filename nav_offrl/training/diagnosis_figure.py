"""A diagnosis drawn: the curves that it rests on, where they fall, and the chosen checkpoint."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from nav_offrl.training.curves import Curves
from nav_offrl.training.diagnosis import (
    DATA_VALUE,
    GAP,
    HELD_OUT,
    LOG_PROB,
    RANK_CORRELATION,
    SAMPLE_SHARE,
    TD_ERROR,
    Diagnosis,
)

DPI = 110
PANELS = {
    "value of the data": (DATA_VALUE, "linear"),
    "temporal-difference error": (TD_ERROR, "log"),
    "conservative gap": ((GAP,), "linear"),
    "log-probability of the data's actions": ((LOG_PROB,), "linear"),
    "rank correlation of value and nearness": ((RANK_CORRELATION,), "linear"),
    "effective share of a batch": ((SAMPLE_SHARE,), "linear"),
}


def draw_diagnosis(
    curves: Curves, diagnosis: Diagnosis, checkpoint_step: int | None, path: Path
) -> None:
    """Draw one panel for each curve that was logged."""
    names = {title: curves.first_of(*names) for title, (names, _) in PANELS.items()}
    shown = {title: name for title, name in names.items() if name is not None}
    figure, grid = plt.subplots(
        -(-len(shown) // 2), 2, figsize=(12, 3 * -(-len(shown) // 2)), squeeze=False
    )
    for axes, (title, name) in zip(grid.flat, shown.items(), strict=False):
        _draw_curve(axes, curves, name)
        axes.set_yscale(PANELS[title][1])
        axes.set_title(title, fontsize=10)
        if diagnosis.fall_step is not None:
            axes.axvline(diagnosis.fall_step, color="tab:red", linestyle="--", label="fall begins")
        if checkpoint_step is not None:
            axes.axvline(checkpoint_step, color="tab:green", label="checkpoint")
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    grid.flat[0].legend(fontsize=8)
    figure.suptitle(diagnosis.verdict)
    figure.supxlabel("gradient steps of the method", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _draw_curve(axes: Axes, curves: Curves, name: str) -> None:
    for full, label, colour in (
        (name, "training", "tab:blue"),
        (HELD_OUT + name, "held out", "tab:orange"),
    ):
        if full in curves.values:
            axes.plot(curves.step, curves.values[full], color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(curves.step, curves.smooth(full), color=colour, label=label)
