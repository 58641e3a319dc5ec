"""Learn a goal-conditioned policy from a store: images in, (v, omega) out.

First the encoder learns how far away a photo was taken and in which direction; then implicit
Q-learning runs on its latents. Metrics go to RUN/metrics.jsonl and RUN/tensorboard; Ctrl-C leaves
a checkpoint that --resume continues.

Examples:
  nav-offrl train drives.zarr --output runs/first
  nav-offrl train drives.zarr --output runs/first --resume
  nav-offrl train drives.zarr --output runs/bold --train.iql.expectile 0.95
  nav-offrl train drives.zarr --output runs/mine --config mine.yaml
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from nav_offrl.config import load_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl.training.config import TrainConfig


@dataclass
class Args:
    """What to train on and where to."""

    store: tyro.conf.Positional[Path]
    """the log store"""
    output: Path
    """the run's folder"""
    resume: bool = False
    """continue the run in OUTPUT from its last checkpoint"""
    config: Path | None = None
    """YAML file of settings; it replaces all --train.* options"""
    train: Annotated[TrainConfig, tyro.conf.arg(help="settings")] = field(
        default_factory=TrainConfig
    )


def run(args: Args) -> None:
    """Train to the end."""
    from nav_offrl.store.reader import Store
    from nav_offrl.training.run_folder import RunFolder
    from nav_offrl.training.trainer import Trainer, start_run

    store = Store.open(args.store)
    config = load_yaml(TrainConfig, args.config) if args.config else args.train
    if config.camera not in store.info.cameras:
        raise NavOffrlError(
            f"has no camera '{config.camera}'",
            where=args.store,
            remedy=f"set camera to one of {', '.join(store.info.cameras)}",
        )
    folder = RunFolder.open(args.output) if args.resume else start_run(store, args.output, config)
    Trainer(store, folder).run()
    print(f"trained policy: {args.output}")
    print(f"curves: tensorboard --logdir {args.output}")
