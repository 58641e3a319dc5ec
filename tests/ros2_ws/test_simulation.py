"""The simulator behind topics, and whole drives through all nodes with `nav-offrl drive`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

START, GOAL = [6.95, 18.45, -1.446], [10.65, 20.25, 0.0]  # free places of campus 0
# 1.6 m straight ahead of the start.
AHEAD = [6.95 + 1.6 * np.cos(-1.446), 18.45 + 1.6 * np.sin(-1.446), -1.446]


@pytest.fixture
def wide_bundle(tmp_path: Path) -> Path:
    """A real bundle that fits the simulated camera; it drives straight on with 0.5 m/s."""
    from nav_offrl_export.example import write_example_bundle

    return write_example_bundle(
        tmp_path / "wide_bundle",
        height=96,
        width=128,
        horizontal_fov=1.7453,
        rate_hz=5.0,
        arrival_steps=0.001,
        policy_gain=0.0,
    )


class Simulator:
    """A sim_bridge and what it says."""

    def __init__(self, ros: Any, **parameters: Any) -> None:
        from geometry_msgs.msg import Twist
        from nav_msgs.msg import Odometry

        self.ros = ros
        settings = {"world": "campus", "start": START, "goal": GOAL, **parameters}
        self.process = ros.start("sim_bridge", settings)
        self.truth = ros.probe.record(Odometry, "ground_truth")
        self.odometry = ros.probe.record(Odometry, "odom")
        self.commands = ros.probe.node.create_publisher(Twist, "cmd_vel", 1)
        self.message = Twist()
        ros.wait_for(lambda: self.truth and self.odometry, 30.0)

    def speed(self) -> float:
        return float(self.truth[-1][1].twist.twist.linear.x)

    def yaw(self) -> float:
        rotation = self.truth[-1][1].pose.pose.orientation
        return 2.0 * float(np.arctan2(rotation.z, rotation.w))

    def place(self) -> tuple[float, float]:
        position = self.truth[-1][1].pose.pose.position
        return position.x, position.y


def test_obeys_commands_and_stops_when_they_stop(ros: Any) -> None:
    simulator = Simulator(ros, command_timeout=0.3)
    assert simulator.place() == pytest.approx(START[:2], abs=0.05)
    simulator.message.linear.x = 0.5
    timer = ros.probe.node.create_timer(0.05, lambda: simulator.commands.publish(simulator.message))
    ros.wait_for(lambda: simulator.speed() > 0.4)
    timer.cancel()  # the gate is dead
    last_command = time.monotonic()
    ros.wait_for(lambda: abs(simulator.speed()) < 0.05, 5.0)
    elapsed = time.monotonic() - last_command
    print(f"STANDS {elapsed * 1000:.0f} ms after the last command")
    assert elapsed < 1.2  # 0.3 s of timeout, then braking
    moved = np.hypot(*np.subtract(simulator.place(), START[:2]))
    assert 0.1 < moved < 2.0


def test_turns_left_for_a_positive_turn_rate(ros: Any) -> None:
    simulator = Simulator(ros)
    simulator.message.angular.z = 0.5
    ros.probe.node.create_timer(0.05, lambda: simulator.commands.publish(simulator.message))
    ros.wait_for(lambda: simulator.yaw() > START[2] + 0.3, 10.0)
    assert simulator.place() == pytest.approx(START[:2], abs=0.05)


def test_publishes_in_real_time_at_its_rates(ros: Any) -> None:
    from sensor_msgs.msg import CompressedImage, Image

    simulator = Simulator(ros, camera_rate_hz=10.0)
    raw = ros.probe.record(Image, "camera/image_raw")
    compressed = ros.probe.record(CompressedImage, "camera/image_raw/compressed")
    ros.wait_for(lambda: raw and compressed)
    before = len(simulator.odometry), len(raw), len(compressed)
    time.sleep(2.0)
    after = len(simulator.odometry), len(raw), len(compressed)
    rates = np.subtract(after, before) / 2.0
    assert rates == pytest.approx([20.0, 10.0, 10.0], rel=0.2)
    image = raw[-1][1]
    assert (image.height, image.width, image.encoding) == (96, 128, "rgb8")
    # A resting robot's pictures differ, as a real camera's do.
    assert bytes(raw[-1][1].data) != bytes(raw[-2][1].data)


def test_reset_places_the_robot_and_shows_the_goal(ros: Any) -> None:
    from nav_offrl_msgs.srv import ResetSimulation

    simulator = Simulator(ros)
    request = ResetSimulation.Request(start=GOAL, goal=START)
    answer = ros.probe.call(ResetSimulation, "reset_simulation", request)
    assert answer.success, answer.message
    assert answer.geodesic_distance == pytest.approx(4.3, abs=0.3)
    assert bytes(answer.goal_image.data[:4]) == b"\x89PNG"
    ros.wait_for(lambda: simulator.place() == pytest.approx(GOAL[:2], abs=0.05))
    inside_a_wall = ResetSimulation.Request(start=[0.0, 0.0, 0.0], goal=START)
    refused = ros.probe.call(ResetSimulation, "reset_simulation", inside_a_wall)
    assert not refused.success and "not a free pose" in refused.message


@pytest.fixture
def own_domain(built_environment: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A domain of the test's own, in which `nav-offrl drive` finds itself."""
    from nav_offrl.ros_environment import reserve_domain

    domain = str(reserve_domain())
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    yield domain
    assert survivors(domain) == []


def survivors(domain: str) -> list[str]:
    """Command lines of processes that live in a ROS domain, this one aside."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        nodes = "lib/nav_offrl_ros/" in command
        if nodes and f"ROS_DOMAIN_ID={domain}".encode() in environment:
            found.append(command)
    return found


def test_a_drive_goes_through_all_nodes_and_is_measured(
    own_domain: str, wide_bundle: Path, tmp_path: Path
) -> None:
    from nav_offrl.drive import SimulationOptions, drive_simulated

    options = SimulationOptions(start=tuple(START), goal=tuple(AHEAD), trials=2, timeout=4.0)
    report = drive_simulated(wide_bundle, options, tmp_path / "drive")
    assert json.loads((tmp_path / "drive" / "drive.json").read_text()) == report
    assert (tmp_path / "drive" / "drive.png").stat().st_size > 20_000
    assert len(report["drives"]) == 2
    for drive in report["drives"]:
        assert (drive["arrived"], drive["error_code"]) == (False, 703)  # time ran out ...
        assert drive["success"]  # ... but it stands near the goal
        assert drive["final_distance_m"] < 0.8
        assert 4.0 <= drive["navigation_time_s"] < 6.0
        assert drive["path_length_m"] == pytest.approx(1.7, abs=0.4)
        assert drive["shortest_path_m"] == pytest.approx(1.6, abs=0.2)
        latency = drive["image_to_command"]
        print("LATENCY", latency, drive["image_to_cmd_vel"])
        assert latency["matched"] >= 0.8 * latency["images"] > 10
        assert 0.0 < latency["p50_ms"] < 200.0


def test_a_bundle_that_does_not_fit_the_camera_ends_the_drive_with_the_reason(
    own_domain: str, bundle: Path, tmp_path: Path
) -> None:
    from nav_offrl.drive import SimulationOptions, drive_simulated
    from nav_offrl.errors import NavOffrlError

    with pytest.raises(NavOffrlError, match=r"camera\.height.*bundle takes 24, camera gives 96"):
        drive_simulated(bundle, SimulationOptions(), tmp_path / "drive")
    assert not (tmp_path / "drive" / "drive.json").exists()


def test_a_recorded_drive_is_replayed_and_compared(
    own_domain: str, wide_bundle: Path, tmp_path: Path
) -> None:
    from nav_offrl.drive import ReplayOptions, drive_replayed

    store = recorded_store(tmp_path / "store.zarr", steps=30)
    options = ReplayOptions(store=store, horizon=15, trials=5)
    report = drive_replayed(wide_bundle, options, tmp_path / "replay")
    assert [drive["steps"] for drive in report["drives"]] == [15, 15]
    assert report["summary"]["compared"] >= 24
    linear = report["summary"]["imitation"]["linear_m_s"]
    # The example policy always drives 0.5 m/s, the recorded driver 0.3 m/s.
    assert linear["mean_absolute_error"] == pytest.approx(0.2, abs=0.01)
    assert linear["zero_error"] == pytest.approx(0.3, abs=0.01)
    assert linear["mean_error"] == pytest.approx(0.0, abs=0.01)
    assert (tmp_path / "replay" / "drive.png").stat().st_size > 10_000


def recorded_store(path: Path, steps: int) -> Path:
    import cv2

    from nav_offrl.store import CameraInfo, Episode, StoreInfo, StoreWriter

    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (steps, 96, 128, 3), np.uint8)
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    fields = {
        "time": np.arange(steps, dtype=np.int64) * 200_000_000,
        "position": np.zeros((steps, 2), np.float32),
        "yaw": np.zeros(steps, np.float32),
        "action": np.tile(np.array([0.3, 0.1], np.float32), (steps, 1)),
    }
    camera = CameraInfo(height=96, width=128, horizontal_fov=1.7453)
    info = StoreInfo(rate_hz=5.0, action_source="commanded", cameras={"front": camera})
    with StoreWriter.create(path, info) as writer:
        writer.append(Episode("one", {"front": jpegs}, fields, split="held_out"))
        return writer.finish()


@pytest.mark.flaky(reruns=1)  # eight processes start and end within a time limit
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_survives_an_interrupted_drive(
    own_domain: str, wide_bundle: Path, tmp_path: Path, how: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-c",
        "from nav_offrl.cli.main import main; raise SystemExit(main())",
    ]
    command += ["drive", str(wide_bundle), "--output", str(tmp_path / "drive")]
    command += ["--start", *map(str, START), "--goal", *map(str, GOAL)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while len(survivors(own_domain)) < 4:
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(how)
        status = process.wait(20)
    finally:
        process.kill()
    assert status == (130 if how is signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 5
    while survivors(own_domain) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert survivors(own_domain) == []
