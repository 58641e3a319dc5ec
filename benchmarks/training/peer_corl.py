"""CORL's single-file IQL and CQL as contenders; runs in the peers' Python.

Case.where is a checkout of CORL. What its files import for simulators, logging and command lines is
not installed and not needed to update.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.sim.turns import Stopwatch, serve
from benchmarks.training.synthetic import ACTION, BATCHES, OBSERVATION, Case, log_with_goals

INPUTS = 2 * OBSERVATION
LEARNING_RATE = 3e-4


def single_file(checkout: str, name: str) -> Any:
    """Import one of CORL's files."""
    for absent in ("d4rl", "gym", "wandb", "pyrallis"):
        sys.modules.setdefault(absent, ModuleType(absent))
    sys.modules["pyrallis"].wrap = lambda: lambda function: function  # type: ignore[attr-defined]
    gym = sys.modules["gym"]
    gym.Env = object  # type: ignore[attr-defined]
    path = Path(checkout) / "algorithms" / "offline" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"corl_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def adam(network: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), LEARNING_RATE)


def iql(corl: Any, case: Case) -> Any:
    width, depth = case.hidden[0], len(case.hidden)
    critic = corl.TwinQ(INPUTS, ACTION, width, depth)
    value = corl.ValueFunction(INPUTS, width, depth)
    policy = corl.GaussianPolicy(INPUTS, ACTION, 1.0, width, depth)
    return corl.ImplicitQLearning(
        1.0, policy, adam(policy), critic, adam(critic), value, adam(value)
    )


def cql(corl: Any, case: Case) -> Any:
    """Its width is fixed at 256, and its policy has three hidden layers whatever its critics have.

    The two that a comparison needs are built from its own parts.
    """
    assert set(case.hidden) == {256}, "CORL's CQL has a width of 256"
    critics = [
        corl.FullyConnectedQFunction(INPUTS, ACTION, True, len(case.hidden)) for _ in range(2)
    ]
    policy = corl.TanhGaussianPolicy(INPUTS, ACTION, 1.0, orthogonal_init=True)
    policy.base_network = torch.nn.Sequential(
        *(
            part
            for size, width in zip((INPUTS, *case.hidden), case.hidden, strict=False)
            for part in (torch.nn.Linear(size, width), torch.nn.ReLU())
        ),
        torch.nn.Linear(case.hidden[-1], 2 * ACTION),
    )
    networks = [(network, adam(network)) for network in (*critics, policy)]
    return corl.ContinuousCQL(
        *(part for pair in networks for part in pair), target_entropy=-float(ACTION), bc_steps=0
    )


def main() -> None:
    case = Case.of_command_line()
    corl = single_file(case.where, case.method)
    learner = {"iql": iql, "cql": cql}[case.method](corl, case)
    made = log_with_goals(case.enough_rows)
    buffer = corl.ReplayBuffer(INPUTS, ACTION, case.enough_rows)
    following = np.roll(made["observations"], -1, 0)
    buffer.load_d4rl_dataset(made | {"next_observations": following})
    batches = [buffer.sample(case.batch_size) for _ in range(BATCHES)]

    def take(steps: int, watch: Stopwatch) -> None:
        with watch:
            for step in range(steps):
                batch = batches[step % BATCHES]
                learner.train(buffer.sample(case.batch_size) if case.sampling else batch)

    serve(take, version=f"torch {torch.__version__}", threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
