"""Rewards reach the transitions that they are for, and no others; their bounds hold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store import Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.relabelling import GoalRelabelling, SamplingConfig
from nav_offrl.store.sampler import GoalSampler
from nav_offrl.store.schema import field_info
from nav_offrl.store.transitions import Discounting, Transitions, goal_rewards
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.rewards import RewardConfig, StepRewards, step_rewards
from nav_offrl.training.store_facts import StoreFacts
from nav_offrl.training.terrain import TerrainConfig, shows_grass, shows_sunlight
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)

GAMMA = 0.9
FOR_EVER = -1 / (1 - GAMMA)
LIMITS = ActionLimits((-0.5, -2.0), (1.0, 1.0))
FRAMES = "front", EncoderConfig(height=32, width=32)
# Two drives of 6 steps. The first touches something at step 2, the second at its very first one.
COLLISION = np.array([0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
BUMPINESS = np.array([0, 0.5, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0])
VELOCITY = np.linspace(-0.5, 0.6, 12)
FIELDS = ("time", "action", "velocity", "collision", "bumpiness", "observation")


@pytest.fixture(scope="module")
def bumped(tmp_path_factory: pytest.TempPathFactory) -> Store:
    described = {name: field_info(name) for name in FIELDS[:-1]}
    described["observation"] = field_info("observation", shape=(12,))
    path = tmp_path_factory.mktemp("rewards") / "bumped.zarr"
    with StoreWriter.create(path, StoreInfo(rate_hz=4.0, fields=described)) as writer:
        for first in (0, 6):
            rows = slice(first, first + 6)
            fields = {
                "time": np.arange(6) * 250_000_000,
                "action": np.tile([[1.0, 0.5], [0.5, -2.0]], (3, 1)),
                "velocity": np.stack([VELOCITY, VELOCITY], -1)[rows],
                "collision": COLLISION[rows],
                "bumpiness": BUMPINESS[rows],
                "observation": np.eye(12)[rows],
            }
            writer.append(Episode(name=f"drive_{first}", images={}, fields=fields))
        writer.finish()
    return Store.open(path)


def measure(store: Store, **settings: Any) -> StepRewards:
    return step_rewards(RewardConfig(**settings), store, LIMITS, GAMMA, FRAMES)


def transitions(step: list[int], following: list[int], goal: list[int]) -> Transitions:
    """Transitions of the first drive towards goals in it; -1 for a goal elsewhere."""
    here, then, there = (np.array(column) for column in (step, following, goal))
    nothing = np.full(len(here), np.nan, np.float32)
    ahead = np.where(there >= here, there - here, -1)
    none = np.zeros(len(here), bool)
    return Transitions(here, then, there, there, nothing, nothing, nothing, ahead, none)


def paid(
    rewards: StepRewards, drawn: Transitions, n_steps: int = 1
) -> tuple[list[float], list[float]]:
    relabelled = rewards.relabel(drawn, Discounting(GAMMA, n_steps))
    assert relabelled.reward.dtype == relabelled.mask.dtype == np.float32
    return relabelled.reward.tolist(), relabelled.mask.tolist()


def test_a_collision_costs_in_the_step_that_collides_and_nowhere_else(bumped: Store) -> None:
    rewards = measure(bumped, collision=-7.0)
    expected = np.where(COLLISION, -8.0, -1.0)
    np.testing.assert_allclose(rewards.reward, expected)
    drawn = transitions([0, 1, 2, 3, 2], [1, 2, 3, 4, 3], [5, 5, 5, 5, 2])
    # At the goal itself nothing is paid, a collision there neither.
    assert paid(rewards, drawn) == ([-1, -1, -8, -1, 0], [1, 1, 1, 1, 0])


def test_n_step_returns_discount_the_cost_and_stop_at_the_goal(bumped: Store) -> None:
    rewards = measure(bumped, collision=-7.0)
    drawn = transitions([0, 1, 0, 0, 4], [3, 4, 3, 3, 5], [5, -1, 2, 1, 5])
    reward, mask = paid(rewards, drawn, 3)
    sums = [
        -1 - 0.9 - 8 * 0.81,  # through the collision
        -1 - 8 * 0.9 - 0.81,
        -1 - 0.9,  # the goal is reached where it collides
        -1,
        -1,  # the drive ends after one step
    ]
    assert reward == pytest.approx(sums) and mask == [1, 1, 0, 0, 1]


def test_other_measures_by_hand(bumped: Store) -> None:
    assert measure(bumped, bumpiness=-2.0).reward == pytest.approx(-1 - 2 * BUMPINESS)
    assert measure(bumped, speed=0.5).reward == pytest.approx(-1 + 0.5 * np.abs(VELOCITY))
    # Shares of the limits 1 m/s and 2 rad/s.
    energy = np.tile([1 + 0.0625, 0.25 + 1.0], 6)
    assert measure(bumped, energy=-0.1).reward == pytest.approx(-1 - 0.1 * energy)
    together = measure(bumped, bumpiness=-2.0, energy=-0.1, collision=-7.0)
    expected = -1 - 2 * BUMPINESS - 0.1 * energy - 7 * COLLISION
    assert together.reward == pytest.approx(expected)


@pytest.mark.parametrize(
    ("horizon", "ends"), [(0, []), (1, [2, 6]), (2, [1, 2, 6]), (4, [0, 1, 2, 6])]
)
def test_a_collision_ends_the_drive_within_its_horizon(
    bumped: Store, horizon: int, ends: list[int]
) -> None:
    """Step 5 is followed by a collision in the next drive, which is none of its business."""
    rewards = measure(bumped, collision_ends_within=horizon)
    assert np.flatnonzero(rewards.terminal).tolist() == ends
    expected = np.where(rewards.terminal, FOR_EVER, -1.0)
    np.testing.assert_allclose(rewards.reward, expected)


def test_an_end_stops_the_n_step_return_and_is_no_way_out(bumped: Store) -> None:
    rewards = measure(bumped, collision_ends_within=2, collision=-7.0)
    drawn = transitions([0, 1, 2, 3, 0], [3, 4, 5, 5, 3], [5, 5, 5, 5, 1])
    reward, mask = paid(rewards, drawn, 3)
    sums = [-1 + 0.9 * FOR_EVER, FOR_EVER, FOR_EVER - 7, -1.9, -1]
    assert reward == pytest.approx(sums) and mask == [0, 0, 0, 1, 0]
    # Driving on and on without arriving is no worse than the end.
    assert reward[1] <= FOR_EVER + 1e-6


def test_without_weights_rewards_are_those_of_the_sampler(bumped: Store) -> None:
    value_goals = GoalRelabelling(current=0.2, geometric=0.4, uniform=0.2, random=0.2)
    config = SamplingConfig(value_goals=value_goals, n_steps=3, discount=GAMMA)
    drawn = GoalSampler(bumped, "train", config, seed=1).sample(500, 0)
    again = measure(bumped).relabel(drawn, Discounting(GAMMA, 3))
    np.testing.assert_allclose(again.reward, drawn.reward, rtol=1e-6)
    np.testing.assert_array_equal(again.mask, drawn.mask)
    assert measure(bumped).bounds == pytest.approx((FOR_EVER, 0.0))


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.floats(-20, 20), min_size=4, max_size=4),
    horizon=st.integers(0, 3),
    goal=st.integers(0, 5),
    first=st.sampled_from([0, 6]),
)
def test_no_return_is_beyond_the_bounds(
    bumped: Store, weights: list[float], horizon: int, goal: int, first: int
) -> None:
    """Neither of a drive to a goal, nor of one that repeats any of its steps for ever."""
    names = ("collision", "bumpiness", "speed", "energy")
    rewards = measure(
        bumped, **dict(zip(names, weights, strict=True)), collision_ends_within=horizon
    )
    low, high = rewards.bounds
    slack = 1e-6 * (1 + abs(low) + abs(high))
    values = np.zeros(goal + 1)
    for step in range(goal - 1, -1, -1):
        following = 0.0 if rewards.terminal[first + step] else values[step + 1]
        values[step] = rewards.reward[first + step] + GAMMA * following
    for step in range(12):
        repeats = 1.0 if rewards.terminal[step] else 1 - GAMMA
        values = np.append(values, rewards.reward[step] / repeats)
    assert values.min() >= low - slack and values.max() <= high + slack


@pytest.mark.parametrize(
    ("measured", "names"),
    [("collision", "collision"), ("bumpiness", "bumpiness"), ("speed", "velocity"),
     ("collision_ends_within", "collision")],
)  # fmt: skip
def test_a_missing_field_is_named_before_a_run_is_made(
    write_states: Callable[..., Store], tmp_path: Path, measured: str, names: str
) -> None:
    store = write_states(tmp_path / "log.zarr")
    config = TrainConfig(
        observation="state", device="cpu", reward=RewardConfig.model_validate({measured: 2})
    )
    with pytest.raises(NavOffrlError, match=rf"log\.zarr.*no field '{names}'"):
        start_run(store, tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_terrain_needs_a_camera(bumped: Store) -> None:
    with pytest.raises(NavOffrlError, match="no camera 'front'"):
        measure(bumped, grass=0.75)


def painted(hue: float, saturation: float, value: float) -> np.ndarray:
    """Frames (1, 30, 45, 3) with a colour on the ground ahead, and its opposite elsewhere."""
    import colorsys

    rgb = np.array(colorsys.hsv_to_rgb(hue / 360, saturation, value))
    frame = np.broadcast_to(255 * (1 - rgb), (1, 30, 45, 3)).copy()
    frame[:, 20:, 15:30] = 255 * rgb
    return frame.round().astype(np.uint8)


@pytest.mark.parametrize(
    ("colour", "grass", "sun"),
    [
        ((110, 0.6, 0.4), True, False),
        ((75, 0.4, 0.9), True, True),
        ((30, 0.6, 0.4), False, False),  # earth
        ((110, 0.05, 0.5), False, False),  # grey asphalt with a tint
        ((110, 0.6, 0.05), False, False),  # the dark
        ((50, 0.1, 0.95), False, True),  # bright concrete
    ],
)
def test_only_the_ground_ahead_is_looked_at(
    colour: tuple[float, float, float], grass: bool, sun: bool
) -> None:
    frames = painted(*colour)
    assert shows_grass(frames, TerrainConfig()).tolist() == [grass]
    assert shows_sunlight(frames, TerrainConfig()).tolist() == [sun]


def test_half_of_the_ground_is_not_enough() -> None:
    frames = np.concatenate([painted(110, 0.6, 0.4), painted(30, 0.6, 0.4)])
    mixed = frames[:1].copy()
    mixed[0, 20:25] = frames[1, 20:25]
    assert not shows_grass(mixed, TerrainConfig())[0]
    assert shows_grass(mixed, TerrainConfig(share=0.49))[0]


def test_grass_is_judged_once_a_step_on_the_training_frames(store: Store) -> None:
    """The corridor of drive 1 is green (tint 80), but for the bar that passes by."""
    config = RewardConfig(grass=0.75, terrain=TerrainConfig(grass_value=0.1))
    rewards = step_rewards(config, store, LIMITS, GAMMA, FRAMES)
    seen = store.images("front", slice(0, store.steps))
    ahead = seen[:, 27:, 16:32].astype(float)
    green_pixels = (ahead[..., 1] > 1.5 * ahead[..., 0]) & (ahead[..., 1] > 1.5 * ahead[..., 2])
    share = green_pixels.mean((1, 2))
    green = share > 0.5
    clear = np.abs(share - 0.5) > 0.2  # the frames are resized and the pictures are JPEGs
    assert green[store.steps_of(1)].sum() > 5 and not green[store.steps_of(0)].any()
    np.testing.assert_allclose(rewards.reward[clear], np.where(green, -0.25, -1.0)[clear])


def test_a_weight_changes_what_the_critic_learns(bumped: Store, tmp_path: Path) -> None:
    """The defect of ReViND: its penalty was computed and reached nobody."""

    def values(name: str, reward: RewardConfig) -> np.ndarray:
        config = TrainConfig(
            observation="state", device="cpu", batch_size=64, steps=120, reward=reward,
            method=IQLConfig(discount=GAMMA, hidden=(32,), learning_rate=5e-3),
        )  # fmt: skip
        trainer = Trainer(bumped, start_run(bumped, tmp_path / name, config), progress=False)
        trainer.run()
        states = trainer.observations()
        with torch.no_grad():
            value: np.ndarray = trainer.agent.method.state_value(
                states[[2, 3]], states[5].expand(2, -1)
            ).numpy()
        return value

    plain, careful = values("plain", RewardConfig()), values("careful", RewardConfig(collision=-7))
    lost = plain - careful
    assert lost[0] > 3 and abs(lost[1]) < 1.5


def test_bounds_go_to_the_method_and_into_the_checkpoint(bumped: Store, tmp_path: Path) -> None:
    config = TrainConfig(
        observation="state", device="cpu", steps=1, reward=RewardConfig(collision=-7, speed=3.0),
        method=IQLConfig(discount=GAMMA, hidden=(8,)),
    )  # fmt: skip
    run = start_run(bumped, tmp_path / "run", config)
    trainer = Trainer(bumped, run, progress=False)
    trainer.run()
    bounds = (-8 / (1 - GAMMA), (-1 + 3 * np.abs(VELOCITY).max()) / (1 - GAMMA))
    assert trainer.agent.method.spaces.return_bounds == pytest.approx(bounds)
    checkpoint = run.load()
    assert checkpoint is not None
    restored = StoreFacts.restore(config, checkpoint.extra)
    assert restored.return_bounds == trainer.agent.facts.return_bounds


def test_relabelling_leaves_the_log_and_the_draw_alone(bumped: Store) -> None:
    before = bumped.fingerprint(), bumped.field("collision").copy()
    drawn = GoalSampler(bumped, "train", SamplingConfig(discount=GAMMA), seed=0).sample(32, 0)
    again = measure(bumped, collision=-7.0, collision_ends_within=2).relabel(
        drawn, Discounting(GAMMA, 1)
    )
    assert replace(again, reward=drawn.reward, mask=drawn.mask).step is drawn.step
    assert (again.goal == drawn.goal).all() and (again.discount == drawn.discount).all()
    assert bumped.fingerprint() == before[0] and (bumped.field("collision") == before[1]).all()
    taken = drawn.next_step - drawn.step
    plain = goal_rewards(drawn.steps_to_goal, taken, False, Discounting(GAMMA, 1))[0]
    np.testing.assert_array_equal(drawn.reward, plain)
