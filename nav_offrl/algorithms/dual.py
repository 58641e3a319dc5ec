"""The dual variable of a constraint."""

import math

import torch
from torch import Tensor, nn


class LagrangeMultiplier(nn.Module):
    """lambda > 0 of a constraint D <= epsilon, kept as its logarithm and learned by dual ascent.

    Two players share the term lambda (D - epsilon): who is constrained goes down it, lambda goes
    up. Each must take the other for a constant: a gradient of one player's loss that reached the
    other would cancel its own. So the value comes out, and the violation goes in, detached.
    """

    def __init__(
        self, initial: float = 1.0, log_bounds: tuple[float, float] = (-5.0, 10.0)
    ) -> None:
        super().__init__()
        self.log_value = nn.Parameter(torch.tensor(math.log(initial)))
        self.log_bounds = log_bounds

    def forward(self) -> Tensor:
        """Return lambda, a scalar without gradient."""
        return self.log_value.detach().exp()

    def loss(self, violation: Tensor) -> Tensor:
        """-lambda (D - epsilon): its descent raises lambda where the constraint is violated."""
        return -self.log_value.exp() * violation.detach()

    def clip(self) -> None:
        """Keep the logarithm within its bounds; call it after every step."""
        with torch.no_grad():
            self.log_value.clamp_(*self.log_bounds)
