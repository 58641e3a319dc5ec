"""Values of a store that often mean a fault of the recording."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nav_offrl.store import Store
from nav_offrl.store.schema import SPLITS

OUTLIER = 5.0  # times as far from the median as 95 % of the values
GAP_PERIODS = 2.5  # a longer time between steps is a gap
RATE_TOLERANCE = 0.05  # of the stated rate
JITTER_TOLERANCE = 0.25  # of a period
JUMP = 1.0  # m between steps, as the importers' `max_position_jump`
JUMP_PERIOD = 0.25  # s; over longer periods the robot may have driven further
TURN = 0.5 * np.pi  # rad between steps
SATURATED = 0.2  # share of the actions that is exactly the largest or the smallest
IDLE = 0.3  # share of the actions that stand still
MOVING = 0.05  # m/s
SHOWN_NAMES = 3


def find_suspicious(store: Store) -> list[str]:
    """Return a line for each kind of value that often means a fault; decodes no image."""
    checks = (_episodes, _time, _poses, _directions, _constants, _actions)
    return [line for check in checks for line in check(store)]


def _episodes(store: Store) -> Iterator[str]:
    table = store.episodes
    unfinished = [table.name[row] for row in np.flatnonzero(~table.complete)]
    if unfinished:
        yield f"{len(unfinished)} unfinished episodes (cut short): {_first(unfinished)}"
    sessions = [{table.session[row] for row in table.of_split(split)} for split in SPLITS]
    for session in sorted(set.intersection(*sessions) - {""}):
        yield f"session '{session}' is in both splits, which then share what was seen"


def _time(store: Store) -> Iterator[str]:
    inside = _inside(store)
    if not inside.any():
        return
    stated = 1.0 / store.info.rate_hz
    periods = np.diff(store.field("time"))[inside] * 1e-9
    regular = periods[periods <= GAP_PERIODS * stated]
    if len(regular) < len(periods):
        gaps = len(periods) - len(regular)
        yield f"{gaps} gaps of more than {GAP_PERIODS:g} periods lie inside episodes"
    if not len(regular):
        return
    mean = float(regular.mean())
    if abs(mean - stated) > RATE_TOLERANCE * stated:
        yield f"steps come at {1 / mean:.4g} Hz, the store says {1 / stated:.4g} Hz"
    uneven = float((np.abs(regular - mean) > JITTER_TOLERANCE * mean).mean())
    if uneven > 0.05:
        yield f"{uneven:.0%} of the periods are more than {JITTER_TOLERANCE:.0%} off their mean"


def _poses(store: Store) -> Iterator[str]:
    fields = store.info.fields
    if "position" not in fields:
        return
    inside, time = _inside(store), store.field("time")
    moved = np.linalg.norm(np.diff(store.field("position").astype(np.float64), axis=0), axis=1)
    stale = inside & (moved == 0)
    if "yaw" in fields:
        turned = np.diff(store.field("yaw").astype(np.float64))
        stale &= turned == 0
    if stale.any():
        why = "stale odometry, or a stop"
        if _drives(store):
            told = int((stale & (np.abs(store.field("action")[:-1, 0]) > MOVING)).sum())
            why += f"; {told} of them with an action to move" if told else ""
        yield f"{int(stale.sum())} steps have exactly the previous pose ({why})"
    allowed = JUMP * np.maximum(np.diff(time) * 1e-9 / JUMP_PERIOD, 1.0)
    yield from _worst(
        store, np.where(inside, moved / allowed, 0.0), moved, 1.0, "position jumps", "m"
    )
    if "yaw" in fields:
        turned = np.abs(np.mod(turned + np.pi, 2 * np.pi) - np.pi)
        turned[~inside] = 0.0
        yield from _worst(store, turned, turned, TURN, "heading jumps", "rad")


def _worst(
    store: Store,
    score: NDArray[np.float64],
    shown: NDArray[np.float64],
    limit: float,
    what: str,
    unit: str,
) -> Iterator[str]:
    """Say how often `score`, of the way from a step to the next, exceeds `limit`, and where."""
    count = int((score > limit).sum())
    if count:
        worst = int(score.argmax())
        where = _place(store, worst + 1)
        yield f"{count} {what} inside episodes (worst {shown[worst]:.2f} {unit}, {where})"


def _directions(store: Store) -> Iterator[str]:
    """Compare how the robot was told to move with how its pose moved."""
    derived = store.info.action_source.startswith("derived")
    if derived or not _drives(store) or not {"position", "yaw"} <= set(store.info.fields):
        return
    inside = _inside(store)
    position, yaw = store.field("position").astype(np.float64), store.field("yaw")
    period = np.diff(store.field("time")) * 1e-9
    dx, dy = np.diff(position, axis=0).T
    forward = np.cos(yaw[:-1]) * dx + np.sin(yaw[:-1]) * dy
    turn = np.mod(np.diff(yaw.astype(np.float64)) + np.pi, 2 * np.pi) - np.pi
    action = store.field("action")[:-1].astype(np.float64)
    for axis, (moved, name) in enumerate(((forward, "v"), (turn, "omega"))):
        told = (action[:, axis] * period)[inside]
        agreement = _cosine(told, moved[inside])
        if agreement < -0.2:
            yield (
                f"the pose moves against the actions' {name} (cosine {agreement:.2f}): "
                "is x forward, y left, yaw counter-clockwise?"
            )
        elif agreement > 0.5:
            ratio = float(told @ moved[inside]) / float(told @ told)
            if not 0.5 < ratio < 2.0:
                yield (
                    f"the pose moves {ratio:.2g} times as far as the actions' {name} says: "
                    "are the units and the rate right?"
                )


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0


def _constants(store: Store) -> Iterator[str]:
    for name in store.info.fields:
        values = store.field(name)
        if name == "time" or store.steps < 2:
            continue
        if values.dtype == np.bool_:
            if name == "collision" and values.all():
                yield "field 'collision' is true at every step"
        elif not np.isfinite(values).any():
            yield f"field '{name}' holds no finite value"
        elif (values == values[0]).all():
            yield f"field '{name}' is constant"
        elif values.ndim > 1 and values.shape[1] > 1:
            yield from _constant_components(name, values, store.info.fields[name].axes)


def _constant_components(
    name: str, values: NDArray[np.generic], axes: tuple[str, ...]
) -> Iterator[str]:
    count = values.shape[1]
    still = np.flatnonzero((values == values[0]).all(axis=0)).tolist()
    if not still:
        return
    if len(axes) == count:
        yield f"constant components of '{name}': {', '.join(axes[index] for index in still)}"
    elif 2 * len(still) > count:  # a few rays of a lidar that see nothing are none
        yield f"{len(still)} of {count} components of '{name}' are constant"


def _actions(store: Store) -> Iterator[str]:
    fields = store.info.fields
    axes = fields["action"].axes if "action" in fields else ()
    for name in ("action", "velocity"):
        if name in fields and (name == "velocity" or _drives(store)):
            for axis, component in enumerate(fields[name].axes):
                yield from _outliers(store, store.field(name)[:, axis], f"{name} {component}")
    if "action" not in fields:
        return
    action = store.field("action").reshape(store.steps, -1)
    for axis in range(action.shape[1]):
        label = axes[axis] if axis < len(axes) else str(axis)
        yield from _saturated(action[:, axis], label)
    if _drives(store):
        idle = float((np.abs(action).max(axis=1) < 0.01).mean())
        if idle > IDLE:
            yield f"{idle:.0%} of the actions stand still"


def _saturated(values: NDArray[np.float32], name: str) -> Iterator[str]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return
    for limit, what in ((low, "smallest"), (high, "largest")):
        share = float((values == np.float32(limit)).mean())
        if limit != 0.0 and share > SATURATED:
            yield f"{share:.0%} of the actions have {name} at the {what} value, {limit:.3g}"


def _outliers(store: Store, values: NDArray[np.float32], name: str) -> Iterator[str]:
    distance = np.abs(values - np.median(values))
    usual = float(np.percentile(distance, 95, method="lower"))
    count = int((distance > OUTLIER * usual).sum()) if usual else 0
    if count:
        worst = int(distance.argmax())
        where = _place(store, worst)
        yield f"{count} steps have {name} far from the rest (worst {values[worst]:.2f}, {where})"


def _drives(store: Store) -> bool:
    """Tell whether actions are (v, omega) in m/s and rad/s."""
    action = store.info.fields.get("action")
    return action is not None and action.axes == ("v", "omega") and action.unit == "m/s, rad/s"


def _inside(store: Store) -> NDArray[np.bool_]:
    """Tell of the way from each step to the next (steps - 1,) whether both are of one episode."""
    inside = np.ones(store.steps, bool)
    inside[store.episodes.start] = False
    return inside[1:]


def _place(store: Store, step: int) -> str:
    row = int(np.searchsorted(store.episodes.start, step, side="right")) - 1
    return f"episode '{store.episodes.name[row]}', step {step - int(store.episodes.start[row])}"


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN_NAMES]) + more
