"""nav_offrl's update as a contender, and the matrix products of one alone.

python -m benchmarks.training.ours '{"method": "iql", "batch_size": 256, "hidden": [256, 256]}'
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.sim.turns import Stopwatch, serve
from benchmarks.training.products import products_of
from benchmarks.training.synthetic import ACTION, BATCHES, EPISODE, OBSERVATION, Case, log
from nav_offrl.algorithms.batch import Batch
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Spaces
from nav_offrl.algorithms.registry import make_method, method_config
from nav_offrl.networks.encoder import ConvolutionalEncoder, EncoderConfig
from nav_offrl.store import Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.goal_presets import goal_preset
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.schema import field_info
from nav_offrl.training.batches import Batches, rows_of

BOUNDS = (-100.0, 0.0)
PEERS_HAVE_NONE = {"iql": {"policy_dropout": 0.0}}


def write_store(path: Path, rows: int) -> None:
    """Write the synthetic log."""
    fields = {
        "time": field_info("time"),
        "observation": field_info("observation", shape=(OBSERVATION,)),
        "action": field_info("action", shape=(ACTION,)),
    }
    made = log(rows)
    time = np.arange(EPISODE) * 100_000_000
    with StoreWriter.create(
        path, StoreInfo(rate_hz=10.0, action_source="synthetic", fields=fields)
    ) as writer:
        for start in range(0, rows, EPISODE):
            steps = slice(start, start + EPISODE)
            state, action = made["observations"][steps], made["actions"][steps]
            values = {"time": time, "observation": state, "action": action}
            writer.append(Episode(name=str(start), images={}, fields=values))
        writer.finish()


def learner_of(case: Case) -> Learner:
    torch.manual_seed(0)
    settings = {"name": case.method, "hidden": case.hidden, **PEERS_HAVE_NONE.get(case.method, {})}
    encoder = ConvolutionalEncoder(EncoderConfig()) if case.images else None
    size = EncoderConfig().latent_size if case.images else OBSERVATION
    spaces = Spaces(size, ACTION, compare=case.images, return_bounds=BOUNDS)
    method = make_method(method_config(case.method)(**settings), spaces)
    if case.like_peers:
        as_peers_networks(method)
    return Learner(method, encoder, encoder_learning_rate=3e-4 if case.images else 0.0)


def as_peers_networks(module: nn.Module) -> None:
    """Put ReLU in the place of GELU, and nothing in that of LayerNorm."""
    for name, part in module.named_children():
        if isinstance(part, nn.GELU):
            setattr(module, name, nn.ReLU())
        elif isinstance(part, nn.LayerNorm):
            setattr(module, name, nn.Identity())
        as_peers_networks(part)


def batches_of(case: Case) -> Callable[[int, int], Batch]:
    """Draw from the store; frames are random, one for each step of an episode."""
    store = Store.open(case.where)
    sampler = GoalSampler(store, "train", goal_preset("gciql"), seed=0)
    table = torch.tensor(store.field("observation"))
    action = torch.tensor(store.field("action"))
    if case.images:
        shape = (EPISODE, EncoderConfig().height, EncoderConfig().width, 3)
        table = torch.randint(0, 256, shape, dtype=torch.uint8)

    gather = rows_of(table)
    if case.images:
        gather = lambda steps: rows_of(table)(steps % EPISODE)  # noqa: E731
    drawn = Batches(sampler, gather, action)

    def draw(batch_size: int, number: int) -> Batch:
        batch = drawn(batch_size, number)
        return replace(batch, actor_goal=batch.goal) if case.like_peers else batch

    return draw


def main() -> None:
    case = Case.of_command_line()
    learner, draw = learner_of(case), batches_of(case)
    batches = [draw(case.batch_size, number) for number in range(BATCHES)]
    products = products_of(lambda: learner.update(batches[0])) if case.products else None
    number = 0

    def take(steps: int, watch: Stopwatch) -> None:
        nonlocal number
        with watch:
            for _ in range(steps):
                number += 1
                if products is not None:
                    products()
                elif case.sampling:
                    learner.update(draw(case.batch_size, number), number)
                else:
                    learner.update(batches[number % BATCHES], number)

    serve(take, version=f"torch {torch.__version__}", threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
