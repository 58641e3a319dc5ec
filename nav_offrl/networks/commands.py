"""From a policy's action in [-1, 1] to the command that a robot executes, in SI.

The last layers of the `policy` graph of a bundle: all operators are ONNX's, and whatever comes in,
what goes out lies inside the robot's limits.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

STANDING = 0.02  # m: nearer waypoints say no direction, only their heading counts
REVERSES = 0.1  # of the speed ahead: a log whose robot goes back slower has slipped, not reversed
SMALL = 1e-6


class ScaledCommand(nn.Module):
    """(B, A) in [-1, 1] -> (B, A) between the limits, linearly."""

    low: Tensor
    high: Tensor

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    def forward(self, unit: Tensor) -> Tensor:
        """Scale."""
        return self.within(self.low + (unit + 1) / 2 * (self.high - self.low))

    def within(self, command: Tensor) -> Tensor:
        """Clip: rounding must not carry a command past its limit."""
        return torch.minimum(torch.maximum(command, self.low), self.high)


class WaypointCommand(ScaledCommand):
    """(B, 3 K) in [-1, 1], K poses (x, y, yaw) in the body's frame -> (B, 2) m/s and rad/s.

    The robot follows one of the waypoints; the others are there to be learned.
    """

    scale: Tensor

    def __init__(
        self,
        low: Sequence[float],
        high: Sequence[float],
        scale: Sequence[float],
        followed: int,
        seconds: float,
    ) -> None:
        """Prepare for one robot.

        Args:
            low: least (v, omega) in m/s and rad/s.
            high: greatest (v, omega).
            scale: of waypoint `followed`: metres that 1 stands for, and radians.
            followed: number of the waypoint that the robot follows, from 0.
            seconds: how long the log's robot took to get there.
        """
        super().__init__(low, high)
        metres, radians = scale
        self.register_buffer("scale", torch.tensor((metres, metres, radians)))
        self.first, self.seconds = 3 * followed, seconds
        self.reverses = low[0] < -REVERSES * high[0]

    def forward(self, unit: Tensor) -> Tensor:
        """Return the command that leads to the followed waypoint in time, or as fast as allowed."""
        pose = unit[:, self.first : self.first + 3] * self.scale
        command = arc_to(pose, reverses=self.reverses) / self.seconds
        # Both slow down together: a robot at its limit stays on the arc.
        excess = torch.maximum(
            command / self.high.clamp(min=SMALL), command / self.low.clamp(max=-SMALL)
        )
        return self.within(command / excess.amax(-1, keepdim=True).clamp(min=1))


def arc_to(pose: Tensor, *, reverses: bool) -> Tensor:
    """Return length (m) and turn (rad), (B, 2), of the circular arc that a wheeled robot drives.

    From the origin, heading along x, through the place of `pose` (B, 3) x, y, yaw, as in pure
    pursuit (Coulter 1992, CMU-RI-TR-92-01). Of a pose in the same place only the heading is left
    to be reached. To a place behind a robot reverses, or where it cannot, turns on the spot.
    """
    x, y, yaw = pose.unbind(-1)
    distance = (x.square() + y.square()).sqrt()
    direction = torch.where(x < 0, -1.0, 1.0) if reverses else torch.ones_like(x)
    bearing = torch.atan2(direction * y, direction * x)
    turn = torch.where(distance < STANDING, yaw, 2 * bearing)
    half = (turn / 2).abs().clamp(min=1e-3)
    length = direction * distance * half / torch.sin(half)
    behind = (bearing.abs() > math.pi / 2) & (distance >= STANDING)
    return torch.stack([torch.where(behind, 0.0, length), turn], -1)
