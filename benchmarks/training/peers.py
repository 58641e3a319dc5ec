"""The environment of its own in which peers run."""

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("peers.txt")
FOLDER = Path(__file__).parents[1] / ".peers_training"


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def install(folder: Path) -> None:
    """Make a virtual environment and install what `peers.txt` pins."""
    venv.create(folder, with_pip=True, clear=True)
    command = [python_of(folder), "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"could not install {REQUIREMENTS} into {folder}; pip says why above")
    print(f"installed {REQUIREMENTS.name} into {folder}")
