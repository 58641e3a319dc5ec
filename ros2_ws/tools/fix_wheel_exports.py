"""Let CMake use ROS message packages that came as Python wheels.

The wheels' CMake exports name the include folders of the machine that built the wheels
(/opt/python/cp3XX-cp3XX/...). This script points them at this interpreter and its numpy. Run it
again after installing another message wheel; a second run changes nothing. On a system-wide ROS
installation there is nothing to do, and it does nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

BUILDER = r"/opt/python/cp3\d+-cp3\d+"
NUMPY_INCLUDE = re.compile(BUILDER + r"/lib/python3\.\d+/site-packages/numpy/_?core/include")
PYTHON_INCLUDE = re.compile(BUILDER + r"/include/python3\.\d+")


def repoint(text: str, python_include: str, numpy_include: str) -> str:
    """Return a CMake export with the builder's include folders replaced by the given ones."""
    return PYTHON_INCLUDE.sub(python_include, NUMPY_INCLUDE.sub(numpy_include, text))


def main() -> None:
    """Rewrite the exports below this interpreter's prefix and say how many changed."""
    import numpy

    changed = 0
    for export in Path(sys.prefix, "share").glob("*/cmake/*_pyExport.cmake"):
        before = export.read_text()
        after = repoint(before, sysconfig.get_paths()["include"], numpy.get_include())
        if after != before:
            export.write_text(after)
            changed += 1
    print(f"ROS wheels: {changed} CMake exports pointed at {sys.executable}", flush=True)


if __name__ == "__main__":
    main()
