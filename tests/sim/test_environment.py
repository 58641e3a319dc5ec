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
from nav_offrl_sim import EnvConfig, load_robot_config
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.rendering import probe_rendering
from nav_offrl_sim.top_down import render_top_down


@pytest.fixture(scope="module", params=["campus", "office"])
def env(request):
    env = NavigationEnv(world=request.param)
    yield env
    env.close()


FAMILIES = ["Campus", "Courtyard", "Forest", "Office", "Open", "Warehouse"]
STATE_ONLY = {"images": "never", "goal": "pose"}


def check(env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about normalised actions: ours are in SI units
        check_env(env.unwrapped, skip_render_check=env.render_mode is None)
    env.close()


@pytest.mark.parametrize("name", ["Campus", "Office"])
def test_passes_gymnasiums_checker(name):
    check(gymnasium.make(f"nav_offrl/{name}-v0", render_mode="rgb_array"))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_passes_gymnasiums_checker_state_only(name):
    check(gymnasium.make(f"nav_offrl/{name}-v0", robot="turtlebot", **STATE_ONLY))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_environments(mode):
    kwargs = {"context": "spawn"} if mode == "async" else None
    envs = gymnasium.make_vec(
        "nav_offrl/Courtyard-v0",
        num_envs=2,
        vectorization_mode=mode,
        vector_kwargs=kwargs,
        goal="both",
        pedestrians={"count": 2},
    )
    observations, infos = envs.reset(seed=5)
    assert observations["image"].shape == (2, 96, 128, 3)
    assert not np.array_equal(observations["image"][0], observations["image"][1])
    assert infos["truth"]["pose"].shape == (2, 3)
    assert infos["sensed"]["lidar"].shape == (2, 180)
    for _ in range(3):
        observations, rewards, _, _, infos = envs.step(np.array([[0.5, 0.1], [0.0, 0.5]]))
    envs.close()
    assert rewards.tolist() == [0.0, 0.0] and infos["time"] == pytest.approx([0.6, 0.6])
    alone = NavigationEnv(world="courtyard", goal="both", pedestrians={"count": 2})
    alone.reset(seed=6)  # the second one's seed
    for _ in range(3):
        observation, _, _, _, info = alone.step((0.0, 0.5))
    alone.close()
    assert np.array_equal(observations["image"][1], observation["image"])
    assert np.array_equal(infos["truth"]["pose"][1], info["truth"]["pose"])


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


def test_the_way_to_the_goal_is_known_beyond_the_goals_range():
    env = NavigationEnv(world="courtyard", max_goal_distance=3.5, **STATE_ONLY)
    _, info = env.reset(seed=1)
    x, y, _ = info["goal_pose"]
    field = env.space.distance_field(x, y)
    for _ in range(150):
        info = env.step((0.9, 0.1))[4]
        assert env.geodesic_to_goal() == field[env.space.cell_of(*info["pose"][:2])]
    assert np.nanmax(field[env.space.free]) > 3.5


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


def test_goal_may_be_observed_as_image_as_pose_or_both():
    keys = {
        "image": {"image", "goal_image", "velocity"},
        "pose": {"image", "goal_pose", "velocity"},
        "both": {"image", "goal_image", "goal_pose", "velocity"},
    }
    for goal, expected in keys.items():
        env = NavigationEnv(world="open", goal=goal)
        observation, _ = env.reset(seed=0)
        assert set(observation) == expected == set(env.observation_space)
        assert env.observation_space.contains(observation)
        env.close()


def test_goal_pose_is_in_the_robots_frame_and_by_its_odometry():
    env = NavigationEnv(world="open", **STATE_ONLY)
    options = {"start": (10.0, 10.0, math.pi / 2), "goal": (13.0, 14.0, math.pi)}
    observation, _ = env.reset(seed=0, options=options)
    assert observation["goal_pose"] == pytest.approx([4.0, -3.0, math.pi / 2], abs=1e-6)
    for _ in range(10):
        observation, _, _, _, info = env.step((1.0, 0.4))
    x, y, yaw = info["sensed"]["odometry"]
    ahead, left, turn = observation["goal_pose"]
    assert x + ahead * math.cos(yaw) - left * math.sin(yaw) == pytest.approx(13.0, abs=1e-5)
    assert y + ahead * math.sin(yaw) + left * math.cos(yaw) == pytest.approx(14.0, abs=1e-5)
    assert math.cos(yaw + turn - math.pi) == pytest.approx(1.0)
    assert not np.array_equal(info["sensed"]["odometry"], info["truth"]["pose"])


def test_lazy_pictures_are_those_that_would_have_been_seen(env):
    lazy = NavigationEnv(world=env.world, images="lazy", goal="both", render_mode="rgb_array")
    seen, _ = env.reset(seed=11)
    observation, _ = lazy.reset(seed=11)
    assert set(observation) == {"goal_pose", "velocity"}
    assert np.array_equal(lazy.goal_image(), seen["goal_image"])
    for _ in range(4):
        seen = env.step((0.6, 0.3))[0]
        lazy.step((0.6, 0.3))
    assert np.array_equal(lazy.render(), seen["image"])
    assert lazy.image() is lazy.render()
    lazy.close()


def test_without_pictures_no_renderer_is_needed():
    code = (
        "import sys, nav_offrl_sim, gymnasium\n"
        "env = gymnasium.make('nav_offrl/Forest-v0', images='never', goal='pose')\n"
        "env.reset(seed=0); env.step(env.action_space.sample()); env.close()\n"
        "assert 'mujoco' not in sys.modules\n"
        "env.unwrapped.image()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MUJOCO_GL": "vulkan"},
        capture_output=True,
        text=True,
    )
    assert "AssertionError" not in done.stderr
    assert "was made without pictures" in done.stderr


def test_state_only_drives_do_not_depend_on_pictures_and_scans():
    def drive(**settings):
        env = NavigationEnv(world="courtyard", **settings)
        env.reset(seed=9)
        infos = [env.step((0.7, 0.5 * math.sin(k)))[4] for k in range(12)]
        env.close()
        return np.array(
            [np.concatenate([i["pose"], i["odometry"], i["sensed"]["imu"]]) for i in infos]
        )

    assert np.array_equal(drive(), drive(images="never", goal="pose", lidar=False))


def test_truth_is_kept_apart_from_what_is_sensed(env):
    _, info = env.reset(seed=2)
    truth, sensed = info["truth"], info["sensed"]
    assert set(truth) & set(sensed) == {"velocity", "bumpiness"}
    assert np.isnan(sensed["imu"]).all() and sensed["lidar_time"] == 0.0
    for _ in range(8):
        info = env.step((0.8, 0.3))[4]
    truth, sensed = info["truth"], info["sensed"]
    x, y, _ = truth["pose"]
    assert truth["terrain"] == env.world.terrain(x, y)
    assert truth["clearance"] == pytest.approx(env.world.clearance.at(x, y) - 0.25)
    assert truth["roughness"] == env.world.roughness(x, y)
    assert sensed["velocity"] == pytest.approx(truth["velocity"], abs=0.06)
    assert not np.array_equal(sensed["velocity"], truth["velocity"])
    assert sensed["imu"] == pytest.approx(sensed["imu_samples"].mean(axis=0))
    assert sensed["imu"][2] == pytest.approx(truth["velocity"][1], abs=0.05)
    assert sensed["lidar"].shape == (180,) and sensed["lidar_time"] == info["time"]
    assert np.array_equal(sensed["lidar"], env.scan())
    pictured = {"pose", "odometry", "goal_pose", "collision", "bumpiness", "success", "time"}
    assert pictured < set(info)


def test_sensors_that_a_robot_lacks_are_not_there():
    bare = load_robot_config("generic").model_copy(update={"imu": None, "lidar": None})
    env = NavigationEnv(world="open", robot=bare, **STATE_ONLY)
    _, info = env.reset(seed=0)
    assert set(info["sensed"]) == {"odometry", "velocity"}
    with pytest.raises(NavOffrlError, match="has no lidar"):
        env.scan()


def test_several_cameras_look_where_they_are_mounted():
    front = load_robot_config("generic").camera
    rear = front.model_copy(update={"yaw": math.pi, "forward": -0.15, "width": 64, "height": 48})
    side = front.model_copy(update={"yaw": math.pi / 2, "forward": 0.0, "left": 0.15})
    robot = load_robot_config("generic").model_copy(
        update={"cameras": {"front": front, "rear": rear, "side": side}}
    )
    env = NavigationEnv(world="courtyard", robot=robot)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["image_rear"].shape == (48, 64, 3)
    x, y, yaw = env._robot.pose
    goal = env.unwrapped._goal
    turned, _ = env.reset(options={"start": (x, y, yaw + math.pi / 2), "goal": goal})
    gap = np.abs(turned["image"].astype(int) - observation["image_side"])
    assert np.median(gap) <= 1  # but for rounding the side camera is the front one, turned
    assert np.array_equal(env.image("rear"), turned["image_rear"])
    with pytest.raises(NavOffrlError, match="has no camera 'top'"):
        env.image("top")
    env.close()


def test_a_drive_may_begin_in_another_world():
    env = NavigationEnv(world="courtyard", world_seed=1)
    first, _ = env.reset(seed=0)
    other, _ = env.reset(seed=0, options={"world_seed": 2})
    assert env.world.seed == 2
    assert not np.array_equal(first["image"], other["image"])
    alone = NavigationEnv(world="courtyard", world_seed=2)
    assert np.array_equal(alone.reset(seed=0)[0]["image"], other["image"])
    alone.close()
    again, _ = env.reset(seed=0, options={"world_seed": 1})
    assert np.array_equal(again["image"], first["image"])
    with pytest.raises(NavOffrlError, match="no whole number"):
        env.reset(options={"world_seed": "two"})
    env.close()


def test_a_fallen_robot_ends_the_drive(arena):
    env = NavigationEnv(world=arena(roughness=1.2), robot="jackal", **STATE_ONLY)
    env.reset(seed=0, options={"start": (10.0, 10.0, 0.0), "goal": (18.0, 2.0, 0.0)})
    for _ in range(200):
        _, reward, terminated, truncated, info = env.step((2.0, 4.0))
        assert truncated == info["flipped"]
        if truncated:
            break
    assert info["flipped"] and not terminated and reward == 0.0 and not info["success"]


def test_settings_are_those_of_the_configuration():
    env = NavigationEnv(EnvConfig(world="open", time_limit=3.0), success_radius=0.5, **STATE_ONLY)
    assert (env.config.time_limit, env.config.success_radius) == (3.0, 0.5)
    for wrong in ({"goals": "pose"}, {"images": "sometimes"}, {"time_limit": -1.0}):
        with pytest.raises(NavOffrlError, match=next(iter(wrong))):
            NavigationEnv(world="open", **wrong)
    with pytest.raises(NavOffrlError, match="jackall"):
        NavigationEnv(world="open", robot="jackall")
