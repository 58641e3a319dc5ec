"""Sensor streams, each on its own clock, brought to steps at a fixed rate.

Everything here is a pure function of arrays; times are int64 ns. A step exists where a frame of the
first camera lies near a tick of a uniform grid, and its time is that frame's. Every other sensor is
brought to the step's time: poses interpolated, the command held, the rest nearest or averaged. A
log without frames has its steps at the ticks themselves.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nav_offrl_datasets.importing.kinematics import body_twists, wrap_angle

Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SECOND = 1_000_000_000  # ns
STANDING_SPEED = 0.05  # m/s, and
STANDING_TURN = 0.1  # rad/s: slower than both is standing still


@dataclass(frozen=True)
class Stream:
    """N samples of one sensor in the order of time: `time` (N,) int64 ns, `values` (N, D)."""

    time: Times
    values: Floats

    @classmethod
    def of(cls, time: Times, values: Floats) -> "Stream":
        """Sort samples that came in any order; of equal time stamps the first that came counts."""
        order = in_order(time)
        return cls(time[order], values[order])


@dataclass(frozen=True)
class Streams:
    """What one log holds. Frames and scans are large, so only their times are here.

    `pose`: x, y m, yaw rad and, where measured, v m/s, omega rad/s. `command`: v, omega. `imu` and
    `gps` as in the schema. `collision`, `intervention`: one column, 0 or 1. Times of `cameras` and
    `lidar` in the order in which they came.
    """

    cameras: Mapping[str, Times] = field(default_factory=dict)
    pose: Stream | None = None
    command: Stream | None = None
    imu: Stream | None = None
    gps: Stream | None = None
    lidar: Times | None = None
    collision: Stream | None = None
    intervention: Stream | None = None


@dataclass(frozen=True)
class Timing:
    """What may be how far from its step; all in ns.

    `tolerance`: a frame, scan or pose. `pose_gap`: poses farther apart are not interpolated.
    `command_age`: an older command is no longer in force. `gps_tolerance`: receivers are slow.
    """

    period: int
    tolerance: int
    pose_gap: int
    command_age: int
    gps_tolerance: int

    @classmethod
    def of(cls, rate_hz: float, tolerance: float | None, command_age: float) -> "Timing":
        """Derive what is not given (s): tolerance half a period, poses up to four of it apart."""
        period = round(SECOND / rate_hz)
        within = round(tolerance * SECOND) if tolerance is not None else period // 2
        return cls(
            period=period,
            tolerance=within,
            pose_gap=4 * within,
            command_age=round(command_age * SECOND),
            gps_tolerance=max(within, SECOND // 2),
        )


@dataclass
class Steps:
    """T steps: `time` (T,), `fields` (T, ...), which frame of each camera, which scan (-1: none).

    `missing` counts ticks of the grid that became no step, by reason; `faults` are steps that
    cannot be used.
    """

    time: Times
    fields: dict[str, NDArray[np.generic]]
    frames: dict[str, Indices]
    scans: Indices | None = None
    missing: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)


def in_order(time: Times) -> Indices:
    """Return the indices that sort `time` and leave out repeated stamps but the first to come."""
    order = np.argsort(time, kind="stable")
    fresh = np.ones(len(order), bool)
    fresh[1:] = np.diff(time[order]) > 0
    return order[fresh]


def on_grid(time: Times, period: int, tolerance: int) -> tuple[Indices, int]:
    """Return which of the sorted `time` are nearest to a tick each, and how many ticks have none.

    Ticks lie `period` apart from the first time on. A sample serves only the tick that it lies
    nearest to, so none is taken twice; the nearer of two counts, of equals the earlier.
    """
    if not len(time):
        return np.empty(0, np.int64), 0
    elapsed = time - time[0]
    tick = (elapsed + period // 2) // period
    distance = np.abs(elapsed - tick * period)
    near = np.flatnonzero(distance <= tolerance)
    best = near[np.lexsort((near, distance[near], tick[near]))]
    chosen = best[np.unique(tick[best], return_index=True)[1]]
    return chosen, int(tick[-1]) + 1 - len(chosen)


def nearest(time: Times, at: Times, tolerance: int) -> Indices:
    """Return for each of `at` (T,) the index of the nearest sorted `time`, -1 beyond tolerance."""
    if not len(time):
        return np.full(len(at), -1, np.int64)
    after = np.clip(np.searchsorted(time, at), 0, len(time) - 1)
    before = np.maximum(after - 1, 0)
    index = np.where(np.abs(time[before] - at) <= np.abs(time[after] - at), before, after)
    return np.where(np.abs(time[index] - at) <= tolerance, index, -1)


def nearest_once(time: Times, at: Times, tolerance: int) -> Indices:
    """Return what `nearest` does, but no index twice: the nearest of its takers keeps it."""
    index = nearest(time, at, tolerance)
    if not len(time):
        return index
    distance = np.abs(time[index] - at)
    best = np.lexsort((np.arange(len(at)), distance, index))
    keeper = best[np.unique(index[best], return_index=True)[1]]
    once = np.full(len(at), -1, np.int64)
    once[keeper] = index[keeper]
    return once


def held(time: Times, at: Times, max_age: int) -> Indices:
    """Return for each of `at` the index of the last sorted `time` not after it, -1 if too old."""
    index = np.searchsorted(time, at, side="right") - 1
    fresh = (index >= 0) & (at - time[np.maximum(index, 0)] <= max_age) if len(time) else index >= 0
    return np.where(fresh, index, -1)


def interpolated(pose: Stream, at: Times, timing: Timing) -> Floats:
    """Return poses (T, D) at the times `at`, linear between neighbours, yaw the short way round.

    NaN where neither neighbour lies within the tolerance, or both are farther apart than
    `timing.pose_gap`; nothing is extrapolated.
    """
    found = np.full((len(at), pose.values.shape[1]), np.nan)
    if not len(pose.time):
        return found
    right = np.clip(np.searchsorted(pose.time, at), 0, len(pose.time) - 1)
    exact = pose.time[right] == at
    left = np.where(exact, right, np.maximum(right - 1, 0))
    before, gap = at - pose.time[left], pose.time[right] - pose.time[left]
    inside = exact | ((before > 0) & (at < pose.time[right]))
    near = np.minimum(before, gap - before) <= timing.tolerance
    usable = inside & (exact | (near & (gap <= timing.pose_gap)))
    share = np.where(gap > 0, before / np.maximum(gap, 1), 0.0)[:, None]
    start, change = pose.values[left], pose.values[right] - pose.values[left]
    change[:, 2] = wrap_angle(change[:, 2])
    found[usable] = (start + share * change)[usable]
    found[:, 2] = wrap_angle(found[:, 2])
    return found


def since_last(time: Times, at: Times, timing: Timing) -> tuple[Indices, Indices]:
    """Return `(low, high)`: samples low:high of sorted `time` came since the step before each.

    That is after the step before and not after the step itself, but no longer ago than a period
    and two tolerances, which is how far two steps in a row can lie apart.
    """
    previous = np.concatenate([at[:1] - timing.period, at[:-1]])
    start = np.maximum(previous, at - timing.period - 2 * timing.tolerance)
    return np.searchsorted(time, start, side="right"), np.searchsorted(time, at, side="right")


def until_next(time: Times, at: Times, timing: Timing) -> tuple[Indices, Indices]:
    """Return `(low, high)`: samples low:high of sorted `time` came until the step after each.

    As `since_last`, in the other direction: what follows the action of the step.
    """
    following = np.concatenate([at[1:], at[-1:] + timing.period])
    stop = np.minimum(following, at + timing.period + 2 * timing.tolerance)
    return np.searchsorted(time, at, side="right"), np.searchsorted(time, stop, side="right")


def mean_imu(imu: Stream, at: Times, timing: Timing) -> Floats:
    """Return the mean reading (T, 6) since the step before, NaN where nothing came."""
    mean = np.full((len(at), 6), np.nan)
    for step, (low, high) in enumerate(zip(*since_last(imu.time, at, timing), strict=True)):
        readings = imu.values[low:high]
        usable = np.isfinite(readings)
        count = usable.sum(axis=0)
        total = np.where(usable, readings, 0.0).sum(axis=0)
        mean[step, count > 0] = total[count > 0] / count[count > 0]
    return mean


def bumpiness(imu: Stream, at: Times, timing: Timing) -> Floats:
    """Return the rms of the gyro's x and y until the next step, rad/s (T,); NaN: nothing came.

    It is over single readings: their mean would hide the shaking.
    """
    rms = np.full(len(at), np.nan)
    for step, (low, high) in enumerate(zip(*until_next(imu.time, at, timing), strict=True)):
        gyro = imu.values[low:high, :2]
        gyro = gyro[np.isfinite(gyro).all(axis=1)]
        if len(gyro):
            rms[step] = np.sqrt(np.mean(gyro**2))
    return rms


def resample(streams: Streams, timing: Timing) -> Steps:
    """Return the steps of a log; without cameras, at ticks that start with the odometry.

    A tick without a frame of every camera, or without a pose where there is odometry, is no step
    and counted. A step without a command in force is faulty unless the robot stood still; then its
    command is zero, since a base that is told nothing stops. What a sensor saw is from the time
    before the step (`imu`: the mean), what happened to the robot (`collision`: at any time,
    `bumpiness`) from the time until the next. Fields without a reading are NaN.
    """
    with np.errstate(all="ignore"):  # numbers of damaged logs become inf or NaN, found later
        return _resample(streams, timing)


def _resample(streams: Streams, timing: Timing) -> Steps:
    steps = _clocked(streams, timing)
    if streams.pose is not None:
        _add_pose(steps, streams.pose, timing)
    if streams.command is not None:
        _add_command(steps, streams.command, timing)
    if streams.imu is not None:
        steps.fields["imu"] = mean_imu(streams.imu, steps.time, timing)
        steps.fields["bumpiness"] = bumpiness(streams.imu, steps.time, timing)
    if streams.gps is not None:
        index = nearest(streams.gps.time, steps.time, timing.gps_tolerance)
        steps.fields["gps"] = _rows(streams.gps.values, index)
    if streams.lidar is not None:
        order = in_order(streams.lidar)
        index = nearest(streams.lidar[order], steps.time, timing.tolerance)
        steps.scans = _through(order, index)
    if streams.collision is not None:
        low, high = until_next(streams.collision.time, steps.time, timing)
        hits = np.concatenate([[0.0], np.cumsum(streams.collision.values[:, 0])])
        steps.fields["collision"] = hits[high] > hits[low]
    if streams.intervention is not None:
        last = np.searchsorted(streams.intervention.time, steps.time, side="right") - 1
        steps.fields["intervention"] = _rows(streams.intervention.values, last)[:, 0] > 0
    return steps


def _clocked(streams: Streams, timing: Timing) -> Steps:
    """Return the steps with nothing but their times and frames."""
    missing: Counter[str] = Counter()
    if not streams.cameras:
        assert streams.pose is not None, "neither frames nor poses to make steps of"
        time, empty = _ticks(streams.pose.time, timing)
        _count(missing, _none("odometry", timing), empty)
        return Steps(time, {}, {}, missing=missing)
    first, *others = streams.cameras
    order = in_order(streams.cameras[first])
    chosen, empty = on_grid(streams.cameras[first][order], timing.period, timing.tolerance)
    _count(missing, _none(f"frame of camera '{first}'", timing), empty)
    time = streams.cameras[first][order[chosen]]
    steps = Steps(time, {}, {first: order[chosen]}, missing=missing)
    for name in others:
        order = in_order(streams.cameras[name])
        index = nearest_once(streams.cameras[name][order], steps.time, timing.tolerance)
        steps.frames[name] = _through(order, index)
        _keep(steps, index >= 0, _none(f"frame of camera '{name}'", timing))
    return steps


def _ticks(time: Times, timing: Timing) -> tuple[Times, int]:
    """Return the ticks near to which a sample lies, up to the last, and how many there are not."""
    chosen, empty = on_grid(time, timing.period, timing.tolerance)
    elapsed = time[chosen] - time[:1]
    ticks = time[:1] + (elapsed + timing.period // 2) // timing.period * timing.period
    return ticks[ticks <= time[-1:]], empty


def _add_pose(steps: Steps, pose: Stream, timing: Timing) -> None:
    found = interpolated(pose, steps.time, timing)
    usable = np.asarray(np.isfinite(found[:, :3]).all(axis=1), np.bool_)
    _keep(steps, usable, _none("odometry", timing))
    found = found[usable]
    steps.fields["position"], steps.fields["yaw"] = found[:, :2], found[:, 2]
    if found.shape[1] == 5:
        steps.fields["velocity"] = found[:, 3:5]


def _add_command(steps: Steps, command: Stream, timing: Timing) -> None:
    index = held(command.time, steps.time, timing.command_age)
    action = _rows(command.values, index)
    silent = index < 0
    action[silent & _standing(steps)] = 0.0
    steps.fields["action"] = action
    known = "the robot did not stand still" if "position" in steps.fields else "no pose tells more"
    why = f"no command within {timing.command_age / SECOND:g} s, and {known}"
    for step in np.flatnonzero(~np.isfinite(action).all(axis=1)):
        steps.faults[int(step)] = why if silent[step] else "command is not finite"


def _standing(steps: Steps) -> NDArray[np.bool_]:
    """Tell at which steps the robot stands still until the next (at the last: since the former)."""
    if "position" not in steps.fields or len(steps.time) < 2:
        return np.zeros(len(steps.time), bool)
    position = np.asarray(steps.fields["position"], np.float64)
    yaw = np.asarray(steps.fields["yaw"], np.float64)
    twists = body_twists((steps.time - steps.time[0]) / SECOND, position, yaw)
    still = (np.hypot(*twists[:, :2].T) < STANDING_SPEED) & (np.abs(twists[:, 2]) < STANDING_TURN)
    return np.append(still, still[-1])


def _keep(steps: Steps, keep: NDArray[np.bool_], why: str) -> None:
    """Leave out the steps that are not to keep; called while `fields` is still empty."""
    _count(steps.missing, why, int((~keep).sum()))
    steps.time = steps.time[keep]
    steps.frames = {name: index[keep] for name, index in steps.frames.items()}


def _count(missing: Counter[str], why: str, count: int) -> None:
    if count:
        missing[why] += count


def _none(what: str, timing: Timing) -> str:
    return f"no {what} within {timing.tolerance / SECOND:g} s"


def _rows(values: Floats, index: Indices) -> Floats:
    """Return `values[index]`, NaN rows where the index is -1."""
    rows = np.full((len(index), values.shape[1]), np.nan)
    rows[index >= 0] = values[index[index >= 0]]
    return rows


def _through(order: Indices, index: Indices) -> Indices:
    """Return `order[index]`, -1 where the index is -1."""
    through = np.full(len(index), -1, np.int64)
    through[index >= 0] = order[index[index >= 0]]
    return through


def rate_fact(name: str, time: Times) -> str:
    """Say how regularly a stream came, from its stamps in the order in which they came."""
    if len(time) < 2:
        return f"{name}: {len(time)} messages"
    stamps = np.sort(time)
    interval = np.diff(stamps)[np.diff(stamps) > 0] / SECOND
    late = int((np.diff(time) < 0).sum())
    repeated = len(time) - 1 - len(interval)
    if not len(interval):
        return f"{name}: {len(time)} messages, all of one time stamp"
    median = float(np.median(interval))
    jitter = float(np.percentile(np.abs(interval - median), 95))
    fact = (
        f"{name}: {len(time)} messages, {1 / median:.4g} Hz, jitter {round(1000 * jitter, 3):g} ms "
        f"(95 %), longest gap {interval.max():.3g} s"
    )
    if repeated:
        fact += f", {repeated} repeat a time stamp"
    return f"{fact}, {late} out of order" if late else fact
