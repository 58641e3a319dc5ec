"""Write a store in another program's format.

lerobot: a LeRobot data set of version 3. Pose and velocity become `observation.state`, cameras
become H.264 video (which loses a little) or, with --images, images with the very bytes of the
store. Held-out episodes come last and are named in `splits`.

Examples:
  nav-offrl convert drives.zarr -o drives_lerobot --to lerobot
  nav-offrl convert drives.zarr -o drives_lerobot --images --task "Follow the corridor."
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Args:
    """Arguments of `nav-offrl convert`."""

    store: tyro.conf.Positional[str]
    """Path or URL of the store."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to make; must not exist."""
    to: Literal["lerobot"] = "lerobot"
    """Format to write."""
    images: bool = False
    """Keep camera frames as images with their very bytes; default: video."""
    task: str = "Drive."
    """What LeRobot calls the instruction of every step."""


def run(args: Args) -> None:
    """Convert the store and say what was written."""
    from tqdm import tqdm

    from nav_offrl.store import Store
    from nav_offrl_datasets.lerobot.writer import write_lerobot

    store = Store.open(args.store)
    with tqdm(total=store.steps, unit="step", disable=None, leave=False) as bar:
        written = write_lerobot(
            store, args.output, images=args.images, task=args.task, progress=bar.update
        )
    megabytes = written.bytes / 1e6
    print(
        f"{args.output}: LeRobot v3.0, {written.episodes} episodes, {written.frames} frames, "
        f"{megabytes:.1f} MB"
    )
