"""Bags of all three containers, written by rosbags in the test, become steps."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import bag
from nav_offrl_datasets.importing.run import Layout, Run

CONTAINERS = ("ros1", "sqlite3", "mcap")
SECOND = 10**9
Write = Callable[..., Path]
Drive = Callable[..., list[tuple[str, str, int, dict[str, Any]]]]
every_container = pytest.mark.parametrize("container", CONTAINERS)
ImportBag = Callable[..., tuple[Layout, list[Run]]]
ImportOne = Callable[..., tuple[Layout, Run]]


def facts(run: Run) -> str:
    return "\n".join(run.facts)


@every_container
def test_a_drive_becomes_steps(
    container: str, write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    layout, run = import_one(write_bag(container, drive(2.9, jpeg)), rate_hz=5.0)
    assert run.time.tolist() == [(100 * 5 + step) * SECOND // 5 for step in range(15)]
    seconds = np.arange(15) / 5
    assert run.fields["position"] == pytest.approx(np.stack([seconds, 0 * seconds], axis=1))
    assert run.fields["velocity"].tolist() == [[1.0, 0.0]] * 15
    # Commands have no header, so they come 5 ms late: the one of 50 ms before is in force.
    assert run.fields["action"][1:, 1] == pytest.approx(seconds[1:] - 0.05)
    assert run.fields["bumpiness"][:-1] == pytest.approx(np.full(14, 0.2 / np.sqrt(2)))
    assert run.images == {"front": [jpeg] * 15}
    assert not run.dropped
    assert (layout.rate_hz, layout.action_source, layout.frame) == (5.0, "commanded", "odom")
    assert (layout.cameras["front"].height, layout.cameras["front"].width) == (24, 32)
    assert layout.fields["position"].source == "/odom"
    assert layout.fields["position"].rate_hz == pytest.approx(20.0, rel=0.02)
    assert "camera 'front': 15 of 29 frames are used" in facts(run)


@every_container
def test_what_was_chosen_and_what_else_was_there_is_said(
    container: str, write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    rows = drive(0.9, jpeg)
    rows += [("/gps/odom", *row[1:]) for row in rows if row[0] == "/odom"]
    rows.append(("/chatter", "std_msgs/msg/String", 100 * SECOND, {"data": "hello"}))
    _, run = import_one(write_bag(container, rows))
    told = facts(run)
    assert (
        "odometry: /odom (nav_msgs/msg/Odometry, 18 messages), by its type; there was also " in told
    )
    assert "/gps/odom (nav_msgs/msg/Odometry, 18 messages)" in told
    assert "/chatter (std_msgs/msg/String, 1 messages)" in told
    assert "lidar: no topic of type LaserScan" in told
    assert "imu /imu/data: 90 messages, 100 Hz, jitter 0 ms" in told
    assert "by header stamps, 0.005 s before logging" in told


@every_container
def test_a_recipe_whose_topics_are_not_there_lists_what_is(
    container: str,
    write_bag: Write,
    drive: Drive,
    jpeg: bytes,
    tmp_path: Path,
    import_bag: ImportBag,
    import_one: ImportOne,
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "odometry: [/my/odom]\ncameras: {front: {topics: [/camera/image_raw/compressed]}}"
    )
    path = write_bag(container, drive(0.9, jpeg))
    with pytest.raises(NavOffrlError, match=r"finds no odometry \(/my/odom.*/odom \(nav_msgs/msg/"):
        import_bag(path, recipe=str(recipe))
    layout, run = import_one(path, recipe=str(recipe), without=("position", "yaw"))
    assert "position" not in layout.fields
    assert len(run.images["front"]) == 4


def test_a_bag_with_a_part_missing_is_refused(
    write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    path = write_bag("mcap", drive(0.9, jpeg))
    (path / "run.mcap").rename(path / "other.mcap")
    with pytest.raises(NavOffrlError, match=r"lacks parts .*: run\.mcap -> .*ros2 bag reindex"):
        import_bag(path)


def test_a_folder_without_metadata_is_read_all_the_same(
    write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    path = write_bag("mcap", drive(0.9, jpeg))
    (path / "metadata.yaml").unlink()
    assert len(import_one(path)[1].time) == 4


@pytest.mark.parametrize("container", ["ros1", "mcap"])
def test_parts_of_one_recording_are_one_run(
    container: str,
    write_bag: Write,
    drive: Drive,
    jpeg: bytes,
    tmp_path: Path,
    import_bag: ImportBag,
) -> None:
    rows = drive(3.9, jpeg)
    folder = tmp_path / "logs"
    folder.mkdir()
    for index in (0, 1):
        part = [row for row in rows if (row[2] >= 102 * SECOND) == bool(index)]
        path = write_bag(container, part, name=f"part{index}")
        if container == "ros1":
            path.rename(folder / f"walk_2026-01-02-03-04-0{index}_{index}.bag")
        else:
            (path / f"part{index}.mcap").rename(folder / f"walk_{index}.mcap")
    other = write_bag(container, rows, name="other")
    shutil.move(other, folder / other.name)
    layout, runs = import_bag(folder)
    names = ["other", "walk_2026-01-02-03-04-00" if container == "ros1" else "walk"]
    assert [run.name for run in runs] == names
    assert runs[0].time.tolist() == runs[1].time.tolist()
    assert len(runs[1].time) == 16
    assert layout.cameras["front"].rate_hz == pytest.approx(10.0, rel=0.05)


def test_files_that_are_no_bags_are_named(write_bag: Write, drive: Drive, jpeg: bytes) -> None:
    path = write_bag("ros1", drive(0.9, jpeg))
    (path.parent / "notes.txt").write_text("x")
    sources, unknown = bag.sources(path.parent, ImportConfig())
    assert ([source.name for source in sources], unknown) == (["run"], ["notes.txt"])


def test_a_folder_without_bags_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="holds no bag"):
        bag.sources(tmp_path, ImportConfig())
    assert not bag.recognises(tmp_path)


@every_container
def test_stamps_that_are_zero_or_off_give_way_to_the_time_of_logging(
    container: str, write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    rows = []
    for topic, kind, time, fields in drive(0.9, jpeg):
        if topic == "/odom":
            fields = fields | {"stamp": 0}
        elif topic == "/imu/data":
            fields = fields | {"stamp": fields["stamp"] - 50 * SECOND}
        rows.append((topic, kind, time, fields))
    _, run = import_one(write_bag(container, rows))
    assert "by the time of logging: header stamps are zero" in facts(run)
    assert "by the time of logging: header stamps are -50.01 s off" in facts(run)
    # Odometry is now 5 ms late, so the first frame lies before it.
    assert run.dropped == {"no odometry within 0.125 s": 1}
    assert run.fields["position"][:, 0] == pytest.approx([0.195, 0.495, 0.695])


def test_other_sensors(
    write_bag: Write, drive: Drive, jpeg: bytes, tmp_path: Path, import_one: ImportOne
) -> None:
    rows = drive(0.9, jpeg)
    for index in range(10):
        time = (1000 + index) * SECOND // 10
        ranges = [0.05, 1.0, np.inf, 30.0, 2.0][: 5 if index != 5 else 4]
        scan = {"stamp": time, "ranges": np.array(ranges, np.float32), "range_min": 0.1}
        scan |= {"range_max": 10.0, "angle_min": -1.0, "angle_max": 1.0}
        rows.append(("/scan", "sensor_msgs/msg/LaserScan", time, scan))
        fix = {"stamp": time, "latitude": 52.0, "longitude": 4.0, "altitude": 1.0}
        rows.append(("/fix", "sensor_msgs/msg/NavSatFix", time, fix | {"status.status": -1}))
        rows.append(("/hit", "std_msgs/msg/Bool", time + 1, {"data": index == 3}))
        rows.append(("/manual", "std_msgs/msg/Bool", time, {"data": index >= 5}))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("by_type: true\ncollision: [/hit]\nintervention: [/manual]")
    layout, run = import_one(write_bag("sqlite3", rows), recipe=str(recipe))
    lidar = layout.fields["lidar"]
    assert (lidar.shape, lidar.angle_min, lidar.angle_max) == ((5,), -1.0, 1.0)
    # Steps at 0, 200 (nearest to 250), 500 and 700 ms (nearest to 750); the scan of 500 is short.
    assert run.time.tolist() == [(1000 + t) * SECOND // 10 for t in (0, 2, 5, 7)]
    near = [np.nan, 1.0, np.inf, np.nan, 2.0]
    assert np.array_equal(run.fields["lidar"][[0, 1, 3]], np.float32([near] * 3), equal_nan=True)
    assert np.isnan(run.fields["lidar"][2]).all()
    assert any("scan has 4 rays, the first one 5" in line for line in run.details)
    assert np.isnan(run.fields["gps"]).all()
    assert run.fields["collision"].tolist() == [False, True, False, False]
    assert run.fields["intervention"].tolist() == [False, False, True, True]


def test_an_imu_without_gyro_gives_no_bumpiness(
    write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    none = np.array([-1.0] + [0.0] * 8)
    rows = [
        (topic, kind, time, fields | {"angular_velocity_covariance": none})
        if topic == "/imu/data" else (topic, kind, time, fields)
        for topic, kind, time, fields in drive(0.9, jpeg)
    ]  # fmt: skip
    layout, run = import_one(write_bag("mcap", rows))
    assert "bumpiness" not in layout.fields
    assert np.isnan(run.fields["imu"][1:, :3]).all()
    assert run.fields["imu"][1:, 5] == pytest.approx([9.8] * 3)


def test_a_stamped_pose_stands_in_for_odometry(write_bag: Write, import_one: ImportOne) -> None:
    half = np.sqrt(0.5)
    rows = []
    for index in range(8):
        time = (400 + index) * SECOND // 4
        pose = {"stamp": time, "pose.position.y": float(index)}
        turned = pose | {"pose.orientation.z": half, "pose.orientation.w": half}
        rows.append(("/mocap/pose", "geometry_msgs/msg/PoseStamped", time, turned))
    layout, run = import_one(write_bag("mcap", rows))
    assert "velocity" not in layout.fields
    assert run.fields["position"].tolist() == [[0.0, float(index)] for index in range(8)]
    assert run.fields["yaw"] == pytest.approx(np.full(8, np.pi / 2))


def test_odometry_that_is_not_finite_is_left_out_and_said(
    write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    rows = [
        (topic, kind, time, fields | {"pose.pose.position.x": np.nan})
        if topic == "/odom" and fields["pose.pose.position.x"] == 0.5
        else (topic, kind, time, fields)
        for topic, kind, time, fields in drive(0.9, jpeg)
    ]
    _, run = import_one(write_bag("ros1", rows))
    assert "odometry: 1 poses are not finite, left out" in facts(run)
    assert run.fields["position"][:, 0] == pytest.approx([0.0, 0.2, 0.5, 0.7])  # interpolated


@pytest.mark.parametrize("compression", ["BZ2", "LZ4"])
def test_compressed_chunks_of_ros1(
    compression: str, write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    from rosbags.rosbag1 import Writer

    kind = getattr(Writer.CompressionFormat, compression)
    _, run = import_one(write_bag("ros1", drive(0.9, jpeg), compression=kind))
    assert run.images["front"] == [jpeg] * 4


@pytest.mark.parametrize(
    ("container", "mode"),
    [("sqlite3", "FILE"), ("sqlite3", "MESSAGE"), ("mcap", "FILE"), ("mcap", "MESSAGE"),
     ("mcap", "STORAGE")],
)  # fmt: skip
def test_compressed_rosbag2(
    container: str, mode: str, write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    from rosbags.rosbag2 import CompressionMode

    path = write_bag(container, drive(0.9, jpeg), compression=getattr(CompressionMode, mode))
    _, run = import_one(path)
    assert run.images["front"] == [jpeg] * 4


def test_a_sqlite_bag_of_old_without_definitions(
    write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    path = write_bag("sqlite3", drive(0.9, jpeg)) / "run.db3"
    with sqlite3.connect(path) as database:
        for table in ("schema", "metadata", "message_definitions"):
            database.execute(f"DROP TABLE {table}")
        database.execute("ALTER TABLE topics DROP COLUMN type_description_hash")
    assert len(import_one(path)[1].time) == 4


def test_a_type_of_another_definition_is_passed_over(
    write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    path = write_bag("sqlite3", drive(0.9, jpeg)) / "run.db3"
    with sqlite3.connect(path) as database:
        database.execute(
            "UPDATE topics SET type_description_hash = 'RIHS01_0' WHERE name = '/odom'"
        )
    with pytest.raises(NavOffrlError, match="finds no odometry"):
        import_bag(path, recipe="go2")


def test_messages_in_a_journal_are_not_forgotten(
    write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    path = write_bag("sqlite3", drive(0.9, jpeg)) / "run.db3"
    path.with_name("run.db3-wal").write_bytes(b"x")
    with pytest.raises(NavOffrlError, match=r"run\.db3-wal.*wal_checkpoint"):
        import_bag(path)


def test_a_bag_that_lacks_a_topic_of_the_others_is_refused_alone(
    write_bag: Write, drive: Drive, jpeg: bytes
) -> None:
    path = write_bag("ros1", drive(0.9, jpeg), name="a").parent
    write_bag("ros1", [row for row in drive(0.9, jpeg) if row[0] != "/cmd_vel"], name="b")
    write_bag("ros1", [row for row in drive(0.9, jpeg) if row[0] != "/imu/data"], name="c")
    config = ImportConfig()
    sources, _ = bag.sources(path, config)
    layout = bag.layout(sources, config)
    assert "bumpiness" not in layout.fields  # c could not say what it is
    assert len(next(bag.read(sources[0], layout, config)).time) == 4
    with pytest.raises(NavOffrlError, match=r"b\.bag: has no topic for action.*--without action"):
        next(bag.read(sources[1], layout, config))
    assert np.isnan(next(bag.read(sources[2], layout, config)).fields["imu"]).all()


@pytest.mark.parametrize(
    ("container", "remedy"),
    [("ros1", "rosbag reindex"), ("sqlite3", "ros2 bag reindex"), ("mcap", "mcap recover")],
)
def test_a_bag_cut_short_names_the_remedy(
    container: str, remedy: str, write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    path = write_bag(container, drive(0.9, jpeg))
    file = path if container == "ros1" else next(path.glob("run.*"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(NavOffrlError, match=remedy) as caught:
        import_bag(path)
    assert caught.value.where == file


def test_an_unclosed_bag_and_an_empty_one(
    write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    path = write_bag("ros1", drive(0.9, jpeg))
    content = path.read_bytes()
    at = content.index(b"index_pos=") + len(b"index_pos=")
    path.write_bytes(content[:at] + b"\0" * 8 + content[at + 8 :])
    with pytest.raises(NavOffrlError, match=r"not indexed.*rosbag reindex"):
        import_bag(path)
    active = path.rename(path.with_suffix(".bag.active"))
    with pytest.raises(NavOffrlError, match="rosbag reindex"):
        import_bag(active)
    path.write_bytes(b"")
    with pytest.raises(NavOffrlError, match="is empty"):
        import_bag(path)


def test_a_bag_in_wrong_clothes(
    write_bag: Write, drive: Drive, jpeg: bytes, import_bag: ImportBag
) -> None:
    path = write_bag("ros1", drive(0.9, jpeg))
    for suffix in (".mcap", ".db3", ".mcap.zstd"):
        with pytest.raises(NavOffrlError, match="cannot be read as a bag"):
            import_bag(Path(shutil.copy(path, path.with_suffix(suffix))))


def test_definitions_that_a_bag_carries_are_never_run(
    write_bag: Write, drive: Drive, jpeg: bytes, import_one: ImportOne
) -> None:
    path = write_bag("sqlite3", drive(0.9, jpeg)) / "run.db3"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE message_definitions SET encoded_message_definition = 'float64[9'")
    assert len(import_one(path)[1].time) == 4
