"""Synthetic logs with one fault each: the fault is found, named, and nothing else is lost."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import gnm
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.plan import make_plan
from nav_offrl_datasets.importing.reading import read_source

CONFIG = ImportConfig(rate_hz=5.0, workers=1)


def jpeg(step: int, height: int = 24, width: int = 32) -> bytes:
    picture = np.random.default_rng(step).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def write_run(folder: Path, steps: int = 12, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    for step in range(steps):
        (folder / f"{step}.jpg").write_bytes(jpeg(step))
    sideways = len(list(folder.parent.iterdir()))  # so that no two runs are the same
    position = np.stack([0.1 * np.arange(steps), np.full(steps, sideways)], axis=1)
    poses = {"position": position, "yaw": np.zeros(steps)} | changes
    (folder / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    return folder


def import_one(tmp_path: Path, config: ImportConfig = CONFIG) -> tuple[Store, Any]:
    report = import_log(tmp_path / "log", tmp_path / "out.zarr", config, "gnm", progress=False)
    return Store.open(tmp_path / "out.zarr"), report


def test_whole_log_is_kept_byte_for_byte(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_run(tmp_path / "log" / name)
    (tmp_path / "log" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "log" / "notes.xyz").write_bytes(b"x")
    store, report = import_one(tmp_path)
    assert store.steps == 36 and report.kept == 36
    assert store.jpegs("front", slice(3, 4)) == [jpeg(3)]
    np.testing.assert_allclose(store.field("action")[:, 0], 0.5, rtol=1e-5)
    np.testing.assert_array_equal(store.field("time")[:3], [0, 200_000_000, 400_000_000])
    assert store.info.rate_is_nominal and store.info.action_source == "derived from pose"
    assert len(store.episodes.of_split("held_out")) == 1
    assert report.unknown_files == ("notes.xyz",)
    saved = json.loads((tmp_path / "out.zarr" / "reports" / "import_1.json").read_text())
    assert saved["runs"][0]["kept"] == 12 and saved["format"] == "gnm"


MISSING = "6.jpg: image is missing"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def resize(path: Path) -> None:
    path.write_bytes(jpeg(0, 48, 64))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "image is missing"),
        (truncate, "image is corrupt"),
        (lambda path: path.write_bytes(b"no picture"), "image is corrupt"),
        (lambda path: path.write_bytes(b""), "image is corrupt"),
        (resize, "image is 64x48 pixels, the store's are 32x24"),
    ],
)
def test_unusable_image_splits_the_run_there(tmp_path: Path, damage: Any, reason: str) -> None:
    run = write_run(tmp_path / "log" / "a", steps=14)
    damage(run / "6.jpg")
    store, report = import_one(tmp_path)
    assert store.episodes.name == ["a/0", "a/1"]
    assert store.episodes.length.tolist() == [6, 7]
    assert store.field("time")[6] == 7 * 200_000_000
    assert report.runs[0].dropped == {reason: 1}
    assert report.runs[0].details == (
        MISSING if reason.endswith("missing") else f"step 6: {reason}",
    )


def test_pose_that_is_not_finite_splits(tmp_path: Path) -> None:
    yaw = np.zeros(14)
    yaw[6] = np.nan
    write_run(tmp_path / "log" / "a", steps=14, yaw=yaw)
    store, report = import_one(tmp_path)
    assert store.episodes.length.tolist() == [6, 7]
    assert report.runs[0].dropped == {"pose is not finite": 1}


def test_position_jump_splits_and_short_pieces_are_dropped(tmp_path: Path) -> None:
    position = np.zeros((14, 2))
    position[:, 0] = 0.1 * np.arange(14)
    position[3:, 1] += 5.0
    write_run(tmp_path / "log" / "a", steps=14, position=position)
    store, report = import_one(tmp_path)
    assert store.episodes.length.tolist() == [11]
    assert report.runs[0].position_jumps == 1
    assert report.runs[0].dropped == {"episode shorter than 5 steps": 3}


def test_more_images_than_poses_keeps_the_common_part(tmp_path: Path) -> None:
    run = write_run(tmp_path / "log" / "a")
    for step in (12, 13):
        (run / f"{step}.jpg").write_bytes(jpeg(step))
    store, report = import_one(tmp_path)
    assert store.steps == 12
    assert report.runs[0].dropped == {"image without a pose": 2}


def test_stale_poses_are_counted_and_dropped_on_request(tmp_path: Path) -> None:
    position = np.stack([0.1 * np.arange(14), np.zeros(14)], axis=1)
    position[6] = position[5]
    write_run(tmp_path / "log" / "a", steps=14, position=position)
    store, report = import_one(tmp_path)
    assert (store.steps, report.runs[0].stale_poses) == (14, 1)
    shutil.rmtree(tmp_path / "out.zarr")
    store, report = import_one(tmp_path, CONFIG.model_copy(update={"keep_stale": False}))
    assert report.runs[0].dropped == {"pose is stale": 1}
    # One episode still; the step across the dropped one lasts two periods, at the true speed.
    assert store.episodes.length.tolist() == [13]
    np.testing.assert_allclose(store.field("action")[5], [0.5, 0.0], atol=1e-6)


def length_one_arrays(steps: int) -> np.ndarray:
    yaw = np.empty(steps, object)
    for step in range(steps):
        yaw[step] = np.array([0.25])
    return yaw


@pytest.mark.parametrize("yaw", [length_one_arrays(12), [0.25] * 12, np.full((12, 1), 0.25)])
def test_yaw_as_found_in_the_wild(tmp_path: Path, yaw: Any) -> None:
    write_run(tmp_path / "log" / "a", yaw=yaw)
    store, _ = import_one(tmp_path)
    np.testing.assert_array_equal(store.field("yaw"), np.full(12, 0.25, np.float32))


class Malice:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"position": np.zeros((12, 3))}, "shape"),
        ({"yaw": np.zeros(11)}, "shape"),
        ({"yaw": ["north"] * 12}, "no array of numbers"),
        ({"yaw": None}, "no array of numbers"),
        ({"position": np.full((12, 2), 5e6)}, "origin"),
        ({"extra": Malice()}, "system"),
    ],
)
def test_bad_run_is_refused_and_the_rest_goes_on(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    write_run(tmp_path / "log" / "bad", **changes)
    write_run(tmp_path / "log" / "good")
    store, report = import_one(tmp_path)
    assert store.episodes.name == ["good"]
    assert reason in (report.runs[0].refused or "")


def test_list_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    doubling: list[Any] = [0.0]
    for _ in range(28):
        doubling = [doubling, doubling]
    wide = [[0.0] * 10_000] * 10_000
    write_run(tmp_path / "log" / "deep", yaw=doubling)
    write_run(tmp_path / "log" / "wide", yaw=wide)
    write_run(tmp_path / "log" / "good")
    _, report = import_one(tmp_path)
    refusals = {run.name: run.refused for run in report.runs if run.refused}
    assert "nested" in refusals["deep"] and "more than" in refusals["wide"]


def test_run_without_poses_is_refused(tmp_path: Path) -> None:
    (write_run(tmp_path / "log" / "bad") / "traj_data.pkl").unlink()
    write_run(tmp_path / "log" / "good")
    _, report = import_one(tmp_path)
    assert report.runs[0].refused == "no traj_data.pkl"


def test_a_single_run_folder_is_a_log(tmp_path: Path) -> None:
    write_run(tmp_path / "log")
    assert import_one(tmp_path)[0].episodes.name == ["log"]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_folder_without_runs_is_an_error(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "log")
    with pytest.raises(NavOffrlError, match=r"no GNM run|is no folder"):
        import_one(tmp_path)


def test_strict_leaves_no_store(tmp_path: Path) -> None:
    run = write_run(tmp_path / "log" / "a", steps=14)
    (run / "6.jpg").unlink()
    with pytest.raises(NavOffrlError, match="image is missing"):
        import_one(tmp_path, CONFIG.model_copy(update={"strict": True}))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_nothing_usable_leaves_no_store(tmp_path: Path) -> None:
    write_run(tmp_path / "log" / "a", yaw=np.zeros(3))
    with pytest.raises(NavOffrlError, match="no run could be used"):
        import_one(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["traj_data.pkl", "0.jpg", "5.jpg"]), st.data())
def test_damaged_files_cost_what_they_hold_and_nothing_else(
    tmp_path: Path, name: str, data: Any
) -> None:
    shutil.rmtree(tmp_path / "log" / "bad", ignore_errors=True)
    run = write_run(tmp_path / "log" / "bad", steps=8)
    for good in ("good", "well"):  # the majority says the size
        if not (tmp_path / "log" / good).exists():
            write_run(tmp_path / "log" / good, steps=8)
    content = bytearray((run / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    (run / name).write_bytes(bytes(content[:kept]) + data.draw(st.binary(max_size=8)))
    config = ImportConfig()
    sources, _ = gnm.sources(tmp_path / "log", config)
    plan = make_plan("gnm", "log", gnm.layout(sources, config), config)
    bad, *others = (read_source(source, plan, frozenset()).reports[0] for source in sources)
    assert [(good.kept, good.warnings) for good in others] == [(8, [])] * 2
    assert "the importer failed" not in (bad.refused or "")
    assert bad.kept + sum(bad.dropped.values()) >= 8 or bad.refused
