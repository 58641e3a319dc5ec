"""Choice of the OpenGL back end, made before MuJoCo is imported.

MuJoCo reads `MUJOCO_GL` once, at import, and aborts the process when it is unset and there is no
display. So back ends are tried in a subprocess, and the user's own choice is never overridden.
"""

import functools
import os
import subprocess
import sys

from nav_offrl.errors import NavOffrlError

CANDIDATES = ("egl", "osmesa")
BACKENDS = (*CANDIDATES, "glfw", "glx")  # glfw and glx need a display
REMEDY = "apt-get install libegl1 libgl1-mesa-dri libosmesa6 (no X server is needed)"

_PROBE = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
"""


def _works(backend: str) -> bool:
    """Whether `backend` can make an off-screen context, tried in a process of its own."""
    environment = {**os.environ, "MUJOCO_GL": backend, "LP_NUM_THREADS": "0"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@functools.cache
def probe_rendering() -> str | None:
    """Return the name of an OpenGL back end that renders off screen here, or None.

    Where `MUJOCO_GL` is set only that one is tried. Takes about a second per candidate.
    """
    chosen = os.environ.get("MUJOCO_GL")
    candidates = (chosen,) if chosen else CANDIDATES
    return next((name for name in candidates if _works(name)), None)


def ensure_rendering() -> str:
    """Set `MUJOCO_GL` to a working back end and return its name; keep the user's choice.

    Raises:
        NavOffrlError: no back end works, the user's choice is none, or MuJoCo was imported
            before one was chosen.
    """
    # Small pictures render faster without llvmpipe's thread pool, and workers do not fight.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        if chosen.lower() not in BACKENDS:
            raise NavOffrlError(
                f"'{chosen}' is no OpenGL back end",
                where="MUJOCO_GL",
                remedy=f"unset it, or set one of {', '.join(BACKENDS)}",
            )
        return chosen
    backend = probe_rendering()
    if backend is None:
        raise NavOffrlError("no OpenGL back end works for rendering", remedy=REMEDY)
    if "mujoco" in sys.modules:
        raise NavOffrlError(
            "mujoco was imported before its OpenGL back end was chosen",
            where="MUJOCO_GL",
            remedy=f"set MUJOCO_GL={backend}, or import mujoco after nav_offrl_sim.camera",
        )
    os.environ["MUJOCO_GL"] = backend
    return backend
