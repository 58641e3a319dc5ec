"""Record drives in the simulator into a store, as a robot's own logs would be.

Six episodes in ten drive to random goals with a disturbed hand, the others are a random walk that
bumps into things and turns away. The store depends on the seeds and not on --workers. A recording
that was interrupted goes on when called again.

Examples:
  nav-offrl collect --world campus --steps 12000 --output drives.zarr
  nav-offrl collect --world office --world-seed 3 --seed 1 --workers 4 -o office.zarr
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Args:
    """Arguments of `nav-offrl collect`."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Path of the store to make; must not exist."""
    world: str = "campus"
    """Name of a world (campus, courtyard, office) or path of its YAML file."""
    world_seed: int = 0
    """Which world of that family."""
    robot: str = "generic"
    """Name of a robot or path of its YAML file."""
    steps: int = 12000
    """Steps to record; five are one second of driving."""
    seed: int = 0
    """Seed of the drives."""
    workers: int = 1
    """Processes that drive and render."""
    oracle_share: float = 0.6
    """Share of episodes that drive to goals; the others are random walks."""


def run(args: Args) -> int:
    """Record and say what there is."""
    import numpy as np

    from nav_offrl.config import parse_config
    from nav_offrl.store import Store
    from nav_offrl_sim.collection import CollectConfig, collect
    from nav_offrl_sim.configuration import EnvConfig

    settings = parse_config(CollectConfig, {"oracle_share": args.oracle_share}, "nav-offrl collect")
    env = EnvConfig(world=args.world, robot=args.robot)
    path = collect(
        env, args.world_seed, args.output, args.steps, args.seed, args.workers, config=settings
    )
    store = Store.open(path)
    collisions = np.asarray(store.field("collision"))
    print(
        f"{path}: {len(collisions)} steps in {len(store.episodes.length)} episodes, "
        f"{collisions.mean():.1%} of steps in contact"
    )
    return 0
