"""A suite from the command to its table, JSON, pictures and video; interrupted and continued."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from nav_offrl.cli.main import main
from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.rollouts import StraightPilot
from nav_offrl.evaluation.suite import SuiteSettings, evaluate_suite
from nav_offrl.evaluation.suite_policies import (
    as_bundle,
    baselines,
    learned_driver,
    worlds_of,
)
from nav_offrl.evaluation.suite_run import DRIVES_FILE, Driver, SuiteRun
from nav_offrl.runtime import Command
from nav_offrl.suites import SuiteConfig, load_suite
from nav_offrl_export.example import write_example_bundle
from nav_offrl_sim import load_robot_config

VALUES: dict[str, Any] = {
    "name": "mine",
    "world": "courtyard",
    "world_seeds": [7000, 7001],
    "distances": [[3, 6], [6, 12]],
    "tasks_per_world": 1,
    "time_factor": 2,
    "time_reserve": 4,
}
SUITE = SuiteConfig.model_validate(VALUES)
ORACLE, STRAIGHT, RANDOM = (baselines()[name] for name in ("oracle", "straight", "random"))


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    return write_example_bundle(folder / "example", height=96, width=128, rate_hz=5.0)


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_a_bundle_beside_its_baselines(
    bundle: Path, suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report"
    assert call("evaluate", bundle, "--suite", suite_file, "--output", output) == 0
    table = capsys.readouterr().out
    assert table.count("behaviour cloning       not given") == 3, "in each bin and in all"
    assert "--behaviour-cloning RUN_OR_BUNDLE" in table
    assert "3-6 m, 2 tasks" in table and "6-12 m, 2 tasks" in table and "all, 4 tasks" in table

    figures = json.loads((output / "evaluation.json").read_text())
    names = ["policy", "straight to goal", "random", "oracle"]
    assert list(figures["policies"]) == names and list(figures["not_driven"]) == [
        "behaviour cloning"
    ]
    oracle = figures["policies"]["oracle"]
    assert oracle["bins"]["all"]["success"]["value"] == 1.0
    assert oracle["bins"]["all"]["collisions_per_km"]["value"] == 0.0
    assert [line["bin"] for line in oracle["drives"]] == ["3-6 m", "6-12 m"] * 2
    spl = np.mean([line["spl"] for line in oracle["drives"]])
    assert oracle["bins"]["all"]["spl"]["value"] == pytest.approx(spl)
    assert spl > 0.9

    for name in names:
        picture = cv2.imread(str(output / f"drives_{name.replace(' ', '_')}.png"))
        assert picture.std() > 20
    video = cv2.VideoCapture(str(output / "drives.mp4"))
    frames = [frame for good, frame in iter(video.read, (False, None)) if good]
    assert len(frames) == int(video.get(cv2.CAP_PROP_FRAME_COUNT)) > 40
    assert frames[0].shape[0] == 288 and frames[0].std() > 20
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 5, "it moves"
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(20)


def test_a_run_brings_behaviour_cloning_along(
    make_run: Callable[..., Path], suite_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    arguments = ("--suite", suite_file, "--output", output, "--no-video")
    assert call("evaluate", make_run(), *arguments) == 0
    figures = json.loads((output / "evaluation.json").read_text())
    assert list(figures["policies"])[:2] == ["policy", "behaviour cloning"]
    identities = {values["identity"] for values in figures["policies"].values()}
    assert len(identities) == 3, "policy and cloning are other networks; baselines share a version"
    config = yaml.safe_load((output / "behaviour_cloning" / "config.yaml").read_text())
    assert config["method"]["name"] == "bc"

    again = as_bundle(make_run(), tmp_path / "again.bundle", None)
    robot = load_robot_config("generic")
    identity = learned_driver("policy", again, robot, SUITE).identity
    assert identity == figures["policies"]["policy"]["identity"], "exported twice, one policy"


class Gives:
    """Drives straight, and interrupts at the beginning of drive number `limit`."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def pilot(self, env: Any, task: int) -> StraightPilot:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return StraightPilot(1.0, 1.2)


def test_interrupted_it_goes_on_with_the_next_drive(tmp_path: Path) -> None:
    whole = SuiteRun(SUITE, "generic", tmp_path / "whole")
    whole.drive([STRAIGHT])
    run = SuiteRun(SUITE, "generic", tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        run.drive([Driver(STRAIGHT.name, STRAIGHT.identity, Gives(2).pilot, sees=False)])
    log = tmp_path / "parts" / DRIVES_FILE
    assert log.read_text().count("\n") == 3
    torn = log.read_text() + '{"policy": "straight to goal", "ident'  # a power cut
    log.write_text(torn)
    run = SuiteRun(SUITE, "generic", tmp_path / "parts")
    run.drive([Driver(STRAIGHT.name, STRAIGHT.identity, Gives(2).pilot, sees=False)])
    assert log.read_text() == (tmp_path / "whole" / DRIVES_FILE).read_text()
    for one, other in zip(run.scored(STRAIGHT), whole.scored(STRAIGHT), strict=True):
        assert one.time_efficiency == other.time_efficiency


def test_another_policy_of_the_same_name_drives_anew(tmp_path: Path) -> None:
    run = SuiteRun(SUITE, "generic", tmp_path)
    run.drive([STRAIGHT])
    changed = Driver(STRAIGHT.name, "changed", Gives(4).pilot, sees=False)
    run.drive([changed])
    assert (tmp_path / DRIVES_FILE).read_text().count("\n") == 9


def test_drives_of_another_suite_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    SuiteRun(SUITE, "generic", tmp_path).drive([STRAIGHT])
    other = SUITE.model_copy(update={"seed": 1})
    with pytest.raises(NavOffrlError, match="another suite or robot"):
        SuiteRun(other, "generic", tmp_path)
    with pytest.raises(NavOffrlError, match="another suite or robot"):
        SuiteRun(SUITE, "turtlebot", tmp_path)
    log = tmp_path / DRIVES_FILE
    for damage in (b'{"a": 1}\n', b"\xff\xfe\n", b"[]\n", b'{"path": "x"}\n', b"7\n", b""):
        log.write_bytes(damage or b"\n")
        with pytest.raises(NavOffrlError, match=DRIVES_FILE):
            SuiteRun(SUITE, "generic", tmp_path)


def test_every_task_has_its_own_budget_and_time_ends_it(tmp_path: Path) -> None:
    class Stands:
        def begin(self, goal_image: Any) -> None: ...

        def command(self, observation: Any, info: Any) -> Command:
            return Command.STOP

    run = SuiteRun(SUITE, "generic", tmp_path)
    still = Driver("still", "0", lambda env, task: Stands(), sees=False)
    run.drive([still])
    for task, one in zip(run.tasks, run.scored(still), strict=True):
        budget = 4 + 2 * task.shortest / 1.0
        assert run.budget(task) == pytest.approx(budget)
        assert budget <= one.drive.seconds < budget + 0.2 + 1e-6
        assert not one.drive.success and one.drive.interventions == 0
        assert one.drive.shortest == pytest.approx(task.shortest - 1.0, abs=0.3)


def test_who_is_stuck_needs_help_once(tmp_path: Path) -> None:
    suite = SUITE.model_copy(update={"world": "office", "world_seeds": (7000,), "seed": 2})
    run = SuiteRun(suite, "generic", tmp_path)
    run.drive([STRAIGHT, ORACLE])
    failed = [one.drive for one in run.scored(STRAIGHT) if not one.drive.success]
    assert failed and all(drive.interventions == drive.collisions == 1 for drive in failed)
    assert all(one.drive.interventions == 0 for one in run.scored(ORACLE))


def test_a_robot_too_large_for_the_tasks_is_refused(tmp_path: Path) -> None:
    small = SUITE.model_copy(update={"footprint_radius": 0.2})
    with pytest.raises(NavOffrlError, match=r"0\.25 m is beyond the suite's 0\.2 m"):
        SuiteRun(small, "generic", tmp_path)


def test_what_was_trained_in_the_suites_worlds_does_not_drive(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = tmp_path / "held.bundle"
    held.mkdir()
    for file in bundle.iterdir():
        (held / file.name).write_bytes(file.read_bytes())
    contract = json.loads((held / "bundle.json").read_text())
    contract["provenance"]["simulated_worlds"] = "courtyard 3, courtyard 7001"
    (held / "bundle.json").write_text(json.dumps(contract))
    run = SuiteRun(SUITE, "generic", tmp_path / "report")
    with pytest.raises(NavOffrlError, match="courtyard 7001 is held out: the suite 'mine'"):
        learned_driver("policy", held, run.robot, SUITE)
    finetuned = {"finetuned_in": "simulated, world courtyard 9, online finetuning"}
    assert worlds_of(finetuned | {"simulated_worlds": "open 1"}) == {("courtyard", 9), ("open", 1)}


def test_mistakes_cost_one_line_and_no_worlds(
    suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report"
    assert call("evaluate", tmp_path, "--suite", suite_file, "--output", output) == 2
    assert "neither a run" in capsys.readouterr().err
    assert call("evaluate", "oracle", "--suite", "nowhere", "--output", output) == 2
    assert "no such suite" in capsys.readouterr().err
    assert not output.exists()


def test_the_note_about_other_tasks_than_published(tmp_path: Path) -> None:
    settings = SuiteSettings(Path("oracle"), tmp_path, with_baselines=False, with_video=False)
    report = evaluate_suite(SUITE, settings)
    assert "NOTE" not in report.table() and report.figures()["as_published"] is True
    changed = SUITE.model_copy(update={"fingerprint": "0123456789abcdef"})
    elsewhere = SuiteSettings(Path("oracle"), tmp_path / "b", None, None, None, False, False)
    report = evaluate_suite(changed, elsewhere)
    assert "NOTE: these are not the tasks" in report.table()
    assert list(report.figures()["policies"]) == ["oracle"]
    pinned = SUITE.model_copy(update={"fingerprint": report.figures()["tasks"]})
    assert SuiteRun(pinned, "generic", tmp_path / "c").as_published


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["campus", "forest", "office", "open", "warehouse"])
def test_baselines_are_in_order_on_every_suite(name: str, tmp_path: Path) -> None:
    settings = SuiteSettings(Path("oracle"), tmp_path, with_video=False)
    figures = evaluate_suite(load_suite(name), settings).figures()
    assert figures["as_published"]
    success = {
        driver: values["bins"]["all"]["success"]["value"]
        for driver, values in figures["policies"].items()
    }
    assert success["oracle"] == 1.0 >= success["straight to goal"] > success["random"]
    assert figures["policies"]["oracle"]["bins"]["all"]["collisions_per_km"]["value"] == 0
