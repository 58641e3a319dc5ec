"""How pedestrians look."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from nav_offrl_sim.library import shipped_library
from nav_offrl_sim.materials import paint_variants
from nav_offrl_sim.meshes import Atlas, Mesh, MeshBuilder
from nav_offrl_sim.prefabs import placed_triangles, prefab_shape
from nav_offrl_sim.textures import Image

PEOPLE = 8


@dataclass(frozen=True)
class People:
    """Meshes of `PEOPLE` different people about the origin, facing along x, and their texture."""

    meshes: tuple[Mesh, ...]
    texture: Image


@functools.cache
def people() -> People:
    """The people that every world has."""
    rng, atlas, library = np.random.default_rng(0), Atlas(), shipped_library()
    shape = prefab_shape(library.prefabs["person"], frozenset())
    pictures = [
        np.array([atlas.add(picture) for picture in paint_variants(rng, library.materials[name])])
        for name in shape.pictures
    ]
    builders = []
    for k in range(PEOPLE):
        rects = np.array([[among[k % len(among)] for among in pictures]])
        builder = MeshBuilder()
        facing = np.array([[0.0, 0.0, -math.pi / 2]])
        builder.triangles(*placed_triangles(shape, facing, np.ones((1, 3)), rects))
        builders.append(builder)
    texture = atlas.finished()
    return People(tuple(builder.mesh(texture) for builder in builders), texture)
