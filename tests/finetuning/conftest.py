"""A tiny run on drives recorded in the real simulator, and that simulator to go on in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trained_policy import TrainedPolicy, load_policy
from nav_offrl.training.trainer import Trainer, start_run
from nav_offrl_sim import EnvConfig, generate_world, load_world_config
from nav_offrl_sim.collection import CollectConfig, collect
from nav_offrl_sim.environment import NavigationEnv

torch.set_num_threads(1)


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on 160 steps of driving in the courtyard; do not change it."""
    folder = tmp_path_factory.mktemp("finetuning")
    drives = CollectConfig(min_length=40, max_length=40, held_out_share=0.25)
    collect(
        EnvConfig(world="courtyard"), 0, folder / "log.zarr", 160, progress=False, config=drives
    )
    config = TrainConfig(
        device="cpu",
        encoder=EncoderConfig(height=32, width=32, channels=(4, 8), latent_size=8),
        representation=GoalRepresentationConfig(
            steps=10, batch_size=8, horizon=16, hidden=(16,), contrastive_size=4
        ),
        method=IQLConfig(hidden=(16,)),
        steps=5,
        batch_size=16,
        log_every=10,
    )
    store = Store.open(folder / "log.zarr")
    Trainer(store, start_run(store, folder / "run", config), progress=False).run()
    return folder / "run"


@pytest.fixture
def policy(run: Path) -> TrainedPolicy:
    return load_policy(run)


@pytest.fixture(scope="package")
def env() -> Any:
    """Drives of at most 4 s (20 steps of 0.2 s)."""
    world = generate_world(load_world_config("courtyard"), 0)
    env = NavigationEnv(EnvConfig(time_limit=4.0), world=world)
    yield env
    env.close()


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """All files below a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }

    return read
