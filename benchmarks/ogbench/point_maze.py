"""Drive a point through OGBench's mazes; runs in OGBench's virtual environment.

Called by `python -m benchmarks.ogbench generate`: DATASET FOLDER SEED [EPISODES].
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import ogbench.locomaze  # noqa: F401  registers the environments
from numpy.typing import NDArray

NOISE = 0.5  # standard deviation on actions in [-1, 1]
HELD_OUT = 10  # one held-out episode to so many others
STITCH_CELLS = 4  # how far off the goals of 'stitch' are
SIDES = ((-1, 0), (0, -1), (1, 0), (0, 1))
Cell = tuple[int, int]
Rows = dict[str, list[Any]]


@dataclass(frozen=True)
class Recipe:
    """How a log is driven, with as many episodes and steps in each as the published ones have."""

    maze: str
    kind: str
    episodes: int
    steps: int


def recipe_of(dataset: str) -> Recipe:
    try:
        robot, maze, kind = dataset.split("-")
        assert robot == "pointmaze" and kind in ("navigate", "stitch")
        assert maze in ("medium", "large", "giant", "teleport")
    except (ValueError, AssertionError):
        sys.exit(f"'{dataset}' is no pointmaze-[medium|large|giant|teleport]-[navigate|stitch]")
    if kind == "stitch":
        return Recipe(maze, kind, 5000, 201)
    return Recipe(maze, kind, *((500, 2001) if maze == "giant" else (1000, 1001)))


class Maze:
    """The free cells of a maze."""

    def __init__(self, walls: NDArray[np.int64]) -> None:
        self.free: list[Cell] = [(int(i), int(j)) for i, j in np.argwhere(walls == 0)]
        self.corners = [cell for cell in self.free if not self._in_hallway(walls, cell)]

    @staticmethod
    def _in_hallway(walls: NDArray[np.int64], cell: Cell) -> bool:
        """Whether the cell goes on at two opposite sides and is walled at the other two."""
        i, j = cell
        sides = walls[[i - 1, i + 1, i, i], [j, j, j - 1, j + 1]] == 0
        return sides.tolist() in ([True, True, False, False], [False, False, True, True])

    def cells_at(self, start: Cell, distance: int) -> list[Cell]:
        """Return the cells that are `distance` cells' way from `start`."""
        seen, ring = {start}, [start]
        for _ in range(distance):
            beside = [
                (i + a, j + b) for i, j in ring for a, b in ((-1, 0), (0, -1), (1, 0), (0, 1))
            ]
            ring = [c for c in dict.fromkeys(beside) if c in self.free and c not in seen]
            seen.update(ring)
        return ring


def drive_episode(env: Any, maze: Maze, kind: str, rng: np.random.Generator, rows: Rows) -> None:
    start = _any(rng, maze.free)
    goal = _any(rng, maze.corners)
    if kind == "stitch":
        goal = _any(rng, maze.cells_at(start, STITCH_CELLS) or [start])
    inner = env.unwrapped
    task = {"task_info": {"init_ij": start, "goal_ij": goal}}
    observation, _ = env.reset(seed=int(rng.integers(2**31)), options=task)
    done = False
    while not done:
        position = inner.get_xy()
        way = inner.get_oracle_subgoal(position, inner.cur_goal_xy)[0] - position
        direction = way / (np.linalg.norm(way) + 1e-6)
        action = np.clip(direction + rng.normal(0, NOISE, 2), -1, 1)
        following, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
        if info["success"] and kind == "navigate":
            inner.set_goal(_any(rng, maze.corners))
        row = (observation, action, done, info["prev_qpos"], info["prev_qvel"])
        names = ("observations", "actions", "terminals", "qpos", "qvel")
        for name, value in zip(names, row, strict=True):
            rows[name].append(value)
        observation = following


def _any(rng: np.random.Generator, cells: list[Cell]) -> Cell:
    return cells[rng.integers(len(cells))]


def generate(recipe: Recipe, episodes: int, rng: np.random.Generator) -> Rows:
    env = gymnasium.make(
        f"pointmaze-{recipe.maze}-v0", terminate_at_goal=False, max_episode_steps=recipe.steps
    )
    maze = Maze(np.array(env.unwrapped.maze_map))
    rows: Rows = {n: [] for n in ("observations", "actions", "terminals", "qpos", "qvel")}
    for _ in range(episodes):
        drive_episode(env, maze, recipe.kind, rng, rows)
    return rows


def write(path: Path, rows: Rows) -> None:
    """Write the file whole or not at all."""
    arrays = {name: np.array(values, np.float32) for name, values in rows.items()}
    arrays["terminals"] = arrays["terminals"].astype(bool)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(path)


def main(dataset: str, folder: Path, seed: int, episodes: int | None = None) -> None:
    recipe = recipe_of(dataset)
    learn_from = episodes or recipe.episodes
    folder.mkdir(parents=True, exist_ok=True)
    # The environment draws from numpy's global state where it jitters starts and goals.
    np.random.seed(seed)
    rng = np.random.default_rng(seed)
    for suffix, count in (("", learn_from), ("-val", max(1, learn_from // HELD_OUT))):
        began, path = time.perf_counter(), folder / f"{dataset}-v0{suffix}.npz"
        rows = generate(recipe, count, rng)
        write(path, rows)
        seconds = time.perf_counter() - began
        print(f"{path}: {count} episodes, {len(rows['terminals'])} steps in {seconds:.0f} s")


if __name__ == "__main__":
    name, output, number, *rest = sys.argv[1:]
    main(name, Path(output), int(number), int(rest[0]) if rest else None)
