"""Bags recorded by others, and bags made from real frames and poses (not shipped here)."""

import os
from pathlib import Path

import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import bag
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.readers.traj_data import read_poses

BESIDE = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("NAV_OFFRL_DATA", BESIDE))
HUSKY = DATA / "ros1_bags_real_robot_localization" / "test1.bag"
TINY = DATA / "rosbag2_tiny"
GO2 = DATA / "derived_schema_fixtures" / "go2_175015"

pytestmark = pytest.mark.skipif(
    not HUSKY.is_file(), reason=f"no real logs at {DATA}; set NAV_OFFRL_DATA to their folder"
)


def import_one(path: Path, recipe: str, **settings: object) -> tuple[Layout, Run]:
    config = ImportConfig(recipe=recipe, **settings)
    (source,), _ = bag.sources(path, config)
    layout = bag.layout([source], config)
    (run,) = bag.read(source, layout, config)
    return layout, run


@pytest.mark.parametrize("recipe", ["husky", "generic"])
def test_a_husky_without_a_camera_gives_steps_on_its_odometry(recipe: str) -> None:
    layout, run = import_one(HUSKY, recipe)
    assert not layout.cameras
    assert sorted(layout.fields) == ["bumpiness", "gps", "imu", "position", "velocity", "yaw"]
    assert layout.fields["position"].source == "/husky_velocity_controller/odom"
    assert len(run.time) == 1582 and not run.dropped  # 395 s at 4 Hz
    assert set(np.diff(run.time).tolist()) == {250_000_000}
    told = "\n".join(run.facts)
    assert "odometry /husky_velocity_controller/odom: 3952 messages, 10.09 Hz" in told
    assert "imu /imu/data: 11865 messages, 30.01 Hz" in told
    assert "gps /fix: 989 messages, 2.501 Hz" in told


def test_the_huskys_fields_agree_with_each_other() -> None:
    _, run = import_one(HUSKY, "husky")
    # The sensor lies on its side; once it is level, it turns as the odometry does.
    assert any("89 degrees off gravity" in fact for fact in run.facts)
    turning = run.fields["imu"][:, 2], run.fields["velocity"][:, 1]
    assert np.corrcoef(*turning)[0, 1] > 0.9
    assert np.median(run.fields["imu"][:, 5]) == pytest.approx(9.8, abs=0.1)
    speed = (
        np.linalg.norm(np.diff(run.fields["position"], axis=0), axis=1) / np.diff(run.time) / 1e-9
    )
    assert speed.mean() == pytest.approx(np.abs(run.fields["velocity"][:, 0]).mean(), rel=0.02)
    fixes = run.fields["gps"]
    assert np.isfinite(fixes).all()
    assert np.median(fixes, axis=0)[:2] == pytest.approx([42.376, -71.147], abs=0.002)


@pytest.mark.parametrize("container", ["mcap", "sqlite3"])
def test_frames_and_poses_are_those_of_the_original(container: str) -> None:
    run_name = "go2_20250717_175015"
    layout, run = import_one(GO2 / f"{run_name}_{container}", "go2")
    original = DATA / "go2_gnm_real" / run_name
    frames = {(original / f"{i}.jpg").read_bytes(): i for i in range(109)}
    index = np.array([frames[frame] for frame in run.images["front"]])
    assert len(index) == 37 and (np.diff(index) > 0).all()
    position, yaw = read_poses(original / "traj_data.pkl")
    assert run.fields["position"] == pytest.approx(position[index], abs=1e-6)
    turned = (run.fields["yaw"] - yaw[index] + np.pi) % (2 * np.pi) - np.pi
    assert turned == pytest.approx(np.zeros(37), abs=1e-6)
    assert np.diff(run.time).tolist() == [250_000_000] * 36
    assert (layout.robot, layout.action_source) == ("unitree_go2", "commanded")
    # The commands have no header and are logged 1 ms after the first frame.
    assert run.faults == {0: "no command within 0.5 s, and the robot did not stand still"}


def test_bags_of_strings_are_refused_with_what_they_hold() -> None:
    for part in ("mcap", "sqlite3"):
        with pytest.raises(NavOffrlError, match=r"the bag has .*/topic \(std_msgs/msg/String, 10 "):
            import_one(TINY / part, "generic")
    with pytest.raises(NavOffrlError, match=r"/rosout \(rcl_interfaces/msg/Log, 0 messages\)"):
        import_one(TINY / "empty_bag", "generic")
