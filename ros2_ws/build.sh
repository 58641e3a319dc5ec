#!/usr/bin/env bash
# Builds this workspace into ros2_ws/install. Safe to repeat: a second run only looks.
#
#   ros2_ws/build.sh                  # with ROS from Python wheels (requirements.txt) in a venv
#   source /opt/ros/jazzy/setup.bash && ros2_ws/build.sh     # with a system-wide ROS
#
# The venv is $VIRTUAL_ENV or, when that is not set, ../.venv. Further arguments go to colcon build.
# On a robot with a system-wide ROS a plain `colcon build` in this folder does as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ -z "${ROS_DISTRO:-}" ]]; then
    venv="${VIRTUAL_ENV:-$PWD/../.venv}"
    if [[ ! -x "$venv/bin/colcon" ]]; then
        echo "build.sh: no colcon in $venv and no system-wide ROS sourced." >&2
        echo "build.sh: run '$venv/bin/pip install -r $PWD/requirements.txt' first." >&2
        exit 2
    fi
    venv="$(cd "$venv" && pwd)"
    # What was built for another Python can't be mended, only built again.
    if [[ -e build/.venv && "$(cat build/.venv)" != "$venv" ]]; then rm -rf build install log; fi
    mkdir -p build && echo "$venv" >build/.venv
    export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv"
    "$venv/bin/python" tools/fix_wheel_exports.py
fi

for tool in colcon cmake c++; do
    if ! command -v "$tool" >/dev/null; then
        echo "build.sh: '$tool' is missing; install cmake and a C++ compiler." >&2
        exit 2
    fi
done

# The first run generates and compiles the messages: about a minute on two cores.
exec colcon build --merge-install --symlink-install "$@" --cmake-args -DBUILD_TESTING=OFF -Wno-dev
