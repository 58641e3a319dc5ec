"""Who drives a suite: a learned policy, and the baselines that always stand beside it."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from nav_offrl import __version__
from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.rollouts import BundlePilot, RandomPilot, StraightPilot
from nav_offrl.evaluation.simulated import OraclePilot
from nav_offrl.evaluation.suite_run import Driver
from nav_offrl.runtime import Bundle, CameraContract, load_bundle
from nav_offrl.runtime.contract import BundleContract
from nav_offrl.suites import (
    SuiteConfig,
    WorldId,
    refuse_suite_worlds,
    worlds_in,
    worlds_of_list,
)

POLICY, CLONING = "policy", "behaviour cloning"
CLONING_FOLDER = "behaviour_cloning"


def baselines() -> dict[str, Driver]:
    """Baselines that need no learning, by name; all three know where the robot and the goal are."""
    return {
        "straight": Driver("straight to goal", __version__, _straight, sees=False),
        "random": Driver("random", __version__, _random, sees=False),
        "oracle": Driver("oracle", __version__, _oracle, sees=False),
    }


def _oracle(env: Any, task: int) -> OraclePilot:
    return OraclePilot(env)


def _straight(env: Any, task: int) -> StraightPilot:
    return StraightPilot(env.robot_config.max_linear, env.robot_config.max_angular)


def _random(env: Any, task: int) -> RandomPilot:
    robot = env.robot_config
    high = (robot.max_linear, robot.max_angular)
    return RandomPilot((0.0, -robot.max_angular), high, seed=task)


def learned_driver(name: str, path: Path, robot: Any, suite: SuiteConfig) -> Driver:
    """A bundle at the wheel.

    Raises:
        NavOffrlError: it does not fit the robot's camera or rate, or has seen the suite's worlds.
    """
    camera = CameraContract(
        height=robot.camera.height,
        width=robot.camera.width,
        horizontal_fov=robot.camera.horizontal_fov,
    )
    bundle = load_bundle(path, camera, 1.0 / robot.control_period)
    refuse_suite_worlds(worlds_of(bundle.contract.provenance), path, [suite])
    return Driver(name, _identity(bundle), lambda env, task: BundlePilot(bundle))


def _identity(bundle: Bundle) -> str:
    """The same for two exports of one run, whose measured latencies differ."""
    contract: BundleContract = bundle.contract
    graphs = [getattr(contract.graphs, name).sha256 for name in ("encoder", "policy", "distance")]
    text = " ".join([*graphs, f"{contract.arrival_steps:.9g}", contract.action.model_dump_json()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def worlds_of(provenance: dict[str, Any]) -> set[WorldId]:
    """The simulated worlds that a run or bundle says it has learned in."""
    learned = worlds_of_list(str(provenance.get("simulated_worlds", "")))
    return learned | worlds_in([str(provenance.get("finetuned_in", ""))])


def kind_of(subject: Path) -> Literal["run", "bundle"]:
    """What a folder holds.

    Raises:
        NavOffrlError: neither a run nor a bundle.
    """
    if (subject / "bundle.json").is_file():
        return "bundle"
    if (subject / "config.yaml").is_file():
        return "run"
    raise NavOffrlError(
        "is neither a run (config.yaml) nor a bundle (bundle.json)",
        where=subject,
        remedy="give a folder made by 'nav-offrl train' or 'nav-offrl export'",
    )


def as_bundle(
    subject: Path, bundle: Path, store: Path | None, checkpoint: str | None = None
) -> Path:
    """Where the bundle of `subject` is: itself, or `bundle`, to which a run is exported.

    `checkpoint` names one of the run's; None takes the newest.

    Raises:
        NavOffrlError: it is neither a run nor a bundle, or the run has no policy yet.
    """
    if kind_of(subject) == "bundle":
        return subject
    from nav_offrl.training.trained_policy import load_policy
    from nav_offrl_export.run import export_run

    export_run(load_policy(subject, store, checkpoint), bundle, overwrite=True)
    return bundle


def train_cloning(run: Path, output: Path, store: Path | None) -> Path:
    """Train behaviour cloning on the data of `run`, with its encoder and as many steps.

    Continues an unfinished one.
    """
    from nav_offrl.algorithms.bc import BCConfig
    from nav_offrl.training.rewards import RewardConfig
    from nav_offrl.training.run_folder import RunFolder
    from nav_offrl.training.trained_policy import load_policy
    from nav_offrl.training.trainer import Trainer, start_run

    policy = load_policy(run, store)
    folder = output / CLONING_FOLDER
    if folder.exists():
        cloning = RunFolder.open(folder)
    else:
        learned = policy.config.method
        method = BCConfig(
            discount=learned.discount, learning_rate=learned.learning_rate, hidden=learned.hidden
        )
        # Cloning knows no reward.
        update = {"method": method, "reward": RewardConfig()}
        config = policy.config.model_copy(update=update)
        cloning = start_run(policy.store, folder, config, encoder_from=run)
    checkpoint = cloning.load()
    if checkpoint is None or checkpoint.step < cloning.config.steps:
        Trainer(policy.store, cloning).run()
    return folder
