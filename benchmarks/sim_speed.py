"""Speed of the simulator: environment steps with a picture, rendering alone, world building.

Example:
  OMP_NUM_THREADS=1 python benchmarks/sim_speed.py --world campus --steps 1000
"""

import time
from dataclasses import dataclass

import numpy as np
import tyro

from nav_offrl_sim.configuration import EnvConfig, load_world_config
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.world import generate_world


@dataclass
class Args:
    """Measure how fast the simulator is on this machine."""

    world: str = "campus"
    """Name of a world or path of its YAML file."""
    world_seed: int = 0
    """Which world of that family."""
    steps: int = 1000
    """Environment steps to time."""


def main(args: Args) -> None:
    begin = time.perf_counter()
    world = generate_world(load_world_config(args.world), args.world_seed)
    generated = time.perf_counter() - begin
    begin = time.perf_counter()
    env = NavigationEnv(EnvConfig(world=args.world), world=world)
    built = time.perf_counter() - begin
    env.reset(seed=0)
    print(f"generate world      {generated * 1e3:8.0f} ms")
    print(f"compile and upload  {built * 1e3:8.0f} ms  (first OpenGL context included)")
    print(
        f"environment         {rate(env, args.steps):8.0f} steps per core-second, pictures included"
    )
    begin = time.perf_counter()
    for _ in range(20):
        env.reset()
    print(f"reset               {(time.perf_counter() - begin) / 20 * 1e3:8.1f} ms")
    env.close()


def rate(env: NavigationEnv, steps: int) -> float:
    """Steps per second of processor time, turning and driving at random, resets not counted."""
    rng = np.random.default_rng(0)
    spent = 0.0
    for _ in range(steps):
        action = rng.uniform(env.action_space.low, env.action_space.high)
        begin = time.process_time()
        done = env.step(action)[2:4]
        spent += time.process_time() - begin
        if any(done):
            env.reset()
    return steps / spent


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
