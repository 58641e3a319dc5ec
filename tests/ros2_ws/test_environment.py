"""Finding ROS, reserving domains, running processes, pointing the wheels' exports."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.ros_environment import (
    WORKSPACE_VARIABLE,
    find_executable,
    reserve_domain,
    ros_environment,
    ros_status,
    workspace,
)

WORKSPACE = Path(__file__).parents[2] / "ros2_ws"


def test_a_workspace_that_was_not_built_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rclpy")
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert workspace() == tmp_path
    finding = next(found for found in ros_status() if found.name == "ROS workspace")
    assert not finding.ok and str(tmp_path / "build.sh") in finding.remedy
    with pytest.raises(NavOffrlError, match=r"not built.*build\.sh"):
        ros_environment(tmp_path)


def test_a_fresh_shell_gets_an_environment_in_which_nodes_can_be_imported(
    built_environment: Any, tmp_path: Path
) -> None:
    """As on a user's terminal: nothing is sourced, and only the venv's Python is started."""
    script = (
        "import json, subprocess, sys; from pathlib import Path\n"
        "from nav_offrl.ros_environment import ros_environment\n"
        f"environment = ros_environment(Path({str(tmp_path)!r}))\n"
        "code = 'import nav_offrl_ros.navigator, nav_offrl_msgs.action'\n"
        "subprocess.run([sys.executable, '-c', code], env=environment, check=True)\n"
    )
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run([sys.executable, "-c", script], env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_domains_are_held_and_the_users_is_kept(
    built_environment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = {reserve_domain() for _ in range(10)}
    assert len(domains) == 10
    assert all(1 <= domain <= 101 for domain in domains)
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert ros_environment(tmp_path)["ROS_DOMAIN_ID"] == "42"


def test_a_node_that_dies_is_reported_with_its_last_words(ros: Any) -> None:
    process = ros.start("replay_bridge", {"store": "/nonexistent"})
    assert process.wait(20) == 2
    with pytest.raises(NavOffrlError, match=r"replay_bridge.*status 2.*/nonexistent"):
        ros.processes.check()


def test_nodes_end_by_themselves_when_asked(ros: Any) -> None:
    process = ros.start("safety_gate")
    ros.wait_for(lambda: ros.probe.node.count_publishers("cmd_vel") == 1)
    started = time.monotonic()
    ros.processes.stop()
    assert process.returncode == 0  # not killed: it ended on SIGINT
    assert time.monotonic() - started < 3.0


def test_no_executable_of_another_name_is_started(ros: Any) -> None:
    assert find_executable(ros.environment, "pilot") is None
    with pytest.raises(NavOffrlError, match=r"build\.sh"):
        ros.start("pilot")


def test_wheel_exports_are_pointed_at_this_python_once() -> None:
    path = WORKSPACE / "tools" / "fix_wheel_exports.py"
    spec = importlib.util.spec_from_file_location("fix_wheel_exports", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    builder = "/opt/python/cp311-cp311"
    text = (
        f'DIRECTORIES "{builder}/include/python3.11;'
        f'{builder}/lib/python3.11/site-packages/numpy/_core/include;${{PREFIX}}/include"'
    )
    fixed = tool.repoint(text, "/here/python", "/here/numpy")
    assert fixed == 'DIRECTORIES "/here/python;/here/numpy;${PREFIX}/include"'
    assert tool.repoint(fixed, "/here/python", "/here/numpy") == fixed


def test_the_launcher_is_killed_and_its_nodes_die_with_it(
    built_environment: Any, tmp_path: Path
) -> None:
    script = (
        "import os, time; from pathlib import Path\n"
        "from nav_offrl.ros_processes import RosProcesses\n"
        f"processes = RosProcesses(os.environ, Path({str(tmp_path)!r}))\n"
        "print(processes.start('safety_gate').pid, flush=True); time.sleep(60)\n"
    )
    environment = {**built_environment, "ROS_DOMAIN_ID": str(reserve_domain())}
    launcher = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    node = int(launcher.stdout.readline())
    os.kill(node, 0)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{node}").exists() and _alive(node):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(process: int) -> bool:
    """Not gone and not a zombie that waits for its new parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
