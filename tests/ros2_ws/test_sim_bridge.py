"""The simulated robot's topics, heard over DDS: each sensor against what it must see."""

import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# A red block of 1 m x 1 m in the middle of 20 m x 20 m; the edge of the world returns the lidar's
# light, too. The ground shakes by 0.4 (rad/s)/(m/s).
WORLD = """
name: block
size: [20.0, 20.0]
outdoor: {sky_clouds: 0.0}
ground: [{kind: floor, material: asphalt, roughness: [0.4, 0.4]}]
objects: [{prefab: block, place: rows, rows: {spacing: [30, 30]}, gap: 0, heading: fixed}]
materials: {red: {pattern: plain, colours: [[230, 20, 20]]}}
prefabs: {block: {parts: [{size: [1.0, 1.0, 1.5], material: red}]}}
"""
BLOCK = (9.5, 10.5)  # from, to; along x and along y
SIZE = 20.0
START, GOAL = [6.0, 10.0, 0.0], [3.0, 10.0, 0.0]


class Bridge:
    """A sim_bridge in the world of the red block."""

    def __init__(self, ros: Any, folder: Path, **parameters: Any) -> None:
        from nav_msgs.msg import Odometry

        world = folder / "block.yaml"
        world.write_text(WORLD)
        self.ros = ros
        settings = {"world": str(world), "start": START, "goal": GOAL, "camera_noise": 0.0}
        self.truth = ros.probe.record(Odometry, "ground_truth")
        self.process = ros.start("sim_bridge", settings | parameters)

    def hear(self, kind: type, topic: str, count: int = 1) -> list[Any]:
        """Wait for so many messages and return them."""
        heard = self.ros.probe.record(kind, topic)
        self.ros.wait_for(lambda: len(heard) >= count, 40.0)
        return [message for _, message in heard]

    def drive(self, linear: float, angular: float = 0.0, kind: str = "Twist") -> Any:
        """Send a command at 20 Hz until the returned timer is cancelled."""
        import geometry_msgs.msg

        message = getattr(geometry_msgs.msg, kind)()
        twist = message.twist if kind == "TwistStamped" else message
        twist.linear.x, twist.angular.z = linear, angular
        publisher = self.ros.probe.node.create_publisher(type(message), "cmd_vel", 1)
        return self.ros.probe.node.create_timer(0.05, lambda: publisher.publish(message))

    def speed(self) -> float:
        return float(self.truth[-1][1].twist.twist.linear.x) if self.truth else 0.0


def stamp_of(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


@pytest.mark.parametrize("lens", [1.0, 0.8])
def test_camera_info_tells_where_the_block_is_in_the_picture(
    ros: Any, tmp_path: Path, lens: float
) -> None:
    from sensor_msgs.msg import CameraInfo, Image

    drawn = tmp_path / "drawn.yaml"
    drawn.write_text(f"field_of_view: [{lens}, {lens}]\n")
    bridge = Bridge(ros, tmp_path, randomisation=str(drawn))
    picture = bridge.hear(Image, "camera/image_raw")[-1]
    info = bridge.hear(CameraInfo, "camera/camera_info")[-1]
    assert (info.width, info.height) == (picture.width, picture.height) == (128, 96)
    assert info.header.frame_id == picture.header.frame_id == "camera_optical_frame"
    assert info.distortion_model == "plumb_bob" and list(info.d) == [0.0] * 5
    assert list(info.r) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    k, p = np.reshape(info.k, (3, 3)), np.reshape(info.p, (3, 4))
    np.testing.assert_array_equal(p, np.column_stack([k, np.zeros(3)]))
    assert k[0, 0] == pytest.approx(64 / math.tan(lens * math.radians(100) / 2))
    # The lens is 0.15 m ahead of the robot and 0.5 m high.
    depth = BLOCK[0] - (START[0] + 0.15)
    left, top, _ = k @ (-0.5, 0.5 - 1.5, depth) / depth
    right, bottom, _ = k @ (0.5, 0.5, depth) / depth
    pixels = np.frombuffer(picture.data, np.uint8).reshape(96, 128, 3).astype(int)
    red = pixels[..., 0] - pixels[..., 1:].mean(axis=2) > 60
    # Those pixels are red whose middle is on the block; ROS counts from the first one's middle.
    columns, rows = np.flatnonzero(red[45]), np.flatnonzero(red[:, 64])
    np.testing.assert_array_equal(columns, np.arange(math.ceil(left), math.floor(right) + 1))
    np.testing.assert_array_equal(rows, np.arange(math.ceil(top), math.floor(bottom) + 1))


def expected_range(x: float, y: float, bearing: float) -> float:
    """Distance to the block or the world's edge, by crossing every line that bounds them."""
    cos, sin = math.cos(bearing), math.sin(bearing)
    found = [math.inf]
    for low, high in ((0.0, SIZE), BLOCK):
        for side in (low, high):
            for way, other in (((side - x) / cos, 1), ((side - y) / sin, 0)):
                across = (x + way * cos, y + way * sin)[other]
                if way > 0 and low - 1e-9 <= across <= high + 1e-9:
                    found.append(way)
    return min(found)


def test_the_scan_agrees_with_block_and_edges(ros: Any, tmp_path: Path) -> None:
    from sensor_msgs.msg import LaserScan

    x, y, yaw = start = [6.0, 9.3, 0.3]
    bridge = Bridge(ros, tmp_path, start=start)
    scans = bridge.hear(LaserScan, "scan", 5)
    scan = scans[-1]
    assert scan.header.frame_id == "lidar_link"
    assert len(scan.ranges) == 180
    assert scan.angle_min + 179 * scan.angle_increment == pytest.approx(scan.angle_max, abs=1e-4)
    gaps = np.diff([stamp_of(each) for each in scans])
    assert scan.scan_time == pytest.approx(0.1)
    assert np.mean(gaps) == pytest.approx(0.1, rel=0.1)
    bearings = yaw + scan.angle_min + np.arange(180) * scan.angle_increment
    expected = np.array([expected_range(x, y, bearing + 1e-9) for bearing in bearings])
    ranges = np.array(scan.ranges)
    near = expected < scan.range_max - 0.1
    assert (ranges[expected > scan.range_max + 0.1] == math.inf).all()
    # A ray that only just passes the block's corner may catch it.
    off = np.abs(ranges[near] - expected[near]) > 0.08
    assert off.sum() <= 2
    errors = (ranges - expected)[near][~off]
    assert np.std(errors) == pytest.approx(0.01, abs=0.006)
    assert np.sum((ranges > 3.2) & (ranges < 3.8)) >= 6  # the block itself


def test_the_imu_at_rest_has_its_noise_and_gravity(ros: Any, tmp_path: Path) -> None:
    from sensor_msgs.msg import Imu

    bridge = Bridge(ros, tmp_path)
    heard = bridge.hear(Imu, "imu", 250)
    stamps = np.array([stamp_of(each) for each in heard])
    assert np.median(np.diff(stamps)) == pytest.approx(0.01, abs=0.002)
    assert np.mean(np.diff(stamps)) == pytest.approx(0.01, rel=0.2)
    gyro = np.array([[m.angular_velocity.x, m.angular_velocity.y] for m in heard])
    up = np.array([m.linear_acceleration.z for m in heard])
    assert gyro.std(axis=0) == pytest.approx([0.005, 0.005], rel=0.25)
    assert up.std() == pytest.approx(0.05, rel=0.25)
    assert up.mean() == pytest.approx(9.80665, abs=0.2)  # its bias is 0.05
    last = heard[-1]
    assert last.header.frame_id == "imu_link"
    assert last.orientation_covariance[0] == -1.0
    assert last.angular_velocity_covariance[0] == pytest.approx(0.005**2 + 0.002**2)
    assert last.linear_acceleration_covariance[8] == pytest.approx(0.05**2 + 0.05**2)


def test_the_imu_shakes_with_ground_and_speed(ros: Any, tmp_path: Path) -> None:
    from sensor_msgs.msg import Imu

    bridge = Bridge(
        ros, tmp_path, start=[3.0, 3.0, 0.0], use_sim_time=True, pace="free", command_timeout=5.0
    )
    imu = ros.probe.record(Imu, "imu")
    bridge.drive(0.6)
    ros.wait_for(lambda: bridge.speed() > 0.58, 40.0)
    before = len(imu)
    ros.wait_for(lambda: bridge.truth[-1][1].pose.pose.position.x > 13.0)
    rates = [m.angular_velocity for _, m in imu[before:]]
    assert len(rates) > 300
    for axis in "xy":
        rms = np.sqrt(np.mean(np.square([getattr(rate, axis) for rate in rates])))
        assert rms == pytest.approx(0.4 * 0.6, rel=0.25)


def test_what_a_robot_lacks_is_not_advertised(ros: Any, tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text(
        "name: bare\ncameras: {front: {}, rear: {yaw: 3.14159, width: 64, height: 48}}\n"
    )
    bridge = Bridge(ros, tmp_path, robot=str(bare))
    ros.wait_for(lambda: bridge.truth, 40.0)
    node = ros.probe.node
    there = {topic for topic, _ in node.get_topic_names_and_types() if node.count_publishers(topic)}
    assert {"/scan", "/imu", "/clock"}.isdisjoint(there)
    parts = ("image_raw", "image_raw/compressed", "camera_info")
    wanted = {f"/{name}/{part}" for name in ("camera", "camera_rear") for part in parts}
    assert wanted | {"/odom"} <= there
    from sensor_msgs.msg import Image

    rear = bridge.hear(Image, "camera_rear/image_raw")[-1]
    assert (rear.width, rear.header.frame_id) == (64, "camera_rear_optical_frame")


def test_sensors_are_sensor_data_and_odometry_is_reliable(ros: Any, tmp_path: Path) -> None:
    from rclpy.qos import ReliabilityPolicy

    bridge = Bridge(ros, tmp_path)
    ros.wait_for(lambda: bridge.truth, 40.0)
    for topic, wanted in (
        ("camera/image_raw", ReliabilityPolicy.BEST_EFFORT),
        ("camera/image_raw/compressed", ReliabilityPolicy.BEST_EFFORT),
        ("camera/camera_info", ReliabilityPolicy.BEST_EFFORT),
        ("imu", ReliabilityPolicy.BEST_EFFORT),
        ("scan", ReliabilityPolicy.BEST_EFFORT),
        ("odom", ReliabilityPolicy.RELIABLE),
    ):
        (found,) = ros.probe.node.get_publishers_info_by_topic(f"/{topic}")
        assert found.qos_profile.reliability == wanted, topic


def test_odometry_starts_at_zero_and_does_not_jump_when_the_robot_is_lifted(
    ros: Any, tmp_path: Path
) -> None:
    from nav_msgs.msg import Odometry
    from nav_offrl_msgs.srv import ResetSimulation

    bridge = Bridge(ros, tmp_path, start=[3.0, 3.0, 0.0])
    odometry = ros.probe.record(Odometry, "odom")
    ros.wait_for(lambda: odometry, 40.0)
    first = odometry[0][1]
    assert (first.pose.pose.position.x, first.pose.pose.position.y) == pytest.approx((0, 0))
    assert (first.header.frame_id, first.child_frame_id) == ("odom", "base_link")
    covariance = np.reshape(first.twist.covariance, (6, 6))
    assert covariance[0, 0] == covariance[5, 5] == pytest.approx(0.01**2)
    timer = bridge.drive(0.5)
    ros.wait_for(lambda: odometry[-1][1].pose.pose.position.x > 0.5)
    timer.cancel()
    ros.wait_for(lambda: abs(bridge.speed()) < 1e-3)
    time.sleep(0.2)
    before = odometry[-1][1]
    request = ResetSimulation.Request(start=[15.0, 15.0, 2.0], goal=GOAL)
    assert ros.probe.call(ResetSimulation, "reset_simulation", request).success
    ros.wait_for(lambda: bridge.truth[-1][1].pose.pose.position.x > 14)
    time.sleep(0.2)
    after = odometry[-1][1].pose.pose
    assert after.position.x == pytest.approx(before.pose.pose.position.x, abs=0.02)
    assert after.position.y == pytest.approx(before.pose.pose.position.y, abs=0.02)
    along = [np.reshape(m.pose.covariance, (6, 6))[0, 0] for _, m in (odometry[0], odometry[-1])]
    assert along[0] < along[1] < 0.05**2  # it drove half a metre


@pytest.mark.parametrize("kind", ["Twist", "TwistStamped"])
def test_the_base_stops_when_commands_stop(ros: Any, tmp_path: Path, kind: str) -> None:
    stamped = kind == "TwistStamped"
    bridge = Bridge(ros, tmp_path, command_timeout=0.3, enable_stamped_cmd_vel=stamped)
    timer = bridge.drive(0.5, kind=kind)
    ros.wait_for(lambda: bridge.speed() > 0.48, 40.0)
    timer.cancel()
    last = time.time()
    ros.wait_for(lambda: abs(bridge.speed()) < 0.01)
    later = [(stamp_of(m) - last, m.twist.twist.linear.x) for _, m in bridge.truth]
    brakes = next(age for age, speed in later if age > 0 and speed < 0.45)
    stands = next(age for age, speed in later if age > 0 and speed < 0.02)
    print(f"BRAKES {brakes:.3f} s and STANDS {stands:.3f} s after the last command")
    # Commands were up to 0.05 s apart, and truth comes every 0.05 s.
    assert 0.24 <= brakes <= 0.3 + 0.25
    assert stands <= brakes + 0.7  # 0.33 s of deceleration, and the drive's lag


def simulated_time(clock: list[Any]) -> list[float]:
    return [m.clock.sec + m.clock.nanosec * 1e-9 for _, m in clock]


def test_free_running_is_faster_than_real_time(ros: Any, tmp_path: Path) -> None:
    from nav_msgs.msg import Odometry
    from rosgraph_msgs.msg import Clock

    bridge = Bridge(ros, tmp_path, use_sim_time=True, pace="free")
    clock = ros.probe.record(Clock, "/clock")
    ros.wait_for(lambda: clock and bridge.truth, 40.0)
    begin, first = time.monotonic(), len(clock)
    time.sleep(2.0)
    spent, last = time.monotonic() - begin, len(clock) - 1
    times = simulated_time(clock)
    factor = (times[last] - times[first]) / spent
    print(f"FREE {factor:.1f} x real time")
    assert factor > 3
    assert min(np.diff(times)) == pytest.approx(0.01)  # with every step, never back
    odometry = bridge.hear(Odometry, "odom", 20)
    gaps = np.diff([stamp_of(message) for message in odometry])
    assert np.median(gaps) == pytest.approx(0.05)  # in its own time


def test_commands_let_time_pass_and_no_more_than_that(ros: Any, tmp_path: Path) -> None:
    from geometry_msgs.msg import Twist
    from nav_msgs.msg import Odometry
    from rosgraph_msgs.msg import Clock

    bridge = Bridge(
        ros, tmp_path, start=[3.0, 3.0, 0.0], use_sim_time=True, pace="commands",
        command_period=0.1, odometry_rate_hz=10.0,
    )  # fmt: skip
    clock = ros.probe.record(Clock, "/clock")
    ros.wait_for(lambda: clock and bridge.truth, 40.0)
    publisher = ros.probe.node.create_publisher(Twist, "cmd_vel", 1)
    sent = []

    def answer(message: Odometry) -> None:
        sent.append(stamp_of(message))
        publisher.publish(Twist())

    # Nobody commands: time passes as on the wall.
    begin, first = time.monotonic(), simulated_time(clock)[-1]
    time.sleep(1.0)
    idle = (simulated_time(clock)[-1] - first) / (time.monotonic() - begin)
    assert 0.5 < idle < 1.1
    ros.probe.node.create_subscription(Odometry, "odom", answer, 1)
    ros.wait_for(lambda: sent)
    begin, first, commands = time.monotonic(), simulated_time(clock)[-1], len(sent)
    time.sleep(2.0)
    passed, spent = simulated_time(clock)[-1] - first, time.monotonic() - begin
    print(f"COMMANDS {passed / spent:.1f} x real time")
    assert passed > 2 * spent
    # An answer to each odometry at 10 Hz: without waiting for answers it would be far fewer.
    assert len(sent) - commands >= 0.9 * passed / 0.1 - 2
    assert passed <= 0.1 * (len(sent) - commands + 1) + spent + 0.2


def test_a_pace_other_than_real_time_needs_simulated_time(ros: Any, tmp_path: Path) -> None:
    bridge = Bridge(ros, tmp_path, pace="free")
    assert bridge.process.wait(40) == 2
    assert "needs 'use_sim_time'" in ros.log("sim_bridge")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_in_the_middle_of_its_work(
    ros: Any, tmp_path: Path, how: signal.Signals
) -> None:
    from sensor_msgs.msg import Image

    bridge = Bridge(ros, tmp_path, use_sim_time=True, pace="free")
    bridge.hear(Image, "camera/image_raw")
    begin = time.monotonic()
    bridge.process.send_signal(how)
    assert bridge.process.wait(10) == 0
    assert time.monotonic() - begin < 5.0
    assert "Traceback" not in ros.log("sim_bridge")


def test_a_whole_drive_runs_faster_than_real_time_and_no_node_falls_behind(
    ros: Any, tmp_path: Path
) -> None:
    from nav_offrl_export.example import write_example_bundle

    bundle = write_example_bundle(
        tmp_path / "bundle", height=96, width=128, horizontal_fov=1.7453, rate_hz=5.0,
        arrival_steps=0.001, policy_gain=0.0,
    )  # fmt: skip
    drive = {"start": [3.0, 3.0, 0.0], "goal": [8.0, 3.0, 0.0]}
    plan = {"replay": False, "drives": [drive], "timeout": 12.0, "folder": str(tmp_path)}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    simulated, shipped = {"use_sim_time": True}, [ros.share("config/navigation.yaml")]
    senders = ["cmd_vel_nav", "cmd_vel"]
    Bridge(ros, tmp_path, camera_noise=1.0, pace="commands", pace_topics=senders, **simulated)
    # Twice the shipped ages: on a busy machine a process may stand still for 0.2 s.
    ages = dict.fromkeys(("max_command_age", "max_image_age", "max_odometry_age"), 0.4)
    ros.start("safety_gate", simulated | ages, shipped)
    ros.start("navigator", {"bundle": str(bundle), **simulated}, shipped)
    client = ros.start("drive_client", simulated, arguments=[str(tmp_path / "plan.json")])
    ros.wait_for(lambda: '"steps_to_goal"' in ros.log("drive_client"), 60.0)
    begin = time.monotonic()
    ros.wait_for(lambda: "goal ended after 12." in ros.log("navigator"), 60.0)
    spent = time.monotonic() - begin
    assert client.wait(60) == 0, ros.log("drive_client")
    (record,) = json.loads((tmp_path / "record.json").read_text())
    assert record["error_code"] == 703 and record["navigation_time"] == pytest.approx(12, abs=0.5)
    print(f"DRIVE {record['navigation_time'] / spent:.1f} x real time")
    assert spent < 12
    # 0.5 m/s for 12 s, but for the start; each stop by the gate costs half a metre.
    driven = record["truth"][-1][1] - drive["start"][0]
    assert 4.5 < driven < 6.0
    assert not record["truth"][0][3] > 0.01


def test_same_seed_same_drive_other_seed_another(ros: Any, tmp_path: Path) -> None:
    """Places are drawn; people and the camera's light come from the seed, too."""
    drawn = tmp_path / "drawn.yaml"
    drawn.write_text("exposure: [-0.5, 0.5]\n")
    places = []
    for seed in (1, 1, 2):
        nowhere = [math.nan] * 3
        bridge = Bridge(
            ros, tmp_path, start=nowhere, goal=nowhere, seed=seed, pedestrians=2,
            randomisation=str(drawn),
        )  # fmt: skip
        ros.wait_for(lambda bridge=bridge: bridge.truth, 40.0)
        position = bridge.truth[0][1].pose.pose.position
        places.append((position.x, position.y))
        ros.processes.stop()
    assert places[0] == pytest.approx(places[1], abs=1e-6)
    assert places[0] != pytest.approx(places[2], abs=0.1)
