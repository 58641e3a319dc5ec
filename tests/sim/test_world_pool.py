"""Worlds that are kept in a folder are the worlds that would be generated."""

import dataclasses
import time
import warnings

import numpy as np
import pytest

from nav_offrl_sim import CameraConfig, generate_world, load_world_config
from nav_offrl_sim import world_pool as module
from nav_offrl_sim.camera import RobotCamera
from nav_offrl_sim.world_pool import WorldPool


def assert_same(world, other):
    assert world.config == other.config and world.seed == other.seed
    assert np.array_equal(world.clearance.values, other.clearance.values)
    assert np.array_equal(world.geometric_clearance.values, other.geometric_clearance.values)
    for field in dataclasses.fields(world.scene):
        one, two = getattr(world.scene, field.name), getattr(other.scene, field.name)
        if dataclasses.is_dataclass(one):
            for name, value in vars(one).items():
                assert np.array_equal(value, getattr(two, name))
        else:
            assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two


@pytest.mark.parametrize("name", ["forest", "office"])
def test_a_kept_world_is_the_generated_one(name, tmp_path):
    config = load_world_config(name)
    fresh = generate_world(config, 3)
    pool = WorldPool(config, tmp_path)
    assert_same(pool.world(3), fresh)
    kept = WorldPool(config, tmp_path).world(3)
    assert_same(kept, fresh)
    pictures = []
    for world in (fresh, kept):
        camera = RobotCamera(world, CameraConfig(width=64, height=48))
        x, y = world.free_space(0.25).centre(*world.free_space(0.25).cells[100])
        pictures.append([camera.image(x, y, yaw) for yaw in (0.0, 2.0, 4.0)])
        camera.close()
    assert np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other arrays", "a pickle"])
def test_a_damaged_file_is_made_again_and_said(damage, tmp_path):
    pool = WorldPool(load_world_config("courtyard"), tmp_path)
    fresh = pool.world(0)
    path = pool.path(0)
    whole = path.read_bytes()
    if damage == "other arrays":
        path.write_bytes(module._checksum(b"{}\n", b"") + b"{}\n")
    else:
        middle = len(whole) // 2
        path.write_bytes(
            {
                "truncated": whole[:middle],
                "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "empty": b"",
                "a pickle": b"\x80\x04K\x01." * 100,  # which is not opened
            }[damage]
        )
    with pytest.warns(UserWarning, match=f"{path.name}: damaged"):
        assert_same(pool.world(0), fresh)
    assert path.read_bytes() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(pool.world(0), fresh)
    assert [file.name for file in path.parent.iterdir()] == ["0.world"]


def test_another_family_setting_or_code_gets_other_files(tmp_path, monkeypatch):
    config = load_world_config("courtyard")
    first = WorldPool(config, tmp_path)
    first.prepare([0, 1])
    assert sorted(file.name for file in first.folder.iterdir()) == ["0.world", "1.world"]
    other = WorldPool(config.model_copy(update={"grid": 0.2}), tmp_path)
    assert other.folder != first.folder and other.world(0).config.grid == 0.2
    assert WorldPool(config, tmp_path).folder == first.folder
    monkeypatch.setattr(module, "_code_version", lambda: b"another")
    assert WorldPool(config, tmp_path).folder != first.folder


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    pool = WorldPool(load_world_config("courtyard"), tmp_path / "taken")
    with pytest.warns(UserWarning, match="not kept"):
        assert pool.world(0).seed == 0


def test_the_default_folder_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pool = WorldPool(load_world_config("open"))
    assert pool.folder.parent == tmp_path / "nav_offrl" / "worlds"


def test_another_world_is_there_in_milliseconds(tmp_path):
    """Loaded, uploaded, made ready for planning, and looked at; 11 to 27 ms on a busy core."""
    pool = WorldPool(load_world_config("campus"), tmp_path)
    pool.prepare(range(3))
    camera = RobotCamera(pool.world(0), CameraConfig())
    times = []
    for k in range(12):
        begin = time.process_time()
        world = pool.world(k % 3)
        camera.show(world)
        space = world.free_space(0.25)
        space.distance_field(*space.centre(*space.cells[1000]))
        camera.image(*space.centre(*space.cells[1000]), 0.0)
        times.append(time.process_time() - begin)
    camera.close()
    assert np.median(times) < 0.1
