"""Worlds made to measure."""

import dataclasses

import numpy as np
import pytest

from nav_offrl_sim import generate_world, load_world_config
from nav_offrl_sim.geometry import ClearanceMap
from nav_offrl_sim.scene import ROUGHNESS_STEP


@pytest.fixture(scope="session")
def arena():
    """Flat ground of 20 m x 20 m with the given obstacles; a lidar sees `grass` besides."""
    empty = generate_world(load_world_config("open"), 0)

    def build(*obstacles, grass=(), roughness=0.0, kind="floor"):
        steps = np.full_like(empty.scene.roughness_steps, round(roughness / ROUGHNESS_STEP))
        scene = dataclasses.replace(
            empty.scene,
            obstacles=obstacles,
            kinds=(kind,),
            terrain=np.zeros_like(empty.scene.terrain),
            roughness_steps=steps,
        )
        return dataclasses.replace(
            empty,
            scene=scene,
            clearance=ClearanceMap(obstacles, empty.size, 0.05),
            geometric_clearance=ClearanceMap([*obstacles, *grass], empty.size, 0.05),
        )

    return build
