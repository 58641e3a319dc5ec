"""Goal-conditioned heads on latents: value, critics, policy, temporal distance and pose."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nav_offrl.networks.mlp import EnsembleMLP, perceptron

MIN_LOG_STD, MAX_LOG_STD = -3.0, 1.0


class PairFeatures(nn.Module):
    """What the heads see of a state and a goal: (B, D), (B, D) -> (B, size).

    Both latents, and how they relate. Without a trained pair head that is their product and their
    difference, since a perceptron finds out slowly by itself where two vectors agree; with one, it
    is what the pair head says of how far and where the goal is: a goal representation phi(s, g) in
    the sense of Park et al. 2023 (HIQL).
    """

    def __init__(self, latent_size: int, relation: "PairHead | None" = None) -> None:
        super().__init__()
        self.relation = relation.requires_grad_(False) if relation is not None else None
        related = relation.outputs if relation is not None else 2 * latent_size
        self.size = 2 * latent_size + related

    def forward(self, latent: Tensor, goal: Tensor) -> Tensor:
        """Return the features; the pair head is not trained through them."""
        if self.relation is None:
            return torch.cat([latent, goal, latent * goal, (latent - goal).abs()], -1)
        logits, pose = self.relation(latent, goal)
        return torch.cat([latent, goal, logits.softmax(-1), pose], -1)


class GoalValue(nn.Module):
    """Ensemble of V(s, g) on pair features: (B, F) -> (E, B)."""

    def __init__(self, inputs: int, hidden: Sequence[int], members: int = 1) -> None:
        super().__init__()
        self.network = EnsembleMLP(members, inputs, hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Evaluate every member."""
        value: Tensor = self.network(features)
        return value.squeeze(-1)


class GoalCritic(nn.Module):
    """Ensemble of Q(s, a, g): pair features (B, F), actions (B, A) in [-1, 1] -> (E, B)."""

    def __init__(
        self, inputs: int, action_size: int, hidden: Sequence[int], members: int = 2
    ) -> None:
        super().__init__()
        self.network = EnsembleMLP(members, inputs + action_size, hidden, 1)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Evaluate every member."""
        value: Tensor = self.network(torch.cat([features, action], -1))
        return value.squeeze(-1)


class GaussianPolicy(nn.Module):
    """pi(a | s, g): Gaussian with mean in [-1, 1] and a standard deviation that no state moves."""

    def __init__(
        self, inputs: int, action_size: int, hidden: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.network = perceptron(inputs, hidden, action_size, dropout)
        self.log_std = nn.Parameter(torch.zeros(action_size))

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean action (B, A), which is also what the robot executes."""
        mean: Tensor = torch.tanh(self.network(features))
        return mean

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """Return log pi(action | features), (B,)."""
        std = self.log_std.clamp(MIN_LOG_STD, MAX_LOG_STD).exp()
        distribution = torch.distributions.Normal(self(features), std, validate_args=False)
        log_prob: Tensor = distribution.log_prob(action).sum(-1)  # type: ignore[no-untyped-call]
        return log_prob


class PairHead(nn.Module):
    """How far and where a goal is: logits over bins of steps, and its pose seen from here.

    Shah et al. 2020 (ViNG), section IV: temporal distance as a classification, with a relative
    pose beside it.
    """

    bin_edges: Tensor
    bin_centres: Tensor

    def __init__(self, latent_size: int, hidden: Sequence[int], bin_edges: Sequence[int]) -> None:
        """Bin k holds distances of bin_edges[k] to bin_edges[k + 1] - 1 steps; the last is open."""
        super().__init__()
        edges = torch.tensor(bin_edges, dtype=torch.float32)
        widest = edges[-1] + (edges[-1] - edges[-2])
        upper = torch.cat([edges[1:] - 1, widest[None]])
        self.register_buffer("bin_edges", edges)
        self.register_buffer("bin_centres", (edges + upper) / 2)
        self.features = PairFeatures(latent_size)
        self.outputs = len(bin_edges) + 4
        self.network = perceptron(self.features.size, hidden, self.outputs)

    def forward(self, latent: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, bins) and pose (B, 4): x, y in metres, cosine and sine of yaw."""
        out = self.network(self.features(latent, goal))
        return out[..., :-4], out[..., -4:]

    def expected_steps(self, latent: Tensor, goal: Tensor) -> Tensor:
        """Return the expected number of steps to the goal, (B,)."""
        steps: Tensor = self(latent, goal)[0].softmax(-1) @ self.bin_centres
        return steps

    def bin_of(self, steps: Tensor) -> Tensor:
        """Return the bin of each number of steps."""
        return torch.bucketize(steps.float(), self.bin_edges, right=True) - 1
