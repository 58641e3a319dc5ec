"""What the actor commands and records, in the real simulator."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from nav_offrl.finetuning.actor import Actor, Experience, ExplorationConfig
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.trained_policy import TrainedPolicy

PERIOD = 0.2


def act(
    policy: TrainedPolicy, env: Any, seed: int = 1, limits: ActionLimits | None = None, **noise: Any
) -> Experience:
    actor = Actor(env, policy.encoder_module(), ExplorationConfig(**noise), PERIOD)
    return actor.drive(policy.policy_module(), limits or policy.agent.limits, seed, "a drive")


@pytest.mark.parametrize("deviation", [0.0, 0.3, 50.0])
def test_commands_stay_inside_the_limits(deviation: float, policy: TrainedPolicy, env: Any) -> None:
    limits = ActionLimits((0.0, -0.5), (0.6, 0.4))
    fields = act(policy, env, limits=limits, linear=deviation, angular=deviation).episode.fields
    assert (fields["action"] >= limits.low).all() and (fields["action"] <= limits.high).all()
    if deviation == 50.0:  # far beyond: the limits themselves are commanded
        assert fields["action"].min() == -0.5 and fields["action"].max() == 0.6


def test_records_every_frame_as_a_robot_would(policy: TrainedPolicy, env: Any) -> None:
    drive = act(policy, env)
    fields, images = drive.episode.fields, drive.episode.images["front"]
    assert not drive.success and len(images) == 21, "20 commands, and the frame after the last"
    assert len(drive.latents) == 21 and all(len(column) == 21 for column in fields.values())
    np.testing.assert_array_equal(np.diff(fields["time"]), 200_000_000)
    assert fields["time"][0] == 0
    last = cv2.cvtColor(cv2.imdecode(np.frombuffer(images[-1], np.uint8), 1), cv2.COLOR_BGR2RGB)
    assert np.abs(last.astype(float) - env.render()).mean() < 4, "what the camera sees at the end"
    with torch.no_grad():
        latent = policy.encoder_module()(torch.from_numpy(env.render()[None]))
    torch.testing.assert_close(drive.latents[-1:], latent)
    assert drive.episode.split == "train"


def test_without_noise_it_commands_what_the_policy_says(policy: TrainedPolicy, env: Any) -> None:
    drive = act(policy, env, linear=0.0, angular=0.0)
    goal_image = env.reset(seed=1)[0]["goal_image"]
    with torch.no_grad():
        goal = policy.encoder_module()(torch.from_numpy(goal_image[None]))
        command = policy.policy_module()(drive.latents, goal.expand_as(drive.latents))
    np.testing.assert_allclose(drive.episode.fields["action"][:-1], command[:-1], atol=1e-5)


def test_noise_is_correlated_over_the_time_that_is_asked_for(
    policy: TrainedPolicy, env: Any
) -> None:
    wide = ActionLimits((-100.0, -100.0), (100.0, 100.0))
    calm = act(policy, env, limits=wide, angular=3.0, correlation_time=10.0).episode
    hasty = act(policy, env, limits=wide, angular=3.0, correlation_time=0.02).episode
    jumps = [np.abs(np.diff(e.fields["action"][:-1, 1])).mean() for e in (calm, hasty)]
    assert jumps[0] < jumps[1] / 2


def test_a_drive_depends_on_its_seed_alone(policy: TrainedPolicy, env: Any) -> None:
    first, other, again = (act(policy, env, seed=seed) for seed in (1, 2, 1))
    assert first.episode.images == again.episode.images
    for name, column in first.episode.fields.items():
        np.testing.assert_array_equal(column, again.episode.fields[name])
    assert not np.array_equal(first.episode.fields["position"], other.episode.fields["position"])


def test_success_ends_the_drive(policy: TrainedPolicy, env: Any) -> None:
    class AtTheGoal:
        """The simulator, with every drive starting 1.2 m before its goal, facing it."""

        def reset(self, *, seed: int) -> Any:
            _, info = env.reset(seed=seed)
            x, y, yaw = info["goal_pose"]
            start = (x - 1.2 * np.cos(yaw), y - 1.2 * np.sin(yaw), yaw)
            return env.reset(seed=seed, options={"start": start, "goal": (x, y, yaw)})

        step = env.step

    forward = ActionLimits((1.0, 0.0), (1.0, 0.0))
    drive = act(policy, AtTheGoal(), limits=forward)
    assert drive.success and 2 <= drive.episode.length < 10
