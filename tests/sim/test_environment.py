import math
import os
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import nav_offrl_sim  # noqa: F401  (registers the environments)
from nav_offrl.errors import NavOffrlError
from nav_offrl_sim import EnvConfig
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.rendering import probe_rendering
from nav_offrl_sim.top_down import render_top_down


@pytest.fixture(scope="module", params=["campus", "office"])
def env(request):
    env = NavigationEnv(world=request.param)
    yield env
    env.close()


@pytest.mark.parametrize("name", ["Campus", "Office"])
def test_passes_gymnasiums_checker(name):
    env = gymnasium.make(f"nav_offrl/{name}-v0", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about normalised actions: ours are in SI units
        check_env(env.unwrapped)
    env.close()


def drive(env, seed, steps=25):
    observation, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    images, poses = [observation["image"], observation["goal_image"]], [info["pose"]]
    for _ in range(steps):
        action = rng.uniform(env.action_space.low, env.action_space.high)
        observation, _, _, _, info = env.step(action)
        images.append(observation["image"])
        poses.append(np.concatenate([info["pose"], info["odometry"], observation["velocity"]]))
    return np.array(images), np.concatenate(poses)


def test_same_seed_and_actions_give_the_same_drive_and_pixels(env):
    images, poses = drive(env, 7)
    other_env = NavigationEnv(world=env.world.config.name)
    same_images, same_poses = drive(other_env, 7)
    other_env.close()
    assert np.array_equal(images, same_images)
    assert np.array_equal(poses, same_poses)
    other_images, _ = drive(env, 8)
    assert not np.array_equal(images, other_images)


def test_pictures_are_varied_and_tell_places_apart(env):
    rng = np.random.default_rng(0)
    images = []
    for _ in range(40):
        row, column = env.space.cells[rng.integers(len(env.space.cells))]
        pose = (*env.space.centre(row, column), rng.uniform(-math.pi, math.pi))
        images.append(env.reset(options={"start": pose})[0]["image"].astype(np.float32))
    images = np.array(images)
    gaps = np.abs(images[:, None] - images[None]).mean(axis=(2, 3, 4))[~np.eye(40, dtype=bool)]
    assert gaps.min() > 10
    assert 60 < images.mean() < 190
    assert np.median(images.std(axis=(1, 2, 3))) > 25


def test_goal_image_is_what_the_robot_sees_at_the_goal(env):
    observation, info = env.reset(seed=3)
    at_goal, _ = env.reset(options={"start": tuple(info["goal_pose"])})
    assert np.array_equal(observation["goal_image"], at_goal["image"])


def test_arrival_ends_the_drive_with_reward_one(env):
    _, info = env.reset(seed=5)
    oracle = OracleDriver(env.world, env.robot_config, env.space)
    assert 4.0 <= info["geodesic_to_goal"] <= 8.0
    terminated, rewards = False, []
    while not terminated:
        command = oracle.command(tuple(info["pose"]), tuple(info["goal_pose"]))
        _, reward, terminated, truncated, info = env.step(np.array(command))
        rewards.append(reward)
        assert not truncated
    assert info["success"] and info["distance_to_goal"] <= 1.0
    assert rewards[-1] == 1.0 and sum(rewards) == 1.0
    facing = info["pose"][2] - info["goal_pose"][2]
    assert math.cos(facing) > 0  # driving there looks about the way of the goal's photograph


def test_time_limit_truncates():
    env = NavigationEnv(EnvConfig(time_limit=1.0), world="office")
    env.reset(seed=0)
    flags = [env.step(np.zeros(2))[2:4] for _ in range(5)]
    env.close()
    assert flags == [(False, False)] * 4 + [(False, True)]


def test_mistakes_are_named(env):
    env.reset(seed=0)
    for action in (np.array([np.nan, 0.0]), np.zeros(3)):
        with pytest.raises(NavOffrlError, match="two finite numbers"):
            env.step(action)
    with pytest.raises(NavOffrlError, match="option 'start'"):
        env.reset(options={"start": (-5.0, 0.0, 0.0)})
    with pytest.raises(NavOffrlError, match="strat"):
        env.reset(options={"strat": (1.0, 1.0, 0.0)})


def test_several_environments_share_one_process(env):
    picture = env.reset(seed=1)[0]["image"]
    other = NavigationEnv(world="campus")
    other.reset(seed=2)
    assert np.array_equal(env.reset(seed=1)[0]["image"], picture)
    other.close()
    assert np.array_equal(env.reset(seed=1)[0]["image"], picture)


def test_top_down_shows_obstacles_where_they_are(env):
    image, to_pixel = render_top_down(env.world, 20.0)
    assert image.shape[:2] == tuple(round(20 * side) for side in env.world.size[::-1])
    assert to_pixel(np.array([0.0, env.world.size[1]])).tolist() == [0.0, 0.0]
    ground = env.world.scene.ground.astype(np.float32)
    free = env.space.cells[env.space.clearance[env.space.free] > 1.0][::11]
    for row, column in free[:5]:
        x, y = env.space.centre(row, column)
        pixel = to_pixel(np.array([x, y])).astype(int)
        seen = image[pixel[1] - 3 : pixel[1] + 4, pixel[0] - 3 : pixel[0] + 4].mean(axis=(0, 1))
        at = (np.array([x, y]) * env.world.scene.scale).astype(int)
        painted = ground[at[1] - 6 : at[1] + 7, at[0] - 6 : at[0] + 7].mean(axis=(0, 1))
        assert np.corrcoef(seen, painted)[0, 1] > 0.9


def render_in_subprocess(choice):
    variables = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    code = "import nav_offrl_sim.camera, os; print(os.environ['MUJOCO_GL'])"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=variables | ({"MUJOCO_GL": choice} if choice else {}),
        capture_output=True,
        text=True,
    )


def test_back_end_is_found_and_the_users_choice_kept():
    assert probe_rendering() in ("egl", "osmesa", os.environ.get("MUJOCO_GL"))
    assert render_in_subprocess(None).stdout.strip() in ("egl", "osmesa")
    wrong = render_in_subprocess("vulkan")
    assert wrong.returncode != 0
    assert "'vulkan' is no OpenGL back end" in wrong.stderr
