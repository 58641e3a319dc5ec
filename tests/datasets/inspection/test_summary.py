"""Figures of stores that can be computed by hand; every suspicious value on a store that has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nav_offrl.store import CameraInfo, Episode, Store
from nav_offrl.store.schema import STEP_FIELDS, field_info
from nav_offrl_datasets.inspection.contact_sheet import spread_steps, strips, thumbnail
from nav_offrl_datasets.inspection.summary import StoreSummary, event_starts, summarise, verify

MakeEpisode = Callable[..., Episode]
WriteStore = Callable[..., Store]
EVERY_100_MS = np.arange(11, dtype=np.int64) * 100_000_000
RISING = np.linspace([0.4, 0.2], [0.6, 0.3], 11)
STRAIGHT = np.column_stack([0.05 * np.arange(11), np.zeros(11)])


def test_amounts(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> None:
    # Twice into collision in the first episode, its end included; the second begins in one.
    first = np.array([0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1], bool)
    second = np.array([1, 1] + [0] * 19, bool)
    episodes = [
        drive_straight("a", 11, {"collision": first}, session="monday", robot="husky"),
        drive_straight("b", 21, {"collision": second}, session="monday", robot="husky"),
        drive_straight("c", 11, {"collision": first & False}, split="held_out", licence="MIT"),
    ]
    store = write_store(tmp_path / "s.zarr", episodes, notes="made up")
    summary = summarise(store)
    assert summary.steps == 43 and summary.path == str(tmp_path / "s.zarr")
    assert summary.episodes == {"train": 2, "held_out": 1}
    assert summary.sessions == {"train": 1, "held_out": 1}
    # 0.05 m a step, 10 + 20 and 10 of them.
    assert summary.distance == pytest.approx({"train": 1.5, "held_out": 0.5}, abs=1e-5)
    assert summary.duration == pytest.approx({"train": 3.0, "held_out": 1.0})
    assert summary.collisions is not None and summary.interventions is None
    assert (summary.collisions.count, summary.collisions.steps) == (3, 5)
    assert summary.collisions.per_km == pytest.approx(3 / 0.002, rel=1e-4)
    assert event_starts(store, "collision").tolist() == [1, 10, 11]
    assert summary.robots == {"husky": 2, "": 1} and summary.licences == {"": 2, "MIT": 1}
    assert summary.suspicious == () and summary.unfinished == ()
    assert StoreSummary.model_validate_json(summary.model_dump_json()) == summary


def test_timing(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> None:
    # Periods of 120 and 80 ms, but one of 380 ms: a gap, which the mean leaves out.
    time = EVERY_100_MS + 20_000_000 * (np.arange(11) % 2)
    time[8:] += 300_000_000
    timing = summarise(
        write_store(tmp_path / "s.zarr", [drive_straight("a", 11, {"time": time})])
    ).timing
    assert timing.gaps == 1 and timing.longest_period == pytest.approx(0.38)
    assert timing.measured_hz == pytest.approx(9 / (5 * 0.12 + 4 * 0.08))
    mean = (5 * 0.12 + 4 * 0.08) / 9
    squares = 5 * (0.12 - mean) ** 2 + 4 * (0.08 - mean) ** 2
    assert timing.jitter == pytest.approx(np.sqrt(squares / 9))


def test_field_rows(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> None:
    gps = np.tile([48.0, 11.0, np.nan], (4, 1))
    gps[1] = np.nan
    imu = np.arange(24.0).reshape(4, 6)
    lidar = np.tile(np.arange(1.0, 11.0), (4, 1))
    lidar[0, :4] = np.inf
    collision = np.array([False, True, True, True])
    changes = {"gps": gps, "imu": imu, "lidar": lidar, "collision": collision}
    episode = drive_straight("a", 4, changes)
    fields = {name: field_info(name) for name in episode.fields if name != "lidar"}
    fields["lidar"] = field_info("lidar", shape=(10,), source="/scan", frame="laser")
    summary = summarise(write_store(tmp_path / "s.zarr", [episode], fields=fields))
    rows = {row.name: row for row in summary.fields}
    assert [row.name for row in summary.fields][:4] == ["time", "position x", "position y", "yaw"]
    assert rows["time"].median is None and rows["time"].not_finite == 0.0
    assert rows["gps latitude"].not_finite == 0.25 and rows["gps latitude"].median == 48.0
    assert rows["gps altitude"].not_finite == 1.0 and rows["gps altitude"].maximum is None
    assert (rows["imu gyro_x"].unit, rows["imu acceleration_z"].unit) == ("rad/s", "m/s^2")
    assert (rows["imu gyro_y"].minimum, rows["imu gyro_y"].maximum) == (1.0, 19.0)
    whole = rows["lidar"]
    assert (whole.shape, whole.source, whole.frame) == ((10,), "/scan", "laser")
    assert whole.not_finite == pytest.approx(0.1) and whole.maximum == 10.0
    assert (rows["collision"].minimum, rows["collision"].median) == (0.0, 1.0)
    assert set(summary.missing_fields) == set(STEP_FIELDS) - {"time", *episode.fields}


def test_cameras(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> None:
    raw = np.random.default_rng(0).integers(0, 255, (11, 4, 6, 3), dtype=np.uint8)
    known = CameraInfo(
        height=4,
        width=6,
        coding="raw",
        horizontal_fov=1.5,
        intrinsics=(5.0, 5.0, 3.0, 2.0),
        distortion_model="plumb_bob",
        distortion=(0.1, 0.0),
        mounting=(0.2, 0.0, 0.5, 0.0, 0.1, 0.0),
        frame="camera_link",
        rate_hz=30.0,
    )
    episode = drive_straight("a", images={"front": drive_straight("a").images["front"], "top": raw})
    cameras = {"front": CameraInfo(height=24, width=32), "top": known}
    summary = summarise(write_store(tmp_path / "s.zarr", [episode], cameras=cameras))
    front, top = summary.cameras["front"], summary.cameras["top"]
    assert (front.width, front.height, front.coding) == (32, 24, "jpeg")
    assert front.calibration == "unknown" and front.rate_hz is None
    assert (top.coding, top.frame, top.rate_hz) == ("raw", "camera_link", 30.0)
    for part in ("1.5 rad", "5 5 3 2 pixels", "plumb_bob 0.1 0", "0.2 0 0.5 0 0.1 0"):
        assert part in top.calibration


@pytest.mark.parametrize("kept", ["camera", "observation"])
def test_stores_without_poses_and_actions(
    kept: str, tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    changes: dict[str, Any] = dict.fromkeys(("position", "yaw", "action"))
    if kept == "camera":
        store = write_store(tmp_path / "s.zarr", [drive_straight("a", 11, changes)])
    else:
        changes["observation"] = np.arange(44.0).reshape(11, 4)
        shape = field_info("observation", shape=(4,))
        fields = {"time": field_info("time"), "observation": shape}
        episode = drive_straight("a", 11, changes, images={})
        store = write_store(tmp_path / "s.zarr", [episode], fields=fields)
    summary = summarise(store)
    assert summary.distance is None and summary.action_source == ""
    assert summary.duration == pytest.approx({"train": 1.0, "held_out": 0.0})
    assert {"position", "yaw", "action"} <= set(summary.missing_fields)
    assert [row.name for row in summary.fields][1:] == (
        [] if kept == "camera" else [f"observation {axis}" for axis in range(4)]
    )
    assert summary.suspicious == () and verify(store, progress=False) == ([], [])


def hit(values: Any, at: Any, value: Any) -> Any:
    changed = np.array(values)
    changed[at] = value
    return changed


SUSPICIOUS = [
    ({"position": hit(STRAIGHT, slice(4, 6), STRAIGHT[4]), "yaw": np.zeros(11)},
     "1 steps have exactly the previous pose (stale odometry, or a stop; 1 of them with an action "
     "to move)"),
    ({"position": STRAIGHT + np.where(np.arange(11) > 6, 3.0, 0.0)[:, None], "yaw": np.zeros(11)},
     "1 position jumps inside episodes (worst 4.28 m, episode 'a', step 7)"),
    ({"yaw": hit(0.025 * np.arange(11), slice(8, None), 3.0)},
     "1 heading jumps inside episodes (worst 2.83 rad, episode 'a', step 8)"),
    ({"time": EVERY_100_MS + np.where(np.arange(11) > 4, 300_000_000, 0)},
     "1 gaps of more than 2.5 periods lie inside episodes"),
    ({"time": EVERY_100_MS // 2}, "steps come at 20 Hz, the store says 10 Hz"),
    ({"time": EVERY_100_MS + 40_000_000 * (np.arange(11) % 2)},
     "100% of the periods are more than 25% off their mean"),
    ({"yaw": -0.025 * np.arange(11)},
     "the pose moves against the actions' omega (cosine -1.00): is x forward, y left, yaw "
     "counter-clockwise?"),
    ({"position": -STRAIGHT, "yaw": np.zeros(11)}, "the pose moves against the actions' v"),
    ({"position": 3.6 * STRAIGHT}, "the pose moves 3.6 times as far as the actions' v says"),
    ({"bumpiness": np.full(11, 0.5)}, "field 'bumpiness' is constant"),
    ({"imu": np.tile([0, 0, 0, 0, 0, 9.8], (11, 1)) + hit(np.zeros((11, 6)), (3, 5), 1)},
     "constant components of 'imu': gyro_x, gyro_y, gyro_z, acceleration_x, acceleration_y"),
    ({"gps": np.full((11, 3), np.nan)}, "field 'gps' holds no finite value"),
    ({"collision": np.ones(11, bool)}, "field 'collision' is true at every step"),
    ({"action": hit(RISING, (slice(8, 11), 1), 0.5)},
     "27% of the actions have omega at the largest value, 0.5"),
    ({"action": hit(RISING, (7, 0), 90.0)},
     "1 steps have action v far from the rest (worst 90.00, episode 'a', step 7)"),
    ({"action": hit(RISING, slice(0, 5), 0.001 * np.eye(5, 2))},
     "45% of the actions stand still"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), SUSPICIOUS)
def test_suspicious_values(
    changes: dict[str, Any],
    line: str,
    tmp_path: Path,
    drive_straight: MakeEpisode,
    write_store: WriteStore,
) -> None:
    episode = drive_straight("a", 11, changes)
    lines = summarise(write_store(tmp_path / "s.zarr", [episode])).suspicious
    assert any(found.startswith(line) for found in lines), lines


def test_suspicious_episodes(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    episodes = [drive_straight(f"e{i}", session="one", complete=False) for i in range(5)]
    episodes.append(drive_straight("other", session="one", split="held_out"))
    summary = summarise(write_store(tmp_path / "s.zarr", episodes))
    assert summary.suspicious == (
        "5 unfinished episodes (cut short): 'e0', 'e1', 'e2' and 2 more",
        "session 'one' is in both splits, which then share what was seen",
    )
    assert summary.unfinished == ("e0", "e1", "e2", "e3", "e4")


def test_what_lies_between_episodes_is_not_suspicious(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    """The next episode begins elsewhere, an hour later, looking back."""
    there = {
        "position": STRAIGHT + np.array([50.0, 0.0]),
        "yaw": np.full(11, 3.0) + 0.025 * np.arange(11),
        "time": EVERY_100_MS + 3_600_000_000_000,
    }
    episodes = [drive_straight("a"), drive_straight("b", 11, there)]
    summary = summarise(write_store(tmp_path / "s.zarr", episodes, action_source="derived from x"))
    assert summary.suspicious == () and summary.timing.longest_period == pytest.approx(0.1)
    assert summary.distance is not None and summary.distance["train"] == pytest.approx(1.0)


def test_verify_remarks_what_was_so_in_the_log(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    frames = list(drive_straight("a").images["front"])
    black = cv2.imencode(".jpg", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
    frames[3] = frames[4] = frames[2]
    frames[7] = black
    twice = {"front": [frames[0], *frames[:3], *frames[8:]]}
    episodes = [
        drive_straight("a", images={"front": frames}),
        drive_straight("b", 7, images=twice),
    ]
    store = write_store(tmp_path / "s.zarr", episodes)
    faults, remarks = verify(store, progress=False)
    assert faults == [] and remarks == [
        "camera 'front': repeated frames: 3 in 2 episodes (most in 'a': 2)",
        "camera 'front': frames of one colour: 1 in 1 episodes (most in 'a': 1)",
    ]


def test_verify_finds_damage(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    store = write_store(tmp_path / "s.zarr", [drive_straight("a"), drive_straight("b")])
    chunk = next((tmp_path / "s.zarr/data/position/c").rglob("*"))
    while chunk.is_dir():
        chunk = next(chunk.iterdir())
    content = bytearray(chunk.read_bytes())
    content[8 * 13] ^= 1  # one bit of x at step 13: the third of 'b'
    chunk.write_bytes(content)
    faults, remarks = verify(Store.open(store.path), progress=False)
    assert len(faults) == 1 and remarks == []
    assert "episode 'b' is damaged at step 2 (checksum differs)" in faults[0]


def test_verify_finds_frames_of_another_size(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    cameras = {"front": CameraInfo(height=48, width=64)}
    store = write_store(tmp_path / "s.zarr", [drive_straight("a")], cameras=cameras)
    faults, _ = verify(store, progress=False)
    assert len(faults) == 1 and "frames are 32x24 pixels, the store says 64x48" in faults[0]


def test_frames_to_show(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    into = np.zeros(31, bool)
    into[20:22] = into[3] = True
    episodes = [
        drive_straight("a", 31, {"collision": into}),
        drive_straight("b", 8, {"collision": np.zeros(8, bool)}, split="held_out"),
    ]
    store = write_store(tmp_path / "s.zarr", episodes)
    assert spread_steps(store, 3) == [6, 19, 32]  # the middles of three parts of 13 steps
    assert spread_steps(store, 100) == list(range(39))
    shown = strips(store, 4, 2)
    assert [strip.caption for strip in shown] == [
        "longest episode of train: 'a', 31 steps",
        "longest episode of held_out: 'b', 8 steps",
        "up to a collision: 'a', 31 steps",
        "up to a collision: 'a', 31 steps",
    ]
    assert shown[1].steps == (32, 34, 36, 38)
    assert shown[2].steps == (3,) and shown[3].steps == (5, 10, 15, 20)  # 0.5 s apart
    picture = thumbnail(store, "front", 6)
    assert picture is not None and picture.shape == (24, 32, 3)


def values_of(name: str, length: int, draw: Callable[[Any], Any]) -> Any:
    spec = STEP_FIELDS[name]
    shape = (length, *(spec.shape if spec.shape is not None else (2,)))
    if spec.dtype == "bool":
        return draw(hnp.arrays(bool, shape))
    finite = st.floats(-1e6, 1e6, width=32)
    either = st.one_of(finite, st.sampled_from([np.nan, np.inf]))
    return draw(hnp.arrays(np.float32, shape, elements=finite if spec.finite else either))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_store_has_a_summary(
    data: Any,
    tmp_path_factory: pytest.TempPathFactory,
    drive_straight: MakeEpisode,
    write_store: WriteStore,
) -> None:
    names = data.draw(st.sets(st.sampled_from([name for name in STEP_FIELDS if name != "time"])))
    lengths = data.draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))
    absent = dict.fromkeys(("position", "yaw", "action"))
    drives = []
    for row, length in enumerate(lengths):
        periods = data.draw(st.lists(st.integers(1, 2**40), min_size=length, max_size=length))
        changes = absent | {name: values_of(name, length, data.draw) for name in sorted(names)}
        changes["time"] = np.cumsum(periods)
        split = data.draw(st.sampled_from(["train", "held_out"]))
        complete = data.draw(st.booleans())
        drives.append(
            drive_straight(f"{row}", length, changes, images={}, split=split, complete=complete)
        )
    fields = {
        name: field_info(name, **({"shape": (2,)} if name in ("lidar", "observation") else {}))
        for name in ("time", *sorted(names))
    }
    path = tmp_path_factory.mktemp("any") / "s.zarr"
    summary = summarise(write_store(path, drives, fields=fields))
    assert StoreSummary.model_validate_json(summary.model_dump_json()) == summary
    assert sum(summary.episodes.values()) == len(lengths) and summary.steps == sum(lengths)
    assert (summary.distance is None) == ("position" not in names)
