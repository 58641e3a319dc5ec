"""The importer on 19 real drives of a Unitree Go2 (logs recorded by others, not shipped here)."""

import os
from pathlib import Path

import numpy as np
import pytest

from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.report import ImportReport
from nav_offrl_datasets.inspection.summary import summarise, verify

DATA = Path(os.environ.get("NAV_OFFRL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
LOGS = DATA / "go2_gnm_real"

pytestmark = pytest.mark.skipif(
    not LOGS.is_dir(), reason=f"no real logs at {LOGS}; set NAV_OFFRL_DATA to their folder"
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, ImportReport]:
    path = tmp_path_factory.mktemp("go2") / "go2.zarr"
    report = import_log(LOGS, path, ImportConfig(rate_hz=10.0), progress=False)
    return Store.open(path), report


def test_every_pose_with_an_image_is_kept(imported: tuple[Store, ImportReport]) -> None:
    store, report = imported
    assert (len(store.episodes), store.steps, report.kept) == (19, 1745, 1745)
    assert report.distance == pytest.approx(69.7, abs=0.05)
    dropped = {run.name: run.dropped for run in report.runs if run.dropped}
    assert dropped == {"go2_20250717_175015": {"image without a pose": 1}}
    assert [run.kept for run in report.runs if run.dropped] == [109]
    assert sum(run.stale_poses for run in report.runs) == 26
    assert report.unknown_files == ()


def test_frames_are_the_bytes_of_the_log(imported: tuple[Store, ImportReport]) -> None:
    store, _ = imported
    for row, name in enumerate(store.episodes.name):
        steps = store.steps_of(row)
        for step in (0, int(store.episodes.length[row]) - 1):
            original = (LOGS / name / f"{step}.jpg").read_bytes()
            at = steps.start + step
            assert store.jpegs("front", slice(at, at + 1)) == [original]
    assert verify(store, progress=False) == ([], [])


def test_frame_of_the_poses_is_the_one_all_runs_share(
    imported: tuple[Store, ImportReport],
) -> None:
    x, y = imported[0].field("position").T
    assert (x.min() > -0.4, x.max() < 2.8, y.min() > 1.6, y.max() < 6.2) == (True,) * 4


def test_actions_are_those_of_a_walking_robot(imported: tuple[Store, ImportReport]) -> None:
    store, report = imported
    v, omega = store.field("action").T
    assert 0.3 < np.median(v) < 0.5 and np.abs(v).max() < 2.5 and np.abs(omega).max() < 3.0
    sideways = sum(run.lateral_distance for run in report.runs) / report.distance
    assert 0.05 < sideways < 0.2
    assert any("sideways" in note for note in report.notes)


def test_summary_tells_what_is_missing_and_odd(imported: tuple[Store, ImportReport]) -> None:
    summary = summarise(imported[0])
    assert summary.collisions is None and "collision" in summary.missing_fields
    assert summary.episodes == {"train": 15, "held_out": 4}
    assert sum(summary.distance.values()) == pytest.approx(69.7, abs=0.05)
    assert any(
        line.startswith("26 steps have exactly the previous pose") for line in summary.suspicious
    )
