"""OGBench's goal-conditioned IQL in JAX as a contender; runs in the peers' Python.

Case.where is a checkout of OGBench.
"""

import os
import sys
from pathlib import Path

import jax

from benchmarks.sim.turns import Stopwatch, serve
from benchmarks.training.synthetic import BATCHES, Case, log


def main() -> None:
    case = Case.of_command_line()
    sys.path.insert(0, str(Path(case.where) / "impls"))
    from agents.gciql import GCIQLAgent, get_config
    from utils.datasets import Dataset, GCDataset

    config = get_config()
    config.update({"actor_loss": "awr", "alpha": 3.0, "batch_size": case.batch_size})
    config.update({"actor_hidden_dims": case.hidden, "value_hidden_dims": case.hidden})
    made = log(case.enough_rows)
    valid = 1.0 - made["terminals"]
    dataset = GCDataset(Dataset.create(**made, valids=valid), config)
    batches = [dataset.sample(case.batch_size) for _ in range(BATCHES)]
    agent = GCIQLAgent.create(0, batches[0]["observations"], batches[0]["actions"], config)

    def take(steps: int, watch: Stopwatch) -> None:
        nonlocal agent
        with watch:
            for step in range(steps):
                batch = batches[step % BATCHES]
                agent, info = agent.update(
                    dataset.sample(case.batch_size) if case.sampling else batch
                )
            jax.block_until_ready(info)

    serve(take, version=f"jax {jax.__version__}", threads=len(os.sched_getaffinity(0)))


if __name__ == "__main__":
    main()
