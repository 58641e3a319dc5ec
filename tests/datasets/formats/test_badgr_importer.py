"""BADGR: windows are joined back into the drives they were cut from, or it is said that not."""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import badgr
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.readers.traj_data import read_poses

DATA = Path(os.environ.get("NAV_OFFRL_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
CONFIG = ImportConfig()
H = 8


def delimited(number: int, content: bytes) -> bytes:
    """A length-delimited field of the protobuf wire format."""
    length, size = b"", len(content)
    while True:
        size, part = size >> 7, size & 0x7F
        length += bytes([part | (0x80 if size else 0)])
        if not size:
            return bytes([number << 3 | 2]) + length + content


def example(features: dict[str, bytes]) -> bytes:
    entries = [
        delimited(1, key.encode()) + delimited(2, delimited(1, delimited(1, value)))
        for key, value in features.items()
    ]
    return delimited(1, b"".join(delimited(1, entry) for entry in entries))


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def write(path: Path, windows: Sequence[dict[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(example(window)) for window in windows))
    return path


def drive(steps: int, offset: float = 0.0) -> dict[str, Any]:
    """A drive of which step i is at x = offset + i, is commanded v = i and omega = -i."""
    step = np.arange(steps, dtype="<f4")
    place = offset + np.stack([step, 0.5 * step, 0 * step], axis=1)
    return {
        "jackal/position": place.astype("<f4"),
        "jackal/yaw": 0.1 * step[:, None],
        "jackal/linear_velocity": 0.5 + step[:, None],
        "jackal/angular_velocity": -step[:, None],
        "jackal/imu/angular_velocity": np.tile([0.1, 0.2, 0.3], (steps, 1)).astype("<f4"),
        "jackal/imu/linear_acceleration": np.tile([0.4, 0.5, 9.8], (steps, 1)).astype("<f4"),
        "collision/any": (step == steps - 1).astype("u1")[:, None],
        "collision/close": (step >= steps - 2).astype("u1")[:, None],
        "bumpy": (step == 3).astype("u1")[:, None],
        "gps/latlong": np.tile([37.5, -122.5], (steps, 1)).astype("<f4"),
        "gps/is_fixed": (step != 1).astype("<f4")[:, None],
    }


def picture(value: int) -> bytes:
    return bytes([value % 256]) * (96 * 128 * 3)


def window(of: dict[str, Any], at: int, horizon: int = H) -> dict[str, bytes]:
    """The window of a drive that begins at step `at`; what lies beyond its end is garbage."""
    steps = len(of["jackal/yaw"])
    later = np.arange(at + 1, at + horizon + 1)
    done = later >= steps - 1
    features = {}
    for name, values in of.items():
        outputs = values[np.minimum(later, steps - 1)].copy()
        outputs[later >= steps] = 77
        features[f"inputs/{name}"] = values[at].tobytes()
        features[f"outputs/{name}"] = outputs.tobytes()
    commands = np.where(done, 99, later - 1).astype("<f4")
    features["inputs/commands/linear_velocity"] = commands.tobytes()
    features["inputs/commands/angular_velocity"] = (-commands).astype("<f4").tobytes()
    features["inputs/images/rgb_left"] = picture(at)
    features["outputs/done"] = done.astype("u1").tobytes()
    return features


def windows(of: dict[str, Any], starts: Sequence[int]) -> list[dict[str, bytes]]:
    return [window(of, at) for at in starts]


def read(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, list[Run]]:
    found, _ = badgr.sources(path, config)
    layout = badgr.layout(found, config)
    return layout, list(badgr.read(found[0], layout, config))


def test_overlapping_windows_become_one_drive(tmp_path: Path) -> None:
    # 12 steps, a window at each of the first 10; the last one is done with its second output.
    layout, (run,) = read(write(tmp_path / "a.tfrecord", windows(drive(12), range(10))))
    assert (layout.rate_hz, layout.rate_is_nominal, layout.robot) == (4.0, True, "jackal")
    assert run.facts[0] == "joined from 10 windows"
    assert run.time.tolist() == [250_000_000 * step for step in range(10)]
    assert run.fields["position"].tolist() == [[step, 0.5 * step] for step in range(10)]
    assert run.fields["yaw"][4] == pytest.approx(0.4)
    assert run.fields["velocity"][4].tolist() == [4.5, -4.0]
    assert run.fields["imu"][0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 9.8])
    # Commands lead from a step to the next: step 9's is the last that is not done.
    assert run.fields["action"].tolist() == [[step, -step] for step in range(10)]
    assert run.fields["bumpiness"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert run.dropped == {badgr.NO_PICTURE: 2}
    frames = run.images["front"]
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(10))
    assert frames[3].shape == (96, 128, 3) and frames[3].dtype == np.uint8
    assert layout.cameras["front"].coding == "raw"


def test_the_collision_after_the_last_picture_is_not_lost(tmp_path: Path) -> None:
    _, (run,) = read(write(tmp_path / "a.tfrecord", windows(drive(12), range(11))))
    # The drive collides at step 11, which no window begins at; step 10 tells of it.
    assert run.fields["collision"].tolist() == [0] * 10 + [1]
    assert "collision/any at 1 of 12 steps" in run.facts
    assert "collision/close at 2 of 12 steps" in run.facts


def test_gps_without_a_fix_is_no_place(tmp_path: Path) -> None:
    _, (run,) = read(write(tmp_path / "a.tfrecord", windows(drive(12), range(10))))
    assert run.fields["gps"][0, :2].tolist() == [37.5, -122.5]
    assert np.isnan(run.fields["gps"][1]).all() and np.isnan(run.fields["gps"][:, 2]).all()


def test_steps_without_pictures_are_summed_up(tmp_path: Path) -> None:
    # Windows every 4 steps: at 0, 4 and 8 of 17 steps; the last one sees 16, where it ends.
    layout, (run,) = read(write(tmp_path / "a.tfrecord", windows(drive(17), (0, 4, 8))))
    assert layout.rate_hz == 1.0
    assert any("every 4 steps" in note for note in layout.notes)
    assert run.time.tolist() == [0, 10**9, 2 * 10**9]
    # Mean of the commands 0..3, 4..7, 8..11.
    assert run.fields["action"][:, 0].tolist() == [1.5, 5.5, 9.5]
    # Bumpy at step 3 only; the collision at step 16 is two periods after the last picture.
    assert run.fields["bumpiness"].tolist() == [1, 0, 0]
    assert run.fields["collision"].tolist() == [0, 0, 0]
    assert "collision/any at 1 of 17 steps" in run.facts
    assert run.dropped == {badgr.NO_PICTURE: 14}


def test_without_cameras_all_steps_are_read(tmp_path: Path) -> None:
    config = ImportConfig(without=("front",))
    layout, (run,) = read(write(tmp_path / "a.tfrecord", windows(drive(17), (0, 4, 8))), config)
    assert layout.rate_hz == 4.0 and len(run.time) == 17 and not run.dropped
    # Command 15 is done, and step 16 has none.
    assert run.fields["action"][:, 0].tolist() == [*range(15), 14, 14]
    assert "steps at the end whose command is not known, but repeated: 2" in run.facts
    assert run.fields["collision"].tolist() == [0] * 16 + [1]


def test_what_follows_the_first_done_means_nothing(tmp_path: Path) -> None:
    # A window at step 1 of 3: done with its first output, whose command does not count either.
    path = write(tmp_path / "a.tfrecord", windows(drive(3), (0, 1)))
    (made, late), _ = badgr.read_windows(path)
    assert (made.steps, made.acted) == (3, 1)
    assert (late.steps, late.acted) == (2, 0)
    _, (run,) = read(path, ImportConfig(without=("front",)))
    assert run.fields["position"][:, 0].tolist() == [0, 1, 2]
    assert run.fields["action"].tolist() == [[0, 0]] * 3


def test_drives_in_one_file_are_told_apart(tmp_path: Path) -> None:
    content = windows(drive(12), range(4)) + windows(drive(20, offset=50.0), range(5))
    path = write(tmp_path / "09-12-2019_horizon_8" / "a.tfrecord", content)
    _, runs = read(path)
    assert [run.name for run in runs] == ["a/0", "a/4"]
    assert [len(run.time) for run in runs] == [4, 5]
    assert {run.session for run in runs} == {"09-12-2019"}


def test_windows_that_do_not_overlap_are_drives_of_their_own(tmp_path: Path) -> None:
    content = [window(drive(30, offset=100.0 * index), 0) for index in range(3)]
    _, runs = read(write(tmp_path / "a.tfrecord", content))
    assert [run.facts[0] for run in runs] == [
        f"window {index} could not be joined to any other" for index in range(3)
    ]


def test_states_alone_do_not_join_windows_whose_commands_differ(tmp_path: Path) -> None:
    first, second = windows(drive(12), (0, 1))
    second["inputs/commands/linear_velocity"] = np.full(H, 5, "<f4").tobytes()
    _, runs = read(write(tmp_path / "a.tfrecord", [first, second]))
    assert len(runs) == 2


def test_a_robot_at_rest_leaves_a_doubt(tmp_path: Path) -> None:
    rest = drive(30)
    for values in rest.values():
        values[:] = values[0]
    content = windows(rest, range(4))
    for features in content:
        for name in ("linear", "angular"):
            features[f"inputs/commands/{name}_velocity"] = np.zeros(H, "<f4").tobytes()
    _, (run,) = read(write(tmp_path / "a.tfrecord", content))
    assert run.facts[0].endswith("3 joints fit at several steps (nothing moved)")


def test_rings_of_windows_end(tmp_path: Path) -> None:
    # Each window begins where the other ends: a circle that was driven twice, to the bit.
    circle = drive(2 * H + 1)
    for values in circle.values():
        values[-1] = values[0]
    content = windows(circle, (0, H))
    for features in content:
        features["outputs/done"] = bytes(H)
    made, _ = badgr.read_windows(write(tmp_path / "a.tfrecord", content))
    assert badgr.join(made) == [[(0, 0), (1, H)]]


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(10, 40),
    gaps=st.lists(st.integers(1, H), min_size=1, max_size=12),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_overlap_and_any_order_are_joined(
    tmp_path_factory: pytest.TempPathFactory, length: int, gaps: list[int], shuffle: Any
) -> None:
    starts = [0, *np.cumsum(gaps).tolist()]
    starts = [start for start in starts if start < length - 1]
    content = windows(drive(length), starts)
    shuffle.shuffle(content)
    path = write(tmp_path_factory.mktemp("badgr") / "a.tfrecord", content)
    _, runs = read(path, ImportConfig(without=("front",)))
    assert len(runs) == 1
    seen = min(starts[-1] + H + 1, length)
    assert runs[0].fields["position"][:, 0].tolist() == list(range(seen))


def test_damaged_windows_are_counted_and_named(tmp_path: Path) -> None:
    content = windows(drive(12), range(6))
    content[3]["inputs/jackal/yaw"] = b"short"
    del content[4]["outputs/done"]
    path = write(tmp_path / "a.tfrecord", content)
    data = path.read_bytes()
    path.write_bytes(data[: 12 + 500] + b"X" + data[12 + 501 :])
    _, (run,) = read(path)
    # Windows 1 and 2 are whole, and 5 overlaps them.
    assert run.facts[0] == "joined from 3 windows"
    assert run.fields["position"][:, 0].tolist() == [1, 2, 5]
    assert run.dropped["damaged window"] == 3
    assert run.details[0].startswith("byte 0: the checksum")
    assert "'inputs/jackal/yaw' has 5 bytes, <f4 (1, 1) takes 4" in run.details[1]
    assert "has no outputs/done" in run.details[2]


def test_a_field_that_later_files_lack_is_left_to_the_report(tmp_path: Path) -> None:
    bare = {key: values for key, values in drive(12).items() if not key.startswith("collision")}
    write(tmp_path / "a.tfrecord", windows(drive(12), range(3)))
    write(tmp_path / "b.tfrecord", windows(bare, range(3)))
    found, _ = badgr.sources(tmp_path, CONFIG)
    layout = badgr.layout(found, CONFIG)
    (run,) = badgr.read(found[1], layout, CONFIG)
    assert "collision" in layout.fields and "collision" not in run.fields


def test_files_of_other_examples_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", [{"image": b"1"}])
    assert badgr.recognises(tmp_path) and badgr.recognises(path)
    with pytest.raises(NavOffrlError, match="holds no window of BADGR"):
        read(path)
    path.write_bytes(b"no TFRecord at all")
    assert not badgr.recognises(tmp_path)
    with pytest.raises(NavOffrlError, match="holds no whole TFRecord"):
        read(path)


def test_damaged_files_are_read_or_refused(
    tmp_path: Path,
    check_damaged: Callable[..., tuple[int, int]],
    make_damaged: Callable[..., Iterator[bytes]],
) -> None:
    content = windows(drive(9), range(3))
    for features in content[1:]:
        del features["inputs/images/rgb_left"]
    path = write(tmp_path / "a.tfrecord", content)
    seen = check_damaged(badgr, path, CONFIG, make_damaged(path.read_bytes(), 200))
    assert min(seen) > 20
    # The same within records, whose checksums are then right.
    del content[0]["inputs/images/rgb_left"]
    rest = b"".join(framed(example(features)) for features in content[1:])
    records = make_damaged(example(content[0]), 300)
    alone = (framed(record) + rest for record in records)
    read, _ = check_damaged(badgr, path, CONFIG, alone)
    assert read == 300  # the other windows are whole


def test_drives_become_a_store(tmp_path: Path) -> None:
    for day, offset in (("09-12-2019", 0.0), ("09-17-2019", 9.0)):
        name = tmp_path / "log" / f"{day}_horizon_8" / "0.tfrecord"
        write(name, windows(drive(15, offset), range(8)))
    config = ImportConfig(workers=1, max_position_jump=5.0)
    report = import_log(tmp_path / "log", tmp_path / "store", config, progress=False)
    assert [run.kept for run in report.runs] == [8, 8]
    store = Store.open(tmp_path / "store")
    assert store.images("front", slice(0, 8))[:, 0, 0, 0].tolist() == list(range(8))
    assert sorted(store.episodes.session) == ["09-12-2019", "09-17-2019"]


@pytest.mark.skipif(
    not (DATA / "derived_schema_fixtures").is_dir(),
    reason=f"no schema fixtures at {DATA}; set NAV_OFFRL_DATA to their folder",
)
def test_a_drive_in_badgrs_schema_is_the_drive_it_was_made_from() -> None:
    path = DATA / "derived_schema_fixtures" / "go2_175015" / "go2_20250717_175015.tfrecord"
    made_from = DATA / "go2_gnm_real" / "go2_20250717_175015"
    layout, (run,) = read(path)
    # Four windows of eight steps, end to end; every third pose of the original is a step.
    assert layout.rate_hz == 0.5 and run.facts[0] == "joined from 4 windows"
    for row, frame in enumerate(run.images["front"]):
        original = cv2.cvtColor(
            cv2.imread(str(made_from / f"{24 * row}.jpg")), cv2.COLOR_BGR2RGB
        ).astype(int)
        assert np.abs(cv2.resize(frame, (96, 96)) - original).mean() < 4.0
    position, _ = read_poses(made_from / "traj_data.pkl")
    assert np.abs(run.fields["position"] - position[[0, 24, 48, 72]]).max() < 1e-6
    _, (whole,) = read(path, ImportConfig(without=("front", "right")))
    assert len(whole.time) == 33
    assert np.abs(whole.fields["position"][:11] - position[:33:3]).max() < 1e-6
