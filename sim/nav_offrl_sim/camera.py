"""Pictures of a world, drawn by MuJoCo's classic renderer off screen.

One OpenGL context lives as long as the process; each `Renderer` only adds a MuJoCo context
(16 ms) to it. Shadows are off: those of the sun are painted on the ground once.
"""

import itertools
import math
from typing import Any

import numpy as np

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.rendering import REMEDY, ensure_rendering

_BACKEND = ensure_rendering()
import mujoco  # noqa: E402  (reads MUJOCO_GL when imported)

from nav_offrl_sim.configuration import CameraConfig  # noqa: E402
from nav_offrl_sim.geometry import FloatArray  # noqa: E402
from nav_offrl_sim.meshes import MeshBuilder  # noqa: E402
from nav_offrl_sim.textures import Image  # noqa: E402
from nav_offrl_sim.world import World  # noqa: E402

SKY_RADIUS = 70.0
CEILING_GROUP = 2
HIDDEN_GROUP = 5
_gl_context: Any = None


def _make_current() -> None:
    global _gl_context
    if _gl_context is None:
        try:
            _gl_context = mujoco.GLContext(64, 64)
        except (AttributeError, ImportError, RuntimeError) as error:
            raise NavOffrlError(
                f"the OpenGL back end '{_BACKEND}' does not render off screen ({error})",
                where="MUJOCO_GL",
                remedy=f"unset MUJOCO_GL, or {REMEDY}",
            ) from error
    _gl_context.make_current()


MAX_PEDESTRIANS = 8
PEDESTRIAN_HEIGHT = 1.75  # m
PEDESTRIAN_RADIUS = 0.25  # m
AMBIENT, DIFFUSE = 0.42, 0.5
SUN = (-0.5, -0.3, -0.8)


class Renderer:
    """Draws one world at one picture size. Not to be used from several threads."""

    def __init__(self, world: World, width: int, height: int) -> None:
        self._model = compile_world(world, width, height)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._emission = self._model.mat_emission.copy()
        self._pedestrians = [self._model.geom(f"pedestrian{i}").id for i in range(MAX_PEDESTRIANS)]
        self._scene = mujoco.MjvScene(self._model, maxgeom=32)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._options = mujoco.MjvOption()
        self._options.geomgroup[HIDDEN_GROUP] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0
        _make_current()
        self._context: mujoco.MjrContext | None = mujoco.MjrContext(
            self._model, mujoco.mjtFontScale.mjFONTSCALE_50
        )
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)

    def render(
        self,
        position: FloatArray,
        axes: FloatArray,
        vertical_fov: float,
        ceiling: bool = True,
    ) -> Image:
        """Draw from `position` (3,) m; columns of `axes` (3, 3) are right, up and backward."""
        self._data.cam_xpos[0] = position
        self._data.cam_xmat[0] = axes.ravel()
        self._model.cam_fovy[0] = math.degrees(vertical_fov)
        self._options.geomgroup[CEILING_GROUP] = int(ceiling)
        self._bind()
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return np.ascontiguousarray(self._pixels[::-1])

    def set_pedestrians(self, poses: FloatArray) -> None:
        """Draw people at (P, 3) x m, y m, yaw rad from now on; at most `MAX_PEDESTRIANS`.

        Raises:
            NavOffrlError: there are more of them.
        """
        poses = np.asarray(poses, dtype=np.float64).reshape(-1, 3)
        if len(poses) > MAX_PEDESTRIANS:
            raise NavOffrlError(
                f"{len(poses)} pedestrians, of which at most {MAX_PEDESTRIANS} can be drawn",
                where="set_pedestrians",
                remedy="draw fewer",
            )
        for i in range(MAX_PEDESTRIANS):
            shown = i < len(poses)
            self._model.geom_group[self._pedestrians[i]] = 0 if shown else HIDDEN_GROUP
            if shown:
                x, y, yaw = poses[i]
                cos, sin = math.cos(yaw), math.sin(yaw)
                self._data.geom_xpos[self._pedestrians[i], :2] = x, y
                self._data.geom_xmat[self._pedestrians[i]] = cos, -sin, 0, sin, cos, 0, 0, 0, 1

    def set_light(
        self,
        ambient: float = AMBIENT,
        diffuse: float = DIFFUSE,
        direction: tuple[float, float, float] = SUN,
        colour: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        """Light the world: strengths in [0, 1], the way the sun shines, a tint (RGB in [0, 1])."""
        self._model.vis.headlight.ambient[:] = ambient
        self._model.light_diffuse[0] = diffuse
        self._data.light_xdir[0] = np.asarray(direction) / np.linalg.norm(direction)
        self._model.mat_rgba[:, :3] = colour
        self._model.mat_emission[:] = self._emission * (ambient + diffuse) / (AMBIENT + DIFFUSE)

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of another size from now on."""
        if (width, height) == (self._viewport.width, self._viewport.height):
            return
        self._bind()
        assert self._context is not None
        mujoco.mjr_resizeOffscreen(width, height, self._context)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)

    def _bind(self) -> None:
        """Draw into this renderer's buffer; another's may be bound, or one that was freed."""
        _make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)

    def close(self) -> None:
        """Free the MuJoCo context; the process keeps its OpenGL context."""
        if self._context is not None:
            self._bind()
            self._context.free()
            self._context = None


class RobotCamera:
    """The robot's own camera: pictures from poses."""

    def __init__(self, world: World, config: CameraConfig) -> None:
        self._config = config
        self._renderer = Renderer(world, config.width, config.height)

    def image(self, x: float, y: float, yaw: float) -> Image:
        """What a robot at (x, y) m, heading `yaw` rad sees, (height, width, 3) uint8 RGB."""
        config = self._config
        cos, sin = math.cos(yaw), math.sin(yaw)
        tilt_cos, tilt_sin = math.cos(config.pitch), math.sin(config.pitch)
        forward = np.array([cos * tilt_cos, sin * tilt_cos, -tilt_sin])
        right = np.array([sin, -cos, 0.0])
        axes = np.column_stack([right, np.cross(right, forward), -forward])
        position = np.array([x + config.forward * cos, y + config.forward * sin, config.up])
        return self._renderer.render(position, axes, config.vertical_fov)

    def set_pedestrians(self, poses: FloatArray) -> None:
        """Draw people at (P, 3) x m, y m, yaw rad from now on; see `Renderer.set_pedestrians`."""
        self._renderer.set_pedestrians(poses)

    def set_light(
        self,
        ambient: float = AMBIENT,
        diffuse: float = DIFFUSE,
        direction: tuple[float, float, float] = SUN,
        colour: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        """Light the world from now on; see `Renderer.set_light`."""
        self._renderer.set_light(ambient, diffuse, direction, colour)

    def reconfigure(self, config: CameraConfig) -> None:
        """Be another camera from now on; cheap, also when the picture's size changes."""
        self._config = config
        self._renderer.resize(config.width, config.height)

    def show(self, world: World) -> None:
        """Be in another world from now on; pedestrians and light go back to their defaults."""
        self._renderer.close()
        self._renderer = Renderer(world, self._config.width, self._config.height)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def compile_world(world: World, width: int, height: int) -> "mujoco.MjModel":
    """Compile the world's scenery into a MuJoCo model with one camera; nothing in it moves."""
    scene = world.scene
    spec = mujoco.MjSpec()
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.quality.shadowsize = 0
    spec.visual.map.znear, spec.visual.map.zfar = 0.02, 800.0
    spec.stat.extent, spec.stat.center = 1.0, [0.0, 0.0, 0.0]
    spec.visual.headlight.ambient = [AMBIENT] * 3
    spec.visual.headlight.diffuse = [0.0] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.worldbody.add_camera(name="camera", pos=[0, 0, 1])
    for direction, strength in (
        (SUN, DIFFUSE),
        ((0.7, 0.2, -0.1), 0.18),
        ((0.1, -0.6, 0.3), 0.1),
    ):
        light = spec.worldbody.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        light.dir, light.pos, light.castshadow = direction, [0, 0, 10], False
        light.ambient, light.diffuse, light.specular = [0.0] * 3, [strength] * 3, [0.0] * 3
    _add_mesh(spec, "scenery", scene.mesh, scene.atlas.image)
    if scene.ceiling is not None:
        _add_mesh(spec, "ceiling", scene.ceiling, scene.atlas.image, emission=0.4)
    _add_mesh(spec, "ground", _ground(scene.size), scene.ground, emission=0.35)
    if scene.sky is not None:
        _add_mesh(spec, "sky", _sky_dome(scene.size), scene.sky, emission=1.0)
    for i in range(MAX_PEDESTRIANS):
        spec.worldbody.add_geom(
            name=f"pedestrian{i}",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[PEDESTRIAN_RADIUS, PEDESTRIAN_HEIGHT / 2, 0],
            pos=[0, 0, PEDESTRIAN_HEIGHT / 2],
            contype=0,
            conaffinity=0,
            group=HIDDEN_GROUP,
        )
    return spec.compile()


def _add_mesh(
    spec: "mujoco.MjSpec",
    name: str,
    builder: MeshBuilder,
    picture: Image,
    emission: float = 0.0,
) -> None:
    vertices, normals, texture, faces = builder.arrays()
    image = spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=picture.shape[1],
        height=picture.shape[0],
        nchannel=3,
        colorspace=mujoco.mjtColorSpace.mjCOLORSPACE_LINEAR,
    )
    image.data = picture.tobytes()
    textures = [""] * mujoco.mjtTextureRole.mjNTEXROLE
    textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    spec.add_material(name=name, textures=textures, emission=emission, specular=0, shininess=0)
    mesh = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    mesh.uservert, mesh.usernormal = vertices.ravel(), normals.ravel()
    mesh.usertexcoord, mesh.userface = texture.ravel(), faces.ravel()
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=name,
        contype=0,
        conaffinity=0,
        group=CEILING_GROUP if name == "ceiling" else 0,
    )


def _ground(size: tuple[float, float]) -> MeshBuilder:
    builder = MeshBuilder()
    x, y = size
    corners = [[0, 0, 0], [x, 0, 0], [x, y, 0], [0, y, 0]]
    builder.quad(np.array(corners, dtype=np.float64), (0.0, 1.0, 1.0, 0.0))
    return builder


def _sky_dome(size: tuple[float, float]) -> MeshBuilder:
    """A dome seen from inside, from -10° to 90° of elevation."""
    builder = MeshBuilder()
    azimuths = np.linspace(0, 2 * math.pi, 33)
    elevations = np.radians(np.linspace(-10, 89.5, 9))
    centre = np.array([size[0] / 2, size[1] / 2, 0.0])
    for low, high in itertools.pairwise(elevations):
        rows = [1 - math.degrees(e + math.radians(10)) / 100 for e in (low, high)]
        for left, right in itertools.pairwise(azimuths):
            corners = [
                [math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)]
                for a, e in ((right, low), (left, low), (left, high), (right, high))
            ]
            columns = right / (2 * math.pi), left / (2 * math.pi)
            builder.quad(
                np.array(corners) * SKY_RADIUS + centre, (columns[0], rows[1], columns[1], rows[0])
            )
    return builder
