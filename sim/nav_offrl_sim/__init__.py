"""Simulated worlds, robot and camera, as a gymnasium environment.

Importing registers `nav_offrl/Campus-v0` and `nav_offrl/Office-v0`. MuJoCo is imported only when
a picture is first rendered, after a working OpenGL back end has been found.
"""

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

for _world in ("Campus", "Office"):
    gymnasium.register(
        id=f"nav_offrl/{_world}-v0",
        entry_point="nav_offrl_sim.environment:NavigationEnv",
        kwargs={"world": _world.lower()},
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
