"""A run as it was read becomes episodes of a store and a report: pure functions, no files."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode
from nav_offrl.store.schema import STEP_FIELDS, TEXT_COLUMNS, check_episode
from nav_offrl_datasets.importing import labels
from nav_offrl_datasets.importing.cutting import Cut, cut, find_faults
from nav_offrl_datasets.importing.kinematics import actions_and_velocities, body_twists
from nav_offrl_datasets.importing.plan import Plan
from nav_offrl_datasets.importing.report import RunReport
from nav_offrl_datasets.importing.run import Run

FARTHEST_POSITION = 1e5  # m; float32 resolves 8 mm there
FARTHEST_YAW = 1e5  # rad; beyond it is garbage
MAX_DETAILS = 1000  # lines a run
HALF_TURN_WARNING = 2.5  # rad a step: near pi the sense of the turn is a guess
MOSTLY = 0.5  # share of flipped steps above which the accelerometer is doubted
ROOM_FOR_NUMBERS = 10  # bytes of a name kept free for "#2/1234"


@dataclass
class _Tally:
    """Sums over the episodes of one run: m, m, s, and steps that a label marks."""

    distance: float = 0.0
    lateral: float = 0.0
    duration: float = 0.0
    marked: Counter[str] = field(default_factory=Counter)


def assemble(run: Run, plan: Plan) -> tuple[list[Episode], RunReport]:
    """Cut a run into episodes of `plan.info`, and report.

    Where the log has poses but no actions or velocities, they are derived (`kinematics`). A run
    that does not fit the plan is refused in the report, and yields nothing. The split, source and
    hash of the episodes are left to the caller; the report's `split` is what the log says of it.
    """
    try:
        return _assemble(run, plan)
    except NavOffrlError as error:
        why = error.what + (f" -> {error.remedy}" if error.remedy else "")
        return [], RunReport(
            name=run.name,
            dropped=dict(run.dropped),
            details=tuple(run.details),
            refused=why,
        )


def _assemble(run: Run, plan: Plan) -> tuple[list[Episode], RunReport]:
    _check_texts(run)
    extra = [name for name in run.fields if name not in plan.layout.fields]
    run = replace(run, fields=_fields(run, plan), details=list(run.details), facts=list(run.facts))
    run.facts += [f"field '{name}' is left out: the store has none" for name in extra]
    _check_fits(run, plan)
    required = [name for name in run.fields if STEP_FIELDS[name].finite]
    faults, lines = find_faults(run, required, plan.info.cameras)
    found = cut(run, faults, plan.layout.rate_hz, plan.config)
    run.details += lines + found.details
    least = plan.config.min_episode_length
    pieces = [piece for piece in found.pieces if len(piece) >= least]
    short = sum(map(len, found.pieces)) - sum(map(len, pieces))
    dropped = run.dropped + found.dropped + Counter({f"episode shorter than {least} steps": short})
    tally, episodes = _Tally(), []
    for index, piece in enumerate(pieces):
        name = run.name if len(found.pieces) == 1 else f"{run.name}/{index}"
        episodes.append(_episode(run, piece, name, plan, tally))
        check_episode(episodes[-1], plan.info)
    if pieces:
        kept = np.concatenate(pieces)
        run.facts += _label_facts(plan, tally, len(kept)) + _constants(run, plan, kept)
    return episodes, _report(run, episodes, found, dropped, tally, plan)


def _check_texts(run: Run) -> None:
    room = TEXT_COLUMNS["name"] - ROOM_FOR_NUMBERS
    for what, text in (("name", run.name), ("session", run.session)):
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            raise NavOffrlError(f"{what} of the run is not UTF-8", remedy="rename it") from error
        if length > room:
            raise NavOffrlError(
                f"{what} of the run is longer than {room} bytes", remedy="shorten it"
            )


def _fields(run: Run, plan: Plan) -> dict[str, NDArray[Any]]:
    """Return the fields that the plan reads, as numbers of the right shape, and bumpiness."""
    used = {}
    for name in plan.reads:
        remedy = f"--without {name if name in plan.info.fields else 'collision bumpiness'}"
        if name not in run.fields:
            raise NavOffrlError(f"has no field '{name}', other runs have", remedy=remedy)
        values = np.asarray(run.fields[name])
        expected = (len(run.time), *plan.layout.fields[name].shape)
        if values.shape != expected:
            raise NavOffrlError(
                f"field '{name}' has shape {values.shape}, expected {expected}", remedy=remedy
            )
        if values.dtype.kind not in "buif":
            raise NavOffrlError(f"field '{name}' is no array of numbers", remedy=remedy)
        used[name] = _normal(name, values)
    if "bumpiness" in plan.info.fields and "bumpiness" not in used:
        used["bumpiness"] = labels.bumpiness(used["imu"])
    return used


def _normal(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return poses as float64, and other floats as the store has them, too large ones as inf."""
    if name == "position":
        values = values.astype(np.float64)
        farthest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        if farthest > FARTHEST_POSITION:
            raise NavOffrlError(
                f"positions reach {farthest:.3g} m, where 32-bit floats are too coarse",
                remedy="subtract an origin common to all runs",
            )
        return values
    if name == "yaw":
        values = values.astype(np.float64)
        return np.where(np.abs(values) > FARTHEST_YAW, np.nan, values)
    if values.dtype.kind == "f" and STEP_FIELDS[name].dtype != "bool":
        with np.errstate(over="ignore"):
            return values.astype(STEP_FIELDS[name].dtype)
    return values


def _check_fits(run: Run, plan: Plan) -> None:
    """Refuse a run that has no step, no frame of a camera or no value of a field."""
    if not len(run.time):
        raise NavOffrlError("holds no step")
    for name in plan.info.cameras:
        frames = run.images.get(name)
        if frames is None or all(frame is None for frame in frames):
            raise NavOffrlError(
                f"has no frame of camera '{name}'", remedy=f"--without {name}, or mend the log"
            )
        if len(frames) != len(run.time):
            raise NavOffrlError(f"has {len(frames)} frames of '{name}' for {len(run.time)} steps")
    for name, values in run.fields.items():
        if STEP_FIELDS[name].finite and not np.isfinite(values).any():
            raise NavOffrlError(
                f"field '{name}' has no value in the whole run",
                remedy=f"--without {name} leaves it out of all runs",
            )


def _episode(run: Run, steps: NDArray[np.intp], name: str, plan: Plan, tally: _Tally) -> Episode:
    """Return the episode of some steps, and add its figures to the run's."""
    time = run.time[steps]
    seconds = (time - time[0]).astype(np.float64) * 1e-9
    values = {field: given[steps] for field, given in run.fields.items()} | {"time": time}
    tally.duration += float(seconds[-1])
    if {"position", "yaw"} <= set(values):
        values = _derive(values, seconds, run, steps, tally) | values
    elif "position" in values:
        tally.distance += _length(values["position"])
    if plan.collision_causes:
        marks = labels.collision(values, seconds, plan.collision_causes, plan.labels)
        values["collision"] = np.logical_or.reduce(list(marks.values()))
        tally.marked.update({cause: int(mark.sum()) for cause, mark in marks.items()})
        tally.marked["collision"] += int(values["collision"].sum())
    return Episode(
        name=name,
        images={
            camera: [run.images[camera][step] for step in steps.tolist()]
            for camera in plan.info.cameras
        },
        fields={field: values[field] for field in plan.info.fields},
        session=run.session or run.name,
        robot=plan.config.robot or plan.layout.robot,
        licence=plan.config.licence or plan.layout.licence,
    )


def _derive(
    values: dict[str, NDArray[Any]],
    seconds: NDArray[np.float64],
    run: Run,
    steps: NDArray[np.intp],
    tally: _Tally,
) -> dict[str, NDArray[Any]]:
    """Return the action and velocity that the poses tell; note where they are in doubt."""
    twists = body_twists(seconds, values["position"], values["yaw"])
    period = np.diff(seconds)
    fast = np.abs(twists[:, 2] * period) > HALF_TURN_WARNING
    run.details += [
        f"step {step}: turns nearly half round, its sense is a guess"
        for step in steps[:-1][fast].tolist()
    ]
    tally.distance += _length(values["position"])
    tally.lateral += float(np.abs(twists[:, 1] * period).sum())
    action, velocity = actions_and_velocities(twists)
    return {"action": action, "velocity": velocity}


def _length(position: NDArray[Any]) -> float:
    return float(np.linalg.norm(np.diff(position, axis=0), axis=1).sum())


def _label_facts(plan: Plan, tally: _Tally, steps: int) -> list[str]:
    if not plan.collision_causes:
        return []
    parts = ", ".join(f"{cause} {tally.marked[cause]}" for cause in plan.collision_causes)
    facts = [f"collision labelled at {tally.marked['collision']} of {steps} steps: {parts}"]
    if tally.marked["flipped"] > MOSTLY * steps:
        facts.append(
            "most steps read as flipped: the accelerometer's z axis does not point up, or gravity "
            "is taken out; --labels.flipped-gravity 0 turns this off"
        )
    return facts


def _constants(run: Run, plan: Plan, kept: NDArray[np.intp]) -> list[str]:
    """Return a line for each field of the log whose value never changes."""
    facts = []
    for name in plan.layout.fields:
        if name not in plan.info.fields or len(kept) < 2:
            continue
        values = run.fields[name][kept].reshape(len(kept), -1)
        same = (values == values[0]) | ((values != values) & (values[0] != values[0]))
        if not same.all():
            continue
        first = values[0].astype(STEP_FIELDS[name].dtype, copy=False).tolist()
        if values.dtype.kind == "f" and not np.isfinite(values[0]).any():
            facts.append(f"field '{name}' has no reading in the whole run")
        elif len(first) > 6:
            facts.append(f"field '{name}' is constant")
        else:
            facts.append(f"field '{name}' is constant ({', '.join(_short(v) for v in first)})")
    return facts


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rate(run: Run) -> tuple[float | None, float | None]:
    """Return the median period and the 95th percentile of the deviation from it, s."""
    periods = np.diff(run.time.astype(np.float64)) * 1e-9
    periods = periods[periods > 0]
    if not len(periods):
        return None, None
    median = float(np.median(periods))
    return median, float(np.percentile(np.abs(periods - median), 95))


def _report(
    run: Run, episodes: list[Episode], found: Cut, dropped: Counter[str], tally: _Tally, plan: Plan
) -> RunReport:
    kept = sum(episode.length for episode in episodes)
    details = run.details[:MAX_DETAILS]
    if len(run.details) > MAX_DETAILS:
        details.append(f"and {len(run.details) - MAX_DETAILS} more lines like these")
    period, jitter = (None, None) if plan.layout.rate_is_nominal else _rate(run)
    least = plan.config.min_episode_length
    return RunReport(
        name=run.name,
        session=run.session or run.name,
        split=run.split,
        split_by_log=bool(run.split),
        kept=kept,
        episodes=len(episodes),
        dropped=dict(dropped),
        details=tuple(details),
        facts=tuple(run.facts),
        refused=None if episodes else f"no episode of {least} steps is left",
        distance=tally.distance,
        lateral_distance=tally.lateral,
        duration=tally.duration,
        period=period,
        jitter=jitter,
        stale_poses=found.stale,
        gaps=found.gaps,
        position_jumps=found.jumps,
        clock_resets=found.clock_resets,
    )
