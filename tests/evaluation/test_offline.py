"""Held-out figures on stores where the right answer is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nav_offrl.errors import NavOffrlError
from nav_offrl.evaluation.figures import draw_offline
from nav_offrl.evaluation.offline import (
    OfflineConfig,
    evaluate_offline,
    nearest,
    pairs_ahead,
)
from nav_offrl.store import Store
from nav_offrl.training.trained_policy import CommandPolicy, TrainedPolicy

torch.set_num_threads(1)


class AsDriven(TrainedPolicy):
    """Knows each held-out frame by its latent and commands what was driven there."""

    def policy_module(self) -> CommandPolicy:
        latents, steps = self.latents("held_out")
        driven = torch.from_numpy(self.store.field("action")[steps])

        class Lookup(CommandPolicy):
            def forward(self, latent: Tensor, goal_latent: Tensor) -> Tensor:
                return driven[torch.cdist(latent, latents).argmin(1)]

        return Lookup(self.agent.method, self.agent.facts.actions)


def test_commanding_what_was_driven_has_no_error(policy: TrainedPolicy) -> None:
    perfect = AsDriven(policy.run, policy.config, policy.agent, policy.store, policy.provenance)
    report = evaluate_offline(perfect, OfflineConfig())
    error = report.figures["command_error"]["policy"]
    assert error["linear_mae"] == error["angular_mae"] == 0
    assert error["angular_correlation"] == pytest.approx(1)
    assert error["linear_correlation"] == 0, "speed was constant: nothing to correlate with"
    json.dumps(report.figures, allow_nan=False)


def test_baselines_are_what_they_say(policy: TrainedPolicy) -> None:
    report = evaluate_offline(policy, OfflineConfig(goal_seconds=(1.0,)))
    figures, commands = report.figures, report.commands
    assert figures["held_out_steps"] == 30 and figures["command_pairs"] == 26
    np.testing.assert_array_equal(commands.goal - commands.step, 4)
    action = policy.store.field("action").astype(float)
    # Every drive steers alike at a place, so the most similar picture knows the command.
    assert figures["command_error"]["pixel_neighbour"]["angular_mae"] == 0
    training = np.r_[0:30, 60:90]
    mean = figures["command_error"]["mean_command"]
    expected = np.abs(action[commands.step, 1] - action[training, 1].mean()).mean()
    assert mean["angular_mae"] == pytest.approx(expected)
    assert mean["angular_correlation"] == 0
    assert figures["command_error"]["policy"]["angular_mae"] > 0.01, "barely trained"


def test_evaluating_twice_gives_the_same_figures(policy: TrainedPolicy) -> None:
    first, second = (evaluate_offline(policy, OfflineConfig()).figures for _ in range(2))
    assert first == second


def test_places_are_compared_only_where_episodes_share_a_frame(
    policy: TrainedPolicy, make_store: Callable[..., Store]
) -> None:
    places = evaluate_offline(policy, OfflineConfig()).figures["place_recognition"]
    assert places["pixel_neighbour"]["median_position_error_m"] == 0
    assert places["random"]["median_position_error_m"] > 2
    assert set(places) == {"learned", "pixel_neighbour", "random"}
    elsewhere = replace(policy, store=make_store((0, 1, 2), own_frame=True))
    places = evaluate_offline(elsewhere, OfflineConfig()).figures["place_recognition"]
    assert set(places) == {"left_out"}


def test_a_store_without_held_out_episodes_is_refused(
    policy: TrainedPolicy, make_store: Callable[..., Store]
) -> None:
    without = replace(policy, store=make_store((0, 2)))
    with pytest.raises(NavOffrlError, match="holds out no episode") as caught:
        evaluate_offline(without, OfflineConfig())
    assert str(without.store.path) in str(caught.value) and caught.value.remedy


def test_goals_beyond_every_episode_are_refused(policy: TrainedPolicy) -> None:
    with pytest.raises(NavOffrlError, match="no held-out episode is longer than 60"):
        evaluate_offline(policy, OfflineConfig(goal_seconds=(60.0,)))


def test_pictures_are_drawn(policy: TrainedPolicy, tmp_path: Path) -> None:
    report = evaluate_offline(policy, OfflineConfig())
    draw_offline(report, policy.store, "front", tmp_path / "held_out.png")
    picture = cv2.imread(str(tmp_path / "held_out.png"))
    assert picture.shape[0] > 400 and picture.std() > 10


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 1100))
def test_nearest_is_brute_force(seed: int, rows: int, queries: int) -> None:
    rng = np.random.default_rng(seed)
    row = rng.normal(size=(rows, 3)).astype(np.float32)
    query = rng.normal(size=(queries, 3)).astype(np.float32)
    distance = np.linalg.norm(query[:, None].astype(float) - row[None], axis=-1)
    found = nearest(query, row)
    chosen = distance[np.arange(queries), found]
    np.testing.assert_allclose(chosen, distance.min(1), rtol=0, atol=1e-3)
    assert found.shape == (queries,)


@pytest.mark.parametrize("ahead", [1, 7, 29, 30, 200])
def test_pairs_ahead_stay_within_an_episode(
    ahead: int, policy: TrainedPolicy, make_store: Callable[..., Store]
) -> None:
    for split, episodes in (("train", 2), ("held_out", 1)):
        here, there = pairs_ahead(policy.store, split, ahead)
        np.testing.assert_array_equal(there - here, ahead)
        np.testing.assert_array_equal(here // 30, there // 30)
        assert len(set(here)) == len(here) == episodes * max(0, 30 - ahead)
        assert (np.isin(here // 30, policy.store.episodes.of_split(split))).all()
