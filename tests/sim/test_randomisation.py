import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim import load_robot_config
from nav_offrl_sim.configuration import RandomisationConfig
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.randomisation import Appearance, draw_appearance

CAMERAS = load_robot_config("generic").cameras
EVERYTHING = RandomisationConfig(
    ambient=(0.2, 0.5),
    diffuse=(0.3, 0.7),
    sun_azimuth=(-3.0, 3.0),
    sun_elevation=(0.3, 1.2),
    tint=(0.8, 1.0),
    texture_seed=(5, 9),
    camera_position=(-0.05, 0.05),
    camera_yaw=(-0.1, 0.1),
    camera_pitch=(-0.2, 0.2),
    field_of_view=(0.8, 1.2),
    exposure=(-1.0, 1.0),
    noise=(1.0, 6.0),
    blur=(0.2, 1.0),
    latency=(0.0, 0.3),
)
START = {"start": (10.0, 10.0, 0.0), "goal": (16.0, 10.0, 0.0)}


def draw(config, seed=0):
    return draw_appearance(config, CAMERAS, np.random.default_rng(seed))


def grey(level=128, size=200):
    return np.full((size, size, 3), level, dtype=np.uint8)


def test_nothing_is_random_unless_asked_for():
    appearance = draw(RandomisationConfig())
    assert appearance == Appearance(cameras=CAMERAS)
    picture = grey()
    assert appearance.develop(picture, np.random.default_rng(0)) is picture


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_everything_drawn_lies_in_its_range(seed):
    drawn = draw(EVERYTHING, seed)
    camera, plain = drawn.cameras["front"], CAMERAS["front"]
    assert 0.2 <= drawn.light["ambient"] <= 0.5 and 0.3 <= drawn.light["diffuse"] <= 0.7
    x, y, z = drawn.light["direction"]
    assert math.hypot(x, y, z) == pytest.approx(1.0)
    assert -math.sin(1.2) <= z <= -math.sin(0.3)
    assert all(0.8 <= share <= 1.0 for share in drawn.light["colour"])
    assert drawn.texture_seed in range(5, 10)
    assert abs(camera.forward - plain.forward) <= 0.05 and abs(camera.up - plain.up) <= 0.05
    assert abs(camera.yaw) <= 0.1 and abs(camera.pitch) <= 0.2
    assert 0.8 <= camera.horizontal_fov / plain.horizontal_fov <= 1.2
    assert -1 <= drawn.exposure <= 1 and 1 <= drawn.noise <= 6 and 0.2 <= drawn.blur <= 1
    assert drawn.latency is not None and 0 <= drawn.latency <= 0.3


def test_draws_fill_their_ranges_and_seeds_repeat_them():
    drawn = [draw(EVERYTHING, seed) for seed in range(200)]
    assert drawn[7] == draw(EVERYTHING, 7)
    noise = np.array([appearance.noise for appearance in drawn])
    assert noise.mean() == pytest.approx(3.5, abs=0.35) and noise.min() < 1.3 and noise.max() > 5.7
    assert {appearance.texture_seed for appearance in drawn} == {5, 6, 7, 8, 9}


@pytest.mark.parametrize("name", sorted(RandomisationConfig.model_fields))
def test_an_option_does_not_shift_what_others_draw(name):
    off = EVERYTHING.model_copy(update={name: None})
    with_it, without = draw(EVERYTHING), draw(off)
    assert with_it != without
    numbers = {"exposure", "noise", "blur", "latency", "texture_seed"} - {name}
    assert all(getattr(with_it, key) == getattr(without, key) for key in numbers)
    for key in set(with_it.light) & set(without.light) - {"direction"}:
        assert with_it.light[key] == without.light[key]


@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_pixel_noise_has_the_configured_energy(sigma):
    appearance = Appearance(cameras=CAMERAS, noise=sigma)
    noisy = appearance.develop(grey(), np.random.default_rng(0)).astype(float) - 128
    assert noisy.std() == pytest.approx(math.sqrt(sigma**2 + 1 / 12), rel=0.02)  # and rounding
    assert abs(noisy.mean()) < 0.05
    assert abs(np.corrcoef(noisy[:, :-1].ravel(), noisy[:, 1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.02


def test_a_stop_is_twice_the_light():
    brighter = Appearance(cameras=CAMERAS, exposure=1.0).develop(grey(100))
    assert np.unique(brighter).tolist() == [round(100 * 2 ** (1 / 2.2))]
    assert np.unique(Appearance(cameras=CAMERAS, exposure=3.0).develop(grey(200))) == [255]


def test_blur_spreads_a_point_by_its_standard_deviation():
    point = np.zeros((41, 41, 3), dtype=np.uint8)
    point[20, 20] = 255
    spread = Appearance(cameras=CAMERAS, blur=1.5, exposure=4.0).develop(point)[..., 0]
    weights = spread.astype(float) / spread.sum()
    offset = np.arange(41) - 20
    variance = (weights.sum(axis=0) * offset**2).sum()
    assert math.sqrt(variance) == pytest.approx(1.5, abs=0.1)


def pictures(seeds=(0,), steps=1, **settings):
    """Pictures at one place, one a seed, and the last drive's information."""
    env = NavigationEnv(world="open", lidar=False, **settings)
    images = []
    for seed in seeds:
        env.reset(seed=seed, options=START)
        for _ in range(steps):
            observation, _, _, _, info = env.step((0.0, 0.0))
        images.append(observation["image"].astype(float))
    env.close()
    return np.array(images), info


def test_light_exposure_and_camera_change_from_drive_to_drive_and_repeat_with_the_seed():
    randomisation = EVERYTHING.model_copy(update={"texture_seed": None})
    images, _ = pictures((0, 1, 2, 0), randomisation=randomisation.model_dump())
    assert np.array_equal(images[0], images[3])
    gaps = np.abs(images[:3, None] - images[None, :3]).mean(axis=(2, 3, 4))
    assert gaps[~np.eye(3, dtype=bool)].min() > 3
    plain, _ = pictures((0, 1))
    assert np.array_equal(plain[0], plain[1])


def test_darker_light_makes_darker_pictures():
    env = NavigationEnv(
        world="open", lidar=False, randomisation={"ambient": (0.1, 0.1), "diffuse": (0.1, 0.1)}
    )
    dark = env.reset(seed=0, options=START)[0]["image"].mean()
    env.close()
    bright, _ = pictures()
    assert dark < 0.6 * bright.mean()


def test_noise_is_new_in_every_picture_and_does_not_depend_on_when_it_is_asked_for():
    noise = {"noise": (5.0, 5.0)}
    first, _ = pictures(randomisation=noise)
    second, _ = pictures(steps=2, randomisation=noise)
    clean, _ = pictures()
    inner = (clean > 30) & (clean < 225)
    assert (first - clean)[inner].std() == pytest.approx(5.0, rel=0.05)
    assert np.corrcoef((first - clean)[inner], (second - clean)[inner])[0, 1] < 0.05
    env = NavigationEnv(world="open", lidar=False, images="lazy", randomisation=noise)
    env.reset(seed=0, options=START)
    env.step((0.0, 0.0))
    env.step((0.0, 0.0))
    assert np.array_equal(env.image(), second[0])
    env.close()


def test_other_paint_moves_nothing():
    plain = NavigationEnv(world="courtyard", images="lazy", lidar=False)
    painted = NavigationEnv(
        world="courtyard", images="lazy", lidar=False, randomisation={"texture_seed": (50, 50)}
    )
    infos = [env.reset(seed=3)[1] for env in (plain, painted)]
    assert np.array_equal(infos[0]["pose"], infos[1]["pose"])
    assert np.array_equal(infos[0]["goal_pose"], infos[1]["goal_pose"])
    assert plain.world.scene.obstacles == painted.world.scene.obstacles
    gap = np.abs(plain.image().astype(float) - painted.image()).mean()
    assert gap > 5
    plain.close()
    painted.close()


def test_latency_of_a_drive_is_drawn():
    env = NavigationEnv(
        world="open", images="never", lidar=False, randomisation={"latency": (0.4, 0.4)}
    )
    env.reset(seed=0, options=START)
    moved = [env.step((1.0, 0.0))[4]["truth"]["velocity"][0] for _ in range(3)]
    assert moved[:2] == [0.0, 0.0] and moved[2] > 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise": (3.0, 1.0)}, r"noise.*below its start"),
        ({"ambient": (0.5, 1.5)}, r"ambient.*between 0 and 1"),
        ({"blur": (-1.0, 1.0)}, r"blur.*not negative"),
        ({"contrast": (0.0, 1.0)}, r"contrast"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(NavOffrlError, match=message):
        NavigationEnv(world="open", randomisation=values)
