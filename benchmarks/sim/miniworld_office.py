"""MiniWorld's whole step, as a contender; run by a Python that has `miniworld` and no nav_offrl.

    PYGLET_HEADLESS=1 python -m benchmarks.sim.miniworld_office office WIDTH HEIGHT OBJECTS

`office` is a floor of 26 m x 18 m like this project's: two corridors, 28 rooms with doors, and as
many objects. They are of the kind that MiniWorld draws quickest: static meshes, in one display
list. Any other name is one of MiniWorld's own environments.
"""

import sys

import gymnasium
import numpy as np
from miniworld.entity import MeshEnt
from miniworld.miniworld import MiniWorldEnv

from benchmarks.sim.turns import Stopwatch, serve

WALL = 0.16  # m
ROOM = 26.0 / 7
BANDS = ((0.0, 4.0), (5.9, 9.0), (9.0, 12.1), (14.0, 18.0))  # of rooms, across the floor
CORRIDORS = ((4.0, 5.9), (12.1, 14.0))
MESHES = (("barrel", 0.9), ("doom_door", 1.6), ("keycard", 0.5))  # 49 faces on average
STEPS_IN_A_PLACE = 50


class Office(MiniWorldEnv):
    def __init__(self, objects: int, **settings: int) -> None:
        self._objects = objects
        super().__init__(max_episode_steps=10**9, **settings)

    def _gen_world(self) -> None:
        half = WALL / 2
        corridors = [
            self.add_rect_room(min_x=half, max_x=26 - half, min_z=low + half, max_z=high - half)
            for low, high in CORRIDORS
        ]
        rooms = []
        for band, (low, high) in enumerate(BANDS):
            for k in range(7):
                room = self.add_rect_room(
                    min_x=k * ROOM + half,
                    max_x=(k + 1) * ROOM - half,
                    min_z=low + half,
                    max_z=high - half,
                )
                door = k * ROOM + 1.2
                self.connect_rooms(
                    room, corridors[band // 2], min_x=door, max_x=door + 1.2, max_y=2.2
                )
                rooms.append(room)
        for k in range(self._objects):
            mesh, height = MESHES[k % len(MESHES)]
            self.place_entity(MeshEnt(mesh, height), room=rooms[k % len(rooms)])
        self.place_agent()

    def _reward(self) -> float:
        return 0.0


def main() -> None:
    name, (width, height, objects) = sys.argv[1], map(int, sys.argv[2:])
    size = {"obs_width": width, "obs_height": height}
    if name == "office":
        env = Office(objects, **size)
    else:
        env = gymnasium.make(name, max_episode_steps=10**9, **size).unwrapped
    env.reset(seed=0)
    random = np.random.default_rng(0)

    def take(steps: int, watch: Stopwatch) -> None:
        for step in range(steps):
            if step % STEPS_IN_A_PLACE == 0:
                env.entities.remove(env.agent)
                env.place_agent()
            action = random.choice([env.actions.turn_left, env.actions.turn_right, 2, 2, 2])
            with watch:
                done = env.step(action)[2]
            if done:
                env.reset()

    serve(take, objects=sum(entity is not env.agent for entity in env.entities))


if __name__ == "__main__":
    main()
