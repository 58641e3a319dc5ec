"""Evaluation suites: held-out worlds with fixed tasks, in which nobody trains.

A suite is a YAML file; those that come with the simulator lie in `sim/nav_offrl_sim/suites`. This
module knows what a suite holds, not how to drive it, and needs no simulator.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from nav_offrl.config import Config, load_yaml
from nav_offrl.errors import NavOffrlError

Bin = tuple[float, float]
WorldId = tuple[str, int]  # name of the family, seed

_SOURCE = re.compile(r"simulated, world (.+) (\d+)(?:, |$)")


class SuiteConfig(Config):
    """Worlds, tasks and budgets of a suite."""

    name: str = Field(min_length=1, description="name of the suite")
    world: str = Field(description="family of worlds: a name, or path of its YAML file")
    world_changes: dict[str, Any] = Field(
        default_factory=dict, description="fields of the world that are other than its file says"
    )
    world_seeds: tuple[int, ...] = Field(min_length=1, description="held out: nobody trains there")
    robot: str = Field("generic", description="name of a robot, or path of its YAML file")
    footprint_radius: float = Field(
        0.35, gt=0, description="every task can be driven by a robot up to this size, m"
    )
    distances: tuple[Bin, ...] = Field(
        ((5.0, 10.0), (10.0, 20.0), (20.0, 50.0)),
        min_length=1,
        description="bins of the shortest path from start to goal, m",
    )
    tasks_per_world: int = Field(2, ge=1, description="starts and goals in each bin of each world")
    seed: int = Field(0, ge=0, description="of the starts and goals")
    goal_clearance: float = Field(
        0.75, gt=0, description="nothing stands nearer to a goal: nobody arrives through a wall, m"
    )
    success_radius: float = Field(1.0, gt=0, description="distance that counts as arrival, m")
    time_factor: float = Field(
        4.0, ge=1, description="budget, in times that the shortest path takes at top speed"
    )
    time_reserve: float = Field(20.0, ge=0, description="added to every budget, s")
    fingerprint: str = Field(
        "", description="of the tasks as published; empty: not published, nothing to compare with"
    )

    @field_validator("world_seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("give each seed once, none negative")
        return seeds

    @field_validator("distances")
    @classmethod
    def _ascending(cls, distances: tuple[Bin, ...]) -> tuple[Bin, ...]:
        if not all(0 < near < far for near, far in distances):
            raise ValueError("each bin needs 0 < nearest < farthest")
        return distances


def suite_folder() -> Path:
    """Where the shipped suites lie, found without importing the simulator."""
    spec = find_spec("nav_offrl_sim")
    if spec is None or not spec.submodule_search_locations:
        raise NavOffrlError("the simulator's package is not installed", where="nav_offrl_sim")
    return Path(spec.submodule_search_locations[0]) / "suites"


@cache
def shipped_suites() -> dict[str, SuiteConfig]:
    """All suites that come with the simulator, by name."""
    files = sorted(suite_folder().glob("*.yaml"))
    return {path.stem: load_yaml(SuiteConfig, path) for path in files}


def load_suite(name_or_path: str | Path) -> SuiteConfig:
    """Load a suite by its name ("campus") or from a YAML file.

    Raises:
        NavOffrlError: there is no such name and no such file, or a field does not fit.
    """
    shipped = shipped_suites()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if not Path(name_or_path).is_file():
        raise NavOffrlError(
            "no such suite and no such file",
            where=name_or_path,
            remedy=f"give the path of a YAML file, or one of {', '.join(shipped)}",
        )
    return load_yaml(SuiteConfig, name_or_path)


def simulated_source(family: str, world_seed: int, what: str) -> str:
    """What a store says of the origin of a simulated episode; `worlds_in` reads it."""
    return f"simulated, world {family} {world_seed}, {what}"


def worlds_in(sources: Iterable[str]) -> set[WorldId]:
    """The simulated worlds that episodes with these `source` texts were driven in."""
    found = (_SOURCE.match(source) for source in set(sources))
    return {(match[1], int(match[2])) for match in found if match}


def world_list(worlds: Iterable[WorldId]) -> str:
    """Worlds as a run's provenance lists them; `worlds_of_list` reads it."""
    return ", ".join(f"{family} {seed}" for family, seed in sorted(worlds))


def worlds_of_list(text: str) -> set[WorldId]:
    """The worlds in what `world_list` wrote."""
    return {(family, int(seed)) for family, seed in re.findall(r"\s*([^,]+?) (\d+)(?:,|$)", text)}


def refuse_suite_worlds(
    worlds: Iterable[WorldId], where: str | Path, suites: Iterable[SuiteConfig] | None = None
) -> None:
    """Refuse worlds that a suite holds; by default any of the shipped suites.

    Raises:
        NavOffrlError: a world is held out, with the suite's name.
    """
    for family, seed in sorted(worlds):
        for suite in shipped_suites().values() if suites is None else suites:
            if Path(suite.world).stem == family and seed in suite.world_seeds:
                raise NavOffrlError(
                    f"world {family} {seed} is held out: the suite '{suite.name}' evaluates there",
                    where=where,
                    remedy="train in worlds of other seeds",
                )
