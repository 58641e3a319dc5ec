"""A training that diverges stops at once and keeps its last good checkpoint."""

import json
from pathlib import Path

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.run_folder import RunFolder
from nav_offrl.training.trainer import Trainer, start_run


def test_non_finite_losses_stop_the_run_and_are_not_saved(
    store: Store, config: TrainConfig, tmp_path: Path
) -> None:
    wild = config.method.model_copy(update={"learning_rate": 1e30})
    run = start_run(store, tmp_path / "run", config.model_copy(update={"method": wild}))
    with pytest.raises(NavOffrlError, match=r"not finite after step .* of policy.*learning rate"):
        Trainer(store, run, progress=False).run()
    checkpoint = RunFolder.open(run.path).load()
    assert checkpoint is not None
    assert all(tensor.isfinite().all() for tensor in checkpoint.weights.values())
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in metrics.jsonl"))
