"""Small trained-like modules; exported once for all tests of the folder."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nav_offrl_export import Modules, export_bundle

HEIGHT, WIDTH, SIZE = 60, 80, 16
FIELDS: dict[str, Any] = {
    "method": "iql",
    "camera": {"height": HEIGHT, "width": WIDTH, "horizontal_fov": 1.5},
    "rate_hz": 4.0,
    "action": {"low": (0.0, -1.0), "high": (0.6, 1.0)},
    "embedding_size": SIZE,
    "arrival_steps": 3.0,
    "provenance": {"seed": 7},
}


class Encoder(nn.Module):
    """Resize, round, normalise, convolve with GroupNorm: what the real one is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, SIZE),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.permute(0, 3, 1, 2).float()
        small = functional.interpolate(pixels, (30, 40), mode="bilinear", antialias=True)
        return self.layers(small.round().clamp(0.0, 255.0) / 127.5 - 1.0)


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * SIZE, 32), nn.ReLU(), nn.Linear(32, 2))
        self.register_buffer("low", torch.tensor(FIELDS["action"]["low"]))
        self.register_buffer("high", torch.tensor(FIELDS["action"]["high"]))

    def forward(self, latent: torch.Tensor, goal_latent: torch.Tensor) -> torch.Tensor:
        inside = torch.tanh(self.layers(torch.cat([latent, goal_latent], dim=-1)))
        return self.low + (inside + 1.0) / 2.0 * (self.high - self.low)


class Distance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * SIZE, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, latent: torch.Tensor, goal_latent: torch.Tensor) -> torch.Tensor:
        steps = functional.softplus(self.layers(torch.cat([latent, goal_latent], dim=-1)))
        return 10.0 * steps.squeeze(-1)


class Exported(NamedTuple):
    path: Path
    modules: Modules
    images: np.ndarray


def make_modules() -> Modules:
    torch.manual_seed(0)
    return Modules(Encoder(), Policy(), Distance())


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Smooth colour fields with noise: (9, H, W, 3), no two alike."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.uniform(0, 255, (9, 3, 5, 6)))
    smooth = functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").numpy()
    noisy = smooth + random.normal(0, 4, smooth.shape)
    return np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


@pytest.fixture
def modules() -> Modules:
    return make_modules()


@pytest.fixture
def fields() -> dict[str, Any]:
    return dict(FIELDS)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray) -> Exported:
    path = tmp_path_factory.mktemp("export") / "bundle"
    modules = make_modules()
    export_bundle(modules, FIELDS, path, images, progress=False)
    return Exported(path, modules, images)
