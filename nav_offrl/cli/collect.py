"""Record drives in the simulator into a store, as a robot's own logs would be.

Who drives: a person with an unsteady hand who knows the way (teleoperation), the same with a
steady hand (expert), BADGR's time-correlated random walk, which bumps into things and turns away
(badgr), RECON's, which turns away before it does and is put somewhere else where it cannot get
out (recon), or six episodes in ten of teleoperation and the others BADGR's (mixed). All cores
drive and render; the store does not depend on how many. A recording that was interrupted goes on
when called again. Worlds that an evaluation suite holds are refused.

Examples:
  nav-offrl collect campus --steps 12000 --output drives.zarr
  nav-offrl collect forest --policy badgr --worlds 20 --steps 60000 -o walks.zarr
  nav-offrl collect office --world-seed 3 --robot turtlebot --seed 1 --workers 4 -o office.zarr
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Args:
    """Arguments of `nav-offrl collect`."""

    world: tyro.conf.Positional[str]
    """Name of a world (campus, courtyard, forest, office, open, warehouse) or path of its YAML
    file."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Path of the store to make; must not exist."""
    policy: Literal["mixed", "teleoperation", "expert", "badgr", "recon"] = "mixed"
    """Who drives."""
    world_seed: int = 0
    """Which world of that family; of several the first."""
    worlds: int = 1
    """How many worlds, of consecutive seeds."""
    robot: str = "generic"
    """Name of a robot (generic, jackal, turtlebot) or path of its YAML file."""
    steps: int = 12000
    """Steps to record; five are one second of driving."""
    seed: int = 0
    """Seed of the drives."""
    workers: int | None = None
    """Processes that drive and render; default: one for each core."""
    oracle_share: float = 0.6
    """With --policy mixed: share of episodes of teleoperation; the others are BADGR's."""
    pedestrians: int = 0
    """People who walk around."""
    randomisation: Path | None = None
    """YAML file that says how light, camera, picture and latency vary from drive to drive."""


def run(args: Args) -> int:
    """Record and say what there is."""
    import numpy as np

    from nav_offrl.config import load_yaml, parse_config
    from nav_offrl.store import Store
    from nav_offrl_sim.collection import CollectConfig, collect
    from nav_offrl_sim.configuration import EnvConfig, RandomisationConfig

    where = "nav-offrl collect"
    chosen = {"policy": args.policy, "oracle_share": args.oracle_share}
    settings = parse_config(CollectConfig, chosen, where)
    values = {"world": args.world, "robot": args.robot}
    env = parse_config(EnvConfig, {**values, "pedestrians": {"count": args.pedestrians}}, where)
    if args.randomisation is not None:
        chances = load_yaml(RandomisationConfig, args.randomisation)
        env = env.model_copy(update={"randomisation": chances})
    workers = args.workers if args.workers is not None else len(os.sched_getaffinity(0))
    seeds = range(args.world_seed, args.world_seed + args.worlds)
    started = time.perf_counter()
    path = collect(env, seeds, args.output, args.steps, args.seed, workers, config=settings)
    seconds = time.perf_counter() - started
    store = Store.open(path)
    collisions = np.asarray(store.field("collision"))
    print(
        f"{path}: {len(collisions)} steps in {len(store.episodes.length)} episodes, "
        f"{collisions.mean():.1%} of steps in contact; {seconds:.0f} s, "
        f"{len(collisions) / seconds:.0f} steps/s with {workers} processes"
    )
    return 0
