"""The linear map from features to the coupled target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearsight.nn.so3 import components


class CoupledHead(nn.Module):
    """Every irrep of the target is a linear combination of the channels of its degree; a bias on l = 0.

    Equals e3nn's `o3.Linear(channels x 0e + … , targets)`. Rows of `weight` are the target's irreps sorted by degree
    (stable), which is e3nn's order.
    """

    restore: Tensor

    def __init__(self, channels: int, degrees: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(len(degrees), channels))
        self.bias = nn.Parameter(torch.zeros(sum(l == 0 for l in degrees)))
        self.scale = 1 / math.sqrt(channels)
        self.l_max = max(degrees)
        counts = [sum(d == l for d in degrees) for l in range(self.l_max + 1)]
        self.rows = [slice(sum(counts[:l]), sum(counts[: l + 1])) for l in range(self.l_max + 1)]
        self.register_buffer("restore", _restore(degrees), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, K, channels) → (n, size of the coupled vector)."""
        parts = []
        for l, rows in enumerate(self.rows):
            part = self.scale * (x[:, components(l)] @ self.weight[rows].T)
            parts.append((part + self.bias if l == 0 else part).transpose(1, 2).flatten(1))
        return torch.cat(parts, dim=1)[:, self.restore]


def _restore(degrees: Sequence[int]) -> Tensor:
    """For every number of the coupled vector its place when the irreps are sorted by degree."""
    starts, at = {}, 0
    for k in sorted(range(len(degrees)), key=lambda k: degrees[k]):
        starts[k] = at
        at += 2 * degrees[k] + 1
    return torch.tensor([starts[k] + m for k, l in enumerate(degrees) for m in range(2 * l + 1)])
