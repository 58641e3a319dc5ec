"""Asynchronous sensor streams to steps: by hand, and whatever comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nav_offrl_datasets.bags.levelling import levelled, tilt_of
from nav_offrl_datasets.importing.streams import (
    Stream,
    Streams,
    Timing,
    bumpiness,
    held,
    interpolated,
    mean_imu,
    nearest,
    nearest_once,
    on_grid,
    rate_fact,
    resample,
)

MS = 1_000_000
TIMING = Timing.of(rate_hz=4.0, tolerance=None, command_age=0.5)


def ms(*values: float) -> NDArray[np.int64]:
    return np.array([round(value * MS) for value in values], np.int64)


def stream(time: NDArray[np.int64], *columns: list[float]) -> Stream:
    return Stream.of(time, np.array(columns, np.float64).T)


def still(first: float, last: float) -> Stream:
    """Odometry at 20 Hz of a robot that stands at the origin, ms."""
    time = ms(*np.arange(first, last + 1, 50))
    return Stream.of(time, np.zeros((len(time), 5)))


def test_timing_without_a_tolerance_is_half_a_period() -> None:
    assert Timing.of(4.0, None, 0.5) == Timing(
        250 * MS, 125 * MS, pose_gap=500 * MS, command_age=500 * MS, gps_tolerance=500 * MS
    )
    assert Timing.of(10.0, 0.02, 1.0).tolerance == 20 * MS


def test_grid_takes_the_frame_nearest_to_each_tick() -> None:
    # Ticks at 0, 250, 500, 750, 1000: 240 is nearer to 250 than 290; nothing is near 750.
    chosen, empty = on_grid(ms(0, 100, 240, 290, 510, 620, 1000), 250 * MS, 100 * MS)
    assert (chosen.tolist(), empty) == ([0, 2, 4, 6], 1)


def test_grid_prefers_the_earlier_of_two_equally_near() -> None:
    assert on_grid(ms(0, 240, 260), 250 * MS, 125 * MS)[0].tolist() == [0, 1]


def test_grid_of_nothing_is_empty() -> None:
    chosen, empty = on_grid(ms(), 250 * MS, 125 * MS)
    assert (len(chosen), empty) == (0, 0)


def test_grid_does_not_grow_with_a_gap_of_years() -> None:
    year = 365 * 86400 * 1000
    chosen, empty = on_grid(ms(0, 100 * year), 250 * MS, 125 * MS)
    assert chosen.tolist() == [0, 1]
    assert empty == 100 * year // 250 - 1


def test_nearest_is_bounded_by_the_tolerance() -> None:
    found = nearest(ms(0, 100, 200), ms(-51, -50, 49, 150, 251), 50 * MS)
    assert found.tolist() == [-1, 0, 0, 1, -1]
    assert nearest(ms(), ms(1, 2), MS).tolist() == [-1, -1]


def test_a_second_cameras_frame_serves_one_step_only() -> None:
    assert nearest_once(ms(100), ms(90, 105, 300), 50 * MS).tolist() == [-1, 0, -1]
    assert nearest_once(ms(), ms(90), 50 * MS).tolist() == [-1]


def test_command_is_held_until_it_is_too_old() -> None:
    found = held(ms(100, 400), ms(99, 100, 399, 700, 900, 901), 500 * MS)
    assert found.tolist() == [-1, 0, 0, 1, 1, -1]


def test_pose_is_interpolated_and_yaw_takes_the_short_way() -> None:
    pose = stream(ms(0, 100), [0, 1], [2, 4], [3.0, -3.0], [0, 1], [0, 0])
    x, y, yaw, v, _ = interpolated(pose, ms(25), TIMING)[0]
    # From 3.0 to -3.0 is 2 pi - 6 = 0.2832 forward, of which a quarter is gone.
    assert (x, y, v) == pytest.approx((0.25, 2.5, 0.25))
    assert yaw == pytest.approx(3.0 + 0.25 * (2 * np.pi - 6.0))


def test_pose_is_never_extrapolated_nor_bridged() -> None:
    pose = stream(ms(0, 100, 700), [0, 1, 7], [0, 0, 0], [0, 0, 0])
    at = ms(-1, 0, 99, 100, 101, 650, 700, 701)
    known = np.isfinite(interpolated(pose, at, TIMING)[:, 0])
    # 600 ms between the last two is more than four tolerances of 125 ms.
    assert known.tolist() == [False, True, True, True, False, False, True, False]


def test_pose_between_far_neighbours_must_be_near_to_one() -> None:
    pose = stream(ms(0, 400), [0, 4], [0, 0], [0, 0])
    found = interpolated(pose, ms(100, 200, 300), TIMING)[:, 0]
    assert found == pytest.approx([1.0, np.nan, 3.0], nan_ok=True)


def test_steps_have_the_time_of_their_frame_and_everything_else_there() -> None:
    time = ms(0, 260, 490)
    poses = stream(ms(*range(-50, 601, 50)), [0.001 * t for t in range(-50, 601, 50)], [0.0] * 14,
                   [0.0] * 14)  # fmt: skip
    command = stream(ms(-10, 255), [1.0, 2.0], [0.5, -0.5])
    steps = resample(Streams({"front": time[[2, 0, 1]]}, poses, command), TIMING)
    assert steps.time.tolist() == time.tolist()
    assert steps.frames["front"].tolist() == [1, 2, 0]  # in the order in which they came
    assert steps.fields["position"][:, 0] == pytest.approx([0.0, 0.26, 0.49])
    assert steps.fields["action"].tolist() == [[1.0, 0.5], [2.0, -0.5], [2.0, -0.5]]
    assert not steps.missing and not steps.faults


def test_what_is_not_matched_is_counted_with_its_reason() -> None:
    cameras = {"front": ms(0, 250, 500, 1000), "rear": ms(10, 260, 1010)}
    steps = resample(Streams(cameras, still(200, 2000)), TIMING)
    assert steps.time.tolist() == ms(250, 1000).tolist()
    assert steps.missing == {
        "no frame of camera 'front' within 0.125 s": 1,
        "no frame of camera 'rear' within 0.125 s": 1,
        "no odometry within 0.125 s": 1,
    }
    assert {name: index.tolist() for name, index in steps.frames.items()} == {
        "front": [1, 3],
        "rear": [1, 2],
    }


def test_silence_means_zero_only_for_a_robot_that_stood_still() -> None:
    time = ms(0, 250, 500, 750)
    command = stream(ms(0), [0.3], [0.1])
    timing = Timing.of(4.0, None, command_age=0.3)
    stood = resample(Streams({"front": time}, still(0, 1000), command), timing)
    assert stood.fields["action"].tolist() == [[0.3, 0.1], [0.3, 0.1], [0.0, 0.0], [0.0, 0.0]]
    assert not stood.faults
    moving = stream(ms(*range(0, 1001, 50)), [0.0005 * t for t in range(0, 1001, 50)], [0.0] * 21,
                    [0.0] * 21)  # fmt: skip
    moved = resample(Streams({"front": time}, moving, command), timing)
    why = "no command within 0.3 s, and the robot did not stand still"
    assert moved.faults == {2: why, 3: why}
    assert np.isnan(moved.fields["action"][2:]).all()
    blind = resample(Streams({"front": time}, None, command), timing)
    assert blind.faults == dict.fromkeys((2, 3), "no command within 0.3 s, and no pose tells more")


def test_turning_on_the_spot_is_not_standing_still() -> None:
    time = ms(0, 250)
    poses = stream(time, [0, 0], [0, 0], [0.0, 0.1])
    steps = resample(Streams({"front": time}, poses, stream(ms(-9000), [0], [0])), TIMING)
    assert sorted(steps.faults) == [0, 1]


def test_imu_is_averaged_before_and_shaking_measured_after_the_step() -> None:
    gyro = [1.0, 3.0, 5.0, -5.0, 0.0]
    imu = stream(ms(100, 250, 300, 400, 600), gyro, [0.0] * 5, *[[9.0] * 5] * 4)
    mean, rough = mean_imu(imu, ms(250, 500), TIMING), bumpiness(imu, ms(250, 500), TIMING)
    # Until 250: the readings of 100 and 250. After it until 500: 5 and -5, whose mean is zero.
    assert mean[:, 0] == pytest.approx([2.0, 0.0])
    assert rough == pytest.approx([np.sqrt((25 + 25) / 4), 0.0])
    assert mean[:, 3].tolist() == [9.0, 9.0]


def test_steps_without_imu_have_no_reading() -> None:
    imu = stream(ms(5000), *[[1.0]] * 6)
    assert np.isnan(mean_imu(imu, ms(0, 250), TIMING)).all()
    assert np.isnan(bumpiness(imu, ms(0, 250), TIMING)).all()


def test_a_missing_half_of_an_imu_stays_missing() -> None:
    imu = stream(ms(10, 20), [1.0, 2.0], [1.0, 2.0], [1.0, 2.0], *[[np.nan, np.nan]] * 3)
    assert mean_imu(imu, ms(20), TIMING)[0].tolist()[:3] == [1.5] * 3
    assert np.isnan(mean_imu(imu, ms(20), TIMING)[0, 3:]).all()


def test_a_collision_counts_for_the_step_before_it() -> None:
    hits = stream(ms(100, 300, 320, 600), [0.0, 1.0, 0.0, 0.0])
    steps = resample(Streams({"front": ms(0, 250, 500)}, collision=hits), TIMING)
    assert steps.fields["collision"].tolist() == [False, True, False]


def test_intervention_is_what_was_last_said() -> None:
    said = stream(ms(100, 400), [1.0, 0.0])
    steps = resample(Streams({"front": ms(0, 250, 500)}, intervention=said), TIMING)
    assert steps.fields["intervention"].tolist() == [False, True, False]


def test_scans_and_fixes_are_the_nearest() -> None:
    gps = stream(ms(600), [1.0], [2.0], [3.0])
    steps = resample(Streams({"front": ms(0, 250, 500)}, gps=gps, lidar=ms(240, 5)), TIMING)
    assert steps.scans is not None and steps.scans.tolist() == [1, 0, -1]
    assert np.isnan(steps.fields["gps"][0]).all()  # 600 ms away
    assert steps.fields["gps"][1:].tolist() == [[1.0, 2.0, 3.0]] * 2


def test_without_a_camera_steps_are_at_ticks_of_the_odometrys_clock() -> None:
    time = [10, 110, 210, 310, 410, 510, 1590, 1700]
    poses = stream(ms(*time), *[[float(t) for t in time]] * 2, [0] * 8)
    steps = resample(Streams(pose=poses), TIMING)
    # Ticks at 10, 260, ...: nothing is near 760, 1010 and 1260; 1510 lies before a gap's end.
    assert steps.time.tolist() == ms(10, 260, 510).tolist()
    assert steps.fields["position"][:, 0] == pytest.approx([10, 260, 510])
    assert steps.missing == {"no odometry within 0.125 s": 4}
    assert not steps.frames
    assert len(resample(Streams(pose=stream(ms(), [], [], [])), TIMING).time) == 0


def test_rate_and_jitter_are_told() -> None:
    fact = rate_fact("odometry /odom", ms(0, 100, 200, 190, 300, 300, 900))
    assert fact.startswith("odometry /odom: 7 messages, 10 Hz, jitter ")
    assert "longest gap 0.6 s, 1 repeat a time stamp, 1 out of order" in fact
    assert rate_fact("x", ms(1)) == "x: 1 messages"
    assert rate_fact("x", ms(1, 1)) == "x: 2 messages, all of one time stamp"


def test_a_sensor_on_its_side_is_levelled() -> None:
    # It reads gravity along y: it was rolled by -90 degrees, so its y axis points up.
    reading = np.array([[0.1, 0.7, 0.2, 0.0, 9.8, 0.0]])
    tilt = tilt_of(reading)
    assert tilt is not None
    angle, rotation = tilt
    assert angle == pytest.approx(np.pi / 2)
    assert levelled(reading, rotation)[0] == pytest.approx([0.1, -0.2, 0.7, 0.0, 0.0, 9.8])


def test_a_sensor_upside_down_is_turned_about_x() -> None:
    reading = np.array([[0.1, 0.2, 0.3, 0.0, 0.0, -9.8]])
    tilt = tilt_of(reading)
    assert tilt is not None
    assert levelled(reading, tilt[1])[0] == pytest.approx([0.1, -0.2, -0.3, 0.0, 0.0, 9.8])


@pytest.mark.parametrize(
    "acceleration", [(0.0, 0.0, 9.8), (2.0, 0.0, 9.6), (0.0, 0.0, 0.0), (0.0, 40.0, 0.0)]
)
def test_an_upright_sensor_and_one_without_gravity_are_left(
    acceleration: tuple[float, float, float],
) -> None:
    assert tilt_of(np.array([[0.0, 0.0, 0.0, *acceleration]])) is None


stamps = st.lists(st.integers(0, 5000), min_size=0, max_size=60, unique=True)


@settings(max_examples=200, deadline=None)
@given(
    front=stamps.filter(bool),
    rear=stamps,
    odometry=stamps,
    commands=stamps,
    period=st.integers(20, 600),
    tolerance=st.integers(1, 400),
    seed=st.integers(0, 99),
)
def test_no_step_uses_what_is_too_far_whatever_comes_in_whatever_order(
    front: list[int],
    rear: list[int],
    odometry: list[int],
    commands: list[int],
    period: int,
    tolerance: int,
    seed: int,
) -> None:
    timing = Timing.of(1000 / period, tolerance / 1000, 0.5)

    def streams(shuffle: bool) -> tuple[Streams, dict[str, NDArray[np.int64]]]:
        rng = np.random.default_rng(seed)
        given = [
            rng.permutation(times) if shuffle else np.array(sorted(times))
            for times in (front, rear, odometry, commands)
        ]
        first, second, odom, told = (times.astype(np.int64) * MS for times in given)
        # Every sample says when it was taken.
        pose = np.stack([odom / MS, odom / MS, 0.0 * odom], axis=1).reshape(-1, 3)
        command = np.stack([told / MS, 0.0 * told], axis=1).reshape(-1, 2)
        return Streams(
            {"front": first, "rear": second}, Stream.of(odom, pose), Stream.of(told, command)
        ), {"front": first, "rear": second}

    ordered, times = streams(shuffle=False)
    steps = resample(ordered, timing)
    assert (np.diff(steps.time) > 0).all()
    assert steps.time.tolist() == times["front"][steps.frames["front"]].tolist()
    rears = times["rear"][steps.frames["rear"]]
    assert (np.abs(rears - steps.time) <= timing.tolerance).all()
    assert len(set(rears.tolist())) == len(rears)
    assert steps.fields["position"][:, 0] == pytest.approx(steps.time / MS)
    for time in steps.time:
        assert np.abs(np.array(odometry) * MS - time).min() <= timing.tolerance
    for step, (said, _) in enumerate(steps.fields["action"]):
        if step not in steps.faults and said != 0:
            assert 0 <= steps.time[step] / MS - said <= 500
    shuffled, shuffled_times = streams(shuffle=True)
    again = resample(shuffled, timing)
    assert again.time.tolist() == steps.time.tolist()
    assert (again.missing, again.faults) == (steps.missing, steps.faults)
    for name, values in steps.fields.items():
        assert np.array_equal(again.fields[name], values, equal_nan=True)
    for name, index in again.frames.items():
        same = times[name][steps.frames[name]]
        assert shuffled_times[name][index].tolist() == same.tolist()
