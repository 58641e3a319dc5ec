"""What does not fit together in a training's settings is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from nav_offrl.algorithms.registry import METHODS, method_config
from nav_offrl.config import dump_yaml, load_yaml, parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.goal_presets import goal_preset
from nav_offrl.training.config import TrainConfig


def parse(**values: Any) -> TrainConfig:
    return parse_config(TrainConfig, values, "mine.yaml")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_by_name_has_its_own_settings_and_goals_and_survives_the_file(
    name: str, tmp_path: Path
) -> None:
    config = parse(method={"name": name})
    assert type(config.method) is method_config(name)
    assert config.value_goals == goal_preset(config.method.goals).value_goals
    dump_yaml(config, tmp_path / "config.yaml")
    assert load_yaml(TrainConfig, tmp_path / "config.yaml") == config


def test_a_misspelt_setting_of_a_method_is_named_with_its_path() -> None:
    with pytest.raises(NavOffrlError, match=r"mine\.yaml.*'method\.expectil'.*remove or rename"):
        parse(method={"name": "iql", "expectil": 0.9})


def test_an_unknown_method_is_refused_with_those_that_are() -> None:
    with pytest.raises(NavOffrlError, match=r"method.*sarsa.*iql"):
        parse(method={"name": "sarsa"})


@pytest.mark.parametrize("name", [n for n in METHODS if not method_config(n).any_reward])
def test_a_method_that_knows_only_goals_refuses_other_rewards(name: str) -> None:
    with pytest.raises(NavOffrlError, match=rf"method '{name}' knows only"):
        parse(method={"name": name}, reward={"collision": -10.0})


def test_a_warm_up_must_end_before_the_training_does() -> None:
    with pytest.raises(NavOffrlError, match=r"warmup_steps is 500.*500 steps"):
        parse(method={"name": "brac", "warmup_steps": 500}, steps=500)
    parse(method={"name": "brac", "warmup_steps": 500}, steps=501)


def test_kept_checkpoints_must_be_written() -> None:
    with pytest.raises(NavOffrlError, match="multiple of checkpoint_every"):
        parse(checkpoint_every=200, keep_every=300)
