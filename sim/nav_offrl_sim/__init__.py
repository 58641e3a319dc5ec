"""Simulated worlds, robots and their sensors, as a gymnasium environment.

Importing registers `nav_offrl/Campus-v0` and one more for every file in `worlds/`. MuJoCo is
imported only when a picture is first rendered, after a working OpenGL back end has been found.
"""

from pathlib import Path

import gymnasium

from nav_offrl_sim.configuration import (
    CameraConfig,
    EnvConfig,
    RobotConfig,
    WorldConfig,
    load_robot_config,
    load_world_config,
)
from nav_offrl_sim.world import World, generate_world

for _world in (Path(__file__).parent / "worlds").glob("*.yaml"):
    _name = "".join(part.capitalize() for part in _world.stem.split("_"))
    gymnasium.register(
        id=f"nav_offrl/{_name}-v0",
        entry_point="nav_offrl_sim.environment:NavigationEnv",
        kwargs={"world": _world.stem},
    )

__all__ = [
    "CameraConfig",
    "EnvConfig",
    "RobotConfig",
    "World",
    "WorldConfig",
    "generate_world",
    "load_robot_config",
    "load_world_config",
]
