"""A store as a recording for the Rerun viewer (https://rerun.io): frames, path, time series.

Written straight to a file: no viewer is started, no port opened, nothing sent anywhere.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.schema import SPLITS, STEP_FIELDS
from nav_offrl_datasets.inspection.markup import printable
from nav_offrl_datasets.inspection.summary import component_names, event_starts

APPLICATION = "nav_offrl"
FRAMES_AT_ONCE = 64  # held in memory
MAX_COMPONENTS = 16  # of a field, as time series; a lidar's ranges are none
EPOCH = 10**17  # ns; later times count from 1970, earlier ones from the robot's start
COLOURS = {"train": (31, 119, 180), "held_out": (255, 127, 14)}
RED = (214, 39, 40)
NOT_PLOTTED = ("time", "position", "yaw", "gps")


def write_recording(store: Store, path: Path, episodes: Sequence[int] = ()) -> None:
    """Write the given episodes (default: all) to `path` (.rrd), whole or not at all.

    The timeline `step` counts the store's steps; `time` is the store's, and left out where
    episodes overlap in time, as those of logs without timestamps do. Frames stay the JPEG bytes
    of the store. `map` is the frame of the poses, x forward and y left at its origin.

    Raises:
        NavOffrlError: there is no such episode, or an array of the store is damaged.
        OSError: `path` cannot be written.
    """
    rows = _chosen(store, episodes)
    partial = path.with_name(path.name + ".partial")
    partial.touch()  # rerun reports a folder that cannot be written only by a line of its log
    recording = rr.RecordingStream(APPLICATION)
    try:
        recording.save(partial, default_blueprint=_blueprint(store))
        recording.send_recording_name(printable(store.where.rstrip("/").rsplit("/", 1)[-1]))
        _send_map(recording, store, rows)
        _send_names(recording, store)
        with_time = _follow_each_other(store, rows)
        for row in rows:
            _send_episode(recording, store, row, with_time)
        recording.flush()
        recording.disconnect()
        partial.replace(path)
    finally:
        recording.disconnect()
        partial.unlink(missing_ok=True)


def _chosen(store: Store, episodes: Sequence[int]) -> list[int]:
    count = len(store.episodes)
    for row in episodes:
        if not 0 <= row < count:
            raise NavOffrlError(
                f"there is no episode {row}",
                where=store.where,
                remedy=f"episodes are 0 .. {count - 1}",
            )
    return sorted(set(episodes)) or list(range(count))


def _follow_each_other(store: Store, rows: Sequence[int]) -> bool:
    time, table = store.field("time"), store.episodes
    first = time[table.start[rows]]
    last = time[table.start[rows] + table.length[rows] - 1]
    order = np.argsort(first)
    return bool((first[order][1:] > last[order][:-1]).all())


def _send_episode(recording: rr.RecordingStream, store: Store, row: int, with_time: bool) -> None:
    steps = store.steps_of(row)
    begin = _timelines(store, slice(steps.start, steps.start + 1), with_time)
    table = store.episodes
    about = f"{table.name[row]}: {SPLITS[table.split[row]]}, {table.length[row]} steps"
    about += "" if table.complete[row] else ", unfinished"
    _send(recording, "episode", begin, rr.TextLog.columns(text=[printable(about)]))
    timelines = _timelines(store, steps, with_time)
    for entity, _, values in _series(store):
        scalars = values[steps].astype(np.float64)
        _send(recording, entity, timelines, rr.Scalars.columns(scalars=scalars))
    if {"position", "yaw"} <= set(store.info.fields):
        _send(recording, "map/robot", timelines, _poses(store, steps))
    for camera in store.info.cameras:
        for start in range(steps.start, steps.stop, FRAMES_AT_ONCE):
            block = slice(start, min(start + FRAMES_AT_ONCE, steps.stop))
            frames = _frames(store, camera, block)
            _send(recording, _entity("camera", camera), _timelines(store, block, with_time), frames)


def _send(
    recording: rr.RecordingStream,
    entity: str,
    timelines: list[rr.TimeColumn],
    columns: "rr.ComponentColumnList",
) -> None:
    rr.send_columns(entity, timelines, columns, recording=recording, strict=True)


def _entity(*parts: str) -> str:
    path: str = rr.new_entity_path([printable(part) for part in parts])
    return path


def _timelines(store: Store, steps: slice, with_time: bool) -> list[rr.TimeColumn]:
    timelines = [rr.TimeColumn("step", sequence=np.arange(steps.start, steps.stop))]
    if with_time:
        time = store.field("time")
        if time[0] > EPOCH:
            stamps = time[steps].astype("datetime64[ns]")
            timelines.append(rr.TimeColumn("time", timestamp=stamps))
        else:
            since = time[steps].astype("timedelta64[ns]")
            timelines.append(rr.TimeColumn("time", duration=since))
    return timelines


def _series(store: Store) -> Iterator[tuple[str, str, NDArray[np.generic]]]:
    """Yield the entity, the label and the values (steps,) of all that is drawn over time."""
    for name, described in store.info.fields.items():
        count = int(np.prod(described.shape))
        if name in NOT_PLOTTED or count > MAX_COMPONENTS:
            continue
        values = store.field(name).reshape(store.steps, count)
        for axis, (label, unit) in enumerate(component_names(store, name)):
            yield _entity(*label.split(" ", 1)), f"{label} {unit}".strip(), values[:, axis]


def _poses(store: Store, steps: slice) -> "rr.ComponentColumnList":
    position, yaw = store.field("position")[steps], store.field("yaw")[steps] / 2
    level = np.zeros(len(yaw), np.float32)
    translation = np.column_stack([position, level])
    quaternion = np.column_stack([level, level, np.sin(yaw), np.cos(yaw)])
    return rr.Transform3D.columns(translation=translation, quaternion=quaternion)


def _frames(store: Store, camera: str, steps: slice) -> "rr.ComponentColumnList":
    frames = store.frames(camera, steps)
    if isinstance(frames, np.ndarray):
        height, width = frames.shape[1:3]
        form = rr.components.ImageFormat(
            width=width, height=height, color_model="RGB", channel_datatype="U8"
        )
        return rr.Image.columns(buffer=frames.reshape(len(frames), -1), format=[form] * len(frames))
    return rr.EncodedImage.columns(blob=frames, media_type=["image/jpeg"] * len(frames))


def _send_map(recording: rr.RecordingStream, store: Store, rows: Sequence[int]) -> None:
    if "position" not in store.info.fields:
        return
    recording.log("map", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    position = store.field("position")
    flat = np.column_stack([position, np.zeros(len(position), np.float32)])
    for row in rows:
        colour = COLOURS[SPLITS[store.episodes.split[row]]]
        line = rr.LineStrips3D([flat[store.steps_of(row)]], colors=[colour])
        recording.log(_entity("map", "paths", store.episodes.name[row]), line, static=True)
    size = float(np.clip(0.03 * np.ptp(position, axis=0).max(), 0.2, 5.0))
    if "yaw" in store.info.fields:
        arrow = rr.Arrows3D(vectors=[[size, 0, 0]], radii=[0.1 * size], colors=[(255, 255, 255)])
        recording.log("map/robot/forward", arrow, static=True)
    if "collision" in store.info.fields:
        shown = np.zeros(store.steps, bool)
        for row in rows:
            shown[store.steps_of(row)] = True
        hits = event_starts(store, "collision")
        points = rr.Points3D(flat[hits[shown[hits]]], radii=[0.15 * size], colors=[RED])
        recording.log("map/collisions", points, static=True)


def _send_names(recording: rr.RecordingStream, store: Store) -> None:
    for entity, label, _ in _series(store):
        recording.log(entity, rr.SeriesLines(names=[printable(label)]), static=True)


def _blueprint(store: Store) -> rrb.Blueprint:
    """Lay out the viewer: cameras on the left, the map and the time series on the right."""
    fields = store.info.fields
    cameras = [
        rrb.Spatial2DView(origin=_entity("camera", name), name=printable(name))
        for name in store.info.cameras
    ]
    right: list[rrb.View] = []
    if "position" in fields:
        right.append(rrb.Spatial3DView(origin="/map", name="map", eye_controls=_from_above(store)))
    plotted = {entity.strip("/").split("/")[0] for entity, _, _ in _series(store)}
    events = {name for name in plotted if STEP_FIELDS[name].dtype == "bool"}
    motion = plotted & {"action", "velocity"}
    groups = {"motion": motion, "events": events, "other fields": plotted - motion - events}
    for name, entities in groups.items():
        if entities:
            contents = [f"/{entity}/**" for entity in sorted(entities)]
            right.append(rrb.TimeSeriesView(origin="/", contents=contents, name=name))
    right.append(rrb.TextLogView(origin="/episode", name="episodes"))
    beside = [rrb.Vertical(*cameras)] if cameras else []
    views = rrb.Horizontal(*beside, rrb.Vertical(*right))
    return rrb.Blueprint(views, rrb.TimePanel(timeline="step", fps=store.info.rate_hz))


def _from_above(store: Store) -> rrb.EyeControls3D:
    low, high = store.field("position").min(axis=0), store.field("position").max(axis=0)
    x, y = ((low + high) / 2).tolist()
    height = 1.5 * max(1.0, float((high - low).max()))
    return rrb.EyeControls3D(position=(x, y, height), look_target=(x, y, 0), eye_up=(0, 1, 0))
