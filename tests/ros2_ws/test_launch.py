"""The launch file: every combination resolves, and what it names exists and is declared."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent


def stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch_stand_in", HERE / "launch_stand_in.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolve(environment: Any, **arguments: str) -> list[Any]:
    from nav_offrl.ros_environment import share_file

    file = share_file(environment, "launch/sim.launch.py")
    return stand_in().resolve(file, file.parents[2], arguments)


def test_a_bundle_must_be_given_and_choices_are_checked(built_environment: Any) -> None:
    with pytest.raises(LookupError, match="bundle"):
        resolve(built_environment)
    with pytest.raises(LookupError, match="simulator"):
        resolve(built_environment, bundle="b", simulator="maybe")


def test_without_the_simulator_only_the_robots_nodes_start(built_environment: Any) -> None:
    every = resolve(built_environment, bundle="b")
    robot = resolve(built_environment, bundle="b", simulator="false")
    assert {p.executable for p in every} == {"navigator", "safety_gate", "sim_bridge"}
    assert {p.executable for p in robot} == {"navigator", "safety_gate"}


def test_a_bundles_name_stays_text_even_if_it_looks_like_a_number(built_environment: Any) -> None:
    processes = resolve(built_environment, bundle="007", log_level="warn")
    navigator = next(p for p in processes if p.executable == "navigator")
    assert navigator.parameters["bundle"] == "007"
    assert navigator.arguments[-1] == "warn"


def test_what_it_starts_runs_in_a_namespace_and_declares_every_parameter(
    ros: Any, bundle: Path
) -> None:
    from geometry_msgs.msg import Twist
    from rcl_interfaces.srv import GetParameters, ListParameters

    from nav_offrl.ros_environment import find_executable

    heard = ros.probe.record(Twist, "/robot_1/cmd_vel")
    started = []
    try:
        for process in resolve(ros.environment, bundle=str(bundle), namespace="robot_1"):
            command = [str(find_executable(ros.environment, process.executable)), "--ros-args"]
            command += ["-r", f"__ns:=/{process.namespace}", "-r", f"__node:={process.name}"]
            for file in process.files:
                command += ["--params-file", str(file)]
            for name, value in process.parameters.items():
                command += ["-p", f"{name}:={json.dumps(value)}"]
            started.append(subprocess.Popen(command, env=ros.environment))
        ros.wait_for(lambda: heard, 20.0)
        for process in resolve(ros.environment, bundle=str(bundle)):
            node = f"/robot_1/{process.executable}"
            wanted = set(process.parameters) | file_parameters(process)
            answer = ros.probe.call(
                ListParameters, f"{node}/list_parameters", ListParameters.Request()
            )
            assert wanted <= set(answer.result.names), node
        # The file reaches the nodes in whatever namespace.
        request = GetParameters.Request(names=["max_command_age"])
        answer = ros.probe.call(GetParameters, "/robot_1/safety_gate/get_parameters", request)
        assert answer.values[0].double_value == 0.2
    finally:
        for running in started:
            running.kill()
            running.wait()


def file_parameters(process: Any) -> set[str]:
    names: set[str] = set()
    for file in process.files:
        values = yaml.safe_load(file.read_text())
        for node, content in values.items():
            if node.rpartition("/")[2] == process.name:
                names |= set(content["ros__parameters"])
    return names


def test_every_executable_of_the_package_is_installed(built_environment: Any) -> None:
    from nav_offrl.ros_environment import find_executable

    for name in ("navigator", "safety_gate", "sim_bridge", "replay_bridge", "drive_client"):
        found = find_executable(built_environment, name)
        assert found is not None and os.access(found, os.X_OK)
