"""Drawing of worlds by MuJoCo's classic renderer, off screen.

One OpenGL context lives as long as the process. A renderer keeps one MuJoCo model and context
and pours world after world into them: the arrays of meshes and textures are overwritten in place
and uploaded again, which takes a fifth of the time of a new model and leaks nothing. Shadows are
off: those of the sun are painted on the ground once.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.rendering import REMEDY, ensure_rendering

_BACKEND = ensure_rendering()
import mujoco  # noqa: E402  (reads MUJOCO_GL when imported)

from nav_offrl_sim.geometry import FloatArray  # noqa: E402
from nav_offrl_sim.meshes import Mesh, sky_dome  # noqa: E402
from nav_offrl_sim.people import PEOPLE, people  # noqa: E402
from nav_offrl_sim.scene import Scene  # noqa: E402
from nav_offrl_sim.textures import Image  # noqa: E402

SKY_RADIUS = 90.0
HIDDEN_GROUP = 5
AMBIENT, DIFFUSE = 0.42, 0.5
SUN = (-0.5, -0.3, -0.8)
FILL_LIGHTS = (((0.7, 0.2, -0.1), 0.18), ((0.1, -0.6, 0.3), 0.1))
EMISSION = {"scenery": 0.0, "ceiling": 0.4, "ground": 0.35, "sky": 0.55, "people": 0.1}
SAMPLES = 0  # multisampling doubles the time of a picture
SPARE = 1.25  # room for so many times the triangles and chunks of the first world
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


@dataclass(frozen=True)
class Room:
    """How much a model has room for: triangles and chunks of scenery, shapes of pictures."""

    triangles: int
    chunks: int
    ceiling: int
    atlas: tuple[int, ...]
    ground: tuple[int, ...]
    sky: tuple[int, ...] | None

    @staticmethod
    def needed(scene: Scene, spare: float = 1.0) -> "Room":
        """Room for a scene, and `spare` times as much where worlds of a family differ."""
        return Room(
            math.ceil(spare * len(scene.mesh)),
            math.ceil(spare * len(scene.mesh.boxes)),
            len(scene.ceiling),
            scene.atlas.shape,
            scene.ground.shape,
            scene.sky.shape if scene.sky is not None else None,
        )

    def holds(self, other: "Room") -> bool:
        """Whether what needs `other` fits."""
        same = (self.ceiling, self.atlas, self.ground, self.sky)
        return (
            other.triangles <= self.triangles
            and other.chunks <= self.chunks
            and same == (other.ceiling, other.atlas, other.ground, other.sky)
        )


class Renderer:
    """Draws one world at a time. Not to be used from several threads."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = 1
        self._options.geomgroup[HIDDEN_GROUP] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0
        self._context: mujoco.MjrContext | None = None
        self._room: Room | None = None
        self.show(scene)

    def show(self, scene: Scene) -> None:
        """Be in another world from now on; pedestrians and light go back to their defaults."""
        if self._room is None or not self._room.holds(Room.needed(scene)):
            self.close()
            self._room = Room.needed(scene, SPARE)
            self._prepare(self._room)
        self._pour(scene)
        self.set_pedestrians(np.empty((0, 3)))
        self.set_light()

    def _prepare(self, room: Room) -> None:
        """Compile a model that has room for a scene, and make its context."""
        model = self._model = compile_room(room, self._width, self._height)
        data = self._data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        # Vertices are poured in where they are in the world, not about their centre of mass.
        data.geom_xpos[:], data.geom_xmat[:] = 0.0, np.eye(3).ravel()
        self._size: tuple[float, float] | None = None
        self._meshes = {model.mesh(i).name: i for i in range(model.nmesh)}
        self._textures = {model.texture(i).name: i for i in range(model.ntex)}
        self._chunks = np.array([self._meshes[f"scenery{k}"] for k in range(room.chunks)])
        self._people = np.array([self._meshes[f"person{k}"] for k in range(PEOPLE)])
        self._emission = model.mat_emission.copy()
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 8)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        for k, mesh in enumerate(people().meshes):
            self._write_mesh(f"person{k}", mesh)
        self._write_texture("people", people().texture)
        _make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._viewport = mujoco.MjrRect(0, 0, self._width, self._height)
        self._pixels = np.empty((self._height, self._width, 3), dtype=np.uint8)

    def _pour(self, scene: Scene) -> None:
        """Overwrite the model's meshes and textures with a scene's, and upload them.

        Chunks of the scenery are uploaded when they are first seen.
        """
        model = self._model
        self._write_mesh("scenery0", scene.mesh)
        used = len(scene.mesh.boxes)
        start = model.mesh_faceadr[self._chunks[0]]
        for name in ("vertadr", "normaladr", "texcoordadr"):
            address = getattr(model, f"mesh_{name}")
            address[self._chunks] = address[self._chunks[0]]
        model.mesh_faceadr[self._chunks[:used]] = start + scene.mesh.first[:-1]
        model.mesh_facenum[self._chunks[:used]] = np.diff(scene.mesh.first)
        model.geom_group[self._chunks] = HIDDEN_GROUP
        self._boxes, self._reach = scene.mesh.boxes, scene.mesh.reach
        self._stale = np.ones(used, dtype=np.bool_)
        changed: list[int] = []
        if scene.size != self._size:
            self._size = scene.size
            self._write_mesh("ground", _ground(scene.size))
            changed.append(self._meshes["ground"])
            if scene.sky is not None:
                middle = (scene.size[0] / 2, scene.size[1] / 2)
                self._write_mesh("sky", sky_dome(middle, SKY_RADIUS))
                changed.append(self._meshes["sky"])
        textures = {"atlas": scene.atlas, "ground": scene.ground}
        if len(scene.ceiling):
            self._write_mesh("ceiling", scene.ceiling)
            changed.append(self._meshes["ceiling"])
        if scene.sky is not None:
            textures["sky"] = scene.sky
        self._bind()
        for mesh in changed:
            mujoco.mjr_uploadMesh(model, self._context, mesh)
        for name, picture in textures.items():
            self._write_texture(name, picture)
            mujoco.mjr_uploadTexture(model, self._context, self._textures[name])

    def _write_mesh(self, name: str, mesh: Mesh) -> None:
        model, k, count = self._model, self._meshes[name], len(mesh)
        vertex, normal = model.mesh_vertadr[k], model.mesh_normaladr[k]
        texture = model.mesh_texcoordadr[k]
        model.mesh_vert[vertex : vertex + 3 * count] = mesh.vertices.reshape(-1, 3)
        model.mesh_normal[normal : normal + count] = mesh.normals
        model.mesh_texcoord[texture : texture + 3 * count] = mesh.texture.reshape(-1, 2)

    def _write_texture(self, name: str, picture: Image) -> None:
        start = self._model.tex_adr[self._textures[name]]
        self._model.tex_data[start : start + picture.size] = picture.ravel()

    def render(
        self,
        position: FloatArray,
        axes: FloatArray,
        vertical_fov: float,
        ceiling: bool = True,
    ) -> Image:
        """Draw from `position` (3,) m; columns of `axes` (3, 3) are right, up and backward."""
        model, data = self._model, self._data
        data.cam_xpos[0], data.cam_xmat[0] = position, axes.ravel()
        model.cam_fovy[0] = math.degrees(vertical_fov)
        seen = self._in_view(position, axes, vertical_fov) & self._within_reach(position)
        model.geom_group[self._chunks[: len(seen)]] = np.where(seen, 0, HIDDEN_GROUP)
        if "ceiling" in self._meshes:
            model.geom_group[self._meshes["ceiling"]] = 0 if ceiling else HIDDEN_GROUP
        self._bind()
        for chunk in np.flatnonzero(seen & self._stale):
            mujoco.mjr_uploadMesh(model, self._context, self._chunks[chunk])
        self._stale[seen] = False
        mujoco.mjv_updateScene(
            model,
            data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return np.ascontiguousarray(self._pixels[::-1])

    def _in_view(
        self, position: FloatArray, axes: FloatArray, vertical_fov: float
    ) -> NDArray[np.bool_]:
        """Which chunks reach into the pyramid that is seen, (K,)."""
        up = math.tan(vertical_fov / 2)
        across = up * self._width / self._height
        # Sides of the pyramid in the camera's axes, turned inwards; it looks along -z.
        sides = np.array([[1, 0, -across], [-1, 0, -across], [0, 1, -up], [0, -1, -up]]) @ axes.T
        middle, half = self._boxes[:, :3] - position, self._boxes[:, 3:]
        inside = middle @ sides.T + half @ np.abs(sides).T >= 0
        return np.asarray(inside.all(axis=1))

    def _within_reach(self, position: FloatArray) -> NDArray[np.bool_]:
        """Which chunks are not too far away to be drawn, (K,)."""
        away = np.maximum(np.abs(self._boxes[:, :3] - position) - self._boxes[:, 3:], 0)
        return np.asarray((away**2).sum(axis=1) <= self._reach**2)

    def set_pedestrians(self, poses: FloatArray) -> None:
        """Draw people at (P, 3) x m, y m, yaw rad from now on; at most `PEOPLE`.

        Raises:
            NavOffrlError: there are more of them.
        """
        poses = np.asarray(poses, dtype=np.float64).reshape(-1, 3)
        count = len(poses)
        if count > PEOPLE:
            raise NavOffrlError(
                f"{count} pedestrians, of which at most {PEOPLE} can be drawn",
                where="set_pedestrians",
                remedy="draw fewer",
            )
        self._model.geom_group[self._people] = HIDDEN_GROUP
        shown = self._people[:count]
        self._model.geom_group[shown] = 0
        cos, sin = np.cos(poses[:, 2]), np.sin(poses[:, 2])
        zero, one = np.zeros(count), np.ones(count)
        self._data.geom_xpos[shown, :2] = poses[:, :2]
        turns = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
        self._data.geom_xmat[shown] = np.stack(turns, axis=-1)

    def set_light(
        self,
        ambient: float = AMBIENT,
        diffuse: float = DIFFUSE,
        direction: tuple[float, float, float] = SUN,
        colour: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        """Light the world: strengths in [0, 1], the way the sun shines, a tint (RGB in [0, 1])."""
        self._model.light_ambient[0] = ambient
        self._model.light_diffuse[0] = diffuse
        self._data.light_xdir[0] = np.asarray(direction) / np.linalg.norm(direction)
        self._model.mat_rgba[:, :3] = colour
        self._model.mat_emission[:] = self._emission * (ambient + diffuse) / (AMBIENT + DIFFUSE)

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of another size from now on."""
        if (width, height) == (self._width, self._height) or self._context is None:
            return
        self._width, self._height = width, height
        if width > self._context.offWidth or height > self._context.offHeight:
            self._bind()
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
        self._room = None


def compile_room(room: Room, width: int, height: int) -> "mujoco.MjModel":
    """Compile a model with one camera and meshes and textures to be overwritten."""
    spec = mujoco.MjSpec()
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = SAMPLES
    spec.visual.map.znear, spec.visual.map.zfar = 0.04, 800.0
    spec.stat.extent, spec.stat.center = 1.0, [0.0, 0.0, 0.0]
    spec.visual.headlight.active = 0
    spec.worldbody.add_camera(name="camera", pos=[0, 0, 1])
    for direction, strength in ((SUN, DIFFUSE), *FILL_LIGHTS):
        light = spec.worldbody.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        light.dir, light.pos, light.castshadow = direction, [0, 0, 10], False
        light.ambient, light.diffuse, light.specular = [0.0] * 3, [strength] * 3, [0.0] * 3
    _add_material(spec, "atlas", room.atlas, EMISSION["scenery"])
    _add_material(spec, "ground", room.ground, EMISSION["ground"])
    _add_material(spec, "people", people().texture.shape, EMISSION["people"])
    for k in range(room.chunks):  # the first has the memory of them all
        _add_mesh(spec, f"scenery{k}", "atlas", room.triangles if k == 0 else 1)
    _add_mesh(spec, "ground", "ground", 2)
    for k, mesh in enumerate(people().meshes):
        _add_mesh(spec, f"person{k}", "people", len(mesh))
    if room.ceiling:
        _add_material(spec, "ceiling", room.atlas, EMISSION["ceiling"], texture="atlas")
        _add_mesh(spec, "ceiling", "ceiling", room.ceiling)
    if room.sky is not None:
        _add_material(spec, "sky", room.sky, EMISSION["sky"])
        _add_mesh(spec, "sky", "sky", len(sky_dome((0.0, 0.0), 1.0)))
    model = spec.compile()
    for k in range(model.nmesh):  # one normal for the three corners of a triangle
        start, count = model.mesh_faceadr[k], model.mesh_facenum[k]
        model.mesh_facenormal[start : start + count] = np.arange(count)[:, None]
    return model


def _add_material(
    spec: "mujoco.MjSpec",
    name: str,
    shape: tuple[int, ...],
    emission: float,
    texture: str | None = None,
) -> None:
    if texture is None:
        spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            width=shape[1],
            height=shape[0],
            colorspace=mujoco.mjtColorSpace.mjCOLORSPACE_LINEAR,
        )
    textures = [""] * mujoco.mjtTextureRole.mjNTEXROLE
    textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture or name
    spec.add_material(name=name, textures=textures, emission=emission, specular=0, shininess=0)


def _add_mesh(spec: "mujoco.MjSpec", name: str, material: str, triangles: int) -> None:
    """Add a mesh of so many triangles that will be overwritten, and a geom of it."""
    triangles = max(triangles, 2)
    mesh = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    mesh.uservert = np.tile([0.0, 0, 0, 1, 0, 0, 0, 1, 1], triangles)
    mesh.usernormal = np.tile([0.0, 0.0, 1.0], 3 * triangles)
    mesh.usertexcoord = np.zeros(6 * triangles)
    mesh.userface = np.arange(3 * triangles, dtype=np.int32)
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=material,
        contype=0,
        conaffinity=0,
    )


def _ground(size: tuple[float, float]) -> Mesh:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    texture = square[[[0, 1, 2], [0, 2, 3]]]
    vertices = np.zeros((2, 3, 3), dtype=np.float32)
    vertices[..., :2] = texture * np.array(size, dtype=np.float32)
    return Mesh.chunked(vertices, np.tile(np.array([0, 0, 1], dtype=np.float32), (2, 1)), texture)
