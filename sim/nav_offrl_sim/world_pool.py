"""Worlds of one family, kept on disk so that a drive can begin in another world at once.

A file per world, `<folder>/<family>-<fingerprint>/<seed>.world`, 3 to 9 MB: a line with the CRC-32C
of the rest, a line of JSON with every array's name, type and shape, then their bytes (a zip would
take three times as long to read and check). The fingerprint covers
the family's settings, the code that generates worlds and the versions of the packages it uses, so
a changed family never gets worlds of before; old folders may be deleted at any time.
"""

import functools
import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import google_crc32c
import numpy as np

from nav_offrl_sim.geometry import ClearanceMap, Obstacle
from nav_offrl_sim.meshes import Mesh
from nav_offrl_sim.scene import CLEARANCE_RESOLUTION, Scene
from nav_offrl_sim.world import World, generate_world
from nav_offrl_sim.world_configuration import WorldConfig

_GENERATOR = (
    "geometry",
    "ground",
    "indoor",
    "materials",
    "meshes",
    "outdoor",
    "placement",
    "prefabs",
    "scene",
    "textures",
    "world",
    "world_pool",
)
_DAMAGED = (OSError, ValueError, KeyError, TypeError)
ALIGNED = 8  # bytes: arrays begin at multiples of it
Arrays = dict[str, Any]  # of arrays


class WorldPool:
    """Worlds of a family by their seed: each is generated once and then loaded from a folder.

    Several processes may use one folder.
    """

    def __init__(self, config: WorldConfig, folder: Path | None = None) -> None:
        """Keep worlds in `folder`; by default `nav_offrl/worlds` where the user's caches are."""
        self.config = config
        self.folder = (folder or _cache_folder()) / f"{config.name}-{_fingerprint(config)}"

    def world(self, seed: int) -> World:
        """The same world as `generate_world(config, seed)`, in milliseconds if it was made before.

        A damaged file is replaced and a folder that cannot be written is done without; either
        is told by a warning.

        Raises:
            NavOffrlError: the world cannot be generated.
        """
        path = self.path(seed)
        if path.exists():
            try:
                return _load(path, self.config, seed)
            except _DAMAGED as error:
                warnings.warn(f"{path}: damaged ({error}), made again", stacklevel=2)
        world = generate_world(self.config, seed)
        try:
            _save(world, path)
        except OSError as error:
            warnings.warn(f"{path}: not kept ({error})", stacklevel=2)
        return world

    def prepare(self, seeds: Iterable[int]) -> None:
        """Generate the worlds that are not there yet."""
        for seed in seeds:
            if not self.path(seed).exists():
                self.world(seed)

    def path(self, seed: int) -> Path:
        """Where a world is kept."""
        return self.folder / f"{seed}.world"


def _cache_folder() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "nav_offrl" / "worlds"


def _fingerprint(config: WorldConfig) -> str:
    settings = config.model_dump_json() + config.library().model_dump_json()
    return hashlib.sha256(_code_version() + settings.encode()).hexdigest()[:16]


@functools.cache
def _code_version() -> bytes:
    digest = hashlib.sha256(f"numpy {np.__version__}, cv2 {cv2.__version__}".encode())
    for name in _GENERATOR:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.digest()


def _save(world: World, path: Path) -> None:
    """Write a world whole or not at all."""
    arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(world).items()}
    layout = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    body = b"".join(array.tobytes() + bytes(-array.nbytes % ALIGNED) for array in arrays.values())
    head = json.dumps(layout).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            file.write(_checksum(head, body) + head + body)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _read(path: Path) -> Arrays:
    """The arrays of a file, read-only.

    Raises:
        ValueError: they are not those that were written.
    """
    with path.open("rb") as file:
        checksum, head, body = file.readline(), file.readline(), file.read()
    if checksum != _checksum(head, body):
        raise ValueError("the checksum differs")
    arrays, start = {}, 0
    for name, (dtype, shape) in json.loads(head).items():
        count = math.prod(shape)
        array = np.frombuffer(body, np.dtype(dtype), count, start)
        arrays[name] = array.reshape(shape)
        start += array.nbytes + -array.nbytes % ALIGNED
    return arrays


def _checksum(head: bytes, body: bytes) -> bytes:
    return b"%08x\n" % google_crc32c.extend(google_crc32c.value(head), body)


def _arrays(world: World) -> Arrays:
    scene = world.scene
    fields = [(o.x, o.y, o.half_length, o.half_width, o.yaw, o.radius, o.height)
              for o in scene.obstacles]  # fmt: skip
    arrays: Arrays = {
        "obstacles": np.array(fields, dtype=np.float64).reshape(-1, 7),
        "kinds": np.frombuffer(json.dumps(scene.kinds).encode(), dtype=np.uint8),
        "scale": np.float64(scene.scale).reshape(1),
        "ground": scene.ground,
        "terrain": scene.terrain,
        "roughness_steps": scene.roughness_steps,
        "atlas": scene.atlas,
        "clearance": world.clearance.values,
    }
    if world.geometric_clearance is not world.clearance:
        arrays["geometric_clearance"] = world.geometric_clearance.values
    if scene.sky is not None:
        arrays["sky"] = scene.sky
    for name, mesh in (("mesh", scene.mesh), ("ceiling", scene.ceiling)):
        arrays |= {f"{name}_{field}": value for field, value in vars(mesh).items()}
    return arrays


def _load(path: Path, config: WorldConfig, seed: int) -> World:
    arrays = _read(path)
    mesh, ceiling = (
        Mesh(*(arrays[f"{name}_{field}"] for field in Mesh.__dataclass_fields__))
        for name in ("mesh", "ceiling")
    )
    scene = Scene(
        config.size,
        tuple(Obstacle(*row) for row in arrays["obstacles"].tolist()),
        arrays["ground"],
        float(arrays["scale"][0]),
        tuple(json.loads(arrays["kinds"].tobytes())),
        arrays["terrain"],
        arrays["roughness_steps"],
        mesh,
        ceiling,
        arrays["atlas"],
        arrays.get("sky"),
    )
    clearance = ClearanceMap.of_values(arrays["clearance"], config.size, CLEARANCE_RESOLUTION)
    seen = clearance
    if "geometric_clearance" in arrays:
        values = arrays["geometric_clearance"]
        seen = ClearanceMap.of_values(values, config.size, CLEARANCE_RESOLUTION)
    return World(config, seed, scene, clearance, seen)
