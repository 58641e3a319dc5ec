"""Driving a suite: every task by every policy, each drive kept as soon as it is done."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.rollouts import Drive, Pilot, drive
from nav_offrl.evaluation.suite_metrics import Scored, fastest_time
from nav_offrl.suites import SuiteConfig

DRIVES_FILE = "drives.jsonl"


@dataclass(frozen=True)
class Driver:
    """A policy under a name.

    Attributes:
        identity: changes when the policy does: drives of another identity are driven again.
        pilot: makes a pilot for an environment and the number of a task.
        sees: it looks at pictures.
    """

    name: str
    identity: str
    pilot: Callable[[Any, int], Pilot]
    sees: bool = True


class SuiteRun:
    """The tasks of a suite for one robot, and the drives that are done so far.

    Attributes:
        tasks: of all worlds (`nav_offrl_sim.suite_tasks.SuiteTask`).
        maps: world seed -> picture from above (H, W, 3) and what maps metres to its pixels.
    """

    def __init__(self, suite: SuiteConfig, robot: str, folder: Path) -> None:
        """Lay out every world; continue with the drives in `folder` if they are of this suite.

        Raises:
            NavOffrlError: the robot is too large, or `folder` holds drives of something else.
        """
        from nav_offrl_sim.configuration import load_robot_config
        from nav_offrl_sim.suite_tasks import fingerprint, suite_tasks
        from nav_offrl_sim.top_down import render_top_down

        self.suite, self.folder = suite, folder
        self.robot: Any = load_robot_config(robot)
        if self.robot.footprint_radius > suite.footprint_radius:
            raise NavOffrlError(
                f"radius {self.robot.footprint_radius} m is beyond the suite's "
                f"{suite.footprint_radius} m",
                where=f"robot '{self.robot.name}'",
                remedy="its tasks may be too narrow; choose a smaller robot or another suite",
            )
        self.tasks: list[Any] = []
        self.maps: dict[int, tuple[NDArray[np.uint8], Any]] = {}
        layouts = tqdm(
            suite_tasks(suite), total=len(suite.world_seeds), desc="worlds", unit="world"
        )
        for world, tasks in layouts:
            self.tasks += tasks
            self.maps[world.seed] = render_top_down(world, 480 / max(world.size))
        self.fingerprint = fingerprint(self.tasks)
        self._log = _DriveLog(folder / DRIVES_FILE, self._setting())

    def _setting(self) -> dict[str, Any]:
        """What two drives must have in common to stand in one table."""
        return {
            "suite": self.suite.model_dump(mode="json"),
            "tasks": self.fingerprint,
            "robot": self.robot.model_dump(mode="json"),
        }

    @property
    def as_published(self) -> bool:
        """The tasks are those that the suite's file was published with, if it was."""
        return self.suite.fingerprint in ("", self.fingerprint)

    def world(self, seed: int) -> Any:
        """One of the suite's worlds (`nav_offrl_sim.world.World`)."""
        from nav_offrl_sim.suite_tasks import suite_world

        return suite_world(self.suite, seed)

    def budget(self, task: Any) -> float:
        """Time for a task, s."""
        fastest = task.shortest / self.robot.max_linear
        return self.suite.time_reserve + self.suite.time_factor * float(fastest)

    def drive(self, drivers: Iterable[Driver]) -> None:
        """Drive what is not done yet, world after world."""
        drivers = list(drivers)
        todo = {seed: self._todo(seed, drivers) for seed in self.suite.world_seeds}
        total = sum(map(len, todo.values()))
        bar = tqdm(total=total, desc="drives", unit="drive", disable=total == 0)
        with bar, self._log:
            for seed, work in todo.items():
                if work:
                    self._drive_world(seed, work, bar)

    def _todo(self, seed: int, drivers: list[Driver]) -> list[tuple[Driver, int]]:
        numbers = [n for n, task in enumerate(self.tasks) if task.world_seed == seed]
        return [(d, n) for d in drivers for n in numbers if not self._log.has(d, n)]

    def _drive_world(self, seed: int, work: list[tuple[Driver, int]], bar: "tqdm[Any]") -> None:
        world = self.world(seed)
        for sees in (True, False):
            if not any(driver.sees == sees for driver, _ in work):
                continue
            env = self._environment(world, sees)
            try:
                for driver, number in work:
                    if driver.sees == sees:
                        self._drive_task(env, driver, number)
                        bar.update()
            finally:
                env.close()

    def _environment(self, world: Any, sees: bool) -> Any:
        from nav_offrl_sim import EnvConfig
        from nav_offrl_sim.environment import NavigationEnv

        config = EnvConfig(
            success_radius=self.suite.success_radius,
            time_limit=1e6,  # every task has a budget of its own
            images="always" if sees else "never",
            lidar=False,
        )
        return NavigationEnv(config, world=world, robot=self.robot)

    def _drive_task(self, env: Any, driver: Driver, number: int) -> None:
        task = self.tasks[number]
        pilot = driver.pilot(env, number)
        done = drive(env, pilot, task.start, task.goal, number, self.budget(task))
        self._log.add(driver, number, done)

    def scored(self, driver: Driver) -> list[Scored]:
        """The drives of a policy, one a task, in order.

        SPL and SCT compare with the way to where it first counts as arrived.
        """
        return [self._scored(task, self._log.get(driver, n)) for n, task in enumerate(self.tasks)]

    def _scored(self, task: Any, done: Drive) -> Scored:
        robot, way = self.robot, max(0.0, done.shortest - self.suite.success_radius)
        fastest = fastest_time(way, robot.max_linear, robot.linear_acceleration)
        return Scored(replace(done, shortest=way), fastest)


class _DriveLog:
    """Drives as lines of JSON, each flushed when it is done; a torn last line is left out."""

    def __init__(self, path: Path, setting: Mapping[str, Any]) -> None:
        self._path = path
        self._setting = json.loads(json.dumps(setting))  # as it is read back
        self._drives: dict[tuple[str, str, int], Drive] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        text = self._path.read_text(encoding="utf-8", errors="replace")
        *whole, torn = text.split("\n")  # what follows the last line break was cut short
        try:
            setting, *drives = (json.loads(line) for line in whole)
            for values in drives:
                key = (values.pop("policy"), values.pop("identity"), values.pop("task"))
                path = np.array(values.pop("path"), np.float64).reshape(-1, 3)
                goal = tuple(values.pop("goal"))
                self._drives[key] = Drive(path=path, goal=goal, **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NavOffrlError(
                f"is damaged ({error})", where=self._path, remedy="delete it and drive again"
            ) from error
        if setting != self._setting:
            raise NavOffrlError(
                "holds drives of another suite or robot",
                where=self._path,
                remedy="choose another --output, or delete it",
            )
        if torn:
            self._path.write_text("\n".join(whole) + "\n", encoding="utf-8")

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not self._path.exists()
        self._file = self._path.open("a", encoding="utf-8")
        if fresh:
            self._write(self._setting)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def has(self, driver: Driver, number: int) -> bool:
        return (driver.name, driver.identity, number) in self._drives

    def get(self, driver: Driver, number: int) -> Drive:
        return self._drives[driver.name, driver.identity, number]

    def add(self, driver: Driver, number: int, done: Drive) -> None:
        key = {"policy": driver.name, "identity": driver.identity, "task": number}
        self._write(key | asdict(done) | {"path": np.round(done.path, 3).tolist()})
        self._drives[driver.name, driver.identity, number] = done

    def _write(self, values: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
