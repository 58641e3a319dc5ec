"""Learn a goal-conditioned policy from stores: images or state vectors in, actions out.

METHOD is bc, iql, ...; `nav-offrl train METHOD --help` shows its settings with their defaults. From
images, the encoder first learns how far away a photo was taken and in which direction, and the
method then learns on its latents; with --train.end-to-end the method trains the encoder as well.
Metrics go to RUN/metrics.jsonl and RUN/tensorboard; Ctrl-C leaves a checkpoint that --resume
continues. Several stores of one rate and camera train as one. With torchrun, several processes
share every batch out among themselves.

Examples:
  nav-offrl train iql drives.zarr --output runs/first
  nav-offrl train iql drives.zarr --output runs/first --resume
  nav-offrl train iql drives.zarr --output runs/bold --train.method.expectile 0.95
  nav-offrl train bc drives.zarr --output runs/mine --config mine.yaml
  nav-offrl train iql drives.zarr --output runs/second --encoder runs/first
  nav-offrl train iql husky.zarr jackal.zarr --output runs/both --weights husky=0.7 jackal=0.3
  nav-offrl train iql maze.zarr --output runs/maze --train.observation state
  torchrun --nproc-per-node 4 -m nav_offrl.cli.main train iql drives.zarr --output runs/first
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from nav_offrl.algorithms.registry import METHODS
from nav_offrl.config import parse_config, read_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.store_mixture import open_stores
from nav_offrl.training.config import TrainConfig


@dataclass
class Args:
    """What to train on and where to."""

    method: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="METHOD")]
    """how to learn"""
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
    """a run whose encoder to keep: nothing is learned from images, and the method runs on latents
    that are cached in the store (see nav-offrl encode)"""
    config: Path | None = None
    """YAML file of settings; it replaces all --train.* options"""
    train: Annotated[TrainConfig, tyro.conf.arg(help="settings")] = field(
        default_factory=TrainConfig
    )


def defaults(arguments: Sequence[str]) -> Args:
    """Return what stands where nothing else is said: the settings of the method that is named.

    Raises:
        NavOffrlError: no method is named first.
    """
    named = next((text for text in arguments if not text.startswith("-")), None)
    if named is None:
        named = "iql"  # for --help and for the complaint about what is missing
    elif named not in METHODS:
        raise NavOffrlError(
            f"no method is called '{named}'",
            remedy=f"nav-offrl train METHOD STORE --output RUN, METHOD one of {', '.join(METHODS)}",
        )
    train = TrainConfig.model_validate({"method": {"name": named}})
    missing = {"method": tyro.MISSING, "stores": tyro.MISSING, "output": tyro.MISSING}
    return Args(**missing, train=train)


def run(args: Args) -> None:
    """Train to the end."""
    from nav_offrl.training.run_folder import RunFolder
    from nav_offrl.training.team import team_of_environment
    from nav_offrl.training.trainer import Trainer

    if not args.stores:
        raise NavOffrlError("no store is given", remedy="nav-offrl train METHOD STORE --output RUN")
    with team_of_environment() as team:
        if team.leads:
            open_run(args)
        team.wait()
        folder = RunFolder.open(args.output)
        store = open_stores(args.stores, folder.config.store_weights)
        Trainer(store, folder, team=team).run()
        if team.leads:
            print(f"trained policy: {args.output}")
            print(f"curves: tensorboard --logdir {args.output}")


def open_run(args: Args) -> None:
    """Make the run's folder, or see that the one to be continued is what was asked for.

    Raises:
        NavOffrlError: the settings do not fit together, or not the store or the folder.
    """
    from nav_offrl.training.run_folder import RunFolder
    from nav_offrl.training.trainer import start_run

    if args.resume and args.encoder:
        raise NavOffrlError(
            "a run keeps the encoder that it began with", where="--encoder", remedy="leave it out"
        )
    if args.resume:
        method = RunFolder.open(args.output).config.method.name
        if method != args.method:
            raise NavOffrlError(
                f"was started with the method {method}",
                where=args.output,
                remedy=f"nav-offrl train {method} ... --resume",
            )
        return
    config = read_config(args.config, args.method) if args.config else args.train
    if args.weights:
        config = config.model_copy(update={"store_weights": parse_weights(args.weights)})
    store = open_stores(args.stores, config.store_weights)
    if config.observation == "images" and config.camera not in store.info.cameras:
        raise NavOffrlError(
            f"has no camera '{config.camera}'",
            where=store.where,
            remedy=f"set camera to one of {', '.join(store.info.cameras) or '(none)'}, or "
            "learn from the field 'observation': --train.observation state",
        )
    start_run(store, args.output, config, args.encoder)


def read_config(path: Path, method: str) -> TrainConfig:
    """Read the settings of a training by `method`.

    Raises:
        NavOffrlError: the file is of another method, or a field does not fit.
    """
    values = read_yaml(path)
    settings = values.get("method", {}) if isinstance(values, dict) else None
    if isinstance(settings, dict):
        values = values | {"method": {"name": method} | settings}
    config = parse_config(TrainConfig, values, path)
    if config.method.name != method:
        raise NavOffrlError(
            f"field 'method.name': is {config.method.name}, and {method} was asked for",
            where=path,
            remedy=f"nav-offrl train {config.method.name} ..., or correct the file",
        )
    return config


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
