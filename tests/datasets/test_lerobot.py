"""LeRobot v3: a store written and read back is the same; others' data sets; damage."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.schema import field_info
from nav_offrl_datasets import lerobot
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.lerobot_features import correspond, features_of
from nav_offrl_datasets.lerobot_stats import aggregate, vector_stats
from nav_offrl_datasets.lerobot_writer import write_lerobot
from nav_offrl_datasets.run import Layout, Run

CONFIG = ImportConfig()
HEIGHT, WIDTH = 32, 48
NAMES = ("time", "position", "yaw", "velocity", "action", "collision", "imu", "gps", "reward")
INFO = StoreInfo(
    rate_hz=5.0,
    action_source="derived from pose",
    cameras={
        "front": CameraInfo(height=HEIGHT, width=WIDTH, horizontal_fov=1.5, frame="optical"),
        "rear": CameraInfo(height=15, width=17, coding="raw"),
    },
    fields={
        **{name: field_info(name) for name in NAMES},
        "lidar": field_info("lidar", shape=(3,), angle_min=-1.0, angle_max=1.0),
        "observation": field_info("observation", shape=(2,), axes=("x", "door")),
    },
)


def picture(step: int) -> NDArray[np.uint8]:
    """A smooth picture, so that codecs lose little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4 + step, y * 6, np.full_like(x, 10 * step)], -1).astype(np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def decoded(frame: Any) -> NDArray[np.float64]:
    image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image.astype(np.float64)


def episode(name: str, length: int, split: str) -> Episode:
    rng = np.random.default_rng(length)
    fields: dict[str, NDArray[Any]] = {
        name: rng.normal(size=(length, *described.shape)) for name, described in INFO.fields.items()
    }
    jitter = rng.integers(0, 10_000_000, length)
    fields["time"] = 1_700_000_000_123_456_789 + 200_000_000 * np.arange(length) + jitter
    fields["collision"] = rng.random(length) < 0.5
    fields["gps"][0] = np.nan
    fields["lidar"][0, 1] = np.inf
    images = {
        "front": [jpeg(picture(step)) for step in range(length)],
        "rear": [np.full((15, 17, 3), 9 * step, np.uint8) for step in range(length)],
    }
    return Episode(name, images, fields, split, session=f"session {name}", robot="husky")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store") / "log.zarr"
    with StoreWriter.create(path, INFO) as writer:
        writer.append(episode("a", 7, "train"))
        writer.append(episode("b", 5, "held_out"))
        writer.append(episode("c", 6, "train"))
        writer.finish()
    return Store.open(path)


@pytest.fixture(scope="module", params=[True, False], ids=["images", "video"])
def written(request: pytest.FixtureRequest, store: Store, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("lerobot") / "drives"
    write_lerobot(store, folder, images=request.param, task="Go.")
    return folder


@pytest.fixture(scope="module")
def film(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film") / "drives"
    write_lerobot(store, folder)
    return folder


def read_all(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, list[Run]]:
    sources, _ = lerobot.sources(path, config)
    layout = lerobot.layout(sources, config)
    return layout, [run for source in sources for run in lerobot.read(source, layout, config)]


def check(run: Run, layout: Layout) -> None:
    """What any run must fulfil, whatever was read."""
    assert run.time.dtype == np.int64
    assert (np.diff(run.time) > 0).all()
    for name, described in layout.fields.items():
        assert run.fields[name].shape == (len(run.time), *described.shape)
    for camera in layout.cameras:
        assert len(run.images[camera]) == len(run.time)


def test_what_is_written_is_read_back(store: Store, written: Path) -> None:
    assert lerobot.recognises(written)
    layout, runs = read_all(written)
    assert [run.name for run in runs] == ["a", "c", "b"]  # held-out episodes come last
    assert [run.split for run in runs] == ["train", "train", "held_out"]
    assert [run.session for run in runs] == ["session a", "session c", "session b"]
    assert layout.rate_hz == 5.0
    assert not layout.rate_is_nominal
    assert layout.action_source == "derived from pose"
    assert layout.robot == "husky"
    assert set(layout.fields) == set(INFO.fields) - {"time"}
    assert layout.fields["action"].axes == ("v", "omega")
    assert layout.fields["lidar"].angle_max == 1.0
    assert layout.fields["observation"].axes == ("observation_x", "door")
    assert layout.cameras["front"].horizontal_fov == 1.5
    assert layout.cameras["front"].frame == "optical"
    for run in runs:
        check(run, layout)
        steps = store.steps_of(store.episodes.name.index(run.name))
        np.testing.assert_array_equal(run.time, store.field("time")[steps])
        for name, values in run.fields.items():
            np.testing.assert_array_equal(values, store.field(name)[steps], err_msg=name)
            assert values.dtype == store.field(name).dtype
        assert not run.faults
        assert "task: Go." in run.facts


def test_frames_keep_their_bytes_or_lose_little(store: Store, written: Path) -> None:
    _, runs = read_all(written)
    is_video = (written / "videos").exists()
    for run in runs:
        steps = store.steps_of(store.episodes.name.index(run.name))
        if not is_video:
            assert run.images["front"] == store.jpegs("front", steps)
        for camera in ("front", "rear"):
            for frame, original in zip(
                run.images[camera], store.images(camera, steps), strict=True
            ):
                assert np.abs(decoded(frame) - original).mean() < (4 if is_video else 1)
        key = "observation.images.front"
        expected = f"{key}: video frames (h264) encoded once as JPEG of quality 95"
        assert (expected in run.facts) == is_video


def test_layout_of_the_folder(film: Path) -> None:
    files = sorted(str(file.relative_to(film)) for file in film.rglob("*") if file.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.front/chunk-000/file-000.mp4",
        "videos/observation.images.rear/chunk-000/file-000.mp4",
    ]
    info = json.loads((film / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "fps": 5,
        "total_episodes": 3,
        "total_frames": 18,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "robot_type": "husky",
        "splits": {"train": "0:2", "held_out": "2:3"},
    }
    state = features["observation.state"]
    assert state["dtype"] == "float32"
    assert state["shape"] == [7]
    assert state["names"] == ["x", "y", "yaw", "v", "omega", "observation_x", "door"]
    assert features["action"]["names"] == ["v", "omega"]
    assert features["next.reward"]["shape"] == [1]
    assert features["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    front = features["observation.images.front"]
    assert (front["dtype"], front["shape"]) == ("video", [HEIGHT, WIDTH, 3])
    assert front["names"] == ["height", "width", "channels"]
    assert front["info"]["video.codec"] == "h264"
    assert front["info"]["video.pix_fmt"] == "yuv420p"
    # An odd side cannot have colours at half the resolution.
    assert features["observation.images.rear"]["info"]["video.pix_fmt"] == "yuv444p"


def test_table_of_episodes(film: Path) -> None:
    rows = pq.read_table(film / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    places = ("dataset_from_index", "dataset_to_index", "length")
    assert [tuple(row[key] for key in places) for row in rows] == [
        (0, 7, 7),
        (7, 13, 6),
        (13, 18, 5),
    ]
    assert [row["tasks"] for row in rows] == [["Drive."]] * 3
    video = "videos/observation.images.front"
    assert [row[f"{video}/from_timestamp"] for row in rows] == [0.0, 1.4, 2.6]  # of 0.2 s frames
    assert [row[f"{video}/to_timestamp"] for row in rows] == [1.4, 2.6, 3.6]
    assert {row[f"{video}/file_index"] for row in rows} == {0}
    assert rows[1]["stats/frame_index/max"] == [5.0]
    assert rows[1]["stats/frame_index/count"] == [6]
    assert np.shape(rows[0]["stats/observation.images.front/mean"]) == (3, 1, 1)
    tasks = pq.read_table(film / "meta/tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": "Drive."}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    data = pq.ParquetFile(film / "data/chunk-000/file-000.parquet")
    assert data.num_row_groups == 3  # one an episode
    assert data.read().column("index").to_pylist() == list(range(18))


def test_statistics() -> None:
    values = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, np.inf]])
    stats = vector_stats(values)
    assert stats["mean"].tolist() == [3.0, 0.0]  # nothing finite: 0
    assert stats["std"][0] == pytest.approx(np.sqrt(14 / 3))  # deviations -2, -1, 3
    assert (stats["min"][0], stats["max"][0], stats["count"][0]) == (1.0, 6.0, 3.0)
    assert stats["q50"][0] == 2.0
    parts = [{"a": vector_stats(part)} for part in (np.arange(3.0), np.arange(3.0, 10.0))]
    whole = aggregate(parts)["a"]
    assert whole["mean"][0] == pytest.approx(4.5)
    assert whole["std"][0] == pytest.approx(np.arange(10.0).std())
    assert (whole["min"][0], whole["max"][0], whole["count"][0]) == (0.0, 9.0, 10.0)
    assert whole["q50"][0] == 1.0  # the lowest of 1 and 6


def test_stats_file_is_strict_json(film: Path) -> None:
    stats = json.loads((film / "meta/stats.json").read_text(), parse_constant=pytest.fail)
    assert stats["frame_index"]["count"] == [18]
    assert len(stats["gps"]["mean"]) == 3
    blue = stats["observation.images.front"]["mean"][2][0][0]
    # Blue is 10 times the step: means 30, 25, 20 over episodes of 7, 6, 5 steps.
    assert blue == pytest.approx((7 * 30 + 6 * 25 + 5 * 20) / 18 / 255, abs=0.02)


def test_an_existing_folder_is_not_touched(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="exists already"):
        write_lerobot(store, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_a_link_to_nowhere_is_none(tmp_path: Path) -> None:
    root = make_foreign(tmp_path / "rover")
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    table.unlink()
    table.symlink_to("nowhere")
    with pytest.raises(NavOffrlError, match="holds no table"):
        read_all(root)


def test_a_nominal_rate_stays_nominal() -> None:
    fields = {name: field_info(name) for name in ("time", "position", "yaw", "action")}
    for nominal in (True, False):
        info = StoreInfo(rate_hz=4, rate_is_nominal=nominal, fields=fields)
        assert correspond(features_of(info, images=True), "front", 4.0).nominal == nominal


def make_foreign(root: Path, **changes: Any) -> Path:
    """A data set as LeRobot itself writes it: two episodes of 6 and 4 frames at 10 fps, PNG."""
    features = {
        "observation.image": {
            "dtype": "image",
            "shape": [3, 8, 12],
            "names": ["channels", "h", "w"],
        },
        "observation.state": {
            "dtype": "float32",
            "shape": [3],
            "names": {"motors": ["x", "y", "theta"]},
        },
        "action": {
            "dtype": "float32",
            "shape": [2],
            "names": ["linear_velocity", "angular_velocity"],
        },
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "task_text": {"dtype": "string", "shape": [1], "names": None},
    }
    info = {
        "codebase_version": "v3.0",
        "robot_type": "earthrover",
        "fps": 10,
        "splits": {"train": "0:2"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info | changes.pop("info", {})))
    rows = [
        {"episode_index": index, "tasks": [f"task {index}"], "length": length}
        | {"data/chunk_index": 0, "data/file_index": 0}
        for index, length in enumerate((6, 4))
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    frame = np.array([*range(6), *range(4)])
    png = [cv2.imencode(".png", np.full((8, 12, 3), 20 * f, np.uint8))[1].tobytes() for f in frame]
    columns: dict[str, Any] = {
        "observation.image": [{"bytes": content, "path": "x.png"} for content in png],
        "observation.state": [[float(f), -float(f), 0.1] for f in frame],
        "action": [[0.5, float(f)] for f in frame],
        "next.done": [f == 3 for f in frame],
        "timestamp": pa.array(frame / 10, pa.float32()),
        "frame_index": frame,
        "episode_index": np.array([0] * 6 + [1] * 4),
    }
    table = pa.table(columns | changes)
    pq.write_table(table, root / "data/chunk-000/file-000.parquet")
    return root


def test_a_data_set_of_lerobots_own(tmp_path: Path) -> None:
    layout, runs = read_all(make_foreign(tmp_path / "rover"))
    assert layout.robot == "earthrover"
    assert layout.rate_hz == 10
    assert layout.rate_is_nominal
    assert set(layout.fields) == {"position", "yaw", "action"}
    # Earth Rover's linear_velocity is -1..1: a name is no unit.
    assert layout.fields["action"].axes == ("linear_velocity", "angular_velocity")
    assert layout.fields["action"].unit == ""
    assert any("states no units" in note for note in layout.notes)
    assert any("next.done" in note and "task_text" in note for note in layout.notes)
    assert (layout.cameras["front"].height, layout.cameras["front"].width) == (8, 12)
    for run, length in zip(runs, (6, 4), strict=True):
        check(run, layout)
        assert run.split == ""
        assert run.time.tolist() == [100_000_000 * step for step in range(length)]
        assert run.fields["position"][2].tolist() == [2.0, -2.0]
        assert run.fields["yaw"][0] == 0.1
        assert decoded(run.images["front"][3]).mean() == pytest.approx(60, abs=1)
        assert any("PNG images encoded once" in fact for fact in run.facts)
    assert runs[1].name == "episode_000001"
    assert "task: task 1" in runs[1].facts


def test_a_lower_rate(tmp_path: Path) -> None:
    layout, runs = read_all(make_foreign(tmp_path / "rover"), ImportConfig(rate_hz=5))
    assert layout.rate_hz == 5
    assert runs[0].fields["position"][:, 0].tolist() == [0, 2, 4]
    assert decoded(runs[0].images["front"][1]).mean() == pytest.approx(40, abs=1)
    assert "resampled from 10 to 5 Hz: 3 of 6 steps" in runs[0].facts


def test_a_camera_can_be_left_out(film: Path) -> None:
    sources, _ = lerobot.sources(film, ImportConfig(without=("front", "rear")))
    assert not any(file.suffix == ".mp4" for source in sources for file in source.files)
    _, runs = read_all(film, ImportConfig(without=("rear",)))
    assert set(runs[0].images) == {"front"}


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (["x", "y", "yaw"], {"position", "yaw"}),
        (["X", "Y", "Theta", "battery"], {"position", "yaw", "observation"}),
        (["v", "omega"], {"velocity"}),
        (["x", "y", "z", "roll", "pitch", "yaw"], {"observation"}),  # an arm's hand
        (["x", "y"], {"observation"}),  # pixels, perhaps
        (None, {"observation"}),
        (["x", "y", "yaw", "extra"], {"position", "yaw", "observation"}),
    ],
)
def test_a_state_is_a_pose_only_where_its_names_say_so(
    names: list[str] | None, fields: set[str]
) -> None:
    length = len(names) if names else 4
    state = {"dtype": "float32", "shape": [length], "names": names}
    assert set(correspond({"observation.state": state}, "front", 10.0).fields) == fields


@pytest.mark.parametrize(
    ("feature", "left_out"),
    [
        ({"dtype": "video", "shape": [4, 6, 1], "names": None}, "no colour image"),
        ({"dtype": "video", "shape": [4, 6, 3], "info": {"is_depth_map": True}}, "no colour image"),
        ({"dtype": "image", "shape": [4, 6, 3, 1]}, "no dtype or shape"),
        ({"dtype": "image", "shape": [1 << 20, 6, 3]}, "no dtype or shape"),
        ({"dtype": "float32", "shape": ["4"]}, "no dtype or shape"),
        ({"dtype": "string", "shape": [1]}, "string"),
        ([], "no dtype or shape"),
    ],
)
def test_what_cannot_be_taken_is_said(feature: Any, left_out: str) -> None:
    found = correspond({"observation.images.Top View": feature}, "front", 10.0)
    assert not found.cameras
    assert left_out in found.left_out[0]


def test_names_of_cameras() -> None:
    feature = {"dtype": "video", "shape": [4, 6, 3], "names": None}
    keys = ("observation.images.Top View", "observation.images.2", "observation.images.top_view")
    found = correspond(dict.fromkeys(keys, feature), "front", 10.0)
    assert set(found.cameras) == {"top_view", "camera_2"}
    assert "observation.images.top_view" in found.left_out[0]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v2.1", r"version v2.1, only v3 is read.*convert_dataset_v21_to_v30"),
        ("v1.6", "version v1.6, only v3 is read"),
        ("v4.0", "version v4.0, only v3 is read"),
        (None, "version None"),
    ],
)
def test_other_versions_are_refused_with_a_remedy(
    tmp_path: Path, version: str | None, message: str
) -> None:
    root = make_foreign(tmp_path / "old", info={"codebase_version": version})
    shutil.rmtree(root / "meta/episodes")  # v2 has meta/episodes.jsonl
    assert lerobot.recognises(root)
    with pytest.raises(NavOffrlError, match=message):
        read_all(root)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"fps": 0}, "'fps' is not within"),
        ({"fps": "10"}, "'fps' is no number"),
        ({"fps": float("nan")}, "'fps' is not within"),
        ({"features": {}}, "'features'"),
        ({"data_path": "../{chunk_index:03d}.parquet"}, "leads out of the data set"),
        ({"data_path": "/etc/passwd"}, "leads out of the data set"),
        ({"data_path": None}, "'data_path' is no path"),
        ({"data_path": "data/none.parquet"}, r"none\.parquet: is missing"),
    ],
)
def test_broken_info(tmp_path: Path, info: dict[str, Any], message: str) -> None:
    with pytest.raises(NavOffrlError, match=message):
        read_all(make_foreign(tmp_path / "rover", info=info))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"action": [[0.0]] * 10}, "'action' has lists of length"),
        ({"action": ["left"] * 10}, "'action' is string"),
        ({"action": [None] + [[0.0, 0.0]] * 9}, "'action' has 1 empty rows"),
        ({"frame_index": np.zeros(10, np.int64)}, "'frame_index' does not increase"),
        ({"episode_index": np.full(10, 7)}, "has no row of episode 0"),
        ({"observation.image": np.arange(10)}, "'observation.image' is int64"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, column: dict[str, Any], message: str) -> None:
    with pytest.raises(NavOffrlError, match=rf"file-000\.parquet.*{message}|{message}"):
        read_all(make_foreign(tmp_path / "rover", **column))


def test_time_stamps_that_are_off(tmp_path: Path) -> None:
    stamps = np.array([0, 0.1, 0.2, 0.9, 1.0, 1.1, 0, 0.1, 0.1, 0.2], np.float32)
    _, runs = read_all(make_foreign(tmp_path / "rover", timestamp=stamps))
    # The first episode's clock jumps by 0.6 s: kept, so that it is cut there.
    assert runs[0].time[3] == pytest.approx(900_000_000, abs=100)
    assert any("0.6 s off frame_index / fps" in fact for fact in runs[0].facts)
    # The second one's stands still: of no use.
    assert runs[1].time.tolist() == [0, 100_000_000, 200_000_000, 300_000_000]
    assert any("does not increase" in fact for fact in runs[1].facts)


def test_a_table_that_declares_too_much(tmp_path: Path) -> None:
    root = make_foreign(tmp_path / "rover")
    path = root / "data/chunk-000/file-000.parquet"
    zeros = np.zeros(3_000_000, np.int64)  # packs into a few kilobytes
    pq.write_table(pa.table({"episode_index": zeros, "frame_index": zeros}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(NavOffrlError, match="declares 3000000 rows"):
        read_all(root)


def test_video_that_is_cut_short(film: Path, tmp_path: Path) -> None:
    root = tmp_path / "cut"
    shutil.copytree(film, root)
    rows_path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(rows_path)
    place = table.schema.get_field_index("videos/observation.images.front/from_timestamp")
    starts = pa.array([0.0, 1.4, 3.0])  # the last episode lasts 1 s, of 3.6 s are 0.6 s left
    pq.write_table(table.set_column(place, table.schema.field(place), starts), rows_path)
    _, runs = read_all(root)
    assert sorted(runs[2].faults) == [3, 4]
    assert runs[2].faults[3] == "video of 'observation.images.front' has no frame"
    assert runs[2].images["front"][4] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as MP4 video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "cannot be read as MP4 video"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", "cannot be read as MP4 video"),
        (None, "is a video of 17x15 pixels, meta/info.json says 48x32"),
    ],
)
def test_what_is_no_such_video(
    film: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    root = tmp_path / "bad"
    shutil.copytree(film, root)
    videos = root / "videos"
    other = videos / "observation.images.rear/chunk-000/file-000.mp4"
    path = videos / "observation.images.front/chunk-000/file-000.mp4"
    path.write_bytes(other.read_bytes() if content is None else content)
    with pytest.raises(NavOffrlError, match=message):
        read_all(root)


def test_damaged_pictures_are_faults_of_their_step(tmp_path: Path) -> None:
    png = cv2.imencode(".png", np.zeros((8, 12, 3), np.uint8))[1].tobytes()
    cells = [{"bytes": png, "path": ""}] * 10
    cells[2] = {"bytes": png[:30], "path": ""}
    cells[4] = {"bytes": None, "path": "elsewhere.png"}
    _, runs = read_all(make_foreign(tmp_path / "rover", **{"observation.image": cells}))
    assert runs[0].faults == {2: "image is corrupt", 4: "no image of 'observation.image'"}


def mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place, how = rng.randrange(len(changed) + 1), rng.random()
        if how < 0.1:
            del changed[place:]
        elif how < 0.8:
            size = rng.randint(1, 4)
            changed[place : place + size] = rng.randbytes(min(size, len(changed) - place))
        else:
            changed[place:place] = rng.choice([b"\0" * 8, b"\xff" * 4, b"null", b"1e999", b'"'])
    return bytes(changed)


@pytest.mark.parametrize("file", ["info.json", "episodes", "data", "mp4"])
def test_damaged_data_sets_read_or_are_refused(film: Path, tmp_path: Path, file: str) -> None:
    paths = {
        "info.json": "meta/info.json",
        "episodes": "meta/episodes/chunk-000/file-000.parquet",
        "data": "data/chunk-000/file-000.parquet",
        "mp4": "videos/observation.images.front/chunk-000/file-000.mp4",
    }
    root = tmp_path / "fuzz"
    shutil.copytree(film, root)
    content = (root / paths[file]).read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(100):
        (root / paths[file]).write_bytes(mutated(content, rng))
        try:
            layout, runs = read_all(root)
        except NavOffrlError as error:
            refused += 1
            assert str(root) in str(error) or "differs" in str(error)
            continue
        for run in runs:
            check(run, layout)
    assert refused > 10
