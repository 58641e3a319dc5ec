"""Numbered images without poses: their order, holes in the numbers, PNG, damage."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import images
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.readers.png import decode_png

REAL = Path(__file__).parents[3].parent / "shared/data/go2_topomaps_real"
CONFIG = ImportConfig()


def encoded(value: int, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, np.full((12, 16, 3), value, np.uint8))[1].tobytes()


def read_all(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, list[Run]]:
    sources, _ = images.sources(path, config)
    layout = images.layout(sources, config)
    return layout, [run for source in sources for run in images.read(source, layout, config)]


def test_images_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 11, 8):  # as text, 10 would come first
        (tmp_path / f"{number}.jpg").write_bytes(encoded(number))
    (tmp_path / "readme.txt").write_text("")
    assert images.recognises(tmp_path)
    (source,), unknown = images.sources(tmp_path, CONFIG)
    assert unknown == ["readme.txt"]
    layout = images.layout([source], CONFIG)
    (run,) = images.read(source, layout, CONFIG)
    assert layout.rate_hz == 1.0
    assert layout.rate_is_nominal
    assert not layout.fields
    assert run.images["front"] == [encoded(number) for number in (8, 9, 10, 11)]
    assert run.time.tolist() == [0, 1_000_000_000, 2_000_000_000, 3_000_000_000]
    assert not run.breaks


def test_rate_and_camera_are_the_users(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"frame_{number:04d}.jpg").write_bytes(encoded(number))
    layout, (run,) = read_all(tmp_path, ImportConfig(rate_hz=4, camera="rear"))
    assert layout.rate_hz == 4
    assert run.time.tolist() == [0, 250_000_000, 500_000_000]
    assert set(layout.cameras) == set(run.images) == {"rear"}


def test_a_missing_number_begins_a_new_episode(tmp_path: Path) -> None:
    for number in (0, 10, 20, 40, 50):  # every tenth frame was kept; 30 is lost
        (tmp_path / f"{number:04d}.jpg").write_bytes(encoded(number))
    _, (run,) = read_all(tmp_path)
    assert run.breaks == (3,)
    assert run.facts == ["numbers jump from 0020.jpg to 0040.jpg"]


def test_png_becomes_jpeg_once_and_the_run_says_so(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(40 * number, ".png"))
    layout, (run,) = read_all(tmp_path)
    assert (layout.cameras["front"].height, layout.cameras["front"].width) == (12, 16)
    frame = run.images["front"][2]
    assert isinstance(frame, bytes)
    image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert np.abs(image.astype(int) - 80).max() <= 1
    assert run.facts == ["3 PNG images were encoded once as JPEG of quality 95"]


def test_damaged_and_lying_png(tmp_path: Path) -> None:
    whole = encoded(1, ".png")
    header = b"IHDR" + (50_000).to_bytes(4, "big") * 2 + whole[24:29]
    huge = whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]
    long = whole[:33] + (1 << 30).to_bytes(4, "big") + whole[37:]  # a chunk of 1 GiB
    assert decode_png(whole) is not None
    for content in (b"", whole[:-1], whole[:40], huge, long, encoded(1), b"\x89PNG\r\n\x1a\n"):
        assert decode_png(content) is None
    for number, content in enumerate((whole, huge, whole)):
        (tmp_path / f"{number}.png").write_bytes(content)
    _, (run,) = read_all(tmp_path)
    assert run.faults == {1: "image is corrupt"}
    assert run.images["front"][1] is None


def test_colours_keep_their_order(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255  # OpenCV's order is blue, green, red
    image = decode_png(cv2.imencode(".png", red)[1].tobytes())
    assert image is not None
    assert image[0, 0].tolist() == [255, 0, 0]


def test_several_lists_but_no_run_with_poses(tmp_path: Path) -> None:
    for folder in ("a", "b", "gnm"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            (tmp_path / folder / f"{number}.jpg").write_bytes(encoded(number))
    (tmp_path / "gnm/traj_data.pkl").write_bytes(b"")
    _, runs = read_all(tmp_path)
    assert [run.name for run in runs] == ["a", "b"]
    assert not images.recognises(tmp_path / "gnm")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(NavOffrlError, match="no numbered images"):
        images.sources(tmp_path, CONFIG)
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"no jpeg")
    with pytest.raises(NavOffrlError, match="no image can be decoded"):
        read_all(tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    suffix=st.sampled_from([".jpg", ".png"]),
    place=st.integers(0, 400),
    data=st.binary(min_size=1, max_size=6),
    cut=st.booleans(),
)
def test_damaged_images_are_faults_of_their_step(
    suffix: str, place: int, data: bytes, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    whole = encoded(7, suffix)
    place %= len(whole)
    damaged = whole[:place] if cut else whole[:place] + data + whole[place + len(data) :]
    for number, content in enumerate((whole, damaged, whole)):
        (folder / f"{number}{suffix}").write_bytes(content)
    _, (run,) = read_all(folder)
    frames = run.images["front"]
    assert [frame is None for frame in frames] == [step in run.faults for step in range(3)]
    assert not {0, 2} & set(run.faults)
    if suffix == ".jpg":
        assert frames[1] == damaged


@pytest.mark.skipif(not REAL.is_dir(), reason="the real image list is not there")
def test_facts_of_the_real_list() -> None:
    layout, (run,) = read_all(REAL)
    camera = layout.cameras["front"]
    assert (camera.height, camera.width) == (720, 1280)
    assert len(run.time) == 74
    assert run.name == "recording_20250716_174201"
    assert not run.breaks
    assert not run.faults
    assert any("no pose" in note for note in layout.notes)
