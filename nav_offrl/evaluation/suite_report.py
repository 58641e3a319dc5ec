"""A suite's result as a table for the screen and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from nav_offrl import __version__
from nav_offrl.evaluation.suite_metrics import Estimate, Scored, as_figures, measure
from nav_offrl.evaluation.suite_run import Driver, SuiteRun

COLUMNS = {
    "success": ("success", "{:.0%}"),
    "spl": ("SPL", "{:.2f}"),
    "sct": ("SCT", "{:.2f}"),
    "collisions_per_km": ("collis./km", "{:.0f}"),
    "interventions_per_km": ("interv./km", "{:.0f}"),
    "bumpiness": ("bumpiness", "{:.2f}"),
    "seconds_to_goal": ("time (s)", "{:.0f}"),
}
NAME_WIDTH, WIDTH = 20, 13
ALL = "all"


class SuiteReport:
    """What every policy achieved, bin by bin and over all tasks."""

    def __init__(self, run: SuiteRun, drivers: Sequence[Driver], absent: Mapping[str, str]) -> None:
        """`absent` names the baselines that were not driven, each with the reason."""
        self._run, self._absent = run, dict(absent)
        self._scored = {driver.name: run.scored(driver) for driver in drivers}
        self._identity = {driver.name: driver.identity for driver in drivers}

    def figures(self) -> dict[str, Any]:
        """Everything as plain numbers: the settings, the estimates, and a line for each drive."""
        run = self._run
        return {
            "nav_offrl_version": __version__,
            "suite": run.suite.model_dump(mode="json"),
            "tasks": run.fingerprint,
            "as_published": run.as_published,
            "robot": run.robot.model_dump(mode="json"),
            "policies": {name: self._policy(name) for name in self._scored},
            "not_driven": self._absent,
        }

    def _policy(self, name: str) -> dict[str, Any]:
        bins = {label: as_figures(measure(self._of(name, label))) for label in self._bins()}
        return {
            "identity": self._identity[name],
            "bins": bins,
            "drives": [self._line(number, one) for number, one in enumerate(self._scored[name])],
        }

    def _line(self, number: int, one: Scored) -> dict[str, Any]:
        task, drive = self._run.tasks[number], one.drive
        return {
            "task": number,
            "world_seed": task.world_seed,
            "bin": self._label(task.distance_bin),
            "start": list(task.start),
            "goal": list(task.goal),
            "shortest_m": drive.shortest,
            "budget_s": self._run.budget(task),
            "success": drive.success,
            "false_arrival": drive.false_arrival,
            "spl": drive.path_efficiency,
            "sct": one.time_efficiency,
            "driven_m": drive.driven,
            "closest_m": drive.closest,
            "seconds": drive.seconds,
            "collisions": drive.collisions,
            "interventions": drive.interventions,
            "bumpiness": drive.bumpiness,
        }

    def _label(self, number: int) -> str:
        near, far = self._run.suite.distances[number]
        return f"{near:g}-{far:g} m"

    def _bins(self) -> list[str]:
        return [*(self._label(n) for n in range(len(self._run.suite.distances))), ALL]

    def _of(self, name: str, label: str) -> list[Scored]:
        return [
            one
            for task, one in zip(self._run.tasks, self._scored[name], strict=True)
            if label in (ALL, self._label(task.distance_bin))
        ]

    def table(self) -> str:
        """One block a bin: each policy's figures, and below them their 95 % intervals."""
        run = self._run
        lines = [
            f"suite {run.suite.name}: {len(run.tasks)} tasks in {len(run.suite.world_seeds)} "
            f"held-out worlds, robot {run.robot.name}, arrival within "
            f"{run.suite.success_radius:g} m; below each figure its 95 % interval"
        ]
        if not run.as_published:
            lines.append("NOTE: these are not the tasks that the suite's file was published with")
        for label in self._bins():
            lines += ["", *self._block(label)]
        lines += ["", *(f"{name}: {reason}" for name, reason in self._absent.items())]
        return "\n".join(lines).rstrip()

    def _block(self, label: str) -> list[str]:
        count = len(self._of(next(iter(self._scored)), label)) if self._scored else 0
        heads = "".join(f"{head:>{WIDTH}}" for head, _ in COLUMNS.values())
        lines = [f"{f'{label}, {count} tasks':<{NAME_WIDTH}}{heads}"]
        for name in self._scored:
            estimates = measure(self._of(name, label))
            cells = [_cell(estimates[key], form) for key, (_, form) in COLUMNS.items()]
            values, intervals = zip(*cells, strict=True)
            lines.append(f"{name:<{NAME_WIDTH}}" + "".join(f"{v:>{WIDTH}}" for v in values))
            lines.append(" " * NAME_WIDTH + "".join(f"{i:>{WIDTH}}" for i in intervals))
        lines += [f"{name:<{NAME_WIDTH}}{'not given':>{WIDTH}}" for name in self._absent]
        return lines


def _cell(estimate: Estimate, form: str) -> tuple[str, str]:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-", ""
    low, high = (form.format(bound).rstrip("%") for bound in (estimate.low, estimate.high))
    return form.format(estimate.value), f"{low} to {high}"
