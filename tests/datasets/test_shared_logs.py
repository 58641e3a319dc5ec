"""Every real log at hand imports by one call, and the report names what is odd about it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.report import ImportReport

DATA = Path(os.environ.get("NAV_OFFRL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
FIXTURES = DATA / "derived_schema_fixtures" / "go2_175015"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real logs at {DATA}; set NAV_OFFRL_DATA to their folder"
)

Import = Callable[..., tuple[Store, ImportReport, str]]


@pytest.fixture
def run_import(tmp_path: Path) -> Import:
    """Return `run(path, **settings) -> (store, report, all lines of the report)`."""

    def run(path: Path, **settings: Any) -> tuple[Store, ImportReport, str]:
        config = ImportConfig(workers=1, **settings)
        report = import_log(path, tmp_path / "log.zarr", config, progress=False)
        store = Store.open(tmp_path / "log.zarr")
        for episode in range(len(store.episodes)):
            store.verify(episode)
        saved = [path.read_text() for path in (store.path / "reports").glob("import_*.json")]
        assert len(saved) == 1
        return store, report, saved[0]

    return run


def test_go2_in_the_gnm_layout(run_import: Import) -> None:
    store, report, lines = run_import(DATA / "go2_gnm_real", rate_hz=10.0)
    assert (len(store.episodes), store.steps) == (19, 1745)
    assert report.distance == pytest.approx(69.7, abs=0.05)
    assert "110 images for 109 poses" in lines
    assert sum(run.stale_poses for run in report.runs) == 26
    assert "sideways motion" in lines and "time is nominal" in lines


def test_go2_image_list_has_no_pose(run_import: Import) -> None:
    store, _, lines = run_import(DATA / "go2_topomaps_real" / "recording_20250716_174201")
    assert store.steps == 74 and set(store.info.fields) == {"time"}
    camera = store.info.cameras["front"]
    assert (camera.width, camera.height) == (1280, 720)
    assert "no pose" in lines


def test_donkeycar_leaves_out_the_deleted_and_splits_at_gaps(run_import: Import) -> None:
    store, report, lines = run_import(DATA / "donkeycar_track2_real" / "training_2")
    dropped = report.runs[0].dropped
    assert dropped["deleted by the driver"] == 2098
    assert store.steps + sum(dropped.values()) == 6000
    assert store.steps + dropped["episode shorter than 5 steps"] == 3902
    assert len(store.episodes) > 1 and "gap of 13.6 s" in lines
    assert report.runs[0].duration == pytest.approx(194, abs=2)
    throttle, steering = store.field("action").T
    # With the deleted rows, the throttle went up to 0.63.
    assert (throttle.min(), throttle.max()) == pytest.approx((-0.45, 0.45), abs=0.005)
    assert store.info.fields["action"].axes == ("throttle", "steering")
    assert "not m/s" in lines and "mirrored" in lines and abs(steering).max() <= 1


def test_husky_bag_without_a_camera(run_import: Import) -> None:
    bag = DATA / "ros1_bags_real_robot_localization" / "test1.bag"
    store, report, lines = run_import(bag, recipe="husky")
    assert report.runs[0].duration == pytest.approx(395, abs=1)
    assert not store.info.cameras and {"imu", "gps"} <= set(store.info.fields)
    for topic in ("/imu/data", "/husky_velocity_controller/odom", "/fix"):
        assert topic in lines


@pytest.mark.parametrize("container", ["sqlite3", "mcap", "empty_bag"])
def test_bags_without_camera_and_odometry_are_refused_by_topic(
    tmp_path: Path, container: str
) -> None:
    with pytest.raises(NavOffrlError, match=r"no camera or odometry.*the bag has /"):
        import_log(DATA / "rosbag2_tiny" / container, tmp_path / "log.zarr", ImportConfig())
    assert not list(tmp_path.iterdir())


def test_sacson_sample_is_no_drive(run_import: Import) -> None:
    _, _, lines = run_import(DATA / "sacson_sample_real" / "sample.pkl")
    assert "one training sample, not a drive" in lines


def test_recon_schema_with_constant_sensors(run_import: Import) -> None:
    _, _, lines = run_import(FIXTURES / "go2_20250717_175015.hdf5")
    for constant in ("'collision' is constant", "'imu' is constant", "'lidar' has no reading"):
        assert constant in lines


def test_badgr_schema_has_pictures_only_where_windows_start(
    run_import: Import, tmp_path: Path
) -> None:
    windows = FIXTURES / "go2_20250717_175015.tfrecord"
    with pytest.raises(NavOffrlError, match="only the first step of a window has"):
        import_log(windows, tmp_path / "refused.zarr", ImportConfig(workers=1), progress=False)
    store, _, lines = run_import(windows, without=("front", "right"))
    assert store.steps > 30 and not store.info.cameras
    assert "'collision' is constant" in lines


@pytest.mark.parametrize("container", ["mcap", "sqlite3"])
def test_bags_made_of_a_go2_drive(run_import: Import, container: str) -> None:
    store, report, lines = run_import(FIXTURES / f"go2_20250717_175015_{container}")
    assert store.info.cameras and store.info.action_source == "commanded"
    assert report.runs[0].kept == 36
    assert report.runs[0].dropped == {
        "no command within 0.5 s, and the robot did not stand still": 1
    }
    for topic in ("/camera/image_raw/compressed", "/odom", "/cmd_vel"):
        assert topic in lines
