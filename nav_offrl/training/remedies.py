"""What to change about a run that fits too closely, too little or too few actions.

Kumar et al. 2021 (arXiv 2109.10813), section 5. Only settings that exist are named, each with the
option that changes it from what the run has.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nav_offrl.training.config import TrainConfig

MOST_DROPOUT = 0.5
WEIGHTS_OF_CONSTRAINTS = ("conservative_weight", "divergence_weight", "behaviour_weight")
INVERSE_TEMPERATURES = ("iql", "gcivl")  # exp(temperature * A); others: exp(A / temperature)


@dataclass(frozen=True)
class Remedy:
    """A change and the options of `nav-offrl train` that make it."""

    change: str
    options: str


def capacity_down(config: TrainConfig, fall_step: int | None) -> list[Remedy]:
    """Return what to do about overfitting (section 5.1)."""
    remedies = []
    if fall_step is not None:
        steps = f"--train.steps {fall_step}"
        remedies.append(Remedy("stop early", steps))
    method, hidden = config.method, config.method.hidden
    if max(hidden) > 32:
        smaller = _sizes(size // 2 for size in hidden)
        remedies.append(Remedy("smaller networks", f"--train.method.hidden {smaller}"))
    dropout = getattr(method, "policy_dropout", None)
    if dropout is not None and dropout < MOST_DROPOUT:
        more = min(MOST_DROPOUT, dropout + 0.2)
        remedies.append(Remedy("more dropout", f"--train.method.policy-dropout {more:g}"))
    if config.observation == "images" and config.end_to_end:
        remedies.append(
            Remedy("an encoder that only the pre-training moves", "--train.no-end-to-end")
        )
    more_data = f"nav-offrl train {method.name} STORE ANOTHER_STORE ..."
    return [*remedies, Remedy("more data", more_data)]


def capacity_up(config: TrainConfig) -> list[Remedy]:
    """Return what to do about underfitting (section 5.2)."""
    method, hidden = config.method, config.method.hidden
    larger = _sizes([*(2 * size for size in hidden), 2 * hidden[-1]] if hidden else [256])
    remedies = [Remedy("larger networks", f"--train.method.hidden {larger}")]
    if config.observation == "images" and not config.end_to_end:
        remedies.append(Remedy("an encoder that the method trains too", "--train.end-to-end"))
    if config.observation == "images":
        latent = 2 * config.encoder.latent_size
        remedies.append(Remedy("a larger encoder", f"--train.encoder.latent-size {latent}"))
    for name in WEIGHTS_OF_CONSTRAINTS:
        weight = getattr(method, name, None)
        if isinstance(weight, float) and weight > 0:
            option = f"--train.method.{name.replace('_', '-')} {weight / 2:g}"
            remedies.append(Remedy("a weaker constraint", option))
    return [*remedies, Remedy("train longer", f"--train.steps {2 * config.steps}")]


def less_greedy(config: TrainConfig) -> list[Remedy]:
    """Return what lets a weighted copy learn from more of its batch."""
    temperature = getattr(config.method, "temperature", None)
    if not isinstance(temperature, float):
        return []
    inverse = config.method.name in INVERSE_TEMPERATURES
    softer = temperature / 2 if inverse else 2 * temperature
    return [Remedy("weights less sharp", f"--train.method.temperature {softer:g}")]


def _sizes(sizes: Iterable[int]) -> str:
    return " ".join(map(str, sizes))
