"""RECON: what its arrays mean, what a damaged or hostile HDF5 file can do to the reader."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import recon
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.readers.hdf5 import Hdf5File
from nav_offrl_datasets.readers.traj_data import read_poses

DATA = Path(os.environ.get("NAV_OFFRL_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
NAME = "jackal_2019-08-02-16-23-31_0_r00.hdf5"
CONFIG = ImportConfig()


def jpeg(seed: int, height: int = 24, width: int = 32) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.blur(pixels, (5, 5)))[1].tobytes()


def arrays(steps: int) -> dict[str, Any]:
    """A drive whose every value tells its array and step."""
    step = np.arange(steps, dtype=float)
    left, right = [jpeg(i) for i in range(steps)], [jpeg(100 + i) for i in range(steps)]
    longest = max(map(len, left + right)) + 9
    return {
        "images/rgb_left": np.array(left, f"S{longest}"),
        "images/rgb_right": np.array(right, f"S{longest}"),
        "images/thermal": np.zeros((steps, 32, 32)),
        "lidar": np.where(np.arange(360) < 180, 2.0 + step[:, None], np.inf),
        "commands/linear_velocity": 1.0 + 0.01 * step,
        "commands/angular_velocity": -0.5 + 0.01 * step,
        "jackal/position": np.stack([0.25 * step, 0.1 * step, 0.0 * step + 7.0], axis=1),
        "jackal/yaw": 0.05 * step,
        "jackal/linear_velocity": 0.9 + 0.01 * step,
        "jackal/angular_velocity": -0.4 + 0.01 * step,
        "jackal/imu/angular_velocity": np.tile([0.1, 0.2, 0.3], (steps, 1)),
        "jackal/imu/linear_acceleration": np.tile([0.4, 0.5, 9.8], (steps, 1)),
        "imu/angular_velocity": np.tile([0.1, -0.2, -0.3], (steps, 1)),
        "imu/linear_acceleration": np.tile([0.4, -0.5, -9.8], (steps, 1)),
        "collision/any": step == steps - 1,
        "collision/physical": np.zeros(steps, bool),
        "collision/close": step >= steps - 2,
        "gps/latlong": np.stack([37.9 + 1e-6 * step, -122.3 + 1e-6 * step], axis=1),
        "gps/altitude": 12.0 + step,
        "gps/is_fixed": step > 0,
    }


def write(path: Path, content: dict[str, Any], **settings: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file.create_dataset(name, data=values, **settings)
    return path


def read(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, Run]:
    found, _ = recon.sources(path, config)
    layout = recon.layout(found, config)
    (run,) = recon.read(found[0], layout, config)
    return layout, run


def test_every_array_becomes_the_field_it_is(tmp_path: Path) -> None:
    layout, run = read(write(tmp_path / NAME, arrays(6)))
    assert (layout.rate_hz, layout.rate_is_nominal, layout.action_source) == (4, True, "commanded")
    assert (layout.robot, layout.licence) == ("jackal", "MIT")
    assert run.time.tolist() == [0, 250_000_000, 500_000_000, 750_000_000, 10**9, 1_250_000_000]
    assert run.fields["position"][3].tolist() == pytest.approx([0.75, 0.3])
    assert run.fields["yaw"][3] == pytest.approx(0.15)
    assert run.fields["action"][2].tolist() == pytest.approx([1.02, -0.48])
    assert run.fields["velocity"][2].tolist() == pytest.approx([0.92, -0.38])
    assert run.fields["imu"][5].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 9.8]
    assert run.fields["collision"].tolist() == [0, 0, 0, 0, 0, 1]
    assert run.fields["gps"][4].tolist() == pytest.approx([37.900004, -122.299996, 16.0], abs=1e-9)
    assert np.isnan(run.fields["gps"][0]).all()
    assert run.fields["lidar"][1, 179] == 3.0 and run.fields["lidar"][1, 180] == np.inf
    assert (run.name, run.session) == (Path(NAME).stem, "jackal_2019-08-02-16-23-31_0")
    assert run.facts == [
        "collision/close at 2 of 6 steps",
        "ends in a collision; the GNM family drops the last 3 steps (end_slack)",
        "gps has no fix at 1 of 6 steps",
    ]


def test_ray_0_looks_ahead_and_rays_are_a_degree_apart(tmp_path: Path) -> None:
    lidar = read(write(tmp_path / NAME, arrays(2)))[0].fields["lidar"]
    assert lidar.angle_min == 0.0
    assert lidar.angle_max == pytest.approx(np.radians(359))


def test_frames_are_the_jpegs_without_the_padding(tmp_path: Path) -> None:
    _, run = read(write(tmp_path / NAME, arrays(4)))
    assert run.images["front"] == [jpeg(0), jpeg(1), jpeg(2), jpeg(3)]
    assert run.images["right"] == [jpeg(100), jpeg(101), jpeg(102), jpeg(103)]


def test_equal_cameras_are_a_fact_and_an_empty_frame_is_none(tmp_path: Path) -> None:
    content = arrays(3)
    content["images/rgb_left"][1] = b""
    content["images/rgb_right"] = content["images/rgb_left"]
    _, run = read(write(tmp_path / NAME, content))
    assert run.images["front"][1] is None
    assert "cameras front and right hold the very same frames" in run.facts


def test_calibration_is_that_of_the_size_it_was_measured_at(tmp_path: Path) -> None:
    content = arrays(2)
    assert read(write(tmp_path / "a.hdf5", content))[0].cameras["front"].intrinsics is None
    content["images/rgb_left"] = np.array([jpeg(0, 480, 640)] * 2)
    camera = read(write(tmp_path / "b.hdf5", content))[0].cameras["front"]
    assert camera.intrinsics == (272.547, 266.358, 320.0, 220.0)
    assert camera.distortion_model == "fisheye" and camera.mounting is not None
    assert (camera.mounting[0], camera.mounting[2]) == (0.45, 0.95)
    # The field of view is that of the model: its edge lies at 320 / fx of the ideal plane.
    angle, (k1, k2, k3, k4) = (camera.horizontal_fov or 0) / 2, camera.distortion
    bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    assert bent == pytest.approx(320 / 272.547, abs=0.01)


def test_the_second_imu_is_turned_the_right_way_up(tmp_path: Path) -> None:
    content = {key: of for key, of in arrays(3).items() if not key.startswith("jackal/imu")}
    layout, run = read(write(tmp_path / NAME, content))
    assert run.fields["imu"][0].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 9.8]
    assert any("upside down" in note for note in layout.notes)


def test_steps_that_not_every_array_has_are_counted(tmp_path: Path) -> None:
    content = arrays(6)
    content["jackal/yaw"] = content["jackal/yaw"][:4]
    _, run = read(write(tmp_path / NAME, content))
    assert len(run.time) == 4 and len(run.images["front"]) == 4
    assert dict(run.dropped) == {"row that not every array has": 2}
    assert "yaw 4" in run.details[0] and "front 6" in run.details[0]


def test_two_steps_and_column_vectors_are_read(tmp_path: Path) -> None:
    content = arrays(2)
    content["jackal/yaw"] = content["jackal/yaw"][:, None]
    assert read(write(tmp_path / NAME, content))[1].fields["yaw"].tolist() == [0.0, 0.05]


def test_what_the_user_calls_the_camera_and_the_rate(tmp_path: Path) -> None:
    config = ImportConfig(camera="right", rate_hz=2.0)
    layout, run = read(write(tmp_path / NAME, arrays(2)), config)
    assert set(run.images) == {"right", "rgb_right"} and run.images["right"][0] == jpeg(0)
    assert layout.rate_hz == 2.0 and run.time[1] == 500_000_000


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("jackal/position", np.zeros((3, 2)), "expected numbers"),
        ("jackal/yaw", np.array([b"a", b"b", b"c"]), "expected numbers"),
        ("lidar", np.zeros(3), "expected (T, rays)"),
        ("images/rgb_left", np.zeros((3, 4)), "expected byte strings"),
        ("images/rgb_left", np.array([b"no", b"jpeg", b"here"]), "holds no whole JPEG"),
        ("jackal/yaw", np.zeros(0), "holds no step"),
    ],
)
def test_arrays_of_another_kind_are_named(tmp_path: Path, key: str, value: Any, says: str) -> None:
    path = write(tmp_path / NAME, arrays(3) | {key: value})
    with pytest.raises(NavOffrlError, match=f"{NAME}.*") as caught:
        read(path)
    assert says in str(caught.value)


def test_a_layout_is_taken_from_the_first_file_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n damaged")
    write(tmp_path / "b.hdf5", arrays(3))
    assert recon.recognises(tmp_path)
    found, _ = recon.sources(tmp_path, CONFIG)
    assert [source.name for source in found] == ["a", "b"]
    assert "front" in recon.layout(found, CONFIG).cameras


def test_other_files_are_not_recognised_and_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "more.csv").write_text("1,2")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    assert not recon.recognises(tmp_path)
    assert recon.sources(tmp_path, CONFIG)[1] == ["more.csv"]
    with pytest.raises(NavOffrlError, match="none of RECON's arrays"):
        read(tmp_path / "other.h5")


def elsewhere(file: h5py.File, tmp_path: Path) -> None:
    write(tmp_path / "secret.h5", {"yaw": np.zeros(3)})
    file["jackal/yaw"] = h5py.ExternalLink("secret.h5", "/yaw")


def soft(file: h5py.File, tmp_path: Path) -> None:
    file["jackal/yaw"] = h5py.SoftLink("/lidar")


def virtual(file: h5py.File, tmp_path: Path) -> None:
    write(tmp_path / "secret.h5", {"yaw": np.zeros(3)})
    made = h5py.VirtualLayout((3,), float)
    made[:] = h5py.VirtualSource(tmp_path / "secret.h5", "yaw", (3,))
    file.create_virtual_dataset("jackal/yaw", made)


def outside(file: h5py.File, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(24))
    file.create_dataset("jackal/yaw", (3,), float, external=[(str(secret), 0, 24)])


def words(file: h5py.File, tmp_path: Path) -> None:
    file.create_dataset("jackal/yaw", data=["a", "b", "c"], dtype=h5py.string_dtype())


def unwritten(file: h5py.File, tmp_path: Path) -> None:
    file.create_dataset("jackal/yaw", (1 << 40,), float)


def unwritten_chunks(file: h5py.File, tmp_path: Path) -> None:
    file.create_dataset("jackal/yaw", (1 << 40,), float, chunks=(1 << 16,), compression="gzip")


def missing_chunk(file: h5py.File, tmp_path: Path) -> None:
    file.create_dataset("jackal/yaw", (4,), float, chunks=(2,))[:2] = 1.0


def other_filter(file: h5py.File, tmp_path: Path) -> None:
    file.create_dataset("jackal/yaw", data=np.zeros(3), compression="lzf")


def short_checksum(file: h5py.File, tmp_path: Path) -> None:
    # HDF5 2.0 takes 4 off this length of 2, and reads all memory there is.
    made = file.create_dataset("jackal/yaw", (3,), float, chunks=(3,), fletcher32=True)
    made.id.write_direct_chunk((0,), b"ab")


def short_chunk(file: h5py.File, tmp_path: Path) -> None:
    made = file.create_dataset("jackal/yaw", (3,), float, chunks=(3,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(23)))


def bomb(file: h5py.File, tmp_path: Path) -> None:
    made = file.create_dataset("jackal/yaw", (3,), float, chunks=(3,), compression="gzip")
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(512)]
    made.id.write_direct_chunk((0,), b"".join([*parts, packer.flush()]))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (elsewhere, "is a link to elsewhere"),
        (soft, "is a link to elsewhere"),
        (virtual, "lies in another file"),
        (outside, "lies in another file"),
        (words, "not numbers"),
        (unwritten, "declares 8796093022208 bytes, the file holds 0"),
        (unwritten_chunks, "declares 8796093022208 bytes in a file"),
        (missing_chunk, "has 1 of 2 chunks"),
        (other_filter, "uses the HDF5 filters"),
        (short_checksum, "uses the HDF5 filters"),
        (short_chunk, "unfolds to less than a chunk"),
        (bomb, "unfolds to more than a chunk"),
    ],
)
def test_nothing_is_read_that_the_file_does_not_hold(
    tmp_path: Path, spoil: Callable[[h5py.File, Path], None], says: str
) -> None:
    path = tmp_path / NAME
    with h5py.File(path, "w") as file:
        spoil(file, tmp_path)
    with Hdf5File(path) as opened, pytest.raises(NavOffrlError, match=says):
        opened.array("jackal/yaw")


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / NAME, "w") as file:
        file.create_group(b"\xff\xfe")
    with Hdf5File(tmp_path / NAME) as opened, pytest.raises(NavOffrlError, match="not UTF-8"):
        opened.names()


def test_compressed_arrays_are_read(tmp_path: Path) -> None:
    settings = {"compression": "gzip", "shuffle": True, "chunks": True}
    path = write(tmp_path / NAME, arrays(5), **settings)
    _, run = read(path)
    assert run.fields["yaw"].tolist() == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    random = np.random.default_rng(0).integers(0, 256, (3, 999), np.uint8)  # gzip makes it longer
    write(tmp_path / "random.h5", {"noise": random}, compression="gzip", chunks=(1, 999))
    with Hdf5File(tmp_path / "random.h5") as file:
        assert (file.array("noise") == random).all()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not HDF5", b"\x89HDF\r\n\x1a\n"])
def test_files_that_are_no_hdf5_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(NavOffrlError, match="HDF5 file"):
        read(tmp_path / NAME)


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="is not there"):
        read(tmp_path / "absent.hdf5")
    with pytest.raises(NavOffrlError, match="no HDF5 file"):
        Hdf5File(tmp_path / "absent.hdf5")


@pytest.mark.parametrize("settings", [{}, {"compression": "gzip", "shuffle": True}])
def test_damaged_files_are_read_or_refused(
    tmp_path: Path,
    settings: dict[str, Any],
    check_damaged: Callable[..., tuple[int, int]],
    make_damaged: Callable[..., Any],
) -> None:
    content = arrays(3)
    content["lidar"] = content["lidar"][:, ::40]
    content["images/thermal"] = np.zeros((3, 2, 2))
    path = write(tmp_path / NAME, content, **settings)
    original = path.read_bytes()
    seen = check_damaged(recon, path, CONFIG, make_damaged(original, 250))
    assert min(seen) > 20


def test_drives_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for number in range(3):
        name = f"jackal_2019-08-0{number + 1}-16-23-31_0_r00.hdf5"
        write(tmp_path / "log" / name, arrays(6 + number))
    config = ImportConfig(workers=1)
    report = import_log(tmp_path / "log", tmp_path / "store", config, progress=False)
    assert [run.kept for run in report.runs] == [6, 7, 8]
    store = Store.open(tmp_path / "store")
    assert set(store.episodes.robot) == {"jackal"} and set(store.episodes.licence) == {"MIT"}
    assert store.jpegs("front", slice(0, 2)) == [jpeg(0), jpeg(1)]
    assert store.field("lidar")[0, 179] == 2.0 and store.field("lidar")[0, 180] == np.inf
    assert sorted(set(store.episodes.session))[0] == "jackal_2019-08-01-16-23-31_0"


@pytest.mark.skipif(
    not (DATA / "derived_schema_fixtures").is_dir(),
    reason=f"no schema fixtures at {DATA}; set NAV_OFFRL_DATA to their folder",
)
def test_a_drive_in_recons_schema_is_the_drive_it_was_made_from() -> None:
    folder = DATA / "derived_schema_fixtures" / "go2_175015"
    layout, run = read(folder / "go2_20250717_175015.hdf5")
    assert len(run.time) == 37 and layout.cameras["front"].height == 480
    made_from = DATA / "go2_gnm_real" / "go2_20250717_175015"
    # Every third frame of the original but for one, enlarged: the first ten are 0, 3, ... 27.
    for step in range(10):
        frame = np.frombuffer(bytes(run.images["front"][step] or b""), np.uint8)
        small = cv2.resize(cv2.imdecode(frame, cv2.IMREAD_COLOR), (96, 96))
        original = cv2.imread(str(made_from / f"{3 * step}.jpg"))
        assert np.abs(small.astype(int) - original).mean() < 2.0
    position, yaw = read_poses(made_from / "traj_data.pkl")
    assert np.abs(run.fields["position"][:10] - position[:30:3]).max() < 1e-6
    assert np.abs(run.fields["yaw"][:10] - yaw[:30:3]).max() < 1e-6
    for constant in ("imu", "collision", "lidar"):
        assert (run.fields[constant] == run.fields[constant][0]).all()
