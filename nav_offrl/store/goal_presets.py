"""Published ways to draw goals, each as one `SamplingConfig`, with where its figures come from.

[code]: read in the authors' code. [paper]: as the paper describes it; where the paper leaves a
figure open, the comment says whose it is.
"""

from typing import NamedTuple

from nav_offrl.errors import NavOffrlError
from nav_offrl.store.relabelling import GoalRelabelling, SamplingConfig


class GoalPreset(NamedTuple):
    """A method's or paper's sampling, and its source."""

    sampling: SamplingConfig
    source: str


def _only(**share: float | int) -> GoalRelabelling:
    return GoalRelabelling(**({"current": 0, "geometric": 0, "random": 0} | share))


_VALUE = GoalRelabelling(current=0.2, geometric=0.5, random=0.3)
_UNIFORM = _only(uniform=1)
_STITCH = _only(uniform=0.5, random=0.5)
_RANDOM = _only(random=1)
_OGBENCH = "OGBench (Park et al. 2024), impls/agents/{} [code]"

GOAL_PRESETS: dict[str, GoalPreset] = {
    "navigation": GoalPreset(
        SamplingConfig(value_goals=_VALUE, actor_goals=_only(geometric=1)),
        "GCIQL's values; the policy learns most about goals near by, as a graph sets them",
    ),
    "her_future": GoalPreset(
        # Logs have no goal of their own to keep for the fifth that HER does not relabel.
        SamplingConfig(value_goals=_UNIFORM, actor_goals=_UNIFORM),
        "Andrychowicz et al. 2017, 'future'; baselines/her/her_sampler.py [code]",
    ),
    "gcbc": GoalPreset(
        SamplingConfig(value_goals=_UNIFORM, actor_goals=_UNIFORM), _OGBENCH.format("gcbc.py")
    ),
    "gciql": GoalPreset(
        SamplingConfig(value_goals=_VALUE, actor_goals=_UNIFORM),
        _OGBENCH.format("gciql.py") + "; GCIVL's is the same; for 'navigate' data sets",
    ),
    "gciql_stitch": GoalPreset(
        SamplingConfig(value_goals=_VALUE, actor_goals=_STITCH),
        "OGBench, impls/hyperparameters.sh, 'stitch' data sets [code]",
    ),
    "gciql_explore": GoalPreset(
        SamplingConfig(value_goals=_VALUE, actor_goals=_RANDOM),
        "OGBench, impls/hyperparameters.sh, 'explore' data sets [code]",
    ),
    "hiql": GoalPreset(
        SamplingConfig(value_goals=_VALUE, actor_goals=_UNIFORM, subgoal_steps=25),
        _OGBENCH.format("hiql.py") + "; subgoals from GoalSampler.subgoals",
    ),
    "crl": GoalPreset(
        SamplingConfig(value_goals=_only(geometric=1), actor_goals=_UNIFORM, reward="one_at_goal"),
        _OGBENCH.format("crl.py") + "; its negatives are the other goals of the batch",
    ),
    "qrl": GoalPreset(
        SamplingConfig(value_goals=_RANDOM, actor_goals=_UNIFORM, reward="one_at_goal"),
        _OGBENCH.format("qrl.py"),
    ),
    "actionable_models": GoalPreset(
        # The paper chains goals of other episodes without giving their share: half is ours.
        SamplingConfig(value_goals=_STITCH, actor_goals=_STITCH, reward="one_at_goal"),
        "Chebotar et al. 2021, section 4 [paper]",
    ),
    "ving": GoalPreset(
        # One share of 21 is negative, as one of the 21 distances 0 to 20 stands for it there.
        SamplingConfig(
            value_goals=_only(uniform=20 / 21, max_ahead=20, negative=1 / 21),
            actor_goals=_only(uniform=1, max_ahead=20),
        ),
        "negative mining of Shah et al. 2020 with the figures of its authors' later code, "
        "visualnav-transformer vint_dataset.py [code]",
    ),
    "gnm": GoalPreset(
        SamplingConfig(
            value_goals=_only(uniform=20 / 21, max_ahead=20, negative=1 / 21),
            actor_goals=_only(uniform=1, min_ahead=3, max_ahead=9),
        ),
        "GNM (Shah et al. 2022), visualnav-transformer gnm.yaml: distances to 20, actions to goals "
        "more than 2 and less than 10 ahead [code]",
    ),
    "recon": GoalPreset(
        # How far ahead goals may lie is not given: to the end, as RECON's runs have 70 steps.
        SamplingConfig(value_goals=_UNIFORM, actor_goals=_UNIFORM),
        "Shah et al. 2021, pairs of one trajectory [paper]",
    ),
    "revind": GoalPreset(
        SamplingConfig(
            value_goals=_only(uniform=1, min_ahead=10, max_ahead=50),
            actor_goals=_only(uniform=1, min_ahead=10, max_ahead=50),
        ),
        "ReViND (Shah et al. 2022), jaxrl2/data/dataset_utils.py [code]; there goals beyond the "
        "end fall on it, here they are uniform over what is left; its reward of grass is not here",
    ),
    "random": GoalPreset(
        SamplingConfig(value_goals=_RANDOM, actor_goals=_RANDOM),
        "any step of any episode: for logs of exploration without goals of their own",
    ),
}


def goal_preset(name: str) -> SamplingConfig:
    """Return the sampling of that name.

    Raises:
        NavOffrlError: there is none.
    """
    if name not in GOAL_PRESETS:
        raise NavOffrlError(
            f"no way to draw goals is called '{name}'",
            where="goals",
            remedy=f"use one of {', '.join(GOAL_PRESETS)}",
        )
    return GOAL_PRESETS[name].sampling
