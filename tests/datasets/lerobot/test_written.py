"""A store written as a LeRobot data set: its files, and what is read back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store, StoreInfo
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.formats import lerobot
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.lerobot.features import correspond, features_of
from nav_offrl_datasets.lerobot.stats import aggregate, vector_stats
from nav_offrl_datasets.lerobot.writer import write_lerobot

ReadAll = Callable[..., tuple[Layout, list[Run]]]
Check = Callable[[Run, Layout], None]
Decoded = Callable[[Any], NDArray[np.float64]]


@pytest.fixture(scope="module", params=[True, False], ids=["images", "video"])
def written(request: pytest.FixtureRequest, store: Store, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("lerobot") / "drives"
    write_lerobot(store, folder, images=request.param, task="Go.")
    return folder


def test_what_is_written_is_read_back(
    store: Store, written: Path, read_all: ReadAll, check: Check
) -> None:
    assert lerobot.recognises(written)
    layout, runs = read_all(written)
    assert [run.name for run in runs] == ["a", "c", "b"]  # held-out episodes come last
    assert [run.split for run in runs] == ["train", "train", "held_out"]
    assert [run.session for run in runs] == ["session a", "session c", "session b"]
    assert layout.rate_hz == 5.0
    assert not layout.rate_is_nominal
    assert layout.action_source == "derived from pose"
    assert layout.robot == "husky"
    assert set(layout.fields) == set(store.info.fields) - {"time"}
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


def test_frames_keep_their_bytes_or_lose_little(
    store: Store, written: Path, read_all: ReadAll, decoded: Decoded
) -> None:
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
    assert (front["dtype"], front["shape"]) == ("video", [32, 48, 3])
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


def test_a_nominal_rate_stays_nominal() -> None:
    fields = {name: field_info(name) for name in ("time", "position", "yaw", "action")}
    for nominal in (True, False):
        info = StoreInfo(rate_hz=4, rate_is_nominal=nominal, fields=fields)
        assert correspond(features_of(info, images=True), "front", 4.0).nominal == nominal
