"""A robot has no torch, and the runtime is no ROS package: it must work without either."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "rclpy", "onnx", "matplotlib", "mujoco"}:
            raise ImportError(f"{name} is not on the robot")

sys.meta_path.insert(0, Refuse())
import numpy as np
from nav_offrl.runtime import (
    Command, Navigator, NavigatorInputs, SafetyGate, SafetyInputs, TimedCommand, TimedImage,
    TimedOdometry, load_bundle,
)

navigator, gate = Navigator(load_bundle(sys.argv[1])), SafetyGate()
state, gate_state = navigator.initial_state(), gate.initial_state()
random = np.random.default_rng(0)
frame = lambda: random.integers(0, 255, (24, 32, 3), dtype=np.uint8)
state = navigator.with_goal(state, np.zeros((24, 32, 3), np.uint8))
for k in range(20):
    now = 1.0 + 0.1 * k
    image, odometry = TimedImage(frame(), now, now), TimedOdometry(0, 0, 0, 0, 0, now, now)
    state, command, _ = navigator.step(state, NavigatorInputs(image, odometry, now))
    inputs = SafetyInputs(TimedCommand(command, now, now), image.header(), odometry, False)
    gate_state, command, _ = gate.step(gate_state, inputs, now)
print(command.linear)
"""


def test_navigator_and_gate_run_without_training_or_ros_packages(bundle_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bundle_path)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) > 0.4
