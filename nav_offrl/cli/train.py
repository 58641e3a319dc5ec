"""Learn a goal-conditioned policy from stores: images in, (v, omega) out.

First the encoder learns how far away a photo was taken and in which direction; then implicit
Q-learning runs on its latents. Metrics go to RUN/metrics.jsonl and RUN/tensorboard; Ctrl-C leaves
a checkpoint that --resume continues. Several stores of one rate and camera train as one.

Examples:
  nav-offrl train drives.zarr --output runs/first
  nav-offrl train drives.zarr --output runs/first --resume
  nav-offrl train drives.zarr --output runs/bold --train.iql.expectile 0.95
  nav-offrl train drives.zarr --output runs/mine --config mine.yaml
  nav-offrl train drives.zarr --output runs/second --encoder runs/first
  nav-offrl train husky.zarr jackal.zarr --output runs/both --weights husky=0.7 jackal=0.3
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

    stores: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="STORE ...")]
    """the log store, or several: paths or URLs"""
    output: Path
    """the run's folder"""
    weights: tuple[str, ...] = ()
    """NAME=SHARE of each of several stores in a batch, by folder name without .zarr; without this,
    every step counts the same"""
    resume: bool = False
    """continue the run in OUTPUT from its last checkpoint"""
    encoder: Path | None = None
    """a run whose encoder to keep: nothing is learned from images, and IQL runs on latents that
    are cached in the store (see nav-offrl encode)"""
    config: Path | None = None
    """YAML file of settings; it replaces all --train.* options"""
    train: Annotated[TrainConfig, tyro.conf.arg(help="settings")] = field(
        default_factory=TrainConfig
    )


def run(args: Args) -> None:
    """Train to the end."""
    from nav_offrl.store.store_mixture import open_stores
    from nav_offrl.training.run_folder import RunFolder
    from nav_offrl.training.trainer import Trainer, start_run

    if not args.stores:
        raise NavOffrlError("no store is given", remedy="nav-offrl train STORE --output RUN")
    if args.resume and args.encoder:
        raise NavOffrlError(
            "a run keeps the encoder that it began with", where="--encoder", remedy="leave it out"
        )
    if args.resume:
        folder = RunFolder.open(args.output)
        store = open_stores(args.stores, folder.config.store_weights)
    else:
        config = load_yaml(TrainConfig, args.config) if args.config else args.train
        if args.weights:
            config = config.model_copy(update={"store_weights": parse_weights(args.weights)})
        store = open_stores(args.stores, config.store_weights)
        if config.camera not in store.info.cameras:
            raise NavOffrlError(
                f"has no camera '{config.camera}'",
                where=store.where,
                remedy=f"set camera to one of {', '.join(store.info.cameras) or '(none)'}",
            )
        folder = start_run(store, args.output, config, args.encoder)
    Trainer(store, folder).run()
    print(f"trained policy: {args.output}")
    print(f"curves: tensorboard --logdir {args.output}")


def parse_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """Return what NAME=SHARE texts say.

    Raises:
        NavOffrlError: one is not of that form, or names a store a second time.
    """
    weights: dict[str, float] = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            if not name or name in weights:
                raise ValueError(text)
            weights[name] = float(share)
        except ValueError as error:
            raise NavOffrlError(
                f"'{text}' is not NAME=SHARE, each store once",
                where="--weights",
                remedy="for instance --weights husky=0.7 jackal=0.3",
            ) from error
    return weights
