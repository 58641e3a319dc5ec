"""LeRobot data sets of others, and damaged ones."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import lerobot
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.lerobot.features import correspond

ReadAll = Callable[..., tuple[Layout, list[Run]]]
Check = Callable[[Run, Layout], None]
Decoded = Callable[[Any], NDArray[np.float64]]


def test_a_table_that_is_a_link_to_nowhere_is_none(tmp_path: Path, read_all: ReadAll) -> None:
    root = make_foreign(tmp_path / "rover")
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    table.unlink()
    table.symlink_to("nowhere")
    with pytest.raises(NavOffrlError, match="holds no table"):
        read_all(root)


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


def test_a_data_set_of_lerobots_own(
    tmp_path: Path, read_all: ReadAll, check: Check, decoded: Decoded
) -> None:
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


def test_a_lower_rate(tmp_path: Path, read_all: ReadAll, decoded: Decoded) -> None:
    layout, runs = read_all(make_foreign(tmp_path / "rover"), ImportConfig(rate_hz=5))
    assert layout.rate_hz == 5
    assert runs[0].fields["position"][:, 0].tolist() == [0, 2, 4]
    assert decoded(runs[0].images["front"][1]).mean() == pytest.approx(40, abs=1)
    assert "resampled from 10 to 5 Hz: 3 of 6 steps" in runs[0].facts


def test_a_camera_can_be_left_out(film: Path, read_all: ReadAll) -> None:
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
    tmp_path: Path, version: str | None, message: str, read_all: ReadAll
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
def test_broken_info(tmp_path: Path, info: dict[str, Any], message: str, read_all: ReadAll) -> None:
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
def test_broken_tables_are_named(
    tmp_path: Path, column: dict[str, Any], message: str, read_all: ReadAll
) -> None:
    with pytest.raises(NavOffrlError, match=rf"file-000\.parquet.*{message}|{message}"):
        read_all(make_foreign(tmp_path / "rover", **column))


def test_time_stamps_that_are_off(tmp_path: Path, read_all: ReadAll) -> None:
    stamps = np.array([0, 0.1, 0.2, 0.9, 1.0, 1.1, 0, 0.1, 0.1, 0.2], np.float32)
    _, runs = read_all(make_foreign(tmp_path / "rover", timestamp=stamps))
    # The first episode's clock jumps by 0.6 s: kept, so that it is cut there.
    assert runs[0].time[3] == pytest.approx(900_000_000, abs=100)
    assert any("0.6 s off frame_index / fps" in fact for fact in runs[0].facts)
    # The second one's stands still: of no use.
    assert runs[1].time.tolist() == [0, 100_000_000, 200_000_000, 300_000_000]
    assert any("does not increase" in fact for fact in runs[1].facts)


def test_a_table_that_declares_too_much(tmp_path: Path, read_all: ReadAll) -> None:
    root = make_foreign(tmp_path / "rover")
    path = root / "data/chunk-000/file-000.parquet"
    zeros = np.zeros(3_000_000, np.int64)  # packs into a few kilobytes
    pq.write_table(pa.table({"episode_index": zeros, "frame_index": zeros}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(NavOffrlError, match="declares 3000000 rows"):
        read_all(root)


def test_video_that_is_cut_short(film: Path, tmp_path: Path, read_all: ReadAll) -> None:
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
    film: Path, tmp_path: Path, content: bytes | None, message: str, read_all: ReadAll
) -> None:
    root = tmp_path / "bad"
    shutil.copytree(film, root)
    videos = root / "videos"
    other = videos / "observation.images.rear/chunk-000/file-000.mp4"
    path = videos / "observation.images.front/chunk-000/file-000.mp4"
    path.write_bytes(other.read_bytes() if content is None else content)
    with pytest.raises(NavOffrlError, match=message):
        read_all(root)


def test_damaged_pictures_are_faults_of_their_step(tmp_path: Path, read_all: ReadAll) -> None:
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
def test_damaged_data_sets_read_or_are_refused(
    film: Path, tmp_path: Path, file: str, read_all: ReadAll, check: Check
) -> None:
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
