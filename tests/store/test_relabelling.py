"""Goals are drawn with the probabilities that their mixture says, checked against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import chi2

from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store.goal_presets import GOAL_PRESETS, goal_preset
from nav_offrl.store.relabelling import GoalDrawer, GoalRelabelling, SamplingConfig
from nav_offrl.store.split_index import SplitIndex

DRAWS = 200_000
# Seeds are fixed, so a right distribution is rejected never or always; a wrong one at this many
# draws is far below.
ACCEPTED, REJECTED = 1e-3, 1e-9
NONE = {"current": 0.0, "geometric": 0.0, "uniform": 0.0, "random": 0.0}


def only(**shares: float) -> GoalRelabelling:
    return GoalRelabelling(**(NONE | shares))  # type: ignore[arg-type]


def make_index(lengths: list[int], groups: list[int] | None = None) -> SplitIndex:
    """Episodes 100 steps apart, so that a step that belongs to none is noticed."""
    length = np.array(lengths, np.int64)
    start = 100 * np.arange(len(lengths), dtype=np.int64)
    group = np.array(groups or [0] * len(lengths), np.int64)
    return SplitIndex(start, length, length - 1, group)


def draw(
    mixture: GoalRelabelling, index: SplitIndex, episode: int, step: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw goals of one and the same transition."""
    rng = np.random.default_rng(seed)
    episodes, steps = np.full(DRAWS, episode), np.full(DRAWS, step)
    return GoalDrawer(mixture, index, 0.99).draw(rng, episodes, steps)


def p_value(goals: NDArray[np.int64], expected: dict[int, float]) -> float:
    """Pearson's chi-square of drawn goals against exact probabilities; 0 if one was impossible."""
    assert sum(expected.values()) == pytest.approx(1)
    possible = [goal for goal, probability in expected.items() if probability > 0]
    counts = np.array([np.count_nonzero(goals == goal) for goal in possible])
    if counts.sum() != len(goals):
        return 0.0
    mean = len(goals) * np.array([expected[goal] for goal in possible])
    return float(chi2.sf(((counts - mean) ** 2 / mean).sum(), max(1, len(possible) - 1)))


def geometric(step: int, last: int, discount: float) -> dict[int, float]:
    """P(goal): (1 - discount) discount^(k - 1) at k ahead, all the rest on the last step."""
    ahead = range(1, last - step)
    probabilities = {step + k: (1 - discount) * discount ** (k - 1) for k in ahead}
    return probabilities | {last: discount ** (last - step - 1)}


def uniform(first: int, last: int) -> dict[int, float]:
    return {goal: 1 / (last - first + 1) for goal in range(first, last + 1)}


@pytest.mark.parametrize("step", [100, 104, 107])
@pytest.mark.parametrize("discount", [0.5, 0.9, 0.99])
def test_geometric_goals_pile_up_at_the_end(step: int, discount: float) -> None:
    goals, negative = draw(only(geometric=1, discount=discount), make_index([5, 9, 5]), 1, step)
    assert p_value(goals, geometric(step, 108, discount)) > ACCEPTED
    assert not negative.any()


def test_the_chi_square_notices_a_discount_that_is_slightly_off() -> None:
    goals, _ = draw(only(geometric=1, discount=0.9), make_index([9]), 0, 0)
    assert p_value(goals, geometric(0, 8, 0.89)) < REJECTED
    assert p_value(goals, geometric(0, 7, 0.9)) == 0.0


@pytest.mark.parametrize("step", [0, 5, 7])
def test_uniform_goals_are_uniform_over_what_lies_ahead(step: int) -> None:
    goals, _ = draw(only(uniform=1), make_index([9, 4]), 0, step)
    assert p_value(goals, uniform(step + 1, 8)) > ACCEPTED


@pytest.mark.parametrize(
    ("step", "first", "last"), [(0, 3, 6), (3, 6, 8), (5, 8, 8), (7, 8, 8)], ids=str
)
def test_uniform_goals_keep_their_distance_as_far_as_the_episode_goes(
    step: int, first: int, last: int
) -> None:
    goals, _ = draw(only(uniform=1, min_ahead=3, max_ahead=6), make_index([9]), 0, step)
    assert p_value(goals, uniform(first, last)) > ACCEPTED


def test_random_goals_are_any_step_of_the_split() -> None:
    everywhere = {**uniform(0, 3), **uniform(100, 101), **uniform(200, 205)}
    expected = {goal: 1 / 12 for goal in everywhere}
    for episode, step in ((0, 2), (1, 100), (2, 204)):
        goals, negative = draw(only(random=1), make_index([4, 2, 6]), episode, step)
        assert p_value(goals, expected) > ACCEPTED
        assert not negative.any()


@pytest.mark.parametrize("episode", [0, 1, 2])
def test_negatives_are_uniform_over_all_other_episodes(episode: int) -> None:
    lengths = [4, 2, 6]
    others = [row for row in range(3) if row != episode]
    steps = [100 * row + k for row in others for k in range(lengths[row])]
    goals, negative = draw(only(negative=1), make_index(lengths), episode, 100 * episode)
    assert p_value(goals, dict.fromkeys(steps, 1 / len(steps))) > ACCEPTED
    assert negative.all()


def test_groups_keep_random_goals_and_negatives_to_themselves() -> None:
    index = make_index([4, 2, 6, 3], groups=[0, 0, 1, 1])
    goals, _ = draw(only(random=1), index, 2, 200)
    assert p_value(goals, dict.fromkeys([*range(200, 206), *range(300, 303)], 1 / 9)) > ACCEPTED
    goals, _ = draw(only(negative=1), index, 1, 100)
    assert p_value(goals, uniform(0, 3)) > ACCEPTED


def test_a_mixture_is_the_weighted_sum_of_its_parts() -> None:
    mixture = GoalRelabelling(
        current=0.1, geometric=0.3, uniform=0.2, random=0.25, negative=0.15, discount=0.7
    )
    parts = [
        (0.1, {2: 1.0}),
        (0.3, geometric(2, 5, 0.7)),
        (0.2, uniform(3, 5)),
        (0.25, dict.fromkeys([*range(6), *range(100, 103)], 1 / 9)),
        (0.15, uniform(100, 102)),
    ]
    expected = dict.fromkeys([*range(6), *range(100, 103)], 0.0)
    for share, part in parts:
        for goal, probability in part.items():
            expected[goal] += share * probability
    goals, negative = draw(mixture, make_index([6, 3]), 0, 2)
    assert p_value(goals, expected) > ACCEPTED
    share = np.count_nonzero(negative) / DRAWS
    assert abs(share - 0.15) < 4 * np.sqrt(0.15 * 0.85 / DRAWS)
    assert (goals[negative] >= 100).all()


mixtures = (
    st.lists(st.integers(0, 5), min_size=5, max_size=5)
    .filter(any)
    .map(lambda parts: [part / sum(parts) for part in parts])
)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 20), min_size=2, max_size=6),
    shares=mixtures,
    ahead=st.tuples(st.integers(1, 30), st.integers(0, 30)),
    seed=st.integers(0, 2**63),
)
def test_every_goal_is_a_step_of_the_kind_that_was_asked_for(
    lengths: list[int], shares: list[float], ahead: tuple[int, int], seed: int
) -> None:
    names = ("current", "geometric", "uniform", "random", "negative")
    shares_of = dict(zip(names, shares, strict=True))
    bounds = {"min_ahead": ahead[0], "max_ahead": sum(ahead)}
    mixture = GoalRelabelling(**shares_of, **bounds)  # type: ignore[arg-type]
    index = make_index(lengths)
    rng = np.random.default_rng(seed)
    episode, step = index.transition(rng.integers(0, index.transitions, 300))
    goal, negative = GoalDrawer(mixture, index, 0.99).draw(rng, episode, step)
    goal_episode = goal // 100
    assert (goal % 100 < np.array(lengths)[goal_episode]).all()
    assert (goal_episode[negative] != episode[negative]).all()
    assert negative.any() or not shares[4] or shares[4] < 0.1
    if not shares[3]:
        same = ~negative
        assert np.array_equal(goal_episode[same], episode[same])
        assert (goal[same] >= step[same]).all()
        assert shares[0] or (goal[same] > step[same]).all()
    if shares[0] == 1:
        assert np.array_equal(goal, step)


def test_transitions_are_numbered_through_all_episodes() -> None:
    index = make_index([4, 2, 3])
    episode, step = index.transition(np.arange(index.transitions))
    assert episode.tolist() == [0, 0, 0, 1, 2, 2]
    assert step.tolist() == [0, 1, 2, 100, 200, 201]


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(NavOffrlError, match=r"mine\.yaml.*must be 1"):
        parse_config(GoalRelabelling, {"current": 0.5, "random": 0.9}, "mine.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"actor_goals": NONE | {"random": 0.5, "negative": 0.5}}, "actor_goals.negative must"),
        ({"value_goals": NONE | {"uniform": 1, "min_ahead": 9, "max_ahead": 3}}, "max_ahead"),
        ({"value_goals": NONE | {"uniform": -1, "random": 2}}, "greater than or equal to 0"),
        ({"n_steps": 0}, "n_steps"),
    ],
)
def test_samplings_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(NavOffrlError, match=message):
        parse_config(SamplingConfig, values, "mine.yaml")


def test_ogbench_presets_are_those_of_its_code() -> None:
    """Read off impls/agents/*.py: value_p_* and actor_p_* (cur, traj, random), geom_sample."""
    table = {  # value cur, traj, rand, geometric; actor traj (uniform), rand
        "gciql": (0.2, 0.5, 0.3, True, 1.0, 0.0),
        "gciql_stitch": (0.2, 0.5, 0.3, True, 0.5, 0.5),
        "gciql_explore": (0.2, 0.5, 0.3, True, 0.0, 1.0),
        "hiql": (0.2, 0.5, 0.3, True, 1.0, 0.0),
        "crl": (0.0, 1.0, 0.0, True, 1.0, 0.0),
        "qrl": (0.0, 0.0, 1.0, True, 1.0, 0.0),
        "gcbc": (0.0, 1.0, 0.0, False, 1.0, 0.0),
    }
    for name, (current, ahead, anywhere, is_geometric, actor_ahead, actor_random) in table.items():
        value, actor = goal_preset(name).value_goals, goal_preset(name).actor_goals
        geometric_share, uniform_share = (ahead, 0.0) if is_geometric else (0.0, ahead)
        assert value.shares == (current, geometric_share, uniform_share, anywhere, 0.0), name
        assert actor.shares == (0.0, 0.0, actor_ahead, actor_random, 0.0), name
        assert goal_preset(name).discount == 0.99, "geometric goals take it too"
    assert goal_preset("hiql").subgoal_steps == 25
    assert goal_preset("crl").reward == "one_at_goal"


def test_geometric_goals_take_the_discount_of_the_returns_but_where_they_have_their_own() -> None:
    index, step, rng = make_index([50]), np.zeros(4000, np.int64), np.random.default_rng(0)
    for own, expected in ((None, 0.5), (0.9, 0.9)):
        drawer = GoalDrawer(only(geometric=1, discount=own), index, 0.5)
        goals = drawer.draw(rng, np.zeros(4000, np.int64), step)[0]
        assert np.mean(goals == 1) == pytest.approx(1 - expected, abs=0.04)


def test_without_discounting_geometric_goals_need_a_discount() -> None:
    with pytest.raises(ValidationError, match="discount of their own"):
        SamplingConfig(discount=1.0)


def test_navigation_presets() -> None:
    revind = goal_preset("revind").value_goals
    assert (revind.uniform, revind.min_ahead, revind.max_ahead) == (1.0, 10, 50)
    gnm = goal_preset("gnm")
    assert gnm.value_goals.negative == pytest.approx(1 / 21) and gnm.value_goals.max_ahead == 20
    assert (gnm.actor_goals.min_ahead, gnm.actor_goals.max_ahead) == (3, 9)
    assert goal_preset("her_future").value_goals.uniform == 1.0
    assert goal_preset("random").actor_goals.random == 1.0


def test_every_preset_says_where_it_is_from() -> None:
    assert all(len(preset.source) > 20 for preset in GOAL_PRESETS.values())


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(NavOffrlError, match=r"'gcqil'.*gciql.*revind"):
        goal_preset("gcqil")
