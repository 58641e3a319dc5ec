"""Making worlds, resets into new worlds, and memory over many of them; in a process of its own.

python -m benchmarks.sim.resets WORLD WORLDS RESETS FOLDER
"""

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.sim.contenders import robot_with_camera
from nav_offrl_sim import load_world_config
from nav_offrl_sim.configuration import EnvConfig, PedestriansConfig
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.renderer import Room, compile_room
from nav_offrl_sim.world import generate_world
from nav_offrl_sim.world_pool import WorldPool

WARM_UP = 100  # resets until memory is looked at
SIZE = (128, 96)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    begin = time.process_time()
    work()
    return 1e3 * (time.process_time() - begin)


def resident() -> float:
    """Memory of this process, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def making(world: str, worlds: int) -> dict[str, Any]:
    config = load_world_config(world)
    scenes = [generate_world(config, 0).scene]  # the first one also fills caches
    generate = [
        timed(lambda seed=seed: scenes.append(generate_world(config, seed).scene))
        for seed in range(1, worlds)
    ]
    compile_ = [
        timed(lambda scene=scene: compile_room(Room.needed(scene), *SIZE)) for scene in scenes
    ]
    return {"generate_ms": statistics.median(generate), "compile_ms": statistics.median(compile_)}


def resets(world: str, worlds: int, count: int, folder: Path) -> dict[str, Any]:
    """Resets into worlds that were made before: load, upload, a task, its two pictures."""
    os.environ["XDG_CACHE_HOME"] = str(folder)  # where the environment keeps worlds
    pool = WorldPool(load_world_config(world))
    pool.prepare(range(worlds))
    people = PedestriansConfig(count=4)
    env = NavigationEnv(
        EnvConfig(world=world, pedestrians=people),
        world=pool.world(0),
        robot=robot_with_camera(*SIZE),
    )
    spent, memory = [], []
    for number in range(1, count + 1):
        seed = number % worlds
        spent.append(timed(lambda seed=seed: env.reset(options={"world_seed": seed})))
        env.step((0.5, 0.0))
        if number >= min(WARM_UP, count) and number % 20 == 0:
            memory.append(resident())
    env.close()
    return {
        "reset_ms": statistics.median(spent),
        "reset_ms_90": statistics.quantiles(spent, n=10)[-1],
        "resets": count,
        "memory_mb": memory,
    }


def main() -> None:
    world, worlds, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    figures = making(world, worlds) | resets(world, worlds, count, Path(folder))
    print(json.dumps({"world": world} | figures))


if __name__ == "__main__":
    main()
