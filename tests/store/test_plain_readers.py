"""Any reader of Zarr v3 opens a store, with none of this project's code."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from nav_offrl.store import Episode, Recorder, Store, StoreInfo, StoreWriter
from nav_offrl.store.appender import STEPS_AHEAD
from nav_offrl.store.raw_array import RawArray

WriteDrives = Callable[[Path], list[Episode]]
STEPS = 12  # 7 of the first drive, 5 of the second
DTYPES = {"time": "int64", "collision": "bool", "intervention": "bool", "gps": "float64"}


def expected(drives: list[Episode], name: str) -> NDArray[Any]:
    whole = np.concatenate([np.asarray(drive.fields[name]) for drive in drives])
    return whole.astype(DTYPES.get(name, "float32"))


def check_jpegs(offset: NDArray[Any], jpeg: NDArray[Any], drives: list[Episode]) -> None:
    given = [bytes(frame) for drive in drives for frame in drive.images["front"]]
    stored = [np.asarray(jpeg[a:b]).tobytes() for a, b in itertools.pairwise(np.asarray(offset))]
    assert stored == given
    picture = cv2.imdecode(np.frombuffer(stored[0], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (24, 32, 3)


def raw_frames(drives: list[Episode]) -> NDArray[np.uint8]:
    return np.concatenate([np.asarray(drive.images["rear"]) for drive in drives])


@pytest.fixture
def drives(write_drives: WriteDrives, tmp_path: Path) -> list[Episode]:
    return write_drives(tmp_path / "log.zarr")


def test_zarr(drives: list[Episode], tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "log.zarr"), mode="r")
    for name in drives[0].fields:
        np.testing.assert_array_equal(root[f"data/{name}"][:], expected(drives, name))
    np.testing.assert_array_equal(root["data/image/rear/frames"][:], raw_frames(drives))
    check_jpegs(root["data/image/front/offset"][:], root["data/image/front/jpeg"][:], drives)
    assert root["meta/start"][:].tolist() == [0, 7]
    assert root["meta/length"][:].tolist() == [7, 5]
    assert root["meta/split"][:].tolist() == [0, 1]
    assert root["meta/split"].attrs["codes"] == ["train", "held_out"]
    assert bytes(root["meta/name"][1]).rstrip(b"\0") == b"second"
    assert root["data/action"].attrs["unit"] == "m/s, rad/s"
    assert root["data/action"].attrs["axes"] == ["v", "omega"]
    assert root["data/action"].metadata.dimension_names == ("step", "action_0")
    assert root["data/lidar"].attrs["angle_min"] == -1.5
    assert root["data/image/front/jpeg"].attrs["horizontal_fov"] == 1.5


@pytest.mark.parametrize("options", [{}, {"consolidated": False}], ids=["default", "quiet"])
@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated:RuntimeWarning")
def test_xarray(drives: list[Episode], tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "log.zarr"
    data = _xarray(path, "data", **options)
    assert data.sizes["step"] == STEPS and data["lidar"].dims == ("step", "lidar_0")
    for name in drives[0].fields:
        np.testing.assert_array_equal(data[name].values, expected(drives, name))
        assert data[name].dtype == expected(drives, name).dtype
    assert data["position"].attrs["unit"] == "m" and data["position"].attrs["frame"] == "odom"
    assert data["gps"].isnull().any() and data["gps"].attrs["unit"] == "deg, deg, m"
    rear = _xarray(path, "data/image/rear", **options)["frames"]
    assert rear.dims == ("step", "rear_height", "rear_width", "rgb")
    np.testing.assert_array_equal(rear.values, raw_frames(drives))
    front = _xarray(path, "data/image/front", **options)
    check_jpegs(front["offset"].values, front["jpeg"].values, drives)
    meta = _xarray(path, "meta", **options)
    assert meta["length"].values.tolist() == [7, 5] and meta["length"].dims == ("episode",)
    assert bytes(meta["name"].values[0]).rstrip(b"\0") == b"first"
    assert bytes(meta["robot"].values[0]).rstrip(b"\0") == b"rover"


def test_tensorstore(drives: list[Episode], tmp_path: Path) -> None:
    path = tmp_path / "log.zarr"
    for name in drives[0].fields:
        array = _tensorstore(path, f"data/{name}")
        np.testing.assert_array_equal(array.read().result(), expected(drives, name))
        assert array.domain.labels[0] == "step"
    frames = _tensorstore(path, "data/image/rear/frames").read().result()
    np.testing.assert_array_equal(frames, raw_frames(drives))
    offset = _tensorstore(path, "data/image/front/offset").read().result()
    check_jpegs(offset, _tensorstore(path, "data/image/front/jpeg").read().result(), drives)
    assert _tensorstore(path, "meta/length").read().result().tolist() == [7, 5]


@pytest.fixture
def crashed(
    info_of_every_kind: StoreInfo, make_drive: Callable[..., Episode], tmp_path: Path
) -> Episode:
    """Leave what a killed recorder leaves: arrays grown ahead of what is committed."""
    drive = make_drive("cut short", 9, seed=4)
    with Recorder(tmp_path / "live.zarr", info_of_every_kind) as recorder:
        recorder.begin(drive.name)
        for step in range(drive.length):
            recorder.record(
                {name: values[step] for name, values in drive.fields.items()},
                {camera: frames[step] for camera, frames in drive.images.items()},
            )
        recorder.flush()
        shutil.copytree(tmp_path / "live.zarr", tmp_path / "crashed.zarr")
    return drive


def test_after_a_crash_plain_readers_see_the_committed_steps(
    crashed: Episode, tmp_path: Path
) -> None:
    path = tmp_path / "crashed.zarr"
    root = zarr.open_group(str(path), mode="r")
    data = _xarray(path, "data", consolidated=False)
    length = int(root["meta/length"][0])
    assert length == 9 and not root["meta/length"][1:].any() and not root["meta/complete"][0]
    assert data.sizes["step"] > length, "the recorder no longer grows ahead: simplify the test"
    for name in crashed.fields:
        for values in (root[f"data/{name}"], data[name].values, _tensorstore(path, f"data/{name}")):
            np.testing.assert_array_equal(values[:length], expected([crashed], name))
    offset = _tensorstore(path, "data/image/front/offset")[: length + 1].read().result()
    check_jpegs(offset, _tensorstore(path, "data/image/front/jpeg")[: offset[-1]], [crashed])
    frames = _xarray(path, "data/image/rear", consolidated=False)["frames"][:length]
    np.testing.assert_array_equal(frames.values, raw_frames([crashed]))


def test_xarray_reads_what_died_while_growing_once_a_writer_has_trimmed_it(
    crashed: Episode, tmp_path: Path
) -> None:
    path = tmp_path / "crashed.zarr"
    yaw = RawArray(path / "data" / "yaw")
    yaw.resize(yaw.rows + STEPS_AHEAD)  # as if it died before the other arrays were resized
    yaw.close()
    with pytest.raises(ValueError, match="conflicting sizes"):
        _xarray(path, "data", consolidated=False)
    np.testing.assert_array_equal(Store.open(path).field("yaw"), expected([crashed], "yaw"))
    with StoreWriter.append_to(path) as writer:
        writer.finish()
    data = _xarray(path, "data", consolidated=False)
    assert data.sizes["step"] == crashed.length
    np.testing.assert_array_equal(data["yaw"].values, expected([crashed], "yaw"))


def _xarray(path: Path, group: str, **options: bool) -> Any:
    xarray = pytest.importorskip("xarray")
    return xarray.open_zarr(path, group=group, chunks=None, **options)


def _tensorstore(path: Path, name: str) -> Any:
    tensorstore = pytest.importorskip("tensorstore")
    place = {"driver": "file", "path": str(path / name)}
    return tensorstore.open({"driver": "zarr3", "kvstore": place}, read=True).result()
