"""Attention over the edges that arrive at a node."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SmoothLeakyReLU(nn.Module):
    """½(1+a)x + ½(1−a)x(2σ(x) − 1), a smooth leaky ReLU (EquiformerV2)."""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return (1 + self.slope) / 2 * x + (1 - self.slope) / 2 * x * (2 * torch.sigmoid(x) - 1)


def softmax_over_targets(logits: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """(e, heads) logits → weights that sum to one over the edges of each target; nodes without edges have none."""
    index = target[:, None].expand_as(logits)
    highest = logits.new_full((n_nodes, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    weight = torch.exp(logits - highest[target])
    total = logits.new_zeros(n_nodes, logits.shape[1]).index_add(0, target, weight)
    return weight / total[target]


class AttentionLogits(nn.Module):
    """One logit per head from the head's own invariant channels."""

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.heads = heads
        bound = 1 / math.sqrt(channels)
        self.norm = nn.LayerNorm(channels)
        self.activation = SmoothLeakyReLU()
        self.vector = nn.Parameter(torch.empty(heads, channels).uniform_(-bound, bound))

    def forward(self, invariants: Tensor) -> Tensor:
        """(e, heads·channels) → (e, heads)."""
        x = self.activation(self.norm(invariants.unflatten(1, self.vector.shape)))
        return torch.einsum("ehc,hc->eh", x, self.vector)
