"""Goal-conditioned heads: value, critics, temporal distance and pose."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nav_offrl.networks.mlp import EnsembleMLP, perceptron


class PairFeatures(nn.Module):
    """What the heads see of a state and a goal: (B, D), (B, D) -> (B, size).

    Both vectors, and how they relate. With a trained pair head that is what it says of how far and
    where the goal is: a goal representation phi(s, g) in the sense of Park et al. 2023 (HIQL).
    Without one it is their product and their difference, since a perceptron finds out slowly by
    itself where two latents agree; or nothing, for state vectors whose numbers mean something.
    """

    def __init__(
        self, latent_size: int, relation: "PairHead | None" = None, *, compare: bool = True
    ) -> None:
        super().__init__()
        self.relation = relation.requires_grad_(False) if relation is not None else None
        self.compare = compare
        related = relation.outputs if relation is not None else 2 * latent_size * compare
        self.size = 2 * latent_size + related

    def forward(self, latent: Tensor, goal: Tensor) -> Tensor:
        """Return the features; the pair head is not trained through them."""
        if self.relation is None and not self.compare:
            return torch.cat([latent, goal], -1)
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

    def of_actions(self, features: Tensor, actions: Tensor) -> Tensor:
        """Evaluate N actions of each state: (B, F), (N, B, A) -> (E, N, B).

        The state's share of the first layer, nearly all of it, is computed once and not N times.
        """
        first, split = self.network.first, features.shape[-1]
        count, batch, _ = actions.shape
        state = first.bias + features @ first.weight[:, :split]
        action = actions.flatten(0, 1) @ first.weight[:, split:]
        before = state[:, None] + action.reshape(len(action), count, batch, -1)
        value: Tensor = self.network.after_first(before.flatten(1, 2))
        return value.reshape(-1, count, batch)


class DiscreteGoalCritic(nn.Module):
    """Ensemble of Q(s, a, g) for N discrete actions: features (B, F), numbers (B,) -> (E, B)."""

    def __init__(self, inputs: int, actions: int, hidden: Sequence[int], members: int = 2) -> None:
        super().__init__()
        self.network = EnsembleMLP(members, inputs, hidden, actions)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Evaluate every member."""
        every = self.of_every_action(features)
        return every.gather(-1, action.expand(len(every), -1)[..., None])[..., 0]

    def of_every_action(self, features: Tensor) -> Tensor:
        """Return the values of all actions, (E, B, N)."""
        values: Tensor = self.network(features)
        return values


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
