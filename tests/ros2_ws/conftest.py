"""Real nodes in real processes over real DDS, each test in a ROS domain of its own."""

import ctypes
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

WORKSPACE = Path(__file__).parents[2] / "ros2_ws"
SENSOR = Path(__file__).parent / "sensor.py"


@pytest.fixture(scope="session")
def built_environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Build the workspace (quick when nothing changed) and return its environment."""
    pytest.importorskip("rclpy", reason="ROS is missing: pip install -r ros2_ws/requirements.txt")
    (WORKSPACE / "build").mkdir(exist_ok=True)
    with (WORKSPACE / "build" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [str(WORKSPACE / "build.sh")], capture_output=True, text=True, timeout=280
        )
    assert done.returncode == 0, done.stdout + done.stderr
    from nav_offrl.ros_environment import ros_environment

    environment = ros_environment(tmp_path_factory.mktemp("ros_logs"))
    import_workspace(environment)
    return environment


def import_workspace(environment: Mapping[str, str]) -> None:
    """Make the workspace's messages importable in this process, as if it had been sourced.

    The loader reads LD_LIBRARY_PATH only when a process starts, so the libraries are loaded here;
    their dependants then find them by name.
    """
    wanted = ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "ROS_LOG_DIR")
    wanted += ("FASTRTPS_DEFAULT_PROFILES_FILE",)
    os.environ.update({name: environment[name] for name in wanted})
    sys.path += [p for p in environment["PYTHONPATH"].split(":") if p and p not in sys.path]
    waiting = sorted((WORKSPACE / "install" / "lib").glob("libnav_offrl_msgs*.so"))
    for _ in range(len(waiting)):
        waiting = [library for library in waiting if not _loads(library)]
    assert not waiting


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def stop_limit() -> float:
    """Time (s) from a death to the first zero: 0.2 s of age and a gate's period of 0.05 s.

    On a machine with more to do than cores the test itself hears late.
    """
    return 0.25 if os.getloadavg()[0] <= (os.cpu_count() or 1) else 0.5


class Probe:
    """A node in the test's process, spinning in a thread, that hears and says things."""

    def __init__(self, domain: int) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def record(self, kind: type, topic: str) -> list[tuple[float, Any]]:
        """Return a list that fills with (time of arrival by the monotonic clock, message)."""
        from rclpy.qos import qos_profile_sensor_data

        heard: list[tuple[float, Any]] = []

        def hear(message: Any) -> None:
            heard.append((time.monotonic(), message))

        self.node.create_subscription(kind, topic, hear, qos_profile_sensor_data)
        return heard

    def call(self, kind: type, service: str, request: Any, timeout: float = 15.0) -> Any:
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(timeout), service
        answers: list[Any] = []
        for _ in range(3):  # on a busy machine an answer is lost if discovery is not over yet
            client.call_async(request).add_done_callback(lambda f: answers.append(f.result()))
            deadline = time.monotonic() + timeout / 3
            while not answers and time.monotonic() < deadline:
                time.sleep(0.005)
            if answers:
                return answers[0]
        raise AssertionError(f"no answer of {service}")

    @staticmethod
    def result(future: Any, timeout: float = 15.0) -> Any:
        wait_for(future.done, timeout)
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()
        self.context.try_shutdown()


def wait_for(condition: Callable[[], object], timeout: float = 15.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class RosTest:
    """What a test of nodes needs: processes, sensors and a probe in one domain."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        from nav_offrl.ros_environment import reserve_domain
        from nav_offrl.ros_processes import RosProcesses

        domain = reserve_domain()
        self.environment = {**environment, "ROS_DOMAIN_ID": str(domain)}
        self.processes = RosProcesses(self.environment, folder)
        self.start = self.processes.start
        self.probe = Probe(domain)
        self.wait_for = wait_for
        self.stop_limit = stop_limit
        self._sensors: list[subprocess.Popen[bytes]] = []

    def sensor(self, kind: str, rate_hz: float = 20.0) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(SENSOR), kind, str(rate_hz)]
        process = subprocess.Popen(command, env=self.environment)
        self._sensors.append(process)
        return process

    def log(self, executable: str) -> str:
        return self.processes.log(executable).read_text()

    def share(self, file: str) -> Path:
        from nav_offrl.ros_environment import share_file

        return share_file(self.environment, file)

    def close(self) -> None:
        for process in self._sensors:
            process.kill()
            process.wait()
        self.processes.stop()
        self.probe.close()


@pytest.fixture
def ros(built_environment: Mapping[str, str], tmp_path: Path) -> Iterator[RosTest]:
    test = RosTest(built_environment, tmp_path / "logs")
    yield test
    test.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A real bundle for the test camera: drives forward, says 'arrived' at the goal's colour."""
    from nav_offrl_export.example import write_example_bundle

    return write_example_bundle(tmp_path / "bundle", height=24, width=32, rate_hz=10.0)
