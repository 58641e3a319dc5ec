"""A policy on an evaluation suite, beside its baselines: drives, table, figures, video."""

from dataclasses import dataclass
from pathlib import Path

from nav_offrl.evaluation.suite_figures import draw_suite
from nav_offrl.evaluation.suite_policies import (
    CLONING,
    CLONING_FOLDER,
    POLICY,
    as_bundle,
    baselines,
    kind_of,
    learned_driver,
    train_cloning,
)
from nav_offrl.evaluation.suite_report import SuiteReport
from nav_offrl.evaluation.suite_run import Driver, SuiteRun
from nav_offrl.evaluation.suite_video import write_video
from nav_offrl.suites import SuiteConfig

HOW_TO_CLONE = (
    "not given: add --behaviour-cloning RUN_OR_BUNDLE (given a run instead of a bundle, it is "
    "trained here on the run's own data)"
)


@dataclass(frozen=True)
class SuiteSettings:
    """What is evaluated and how.

    Attributes:
        subject: a run, a bundle, or the name of a baseline ("oracle", "straight", "random").
        robot: replaces the suite's.
        store: where the run's store is now, if it was moved.
        checkpoint: name of the run's checkpoint; None takes the newest.
        cloning: a run or bundle of behaviour cloning to compare with.
        with_baselines: drive the baselines too.
        with_video: write a video.
    """

    subject: Path
    output: Path
    robot: str | None = None
    store: Path | None = None
    checkpoint: str | None = None
    cloning: Path | None = None
    with_baselines: bool = True
    with_video: bool = True


def evaluate_suite(suite: SuiteConfig, settings: SuiteSettings) -> SuiteReport:
    """Drive every task of a suite and leave pictures and a video in the output folder.

    Interrupted, the same call goes on with the next drive.

    Raises:
        NavOffrlError: subject, robot and suite do not fit, or a policy was trained in its worlds.
    """
    if str(settings.subject) not in baselines():
        kind_of(settings.subject)  # before any world is made
    run = SuiteRun(suite, settings.robot or suite.robot, settings.output)
    drivers, absent = _drivers(run, settings)
    run.drive(drivers)
    for driver in drivers:
        draw_suite(run, driver, settings.output / f"drives_{driver.name.replace(' ', '_')}.png")
    if settings.with_video:
        write_video(run, drivers[0], settings.output / "drives.mp4")
    return SuiteReport(run, drivers, absent)


def _drivers(run: SuiteRun, settings: SuiteSettings) -> tuple[list[Driver], dict[str, str]]:
    """Who drives, the subject first, and which baseline does not and why."""
    known = baselines()
    name = str(settings.subject)
    others = list(known.values()) if settings.with_baselines else []
    if name in known:
        return [known[name], *(other for other in others if other != known[name])], {}
    bundle = settings.output / "policy.bundle"
    subject = as_bundle(settings.subject, bundle, settings.store, settings.checkpoint)
    drivers = [learned_driver(POLICY, subject, run.robot, run.suite)]
    if not settings.with_baselines:
        return drivers, {}
    cloning = _cloning(settings)
    if cloning is None:
        return [*drivers, *others], {CLONING: HOW_TO_CLONE}
    return [*drivers, learned_driver(CLONING, cloning, run.robot, run.suite), *others], {}


def _cloning(settings: SuiteSettings) -> Path | None:
    """The bundle of behaviour cloning: what was given, else trained where there is data."""
    source = settings.cloning
    if source is None and kind_of(settings.subject) == "run":
        print("behaviour cloning learns from the run's own data, for the comparison:")
        source = train_cloning(settings.subject, settings.output, settings.store)
    if source is None:
        return None
    return as_bundle(source, settings.output / f"{CLONING_FOLDER}.bundle", settings.store)
