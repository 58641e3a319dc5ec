"""FrodoBots-2K rides: a small one is made here, with a video of two segments."""

import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import frodobots
from nav_offrl_datasets.importing.run import Layout, Run

av = pytest.importorskip("av")

START = 1_715_000_000.0  # s
FRAMES = 40  # at 20 Hz
RIDE = "ride_7_20240506123456"


def write_segment(path: Path, first: int, count: int) -> None:
    """Write frames of one grey level each, which tells their number."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = Fraction(1, 20)
        stream.options = {"qscale": "2"}
        for index in range(first, first + count):
            grey = np.full((48, 64, 3), 5 * index + 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts = index - first
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_table(folder: Path, kind: str, header: str, rows: list[str]) -> None:
    (folder / f"{kind}_7.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture(scope="module")
def whole_ride(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output_rides_0") / RIDE
    recordings = folder / "recordings"
    recordings.mkdir(parents=True)
    names = [f"abc_ride_7__uid_s_1000__uid_e_video_{part}.ts" for part in (0, 1)]
    for part, name in enumerate(names):
        write_segment(recordings / name, first=part * FRAMES // 2, count=FRAMES // 2)
    playlist = ["#EXTM3U", "#EXT-X-VERSION:3"]
    for name in names:
        playlist += ["#EXTINF:1.0,", name]
    (recordings / "abc_ride_7__uid_s_1000__uid_e_video.m3u8").write_text(
        "\n".join([*playlist, "#EXT-X-ENDLIST", ""])
    )
    write_table(folder, "front_camera_timestamps", "frame_id,timestamp",
                [f"{i},{START + i / 20:.3f}" for i in range(FRAMES)])  # fmt: skip
    control = [f"{i / 20:.2f},-0.5,1,1,1,1,{START + i / 10:.3f}" for i in range(20)]
    write_table(folder, "control_data", "linear,angular,rpm_1,rpm_2,rpm_3,rpm_4,timestamp", control)
    fixes = [f"52.0{i},4.0{i},{1000 * (START + i):.0f}" for i in range(2)]
    write_table(folder, "gps_data", "latitude,longitude,timestamp", fixes)
    imu = []
    for second in range(2):
        pushes = [
            ["0.0", "0.1", str(9 + second), str(START + second + i / 100)] for i in range(100)
        ]
        turns = [["1.0", "2.0", "3.0", str(START + second)]]
        cells = [json.dumps(turns), json.dumps(pushes), json.dumps(turns)]
        quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
        imu.append(f"{quoted},{1000 * (START + second + 1.2):.0f}")
    write_table(folder, "imu_data", "compass,accelerometer,gyroscope,timestamp", imu)
    return folder


@pytest.fixture
def ride(whole_ride: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_ride, tmp_path / "logs" / RIDE))


def import_ride(path: Path, **settings: Any) -> tuple[Layout, Run]:
    config = ImportConfig(**settings)
    sources, _ = frodobots.sources(path, config)
    layout = frodobots.layout(sources, config)
    (run,) = frodobots.read(sources[0], layout, config)
    return layout, run


def test_a_ride_becomes_steps(ride: Path) -> None:
    assert frodobots.recognises(ride) and frodobots.recognises(ride.parent)
    layout, run = import_ride(ride.parent)
    assert run.name == RIDE
    # Frames at 20 Hz, steps at 4 Hz: every fifth; the last frame, 1.95 s, is nearest to 2.0 s.
    frames = [0, 5, 10, 15, 20, 25, 30, 35, 39]
    assert (run.time / 1e9 - START) == pytest.approx(np.array(frames) / 20, abs=1e-6)
    grey = [np.mean(cv2.imdecode(np.frombuffer(f, np.uint8), 0)) for f in run.images["front"]]
    assert grey == pytest.approx([5 * index + 20 for index in frames], abs=3)
    # The command of the last tenth of a second is in force.
    assert run.fields["action"][:, 0] == pytest.approx(
        [0.0, 0.1, 0.25, 0.35, 0.5, 0.6, 0.75, 0.85, 0.95]
    )
    assert run.fields["action"][:, 1].tolist() == [-0.5] * 9
    assert not run.dropped and not run.faults
    camera = layout.cameras["front"]
    assert (camera.height, camera.width) == (48, 64)


def test_what_the_log_does_not_know_is_said(ride: Path) -> None:
    layout, _ = import_ride(ride)
    assert sorted(layout.fields) == ["action", "gps", "imu"]  # no position: there is no odometry
    action = layout.fields["action"]
    assert (action.unit, action.axes) == ("share of full speed", ("linear", "angular"))
    assert layout.fields["imu"].unit == "as logged"
    notes = " ".join(layout.notes)
    assert "not m/s" in notes and "no odometry" in notes and "not documented" in notes


def test_fixes_and_inertial_readings_are_on_clocks_of_their_own(ride: Path) -> None:
    _, run = import_ride(ride)
    assert run.fields["gps"][0, :2] == pytest.approx([52.00, 4.00])
    assert run.fields["gps"][4, :2] == pytest.approx([52.01, 4.01])
    assert np.isnan(run.fields["gps"][:, 2]).all()
    imu = run.fields["imu"]
    assert imu[1, 3:] == pytest.approx([0.0, 0.1, 9.0])
    assert imu[5, 3:] == pytest.approx([0.0, 0.1, 10.0])
    assert imu[0, :3].tolist() == imu[4, :3].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(imu[[1, 2, 3], :3]).all()  # one gyroscope reading a second
    assert any(fact.startswith("accelerometer: 200 messages, 100 Hz") for fact in run.facts)


def test_a_silent_controller_makes_steps_unusable(ride: Path) -> None:
    table = ride / "control_data_7.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:6]))
    _, run = import_ride(ride)
    # The last command is that of 0.4 s, in force until 0.9 s.
    assert sorted(run.faults) == [4, 5, 6, 7, 8]
    assert set(run.faults.values()) == {"no command within 0.5 s, and no pose tells more"}


def test_damaged_rows_are_counted(ride: Path) -> None:
    table = ride / "control_data_7.csv"
    lines = table.read_text().splitlines()
    lines[3], lines[5] = "x,0,0,0,0,0,1715000000", "0.5"
    lines[7] = lines[7].replace("1715", "9915")
    table.write_text("\n".join(lines))
    imu = ride / "imu_data_7.csv"
    imu.write_text(imu.read_text() + '"[[[[[","{}","7",1\n')
    _, run = import_ride(ride)
    assert run.dropped == {"damaged row of control_data": 3, "damaged row of imu_data": 1}


def test_a_video_that_ends_early_costs_its_steps(ride: Path) -> None:
    segment = sorted(ride.glob("recordings/*.ts"))[1]
    segment.write_bytes(b"\xff" * 1000)
    _, run = import_ride(ride)
    assert [step for step, why in run.faults.items() if why == "no frame in the video"] == [
        4, 5, 6, 7, 8]  # fmt: skip
    assert any("video ends early, after frame 20" in fact for fact in run.facts)
    assert "the video has 20 frames, front_camera_timestamps 40 rows" in run.facts


def test_a_playlist_leads_nowhere_else(ride: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.ts"
    shutil.copy(next(ride.glob("recordings/*_0.ts")), outside)
    playlist = next(ride.glob("recordings/*.m3u8"))
    for address in (str(outside), "../../../secret.ts", "http://127.0.0.1:9/secret.ts"):
        playlist.write_text(f"#EXTM3U\n{address}\n")
        with pytest.raises(NavOffrlError, match=r"recordings/secret\.ts: segment is missing"):
            import_ride(ride)


@pytest.mark.parametrize("missing", ["control_data_7.csv", "gps_data_7.csv", "imu_data_7.csv",
                                     "front_camera_timestamps_7.csv"])  # fmt: skip
def test_a_missing_table_is_named(ride: Path, missing: str) -> None:
    (ride / missing).unlink()
    with pytest.raises(NavOffrlError, match=missing[: -len("_7.csv")]):
        import_ride(ride)


def test_no_ride_and_no_video(ride: Path, tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="holds no ride"):
        frodobots.sources(tmp_path / "elsewhere", ImportConfig())
    next(ride.glob("recordings/*.m3u8")).unlink()
    with pytest.raises(NavOffrlError, match="has 0 playlists"):
        import_ride(ride)


@pytest.mark.parametrize(
    "name",
    ["control_data_7.csv", "imu_data_7.csv", "front_camera_timestamps_7.csv", "recordings/*.m3u8",
     "recordings/*_0.ts"],
)  # fmt: skip
def test_damage_is_named(
    name: str, ride: Path, make_damaged: Callable[..., Iterator[bytes]]
) -> None:
    file = next(ride.glob(name))
    read = refused = 0
    for content in make_damaged(file.read_bytes(), 40):
        file.write_bytes(content)
        try:
            _, run = import_ride(ride)
            assert all(len(values) == len(run.time) for values in run.fields.values())
            read += 1
        except NavOffrlError:
            refused += 1
    assert read + refused == 40 and refused > 0
