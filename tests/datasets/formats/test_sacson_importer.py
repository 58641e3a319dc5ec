"""A SACSoN sample is a few moments of a drive: their order, views, places, and what it lacks."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import sacson
from nav_offrl_datasets.importing.run import Layout, Run

REAL = Path(__file__).parents[3].parent / "shared/data/sacson_sample_real"
CONFIG = ImportConfig()


def sample(forward: float = 0.1) -> dict[str, Any]:
    """Four moments of 6x8 pixels; channel c of camera k at moment m is 20 m + 5 k + c."""
    channels = [20 * m + 5 * k + c for m in range(4) for k in range(2) for c in range(3)]
    views = np.broadcast_to(np.array(channels, np.uint8)[:, None, None], (24, 6, 8)).copy()
    steps = np.arange(5)
    return {
        "goal_pose": np.eye(4),
        "cur_img": views[:6],
        "next_img": views[6:],
        "goal_img": views[:6],
        "robot_traj": np.concatenate([0.01 * steps, forward * steps]),  # x right, then z forward
        "ped_traj": np.zeros(10),
    }


def write(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=3))
    return path


def read_all(path: Path) -> tuple[Layout, Run]:
    sources, _ = sacson.sources(path, CONFIG)
    layout = sacson.layout(sources, CONFIG)
    (run,) = sacson.read(sources[0], layout, CONFIG)
    return layout, run


def test_moments_that_lie_ahead_keep_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "one.pkl", sample())
    assert sacson.recognises(path)
    assert sacson.recognises(tmp_path)
    layout, run = read_all(path)
    assert layout.rate_is_nominal
    assert layout.rate_hz == 3.0
    assert set(layout.fields) == {"position"}
    assert not layout.action_source
    # z forward is x, x to the right is -y (REP-103).
    np.testing.assert_allclose(run.fields["position"][3], (0.3, -0.03))
    front, rear = run.images["front"][1], run.images["rear"][1]
    assert isinstance(front, np.ndarray)
    assert isinstance(rear, np.ndarray)
    assert front.shape == (6, 8, 3)
    assert front[0, 0].tolist() == [20, 21, 22]
    assert rear[0, 0].tolist() == [25, 26, 27]
    assert layout.cameras["front"].coding == "raw"
    assert run.dropped == {"place without an image": 1}  # five places, four moments


def test_moments_that_lie_behind_came_before(tmp_path: Path) -> None:
    _, run = read_all(write(tmp_path / "one.pkl", sample(forward=-0.1)))
    np.testing.assert_allclose(run.fields["position"][:, 0], (-0.3, -0.2, -0.1, 0.0))
    front = run.images["front"]
    assert [int(np.asarray(frame)[0, 0, 0]) for frame in front] == [60, 40, 20, 0]
    assert any("reversed" in fact for fact in run.facts)


def test_a_robot_that_stands_tells_no_direction(tmp_path: Path) -> None:
    _, run = read_all(write(tmp_path / "one.pkl", sample(forward=0.0)))
    assert any("hardly moved" in fact for fact in run.facts)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cur_img", None, "no array 'cur_img'"),
        ("cur_img", np.zeros((6, 8), np.uint8), "'cur_img' is uint8"),
        ("next_img", np.zeros((18, 6, 8), np.float32), "'next_img' is float32"),
        ("next_img", np.zeros((17, 6, 8), np.uint8), r"'next_img' is uint8 \(17"),
        ("next_img", np.zeros((18, 7, 8), np.uint8), "differ in size"),
        ("robot_traj", np.zeros(7), "'robot_traj'"),
        ("robot_traj", np.zeros((4, 2)), "'robot_traj'"),
        ("robot_traj", np.zeros(8, np.int64), "'robot_traj'"),
    ],
)
def test_other_arrays_are_refused_by_name(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    path = write(tmp_path / "one.pkl", sample() | {key: value})
    with pytest.raises(NavOffrlError, match=message):
        read_all(path)


def test_other_pickles_are_not_recognised(tmp_path: Path) -> None:
    write(tmp_path / "traj_data.pkl", {"position": np.zeros((3, 2)), "yaw": np.zeros(3)})
    assert not sacson.recognises(tmp_path)
    with pytest.raises(NavOffrlError, match="is no SACSoN sample"):
        sacson.sources(tmp_path, CONFIG)


SEED = pickle.dumps(sample(), protocol=3)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 4000), data=st.binary(min_size=1, max_size=4), cut=st.booleans())
def test_damaged_samples_read_or_are_refused(
    place: int, data: bytes, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place %= len(SEED)
    content = SEED[:place] if cut else SEED[:place] + data + SEED[place + len(data) :]
    path = tmp_path_factory.mktemp("fuzz") / "one.pkl"
    path.write_bytes(content)
    try:
        layout, run = read_all(path)
    except NavOffrlError as error:
        assert str(path) in str(error)
        return
    assert len(run.time) == len(run.fields["position"])
    for camera in layout.cameras:
        assert len(run.images[camera]) == len(run.time)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sample is not there")
def test_facts_of_the_real_sample() -> None:
    sources, others = sacson.sources(REAL, CONFIG)
    assert len(sources) == 1
    assert not others
    layout, run = read_all(REAL)
    assert any("one training sample" in note for note in layout.notes)
    assert len(run.time) == 7
    assert run.dropped == {"place without an image": 1}
    assert np.asarray(run.images["rear"][0]).shape == (128, 128, 3)
    # The person behind the robot walks towards it in this order, not away from it.
    position = run.fields["position"]
    assert (np.diff(position[:, 0]) > 0).all()
    assert np.linalg.norm(np.diff(position, axis=0), axis=1).sum() == pytest.approx(0.59, abs=0.01)
