"""Distances and relative poses between frames: geometry, sampling, learning."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from nav_offrl.algorithms.goal_representation import (
    GoalRepresentation,
    GoalRepresentationConfig,
    PairBatch,
    PairSampler,
    augment,
    relative_pose,
)
from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig

torch.set_num_threads(1)

ENCODER = EncoderConfig(height=32, width=32, channels=(8, 8), latent_size=16)
QUARTER = np.pi / 2


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ((0, 0, 0), (2, 1, 0), (2, 1, 1, 0)),  # ahead and to the left
        ((5, 5, 0), (4, 5, np.pi), (-1, 0, -1, 0)),  # behind, facing back
        ((1, 1, QUARTER), (1, 3, QUARTER), (2, 0, 1, 0)),  # facing +y: +y is ahead
        ((1, 1, QUARTER), (0, 1, 0), (0, 1, 0, -1)),  # facing +y: -x is left, turn right
        ((0, 0, -QUARTER), (1, 0, 0), (0, 1, 0, 1)),  # facing -y: +x is left, turn left
    ],
)
def test_relative_pose_by_hand(
    here: tuple[float, ...], there: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    pose = relative_pose(torch.tensor(here).float(), torch.tensor(there).float())
    torch.testing.assert_close(pose, torch.tensor(expected).float(), atol=1e-6, rtol=0)


poses = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-10, 10))


@settings(max_examples=100, deadline=None)
@given(here=poses, there=poses)
def test_going_there_from_here_arrives(here: tuple[float, ...], there: tuple[float, ...]) -> None:
    first, second = (torch.tensor(pose, dtype=torch.float64) for pose in (here, there))
    forward, left, cosine, sine = relative_pose(first, second)
    turned = first[2] + torch.atan2(sine, cosine)
    x = first[0] + forward * first[2].cos() - left * first[2].sin()
    y = first[1] + forward * first[2].sin() + left * first[2].cos()
    torch.testing.assert_close(torch.stack([x, y]), second[:2], atol=1e-9, rtol=0)
    assert (turned - second[2]).cos() == pytest.approx(1, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(here=poses, there=poses, frame=poses)
def test_relative_pose_does_not_depend_on_the_odometry_frame(
    here: tuple[float, ...], there: tuple[float, ...], frame: tuple[float, ...]
) -> None:
    """A robot switched on elsewhere, facing elsewhere, sees the same."""
    x, y, yaw = frame
    turn = torch.tensor([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])

    def moved(pose: Tensor) -> Tensor:
        return torch.cat([turn @ pose[:2] + torch.tensor([x, y]).double(), pose[2:] + yaw])

    first, second = (torch.tensor(pose, dtype=torch.float64) for pose in (here, there))
    turned = relative_pose(moved(first), moved(second))
    torch.testing.assert_close(turned, relative_pose(first, second), atol=1e-9, rtol=0)


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_shift_and_no_brightness_change_nothing() -> None:
    frames = noise(2, 3, 20, 24, 3)
    assert torch.equal(augment(frames, 0, 0.0, generator()), frames.float())


def test_augmented_frames_keep_shape_and_range() -> None:
    frames = noise(2, 3, 20, 24, 3)
    augmented = augment(frames, 4, 0.9, generator())
    assert augmented.shape == frames.shape
    assert augmented.min() >= 0 and augmented.max() <= 255


def test_augmentation_depends_on_its_generator_alone() -> None:
    frames = noise(2, 3, 20, 24, 3)
    torch.manual_seed(1)
    first = augment(frames, 4, 0.3, generator(5))
    torch.manual_seed(2)
    assert torch.equal(first, augment(frames, 4, 0.3, generator(5)))
    assert not torch.equal(first, augment(frames, 4, 0.3, generator(6)))


def test_shifts_are_whole_pixels_never_mirrored_and_reach_every_corner() -> None:
    """The frame holds its own coordinates: what is drawn says which shift was taken."""
    height, width, reach = 20, 24, 3
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frame = torch.stack([rows, columns, rows * 0 + 7], -1).to(torch.uint8)
    shifted = augment(frame.expand(400, -1, -1, -1), reach, 0.0, generator())
    seen = set()
    for image in shifted:
        down, right = (int(image[10, 10, axis]) - 10 for axis in (0, 1))
        seen.add((down, right))
        expected_rows = (rows + down).clamp(0, height - 1)
        expected_columns = (columns + right).clamp(0, width - 1)
        expected = torch.stack([expected_rows, expected_columns, rows * 0 + 7], -1)
        assert torch.equal(image, expected.float())
    every = {(down, right) for down in range(-3, 4) for right in range(-3, 4)}
    assert seen == every


def test_brightness_moves_gain_and_offset_of_a_whole_frame() -> None:
    frames = noise(50, 8, 8, 3).clamp(100, 150)
    changed = augment(frames, 0, 0.2, generator())
    for before, after in zip(frames.float(), changed, strict=True):
        slope = float((after.max() - after.min()) / (before.max() - before.min()))
        offset = after - slope * before
        assert 0.8 <= slope <= 1.2 and float(offset.abs().max()) <= 0.2 * 127.5 + 0.01
        assert float(offset.max() - offset.min()) < 0.01
    assert float((changed.mean((1, 2, 3)) - 125).std()) > 5


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    horizon=st.integers(2, 50),
    number=st.integers(0, 10**6),
)
def test_pairs_stay_within_an_episode_and_the_horizon(
    lengths: list[int], horizon: int, number: int
) -> None:
    config = GoalRepresentationConfig(batch_size=60, horizon=horizon)
    length = np.array(lengths)
    gap = 3  # steps of another split lie between
    starts = np.concatenate([[0], np.cumsum(length + gap)[:-1]])
    here, there = PairSampler(starts, length, config, seed=1).sample(number)
    assert here.shape == there.shape == (60,)
    episode = np.searchsorted(starts, here, side="right") - 1
    assert (there >= here).all() and (there - here <= horizon).all()
    assert (there < starts[episode] + length[episode]).all()


def test_pairs_reach_the_ends_of_an_episode_and_near_and_far() -> None:
    config = GoalRepresentationConfig(batch_size=4000, horizon=20)
    here, there = PairSampler(np.array([100]), np.array([30]), config, seed=0).sample(0)
    assert here.min() == 100 and here.max() == there.max() == 129
    ahead = (there - here)[here < 109]  # no end of the episode within the horizon
    share = np.bincount(ahead, minlength=20) / len(ahead)
    # Log-uniform: the share of k steps is log((k + 2) / (k + 1)) / log(21).
    expected = np.diff(np.log(np.arange(1, 22))) / np.log(21)
    assert np.abs(share - expected).max() < 0.06 and (share > 0).all()


def test_pairs_depend_on_seed_and_number_alone() -> None:
    config = GoalRepresentationConfig()

    def make(seed: int) -> PairSampler:
        return PairSampler(np.array([0, 90]), np.array([80, 70]), config, seed)

    first, second = make(0), make(0)
    second.sample(4)
    assert np.array_equal(first.sample(9), second.sample(9))
    assert not np.array_equal(first.sample(9), first.sample(10))
    assert not np.array_equal(first.sample(9), make(1).sample(9))


CORRIDOR_LENGTH = 40


def corridor(tint: int) -> Tensor:
    """Frames of a robot that drives 0.5 m a step past a bright bar, (T, 32, 32, 3) uint8."""
    frames = torch.zeros(CORRIDOR_LENGTH, 32, 32, 3)
    frames[..., tint] = 90
    for step in range(CORRIDOR_LENGTH):
        place = step * 26 // CORRIDOR_LENGTH
        frames[step, :, place : place + 6] = 230
        frames[step, : 4 + step // 2, :, (tint + 1) % 3] += 20
    return frames.to(torch.uint8)


FRAMES = torch.cat([corridor(tint) for tint in range(3)])
STEP = torch.arange(CORRIDOR_LENGTH).repeat(3)
POSE = torch.stack([STEP * 0.5, STEP * 0.0, STEP * 0.0], -1)
CONFIG = GoalRepresentationConfig(
    steps=300,
    batch_size=48,
    horizon=30,
    bin_edges=(0, 1, 3, 6, 12, 24, 40),
    hidden=(32,),
    contrastive_size=8,
    shift_pixels=0,
    brightness=0.05,
    learning_rate=3e-3,
)
PARTS = ("contrastive", "distance", "negative", "pose")


def pairs_at(steps: np.ndarray) -> PairBatch:
    return PairBatch(FRAMES[steps], POSE[steps], torch.from_numpy(steps[1] - steps[0]))


def pairs(number: int) -> PairBatch:
    starts, lengths = np.arange(3) * CORRIDOR_LENGTH, np.full(3, CORRIDOR_LENGTH)
    return pairs_at(PairSampler(starts, lengths, CONFIG, seed=0).sample(number))


def make(**changes: float) -> GoalRepresentation:
    torch.manual_seed(0)
    module = GoalRepresentation(CONFIG.model_copy(update=changes), ENCODER)
    module.pose_scale.fill_(4.0)
    return module


@pytest.fixture(scope="module")
def trained() -> GoalRepresentation:
    module = make()
    for step in range(CONFIG.steps):
        module.update(pairs(step), step, generator(step))
    return module.eval()


def test_learning_lowers_every_part_of_the_loss(trained: GoalRepresentation) -> None:
    untrained = make()
    with torch.no_grad():
        _, before = untrained.loss(pairs(10**6))
        _, after = trained.loss(pairs(10**6))
    for name in before:
        assert after[name] < 0.8 * before[name], name


def test_learned_distance_orders_pairs_and_tells_episodes_apart(
    trained: GoalRepresentation,
) -> None:
    with torch.no_grad():
        latent = trained.encoder(FRAMES)
        here = latent[2:3].expand(5, -1)
        goals = latent[[2, 5, 10, 25, 3 + CORRIDOR_LENGTH]]
        steps = trained.pair_head.expected_steps(here, goals)
        pose = trained.pair_head(here, goals)[1]
    assert (steps.diff() > 0).all(), steps
    # Negatives of ViNG pull every distance up a little.
    assert steps[0] < 4 and 6 < steps[2] < 24 and steps[4] > 26
    # From frame 2, frames 5, 10 and 25 lie 1.5, 4 and 11.5 m ahead.
    torch.testing.assert_close(pose[1:4, 0], torch.tensor([1.5, 4.0, 11.5]), atol=1.2, rtol=0.15)


def test_loss_is_the_sum_of_its_parts_as_weighed() -> None:
    """A penalty that is computed and never added would show here."""
    weights = dict(zip(PARTS, (2.0, 3.0, 0.7, 5.0), strict=True))
    loss, metrics = make(**{f"{name}_weight": w for name, w in weights.items()}).loss(pairs(0))
    parts = {name: metrics[f"representation/{name}_loss"].item() for name in PARTS}
    assert min(parts.values()) > 0.01
    expected = sum(weights[name] * parts[name] for name in PARTS)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", PARTS)
def test_each_part_of_the_loss_teaches_the_encoder(name: str) -> None:
    module = make()
    module.loss(pairs(0))[1][f"representation/{name}_loss"].backward()
    gradients = [p.grad for p in module.encoder.parameters()]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_losses_by_hand() -> None:
    """Pairs of 5, 2 and 0 steps, of three episodes."""
    module = make().eval()
    batch = pairs_at(np.array([[4, 48, 100], [9, 50, 100]]))
    here, there = module.encoder(batch.frames.flatten(0, 1)).chunk(2)
    _, metrics = module.loss(batch)

    def cross_entropy(logits: Tensor, right: list[int]) -> Tensor:
        return -logits.log_softmax(-1)[torch.arange(3), right].mean()

    logits, predicted = module.pair_head(here, there)
    expected = {"distance": cross_entropy(logits, [2, 1, 0])}

    far, _ = module.pair_head(here, there[[2, 0, 1]])
    expected["negative"] = cross_entropy(far, [6, 6, 6])

    target = torch.tensor([[2.5, 0, 1, 0], [1.0, 0, 1, 0], [0, 0, 1, 0]])
    error = (predicted - target) / torch.tensor([4.0, 4.0, 1.0, 1.0])
    huber = torch.where(error.abs() < 0.1, error.square() / 0.2, error.abs() - 0.05)
    expected["pose"] = huber.mean()

    start, goal = module.from_here(here), module.to_there(there)
    cosine = functional.cosine_similarity(start[:, None], goal[None], dim=-1)
    logits = cosine * module.log_sharpness.exp()
    expected["contrastive"] = (
        cross_entropy(logits, [0, 1, 2]) + cross_entropy(logits.T, [0, 1, 2])
    ) / 2
    for name, value in expected.items():
        torch.testing.assert_close(metrics[f"representation/{name}_loss"], value)


def test_an_update_does_not_touch_the_frames_it_was_given() -> None:
    batch = pairs(0)
    before = copy.deepcopy(batch.frames)
    make(brightness=0.3).update(batch, 0, generator())
    assert torch.equal(batch.frames, before)


def test_an_update_depends_on_step_and_generator_alone() -> None:
    first, second = make(), make()
    torch.manual_seed(11)
    first.update(pairs(0), 5, generator(1))
    torch.manual_seed(12)
    second.update(pairs(0), 5, generator(1))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_parameter_is_trained() -> None:
    module, before = make(), make()
    module.update(pairs(0), 0, generator())
    for (name, a), b in zip(module.named_parameters(), before.parameters(), strict=True):
        assert not torch.equal(a, b), name


def test_distance_loss_sees_the_steps_and_pose_loss_the_poses() -> None:
    module, batch = make(), pairs(0)
    _, before = module.loss(batch)
    _, slower = module.loss(replace(batch, steps=batch.steps * 2))
    _, wider = module.loss(replace(batch, pose=batch.pose * 2))
    for name in PARTS:
        key = f"representation/{name}_loss"
        assert (slower[key] != before[key]) == (name == "distance")
        assert (wider[key] != before[key]) == (name == "pose")


@pytest.mark.parametrize("edges", [[0], [1, 3, 8], [0, 3, 3, 8], [0, 8, 3]])
def test_bins_that_leave_distances_without_one_are_refused(edges: list[int]) -> None:
    with pytest.raises(NavOffrlError, match=r"mine\.yaml.*bin_edges"):
        parse_config(GoalRepresentationConfig, {"bin_edges": edges}, "mine.yaml")
