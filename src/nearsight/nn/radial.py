"""Functions of the distance and of the two elements of an edge."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GaussianBasis(nn.Module):
    """Gaussians with fixed centres, equally spaced on [0, upper] Å; σ = width × spacing."""

    centres: Tensor

    def __init__(self, count: int, upper: float = 13.0, width: float = 2.0) -> None:
        super().__init__()
        centres = torch.linspace(0.0, upper, count, dtype=torch.float64)
        self.register_buffer("centres", centres, persistent=False)
        self.exponent = -0.5 / (width * float(centres[1] - centres[0])) ** 2

    def forward(self, distance: Tensor) -> Tensor:
        """(e,) Å → (e, count)."""
        return torch.exp(self.exponent * (distance[:, None] - self.centres.to(distance.dtype)) ** 2)


class RadialWeights(nn.Module):
    """Weights of every (degree, channel) of a message from the distance and the elements of source and target."""

    def __init__(self, n_gaussians: int, channels: int, outputs: int, max_number: int) -> None:
        super().__init__()
        self.source = nn.Embedding(max_number, channels)
        self.target = nn.Embedding(max_number, channels)
        for table in (self.source, self.target):
            nn.init.uniform_(table.weight, -0.001, 0.001)
        self.network = nn.Sequential(
            nn.Linear(n_gaussians + 2 * channels, channels), nn.LayerNorm(channels), nn.SiLU(),
            nn.Linear(channels, channels), nn.LayerNorm(channels), nn.SiLU(),
            nn.Linear(channels, outputs),
        )

    def forward(self, gaussians: Tensor, number_source: Tensor, number_target: Tensor) -> Tensor:
        """(e, n_gaussians), (e,), (e,) → (e, outputs)."""
        return self.network(torch.cat([gaussians, self.source(number_source), self.target(number_target)], dim=1))
