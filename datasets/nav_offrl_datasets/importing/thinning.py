"""Steps at a lower rate than they were recorded at, chosen by their time stamps."""

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.importing.run import Layout, Run

NANOSECONDS = 1e9
HALF = 0.499  # of a period; what lies between two ticks belongs to neither


def nearest_steps(time: NDArray[np.int64], rate_hz: float) -> NDArray[np.int64]:
    """Return the steps (K,) nearest to a clock of `rate_hz` that starts at the first step.

    `time` (T,) ns, increasing. A tick with no step within half a period is left out, so that a
    gap stays one; no step is taken twice.
    """
    if len(time) < 2:
        return np.arange(len(time))
    since = (time - time[0]).astype(np.float64) * (rate_hz / NANOSECONDS)  # in periods
    tick = np.rint(since)
    # Of the steps that round to one tick, the nearest; of equally near ones, the earlier.
    order = np.lexsort((np.abs(since - tick), tick))
    first = np.concatenate(([True], np.diff(tick[order]) > 0))
    near = np.abs(since - tick) < HALF
    chosen: NDArray[np.int64] = np.sort(order[first & near[order]])
    return chosen


def choose_steps(
    time: NDArray[np.int64], recorded_hz: float, wanted_hz: float
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the steps to take for the wanted rate, and a line of report if that is not all."""
    if wanted_hz >= 0.99 * recorded_hz:
        return np.arange(len(time)), []
    keep = nearest_steps(time, wanted_hz)
    counts = f"{len(keep)} of {len(time)} steps"
    return keep, [f"resampled from {recorded_hz:g} to {wanted_hz:g} Hz: {counts}"]


def thin(run: Run, recorded_hz: float, layout: Layout) -> Run:
    """Return `run` at the layout's rate; a run that has it already comes back as it is."""
    keep, facts = choose_steps(run.time, recorded_hz, layout.rate_hz)
    if not facts:
        return run
    run.facts += facts
    place = {int(step): new for new, step in enumerate(keep)}
    run.breaks = tuple(sorted({int(np.searchsorted(keep, step)) for step in run.breaks}))
    run.faults = {place[step]: why for step, why in run.faults.items() if step in place}
    run.fields = {name: values[keep] for name, values in run.fields.items()}
    run.images = {camera: [frames[step] for step in keep] for camera, frames in run.images.items()}
    run.time = run.time[keep]
    return run


def rate_of_steps(recorded_hz: float, wanted_hz: float | None, where: str) -> float:
    """Return the rate of the steps to yield: the wanted one, else the recorded one.

    Raises:
        NavOffrlError: more is wanted than was recorded.
    """
    if wanted_hz is None:
        return recorded_hz
    if wanted_hz > 1.01 * recorded_hz:
        raise NavOffrlError(
            f"was recorded at {recorded_hz:g} Hz, which cannot become {wanted_hz:g} Hz",
            where=where,
            remedy=f"give --rate-hz of at most {recorded_hz:g}",
        )
    return wanted_hz
