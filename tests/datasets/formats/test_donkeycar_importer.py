"""Donkeycar tubs: what is deleted stays out, right becomes left, damage is named by its line."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import donkeycar
from nav_offrl_datasets.importing.run import Layout, Run

REAL = Path(__file__).parents[3].parent / "shared/data/donkeycar_track2_real/training_2"
CONFIG = ImportConfig()


def jpeg(value: int, height: int = 12, width: int = 16) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def record(index: int, **values: Any) -> dict[str, Any]:
    return {
        "_index": index,
        "_session_id": "22-11-12_0",
        "_timestamp_ms": 1_668_221_000_000 + 50 * index,
        "cam/image_array": f"{index}_cam_image_array_.jpg",
        "user/angle": 0.01 * index,
        "user/throttle": 0.5,
        "user/mode": "user",
    } | values


def write_tub(
    tub: Path, records: list[dict[str, Any]], deleted: tuple[int, ...] = (), end: int = 1000
) -> Path:
    """Two catalogs of equal length, an image a record."""
    (tub / "images").mkdir(parents=True, exist_ok=True)
    half = len(records) // 2
    for number, rows in enumerate((records[:half], records[half:])):
        lines = "".join(json.dumps(row) + "\r\n" for row in rows)
        (tub / f"catalog_{number}.catalog").write_text(lines, newline="")
    for row in records:
        (tub / "images" / row["cam/image_array"]).write_bytes(jpeg(row["_index"] % 256))
    catalogs = {
        "paths": ["catalog_0.catalog", "catalog_1.catalog"],
        "current_index": end,
        "max_len": 1000,
        "deleted_indexes": list(deleted),
    }
    inputs = ["cam/image_array", "user/angle", "user/throttle", "user/mode", "imu/gyr_x"]
    types = ["image_array", "float", "float", "str", "float"]
    lines = [inputs, types, {}, {"created_at": 1668220914.3}, catalogs]
    (tub / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tub


def read_all(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, list[Run]]:
    sources, _ = donkeycar.sources(path, config)
    layout = donkeycar.layout(sources, config)
    return layout, [run for source in sources for run in donkeycar.read(source, layout, config)]


def check(run: Run, layout: Layout) -> None:
    """What any run must fulfil, whatever was read."""
    assert run.time.dtype == np.int64
    assert (np.diff(run.time) > 0).all()
    for name, described in layout.fields.items():
        assert run.fields[name].shape == (len(run.time), *described.shape)
    for camera in layout.cameras:
        assert len(run.images[camera]) == len(run.time)
    assert all(0 < step < len(run.time) for step in run.breaks)


def test_fields_of_a_small_tub(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "tub", [record(index) for index in range(8)], end=8)
    assert donkeycar.recognises(tub)
    assert donkeycar.recognises(tmp_path)
    layout, (run,) = read_all(tub)
    check(run, layout)
    assert layout.rate_hz == 20.0  # 50 ms
    assert not layout.rate_is_nominal
    assert layout.fields["action"].axes == ("throttle", "steering")
    assert "not m/s" in layout.fields["action"].unit
    assert layout.action_source == "commanded"
    assert set(layout.fields) == {"action", "intervention"}
    camera = layout.cameras["front"]
    assert (camera.height, camera.width, camera.coding) == (12, 16, "jpeg")
    # Angle +0.03 steers right; REP-103 counts to the left.
    np.testing.assert_allclose(run.fields["action"][3], (0.5, -0.03), atol=1e-7)
    assert run.fields["intervention"].all()
    assert run.time[0] == 1_668_221_000_000_000_000
    assert run.time[7] - run.time[0] == 350_000_000
    assert run.images["front"][3] == (tub / "images/3_cam_image_array_.jpg").read_bytes()
    assert not run.breaks
    assert not run.dropped
    assert any("mirrored" in note for note in layout.notes)
    assert any("imu/gyr_x" in fact for fact in run.facts)


def test_deleted_records_stay_out_and_cut_the_run(tmp_path: Path) -> None:
    records = [record(index) for index in range(10)]
    _, (run,) = read_all(write_tub(tmp_path / "tub", records, deleted=(0, 3, 4, 9)))
    assert run.dropped == {"deleted by the driver": 4}
    np.testing.assert_allclose(-100 * run.fields["action"][:, 1], [1, 2, 5, 6, 7, 8], atol=1e-5)
    assert run.breaks == (2,)  # where 3 and 4 were, though only 150 ms are gone


def test_deleted_and_missing_lines_are_told_apart(tmp_path: Path) -> None:
    records = [record(index) for index in range(10) if index not in (3, 4, 5)]
    _, (run,) = read_all(write_tub(tmp_path / "tub", records, deleted=(4,)))
    assert run.dropped == {"deleted by the driver": 1, "record is missing": 2}
    assert "before catalog_1.catalog, line 1: 2 records" in run.details[0]
    assert run.breaks == (3,)


def test_sessions_and_a_clock_set_back_are_runs_of_their_own(tmp_path: Path) -> None:
    records = [record(index) for index in range(9)]
    for row in records[3:]:
        row["_session_id"] = "22-11-13_0"
    for row in records[6:]:
        row["_timestamp_ms"] -= 3_600_000
    _, runs = read_all(write_tub(tmp_path / "tub", records))
    assert [len(run.time) for run in runs] == [3, 3, 3]
    assert [run.session for run in runs] == [
        "tub/22-11-12_0",
        "tub/22-11-13_0",
        "tub/22-11-13_0",
    ]
    assert len({run.name for run in runs}) == 3


def test_damage_is_named_by_file_and_line(tmp_path: Path) -> None:
    records = [record(index) for index in range(10)]
    records[7]["user/angle"] = "left"
    records[8]["_timestamp_ms"] = records[7]["_timestamp_ms"]
    tub = write_tub(tmp_path / "tub", records)
    (tub / "images/2_cam_image_array_.jpg").unlink()
    catalog = tub / "catalog_0.catalog"
    lines = catalog.read_bytes().splitlines()
    lines[4] = lines[4][:30]
    catalog.write_bytes(b"\n".join(lines))
    _, (run,) = read_all(tub)
    assert run.dropped == {
        "record is damaged": 1,
        "time stamp is that of the record before": 1,
    }
    assert any(
        detail.startswith("catalog_0.catalog, line 5: is no readable JSON")
        for detail in run.details
    )
    assert run.faults == {2: "image is missing"}
    assert "images/2_cam_image_array_.jpg: image is missing" in run.details
    assert np.isnan(run.fields["action"][6, 1])  # record 7 is step 6: record 4 is gone


def test_what_the_pilot_drove_is_its_action(tmp_path: Path) -> None:
    records = [record(index) for index in range(8)]
    pilot = {"pilot/angle": -0.7, "pilot/throttle": 0.2}
    records[2] |= {"user/mode": "local_angle"} | pilot  # the pilot steers
    records[3] |= {"user/mode": "local"} | pilot  # the pilot does both
    records[4] |= {"user/mode": "local"}  # it was not recorded
    _, (run,) = read_all(write_tub(tmp_path / "tub", records))
    np.testing.assert_allclose(run.fields["action"][2], (0.5, 0.7), atol=1e-7)
    np.testing.assert_allclose(run.fields["action"][3], (0.2, 0.7), atol=1e-7)
    assert np.isnan(run.fields["action"][4]).all()
    assert run.fields["intervention"].tolist() == [True] * 2 + [False] * 3 + [True] * 3
    assert "the pilot drove 3 of 8 records" in run.facts


def test_a_lower_rate_takes_the_nearest_steps(tmp_path: Path) -> None:
    records = [record(index) for index in range(12)]
    tub = write_tub(tmp_path / "tub", records, deleted=(5,))
    layout, (run,) = read_all(tub, ImportConfig(rate_hz=10))
    check(run, layout)
    # Ticks at 0, 100, 200 ... ms are the even records; all of them but none of the deleted.
    np.testing.assert_allclose(-100 * run.fields["action"][:, 1], [0, 2, 4, 6, 8, 10], atol=1e-5)
    assert run.breaks == (3,)
    assert "resampled from 20 to 10 Hz: 6 of 11 steps" in run.facts
    with pytest.raises(NavOffrlError, match="recorded at 20 Hz"):
        read_all(tub, ImportConfig(rate_hz=30))


def test_files_that_belong_to_no_tub_are_named(tmp_path: Path) -> None:
    tub = write_tub(tmp_path / "car/data", [record(index) for index in range(6)])
    (tub / "notes.txt").write_text("")
    (tub / "catalog_0.catalog_manifest").write_text("{}")
    (source,), unknown = donkeycar.sources(tmp_path / "car", CONFIG)
    assert source.name == "car"  # Donkeycar calls every tub "data"
    assert unknown == ["data/notes.txt"]


@pytest.mark.parametrize(
    ("line", "content", "message"),
    [
        (0, '["user/angle"]', "no Donkeycar tub"),
        (0, '["cam/image_array"', "manifest.json, line 1: is no readable JSON"),
        (4, "{}", "line 5: 'paths' is no list"),
        (4, "[" * 100_000, "line 5: is no readable JSON"),
        (4, '{"paths": ["../x"], "current_index": 1, "deleted_indexes": []}', "'paths'"),
        (4, '{"paths": [], "current_index": 1, "deleted_indexes": ["1"]}', "'deleted_indexes'"),
        (4, '{"paths": [], "current_index": "1", "deleted_indexes": []}', "'current_index'"),
        (4, '{"paths": [], "current_index": 1, "deleted_indexes": []}', "fewer than two"),
    ],
    ids=range(8),
)
def test_broken_manifest(tmp_path: Path, line: int, content: str, message: str) -> None:
    tub = write_tub(tmp_path / "tub", [record(index) for index in range(6)])
    lines = (tub / "manifest.json").read_text().splitlines()
    lines[line] = content
    (tub / "manifest.json").write_text("\n".join(lines))
    with pytest.raises(NavOffrlError, match=message):
        read_all(tub)


def test_an_image_name_cannot_lead_out_of_the_tub(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg(0))
    records = [record(index) for index in range(6)]
    tub = write_tub(tmp_path / "tub", records)
    records[2]["cam/image_array"] = "../../secret.jpg"
    lines = [json.dumps(row) for row in records[:3]]
    (tub / "catalog_0.catalog").write_text("\n".join(lines))
    _, (run,) = read_all(tub)
    assert run.dropped["record is damaged"] == 1
    assert len(run.time) == 5


MUTATIONS = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 3000), st.just(b"")),
    st.tuples(st.just("flip"), st.integers(0, 3000), st.binary(min_size=1, max_size=4)),
    st.tuples(
        st.just("put"),
        st.integers(0, 3000),
        st.sampled_from([b"1e999", b"9" * 5000, b"null", b"NaN", b"-", b"[" * 9999, b'"', b"\xff"]),
    ),
)


def mutate(content: bytes, mutation: tuple[str, int, bytes]) -> bytes:
    how, place, data = mutation
    place %= len(content) + 1
    if how == "cut":
        return content[:place]
    return content[:place] + data + content[place + (len(data) if how == "flip" else 0) :]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    file=st.sampled_from(["manifest.json", "catalog_0.catalog", "images/1_cam_image_array_.jpg"]),
    mutations=st.lists(MUTATIONS, min_size=1, max_size=3),
)
def test_damaged_tubs_read_or_are_refused(
    file: str, mutations: list[tuple[str, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tub = write_tub(tmp_path_factory.mktemp("fuzz"), [record(i) for i in range(6)], deleted=(2,))
    content = (tub / file).read_bytes()
    for mutation in mutations:
        content = mutate(content, mutation)
    (tub / file).write_bytes(content)
    try:
        layout, runs = read_all(tub)
    except NavOffrlError as error:
        assert str(tub) in str(error)
        return
    for run in runs:
        check(run, layout)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tub is not there")
def test_facts_of_the_real_tub() -> None:
    layout, (run,) = read_all(REAL)
    check(run, layout)
    assert layout.rate_hz == 20.0
    assert (layout.cameras["front"].height, layout.cameras["front"].width) == (120, 160)
    assert len(run.time) == 3902
    assert run.dropped == {"deleted by the driver": 2098}
    periods = np.diff(run.time) / 1e9
    assert periods.max() == pytest.approx(13.649)
    assert periods[periods < 0.125].sum() == pytest.approx(194, abs=0.5)
    assert len(run.breaks) == 39
    # At the largest gap the driver deleted nothing: the clock alone must split there.
    assert int(periods.argmax()) + 1 not in run.breaks
    assert run.session == "training_2/22-11-12_0"
    assert run.fields["action"][:, 0].min() == pytest.approx(-0.45)
    assert not run.faults
