"""The environment of nav_offrl_sim, and MuJoCo drawing separate objects, as contenders.

python -m benchmarks.sim.contenders environment '{"world": "office", "width": 64, ...}'
python -m benchmarks.sim.contenders separate_objects '{"objects": 70, "size": 26.0, ...}'
"""

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.sim.turns import Stopwatch, serve
from nav_offrl_sim.configuration import (
    EnvConfig,
    PedestriansConfig,
    RobotConfig,
    load_robot_config,
    load_world_config,
)
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.rendering import ensure_rendering
from nav_offrl_sim.world_pool import WorldPool

STEPS_IN_A_PLACE = 50


def robot_with_camera(width: int, height: int) -> RobotConfig:
    """The generic robot (lidar of 180 rays, IMU) with a camera of another size."""
    robot = load_robot_config("generic")
    camera = robot.camera.model_copy(update={"width": width, "height": height})
    return robot.model_copy(update={"cameras": {robot.camera_name: camera}})


def environment(
    world: str, width: int, height: int, pedestrians: int = 0, **settings: Any
) -> tuple[Callable[[int, Stopwatch], None], dict[str, Any]]:
    """Whole steps of the environment along random drives; resets are not timed."""
    made = WorldPool(load_world_config(world)).world(0)
    config = EnvConfig(pedestrians=PedestriansConfig(count=pedestrians), **settings)
    env = NavigationEnv(config, world=made, robot=robot_with_camera(width, height))
    env.reset(seed=0)
    random = np.random.default_rng(0)

    def take(steps: int, watch: Stopwatch) -> None:
        turn = 0.0
        for step in range(steps):
            if step % STEPS_IN_A_PLACE == 0:
                env.reset()
            turn = 0.8 * turn + random.normal(0.0, 0.4)
            action = (random.uniform(0.3, 1.0), turn)
            with watch:
                done = env.step(action)[2:4]
            if any(done):
                env.reset()

    return take, {
        "objects": int(sum(obstacle.height < 2.5 for obstacle in made.scene.obstacles)),
        "obstacles": len(made.scene.obstacles),
        "triangles": len(made.scene.mesh) + len(made.scene.ceiling),
        "size": max(made.size),
    }


def separate_objects(
    objects: int, size: float, width: int, height: int, samples: int
) -> tuple[Callable[[int, Stopwatch], None], dict[str, Any]]:
    """Pictures of so many textured boxes on a floor, each a geom; no shadows, no physics."""
    ensure_rendering()
    import mujoco

    model = mujoco.MjModel.from_xml_string(scene_of_boxes(objects, size, samples))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    context = mujoco.GLContext(width, height)
    context.make_current()
    scene = mujoco.MjvScene(model, maxgeom=objects + 100)
    resources = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, resources)
    options, camera = mujoco.MjvOption(), mujoco.MjvCamera()
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
    viewport = mujoco.MjrRect(0, 0, width, height)
    pixels = np.empty((height, width, 3), np.uint8)
    random = np.random.default_rng(0)

    def take(steps: int, watch: Stopwatch) -> None:
        context.make_current()
        for _ in range(steps):
            x, y = random.uniform(0, size, 2)
            yaw = random.uniform(-math.pi, math.pi)
            cos, sin = math.cos(yaw), math.sin(yaw)
            with watch:
                data.cam_xpos[0] = x, y, 0.5
                data.cam_xmat[0] = sin, 0, -cos, -cos, 0, -sin, 0, 1, 0
                everything = mujoco.mjtCatBit.mjCAT_ALL
                mujoco.mjv_updateScene(model, data, options, None, camera, everything, scene)
                mujoco.mjr_render(viewport, scene, resources)
                mujoco.mjr_readPixels(pixels, None, viewport, resources)
        if steps and pixels.std() < 1:
            raise RuntimeError("nothing was drawn")

    return take, {"objects": objects}


def scene_of_boxes(objects: int, size: float, samples: int) -> str:
    """A MuJoCo scene (XML) of textured boxes at random places within `size` m."""
    random = np.random.default_rng(0)
    boxes = "".join(
        f'<geom type="box" size="0.4 0.3 0.5" pos="{x:.2f} {y:.2f} 0.5" '
        f'euler="0 0 {yaw:.0f}" material="m{k % 8}" contype="0" conaffinity="0"/>'
        for k, (x, y, yaw) in enumerate(random.uniform(0, [size, size, 360], (objects, 3)))
    )
    materials = "".join(
        f'<texture name="t{k}" type="2d" builtin="checker" width="64" height="64" '
        f'rgb1="{k / 8} .5 .5" rgb2=".3 {k / 8} .6"/><material name="m{k}" texture="t{k}"/>'
        for k in range(8)
    )
    return f"""<mujoco>
      <visual><global offwidth="640" offheight="480" fovy="84"/>
        <quality shadowsize="0" offsamples="{samples}"/></visual>
      <asset>{materials}</asset>
      <worldbody><light type="directional" castshadow="false" pos="0 0 9" dir=".3 .2 -1"/>
        <camera name="camera" pos="0 0 1"/>
        <geom type="plane" size="{size} {size} 5" material="m0" contype="0" conaffinity="0"/>
        {boxes}</worldbody></mujoco>"""


def main() -> None:
    kinds = {"environment": environment, "separate_objects": separate_objects}
    take, facts = kinds[sys.argv[1]](**json.loads(sys.argv[2]))
    serve(take, **facts)


if __name__ == "__main__":
    main()
