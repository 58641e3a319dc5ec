"""OGBench: trajectories end by time, NAME-val.npz is held out, archives cannot lie."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import ogbench
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.run import Layout, Run
from nav_offrl_datasets.readers.npz import NpzFile

CONFIG = ImportConfig()
MAZE = "antmaze-medium-navigate-v0"
EIGHTH = np.pi / 8


def arrays(lengths: list[int], first: float = 0.0) -> dict[str, Any]:
    """Trajectories of an ant whose step i is at x = first + 0.1 i, turned left by 45 degrees."""
    rows = sum(lengths)
    qpos = np.zeros((rows, 15), np.float32)
    qpos[:, 0] = first + 0.1 * np.arange(rows)
    qpos[:, 1] = 2.0
    qpos[:, 3], qpos[:, 6] = np.cos(EIGHTH), np.sin(EIGHTH)
    terminals = np.zeros(rows, bool)
    terminals[np.cumsum(lengths) - 1] = True
    return {
        "observations": np.concatenate([qpos, np.ones((rows, 14), np.float32)], axis=1),
        "actions": np.arange(8 * rows, dtype=np.float32).reshape(rows, 8),
        "terminals": terminals,
        "qpos": qpos,
        "qvel": np.zeros((rows, 14), np.float32),
    }


def pictures(lengths: list[int], shape: tuple[int, ...] = (64, 64, 3)) -> dict[str, Any]:
    content = arrays(lengths)
    rows = np.arange(sum(lengths), dtype=np.uint8)
    content["observations"] = np.broadcast_to(rows[:, None, None, None], (len(rows), *shape))
    return content


def write(path: Path, content: dict[str, Any], compress: bool = True) -> Path:
    (np.savez_compressed if compress else np.savez)(path, **content)
    return path


def read(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, list[Run]]:
    found, _ = ogbench.sources(path, config)
    layout = ogbench.layout(found, config)
    return layout, [run for source in found for run in ogbench.read(source, layout, config)]


def test_trajectories_are_cut_at_terminals_which_are_no_terminal_states(tmp_path: Path) -> None:
    layout, runs = read(write(tmp_path / f"{MAZE}.npz", arrays([3, 4])))
    assert [run.name for run in runs] == [f"{MAZE}/00000", f"{MAZE}/00001"]
    assert [len(run.time) for run in runs] == [3, 4]
    assert "terminal" not in layout.fields and "reward" not in layout.fields
    assert layout.notes[0] == "trajectories end by time: none ends in a terminal state"
    assert layout.notes[2] == "not imported: qvel"
    assert runs[1].fields["action"][0].tolist() == [24, 25, 26, 27, 28, 29, 30, 31]
    assert runs[1].fields["position"][0].tolist() == pytest.approx([0.3, 2.0])
    assert runs[1].fields["yaw"].tolist() == pytest.approx([np.pi / 4] * 4)
    assert runs[0].fields["observation"].shape == (3, 29)
    assert runs[0].facts == [] and runs[0].split == ""


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("pointmaze-large-navigate-v0", 10.0),
        ("antsoccer-arena-navigate-v0", 10.0),
        ("humanoidmaze-medium-stitch-v0", 40.0),
        ("visual-cube-single-play-v0", 20.0),
        ("puzzle-3x3-play-v0", 20.0),
    ],
)
def test_the_rate_is_that_of_the_environment(tmp_path: Path, name: str, rate: float) -> None:
    layout, runs = read(write(tmp_path / f"{name}.npz", arrays([3])))
    assert layout.rate_hz == rate and layout.rate_is_nominal
    assert runs[0].time[1] == round(1e9 / rate)
    # A point has no heading, and the first numbers of an arm are no place.
    assert ("yaw" in layout.fields) == name.startswith(("ant", "humanoid"))
    assert ("position" in layout.fields) == ("maze" in name or "soccer" in name)


def test_without_qpos_the_place_is_the_beginning_of_the_observation(tmp_path: Path) -> None:
    content = arrays([3])
    del content["qpos"]
    layout, (run,) = read(write(tmp_path / f"{MAZE}.npz", content))
    assert run.fields["position"][2].tolist() == pytest.approx([0.2, 2.0])
    assert "yaw" not in layout.fields and layout.robot == "antmaze"


def test_an_unknown_name_gets_a_note_and_the_users_rate_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.npz", arrays([3]))
    assert read(path)[0].notes[-1] == "the rate is not known by the file's name: 10 Hz assumed"
    layout, _ = read(path, ImportConfig(rate_hz=5.0))
    assert layout.rate_hz == 5.0 and "assumed" not in layout.notes[-1]


def test_the_validation_file_is_held_out(tmp_path: Path) -> None:
    train = write(tmp_path / f"{MAZE}.npz", arrays([3, 4]))
    write(tmp_path / f"{MAZE}-val.npz", arrays([5]))
    expected = [(f"{MAZE}/00000", "train"), (f"{MAZE}/00001", "train")]
    expected.append((f"{MAZE}-val/00000", "held_out"))
    assert [(run.name, run.split) for run in read(train)[1]] == expected
    assert sorted((run.name, run.split) for run in read(tmp_path)[1]) == sorted(expected)
    alone = read(tmp_path / f"{MAZE}-val.npz")[1]
    assert [run.split for run in alone] == ["held_out"]


def test_pictures_are_a_raw_camera(tmp_path: Path) -> None:
    path = write(tmp_path / "visual-antmaze-medium-navigate-v0.npz", pictures([3, 4]))
    layout, runs = read(path)
    camera = layout.cameras["front"]
    assert (camera.height, camera.width, camera.coding) == (64, 64, "raw")
    assert "observation" not in layout.fields and "position" in layout.fields
    assert [int(frame[0, 0, 0]) for frame in runs[1].images["front"]] == [3, 4, 5, 6]


def test_large_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ogbench, "BLOCK_BYTES", 2000)  # 209 bytes a row
    path = write(tmp_path / f"{MAZE}.npz", arrays([4, 4, 4, 4, 20]))
    found, _ = ogbench.sources(path, CONFIG)
    assert [source.key for source in found] == ["0:2", "2:4", "4:5"]
    assert found[1].name == f"{MAZE}/00002-00003"
    _, runs = read(path)
    assert [run.name for run in runs] == [f"{MAZE}/{index:05d}" for index in range(5)]
    x = np.concatenate([run.fields["position"][:, 0] for run in runs])
    assert x == pytest.approx(0.1 * np.arange(36), abs=1e-6)


def test_a_file_that_ends_within_a_trajectory_says_so(tmp_path: Path) -> None:
    content = arrays([3, 4])
    content["terminals"][-1] = False
    _, runs = read(write(tmp_path / f"{MAZE}.npz", content))
    assert [len(run.time) for run in runs] == [3, 4]
    assert runs[1].facts == ["the file ends within this trajectory"]


def test_actions_that_are_numbers_are_vectors_of_one(tmp_path: Path) -> None:
    content = arrays([4]) | {"actions": np.array([0, 1, 2, 3])}
    layout, runs = read(write(tmp_path / "x.npz", content))
    assert layout.fields["action"].shape == (1,)
    assert runs[0].fields["action"].tolist() == [[0], [1], [2], [3]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"actions": np.zeros((3, 8))}, "which do not fit"),
        ({"observations": np.zeros((7, 0))}, "one is empty"),
        ({"actions": np.zeros((7, 2, 2))}, "not a vector"),
        ({"terminals": np.zeros((7, 1))}, "which do not fit"),
        ({"observations": np.zeros((7, 8, 8, 6), np.uint8)}, "neither vectors nor RGB pictures"),
        ({"observations": np.zeros((7, 8, 8, 3))}, "neither vectors nor RGB pictures"),
        ({"qpos": np.zeros((2, 15))}, "which do not fit"),
        ({"observations": np.array([None] * 7)}, "'observations' is object"),
        ({"observations": np.asfortranarray(np.ones((7, 2)))}, "column by column"),
    ],
)
def test_arrays_of_another_kind_are_named(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = write(tmp_path / f"{MAZE}.npz", arrays([3, 4]) | changes)
    with pytest.raises(NavOffrlError, match=MAZE) as caught:
        read(path)
    assert says in str(caught.value)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    content = arrays([3])
    del content["terminals"]
    path = write(tmp_path / f"{MAZE}.npz", content)
    assert not ogbench.recognises(path)
    with pytest.raises(NavOffrlError, match="has no terminals"):
        read(path)


def test_files_of_another_environment_are_refused_beside_the_first(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", arrays([3]))
    write(tmp_path / "b.npz", arrays([3]) | {"actions": np.zeros((3, 2))})
    with pytest.raises(NavOffrlError, match="has other observations or actions"):
        read(tmp_path)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "owned",)

    path = write(tmp_path / "evil.npz", arrays([2]) | {"observations": np.array([Evil()] * 2)})
    with pytest.raises(NavOffrlError, match="object"):
        read(path)
    assert not (tmp_path / "owned").exists()


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    stream = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def test_an_archive_that_unfolds_to_more_than_its_size_allows_is_refused(tmp_path: Path) -> None:
    rows = 64 << 20
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in ("observations", "actions", "terminals"):
            with archive.open(f"{key}.npy", "w") as member:
                member.write(header((rows,)))
                for _ in range(64):
                    member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(NavOffrlError, match=r"and declares 201\d{6}"):
        read(path)


@pytest.mark.parametrize("rows", [2, 4, 1 << 60])
def test_a_shape_that_is_not_what_is_held_is_refused(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("observations.npy", header((rows, 1)) + b"abc")
    with pytest.raises(NavOffrlError, match="is not what it holds"):
        NpzFile(path)


def test_a_wrong_checksum_is_found_before_anything_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / f"{MAZE}.npz", arrays([3, 2997]), compress=False)
    content = bytearray(path.read_bytes())
    at = content.rindex(np.float32(23_999).tobytes())  # the last action
    content[at] ^= 1
    path.write_bytes(content)
    found, _ = ogbench.sources(path, CONFIG)
    layout = ogbench.layout(found, CONFIG)
    with pytest.raises(NavOffrlError, match="Bad CRC-32"):
        next(ogbench.read(found[0], layout, CONFIG))


def test_a_trajectory_too_large_for_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ogbench, "MAX_TRAJECTORY_BYTES", 1000)
    with pytest.raises(NavOffrlError, match="a trajectory of 6 steps takes"):
        read(write(tmp_path / f"{MAZE}.npz", arrays([2, 6])))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"PK\x05\x06" + bytes(18)])
def test_other_files_are_not_recognised(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert not ogbench.recognises(path) and not ogbench.recognises(tmp_path)
    with pytest.raises(NavOffrlError, match=r"x\.npz"):
        read(path)


@pytest.mark.parametrize("compress", [True, False])
def test_damaged_files_are_read_or_refused(
    tmp_path: Path,
    compress: bool,
    check_damaged: Callable[..., tuple[int, int]],
    make_damaged: Callable[..., Iterator[bytes]],
) -> None:
    path = write(tmp_path / f"{MAZE}.npz", arrays([3, 4]), compress)
    _, refused = check_damaged(ogbench, path, CONFIG, make_damaged(path.read_bytes(), 200))
    assert refused > 100


def test_damaged_arrays_in_a_sound_archive_are_read_or_refused(
    tmp_path: Path,
    check_damaged: Callable[..., tuple[int, int]],
    make_damaged: Callable[..., Iterator[bytes]],
) -> None:
    whole = arrays([3, 4])
    members = {}
    for key, values in whole.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, values)
        members[key] = stream.getvalue()

    def archives() -> Iterator[bytes]:
        for seed, key in enumerate(("terminals", "observations", "actions")):
            for bad in make_damaged(members[key], 80, seed):
                stream = io.BytesIO()
                with zipfile.ZipFile(stream, "w") as archive:
                    for name, content in (members | {key: bad}).items():
                        archive.writestr(f"{name}.npy", content)
                yield stream.getvalue()

    read, refused = check_damaged(ogbench, tmp_path / f"{MAZE}.npz", CONFIG, archives())
    assert min(read, refused) > 20


def test_trajectories_become_a_store(tmp_path: Path) -> None:
    write(tmp_path / f"{MAZE}.npz", arrays([6, 7]))
    write(tmp_path / f"{MAZE}-val.npz", arrays([8], first=9.0))
    config = ImportConfig(workers=1)
    report = import_log(tmp_path / f"{MAZE}.npz", tmp_path / "store", config, progress=False)
    assert [run.kept for run in report.runs] == [6, 7, 8]
    store = Store.open(tmp_path / "store")
    assert len(store.episodes.of_split("held_out")) == 1
    assert store.field("position")[-8, 0] == pytest.approx(9.0)
    assert store.info.frame == "maze" and store.info.action_source == "commanded"
    assert store.field("action").shape == (21, 8)
