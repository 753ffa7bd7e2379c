"""Losses in the coupled space (paper, appendix A).

A step may run over several parts. Its loss is that of all their rows together: sums over parts, one denominator. So
the gradient of a step over all parts of a structure is that of the same labelled rows in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearsight.learning.config import LossConfig
from nearsight.nn.architectures.xia2025.batches import Piece
from nearsight.nn.architectures.xia2025.edge_targets import EdgeTargets
from nearsight.nn.architectures.xia2025.targets import Targets


def n_terms(targets: Targets, config: LossConfig) -> int:
    """Numbers that a part contributes to the mean."""
    if config.masked:
        return int(targets.filled.sum(dim=1)[targets.element_pair].sum())
    return targets.values.numel()


def error_sums(output: Tensor, targets: Targets, config: LossConfig) -> Tensor:
    """(Σ error², Σ |error|) over the rows of one part."""
    error = output - targets.values
    if config.masked:
        error = error * targets.mask
    if config.kind == "mse":
        return torch.stack([(error**2).sum(), error.new_zeros(())])
    return torch.stack([(error**2).sum(), error.abs().sum()])


def part_sums(network: nn.Module, piece: Piece, config: LossConfig) -> Tensor:
    """(Σ error², Σ |error|) of a network on one part; for sums over edges no edge's output is kept."""
    targets = piece.targets
    if config.kind != "mse" or targets.row_of_edge is not None:
        return error_sums(targets.gather(*network(piece.graph)), targets, config)
    n = targets.n_nodes
    mask = targets.mask if config.masked else None
    nodes, edges = network(piece.graph, EdgeTargets(targets.values[n:], None if mask is None else mask[n:]))
    error = nodes - targets.values[:n]
    error = error if mask is None else error * mask[:n]
    return torch.stack([error.square().sum() + edges, error.new_zeros(())])


def loss_of_sums(sums: Tensor, terms: int, config: LossConfig) -> Tensor:
    """MSE, or RMSE + MAE, from the sums over all parts of a step."""
    mean = sums / terms
    if config.kind == "mse":
        return mean[0]
    return torch.sqrt(mean[0] + 1e-16) + mean[1]


def is_additive(config: LossConfig) -> bool:
    """Whether each part's gradient can be taken by itself."""
    return config.kind == "mse"


def total_terms(pieces: Sequence[Targets], config: LossConfig) -> int:
    """The common denominator of a step."""
    return sum(n_terms(t, config) for t in pieces)
