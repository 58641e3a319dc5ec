"""Runs with one fault each, and any number of them: what is kept, what is cut, what is said."""

from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode
from nav_offrl.store.schema import check_episode, field_info
from nav_offrl_datasets.config import ImportConfig, LabelConfig
from nav_offrl_datasets.importing.assemble import assemble
from nav_offrl_datasets.importing.plan import Plan, make_plan
from nav_offrl_datasets.importing.report import RunReport
from nav_offrl_datasets.importing.run import Layout, Run

PERIOD = 100_000_000  # ns
POSES = {name: field_info(name) for name in ("position", "yaw")}


def jpeg(step: int, height: int = 16, width: int = 24) -> bytes:
    picture = np.random.default_rng(step).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def plan_of(fields: Any = POSES, cameras: Any = None, **changes: Any) -> Plan:
    """Return the plan of a 10 Hz log with timestamps; changes are settings of the import."""
    layout = Layout(10.0, False, cameras or {}, fields, action_source="commanded")
    return make_plan("test", "log", layout, ImportConfig(**changes))


def run_of(steps: int = 12, **fields: Any) -> Run:
    """Return a run that drives ahead at 0.5 m/s, but for `fields`."""
    position = np.stack([0.05 * np.arange(steps), np.zeros(steps)], axis=1)
    known: dict[str, Any] = {"position": position, "yaw": np.zeros(steps)}
    return Run("run", np.arange(steps) * PERIOD, known | fields)


def lengths(episodes: list[Episode]) -> list[int]:
    return [episode.length for episode in episodes]


def test_actions_and_velocities_come_from_poses_where_the_log_has_none() -> None:
    yaw = 0.1 * np.arange(6.0)
    episodes, report = assemble(run_of(6, position=np.zeros((6, 2)), yaw=yaw), plan_of())
    (episode,) = episodes
    np.testing.assert_allclose(episode.fields["action"], [[0.0, 1.0]] * 6, atol=1e-12)
    assert (report.kept, report.duration) == (6, pytest.approx(0.5))
    assert plan_of().info.action_source == "derived from pose"


def test_what_the_log_says_of_actions_and_velocity_is_kept() -> None:
    fields = POSES | {name: field_info(name) for name in ("action", "velocity")}
    action, velocity = np.full((12, 2), 7.0), np.full((12, 2), 8.0)
    plan = plan_of(fields)
    (episode,), _ = assemble(run_of(action=action, velocity=velocity), plan)
    np.testing.assert_array_equal(episode.fields["action"], action)
    np.testing.assert_array_equal(episode.fields["velocity"], velocity)
    assert plan.info.action_source == "commanded"


def test_derived_velocity_beside_logged_actions() -> None:
    plan = plan_of(POSES | {"action": field_info("action")})
    (episode,), _ = assemble(run_of(action=np.full((12, 2), 7.0)), plan)
    np.testing.assert_allclose(episode.fields["velocity"][:, 0], 0.5, rtol=1e-6)
    assert (episode.fields["action"] == 7.0).all()
    assert plan.info.fields["velocity"].source == "derived from position and yaw"


def test_images_alone_make_a_store() -> None:
    plan = plan_of({}, {"front": CameraInfo(height=16, width=24)})
    frames = [jpeg(step) for step in range(6)]
    run = Run("run", np.arange(6) * PERIOD, {}, {"front": frames})
    (episode,), report = assemble(run, plan)
    assert set(episode.fields) == {"time"} and list(episode.images["front"]) == frames
    assert (report.distance, plan.info.action_source) == (0.0, "")


def test_sideways_motion_is_measured() -> None:
    position = np.stack([np.zeros(6), 0.1 * np.arange(6)], axis=1)
    _, report = assemble(run_of(6, position=position), plan_of())
    assert report.lateral_distance == pytest.approx(0.5)
    assert report.distance == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("position", np.nan),
        ("position", -np.inf),
        ("yaw", np.nan),
        ("yaw", 1e300),
        ("action", np.nan),
        ("action", 1e300),  # infinite in the store's 32 bits
    ],
)
def test_step_without_a_needed_value_is_dropped_and_splits(name: str, value: float) -> None:
    values = {"action": np.zeros((13, 2)), "yaw": np.zeros(13)}
    values["position"] = run_of(13).fields["position"]
    values[name][6] = value
    episodes, report = assemble(
        run_of(13, **values), plan_of(POSES | {"action": field_info("action")})
    )
    what = "'action'" if name == "action" else "pose"
    assert lengths(episodes) == [6, 6]
    assert [episode.name for episode in episodes] == ["run/0", "run/1"]
    assert report.dropped == {f"{what} is not finite": 1}
    assert report.details == (f"step 6: {what} is not finite",)


def test_sensor_without_a_reading_drops_nothing() -> None:
    gps = np.full((12, 3), np.nan)
    gps[:4] = [52.0, 13.0, 40.0]
    (episode,), report = assemble(run_of(gps=gps), plan_of(POSES | {"gps": field_info("gps")}))
    assert (episode.length, report.dropped) == (12, {})


def test_repeated_stamp_is_dropped_and_a_clock_that_goes_back_splits() -> None:
    run = run_of(13)
    run.time[6] = run.time[5]
    episodes, report = assemble(run, plan_of())
    assert lengths(episodes) == [12]
    assert report.dropped == {"time stamp repeats the one before": 1}
    run = run_of(12)
    run.time[6:] -= 20 * PERIOD
    episodes, report = assemble(run, plan_of())
    assert (lengths(episodes), report.clock_resets) == ([6, 6], 1)
    assert "goes back by 1.9 s" in report.details[0]


@pytest.mark.parametrize(("missing", "expected"), [(1, [12]), (2, [6, 6])])
def test_gap_of_more_than_two_and_a_half_periods_splits(missing: int, expected: list[int]) -> None:
    run = run_of(12)
    run.time[6:] += missing * PERIOD
    episodes, report = assemble(run, plan_of())
    assert (lengths(episodes), report.gaps) == (expected, len(expected) - 1)


def test_breaks_of_the_log_split() -> None:
    run = run_of(12)
    run.breaks = (0, 5, 99)
    assert lengths(assemble(run, plan_of())[0]) == [5, 7]


def test_jump_is_judged_by_the_time_that_it_took() -> None:
    position = run_of(12).fields["position"]
    position[6:, 1] += 1.2
    episodes, report = assemble(run_of(12, position=position), plan_of())
    assert (lengths(episodes), report.position_jumps) == ([6, 6], 1)
    slow = run_of(12, position=position)
    slow.time[:] = np.arange(12) * 4 * PERIOD  # 1.6 m are allowed in 0.4 s
    layout = Layout(2.5, False, {}, POSES)
    episodes, report = assemble(slow, make_plan("test", "log", layout, ImportConfig()))
    assert (lengths(episodes), report.position_jumps) == ([12], 0)


def test_stale_poses_are_counted_and_dropped_on_request_without_a_warning() -> None:
    position = run_of(14).fields["position"]
    position[6:10] = position[5]
    run = run_of(14, position=position)
    episodes, report = assemble(run, plan_of())
    assert (lengths(episodes), report.stale_poses, report.warnings) == ([14], 4, [])
    episodes, report = assemble(run, plan_of(keep_stale=False))
    # The step across the dropped ones lasts five periods: a longer period, not a gap.
    assert lengths(episodes) == [10]
    assert (report.dropped, report.warnings) == ({"pose is stale": 4}, [])
    np.testing.assert_allclose(episodes[0].fields["action"][5], [0.05 * 5 / 0.5, 0.0])


def test_end_of_a_run_is_dropped_on_request_without_a_warning() -> None:
    episodes, report = assemble(run_of(12), plan_of(end_slack=3))
    assert (lengths(episodes), report.dropped) == ([9], {"end of the run": 3})
    assert report.warnings == []
    episodes, report = assemble(run_of(2), plan_of(end_slack=3))
    assert report.refused == "no episode of 5 steps is left"


def two_cameras() -> tuple[Run, Plan]:
    run = run_of(12)
    run.images = {name: [jpeg(step) for step in range(12)] for name in ("left", "right")}
    camera = CameraInfo(height=16, width=24)
    return run, plan_of(cameras={"left": camera, "right": camera})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (None, "no usable frame"),
        (b"", "image is corrupt"),
        (jpeg(0)[:-40], "image is corrupt"),
        (jpeg(0, 32, 24), "image is 24x32 pixels, the store's are 24x16"),
    ],
)
def test_frame_that_one_camera_lacks_splits_both(frame: bytes | None, reason: str) -> None:
    run, plan = two_cameras()
    run.images["right"][5] = frame  # type: ignore[index]
    episodes, report = assemble(run, plan)
    assert lengths(episodes) == [5, 6]
    assert report.dropped == {f"camera 'right': {reason}": 1}


def test_reason_of_the_reader_is_the_one_that_counts() -> None:
    run, plan = two_cameras()
    run.images["left"][5] = None  # type: ignore[index]
    run.fault(5, "image is missing", "0005.png: image is missing")
    run.drop("deleted row", "row 17")
    _, report = assemble(run, plan)
    assert report.dropped == {"deleted row": 1, "image is missing": 1}
    assert report.details == ("0005.png: image is missing", "row 17")


def test_raw_frames_must_have_the_declared_shape() -> None:
    run = run_of(12)
    run.images = {"front": [np.full((16, 24, 3), step, np.uint8) for step in range(12)]}
    run.images["front"][5] = np.zeros((24, 16, 3), np.uint8)  # type: ignore[index]
    plan = plan_of(cameras={"front": CameraInfo(height=16, width=24, coding="raw")})
    episodes, report = assemble(run, plan)
    assert lengths(episodes) == [5, 6]
    assert report.dropped == {"image is not 24x16 pixels of RGB": 1}


def without(name: str) -> Run:
    run, _ = two_cameras()
    run.images.pop(name, None)
    run.fields.pop(name, None)
    return run


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("right", "has no frame of camera 'right' -> --without right"),
        ("yaw", "has no field 'yaw', other runs have -> --without yaw"),
    ],
)
def test_run_that_lacks_something_is_refused_with_the_remedy(name: str, reason: str) -> None:
    _, plan = two_cameras()
    episodes, report = assemble(without(name), plan)
    assert episodes == [] and (report.refused or "").startswith(reason)
    remedied = plan_of(cameras=plan.layout.cameras, without=(name,))
    episodes, report = assemble(without(name), remedied)
    assert lengths(episodes) == [12] and name not in {*episodes[0].fields, *episodes[0].images}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"position": np.zeros((12, 3))}, "has shape (12, 3), expected (12, 2)"),
        ({"position": np.full((12, 2), 5e6)}, "subtract an origin"),
        ({"yaw": np.full(12, np.nan)}, "'yaw' has no value in the whole run"),
        ({"yaw": np.full(12, "north")}, "no array of numbers"),
    ],
)
def test_values_that_cannot_be_used_refuse_the_run(fields: Any, reason: str) -> None:
    episodes, report = assemble(run_of(12, **fields), plan_of())
    assert episodes == [] and reason in (report.refused or "")


@pytest.mark.parametrize("name", ["x" * 200, "\udcff", ""])
def test_name_that_no_store_can_hold_refuses_the_run(name: str) -> None:
    run = run_of(12)
    run.name = name
    episodes, report = assemble(run, plan_of())
    assert episodes == [] and report.refused and report.model_dump_json()


def test_field_that_the_store_has_not_is_named() -> None:
    _, report = assemble(run_of(12, reward=np.zeros(12)), plan_of())
    assert "field 'reward' is left out: the store has none" in report.facts


def test_constant_fields_are_named() -> None:
    names = ("collision", "imu", "gps", "lidar")
    fields = POSES | {name: field_info(name, shape=(9,)) for name in ("lidar",)}
    fields |= {name: field_info(name) for name in names[:3]}
    run = run_of(
        12,
        collision=np.zeros(12, bool),
        imu=np.tile([0.0, 0, 0, 0, 0, 9.81], (12, 1)),
        gps=np.full((12, 3), np.nan),
        lidar=np.full((12, 9), 2.5),
    )
    _, report = assemble(run, plan_of(fields))
    assert report.facts == (
        "field 'yaw' is constant (0)",
        "field 'lidar' is constant",
        "field 'collision' is constant (False)",
        "field 'imu' is constant (0, 0, 0, 0, 0, 9.81)",
        "field 'gps' has no reading in the whole run",
    )


def test_rate_and_jitter_are_measured() -> None:
    run = run_of(101)
    run.time[50:] += 30_000_000  # one period of 100 is 0.13 s
    _, report = assemble(run, plan_of())
    assert (report.period, report.jitter) == (pytest.approx(0.1), pytest.approx(0.0))
    run = run_of(101)
    run.time[::2] += 20_000_000  # 0.08 s and 0.12 s in turn
    _, report = assemble(run, plan_of())
    assert (report.period, report.jitter) == (pytest.approx(0.1), pytest.approx(0.02))


def test_labels_are_made_per_episode_and_said() -> None:
    fields = POSES | {"action": field_info("action"), "imu": field_info("imu")}
    position = np.zeros((24, 2))
    position[:12, 0] = 0.05 * np.arange(12)
    position[12:] = position[11]
    imu = np.tile([0.3, 0.4, 0, 0, 0, 9.81], (24, 1))
    imu[2, 5] = -9.81
    action = np.tile([0.5, 0.0], (24, 1))
    plan = plan_of(fields, labels=LabelConfig(), without=("imu",))
    (episode,), report = assemble(run_of(24, position=position, imu=imu, action=action), plan)
    # The robot stands from step 11 on, 1.3 s with the last step; at step 2 it lies on its back.
    assert np.flatnonzero(episode.fields["collision"]).tolist() == [2, *range(11, 24)]
    np.testing.assert_allclose(episode.fields["bumpiness"], np.sqrt(0.125), rtol=1e-6)
    assert "imu" not in episode.fields
    assert "collision labelled at 14 of 24 steps: stuck 13, flipped 1" in report.facts


def test_doubtful_accelerometer_is_said() -> None:
    fields = POSES | {"imu": field_info("imu")}
    plan = plan_of(fields, labels=LabelConfig())
    _, report = assemble(run_of(12, imu=np.zeros((12, 6))), plan)
    assert any("most steps read as flipped" in fact for fact in report.facts)


def test_imu_without_a_reading_leaves_no_bumpiness() -> None:
    fields = POSES | {"imu": field_info("imu")}
    imu = np.tile([0.3, 0.4, 0, 0, 0, 9.81], (13, 1))
    imu[6] = np.nan
    plan = plan_of(fields, labels=LabelConfig())
    episodes, report = assemble(run_of(13, imu=imu), plan)
    assert lengths(episodes) == [6, 6]
    assert report.dropped == {"'bumpiness' is not finite": 1}


def test_unknown_name_to_leave_out_is_an_error() -> None:
    with pytest.raises(NavOffrlError, match=r"there is no 'lidat'.*position, yaw"):
        plan_of(without=("lidat",))
    with pytest.raises(NavOffrlError, match="'time' cannot be left out"):
        plan_of(without=("time",))


def test_details_of_a_hopeless_run_stay_readable() -> None:
    yaw = np.full(5000, np.nan)
    yaw[-20:] = 0.0
    _, report = assemble(run_of(5000, yaw=yaw), plan_of())
    assert len(report.details) == 1001 and "3980 more" in report.details[-1]
    assert report.dropped == {"pose is not finite": 4980}


values = st.sampled_from([0.0, 0.1, -3.0, 1e5, 1e9, 1e300, np.nan, np.inf, -np.inf])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 12), st.data())
def test_whatever_the_values_episodes_fit_the_store(steps: int, data: Any) -> None:
    def drawn(*shape: int) -> np.ndarray:
        size = int(np.prod((steps, *shape)))
        flat = data.draw(st.lists(values, min_size=size, max_size=size))
        return np.reshape(np.array(flat, np.float64), (steps, *shape))

    names = ("action", "imu", "collision")
    plan = plan_of(
        POSES | {name: field_info(name) for name in names},
        labels=LabelConfig(jolt=5.0),
        min_episode_length=2,
        max_position_jump=1e12,
    )
    run = run_of(steps, action=drawn(2), imu=drawn(6), collision=drawn(), yaw=drawn())
    if data.draw(st.booleans()):
        run.fields["position"] = drawn(2)
    episodes, report = assemble(run, plan)
    assert isinstance(report, RunReport) and (report.refused is None) == bool(episodes)
    for episode in episodes:
        cast = check_episode(episode, plan.info)
        assert all(np.isfinite(cast[name]).all() for name in ("position", "yaw", "action"))
    assert report.refused or report.kept + Counter(report.dropped).total() == steps
