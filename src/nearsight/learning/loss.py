"""Losses in the coupled space (paper, appendix A).

A step may run over several parts. Its loss is that of all their rows together: sums over parts, one denominator. So
the gradient of a step over all parts of a structure is that of the same labelled rows in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nearsight.learning.config import LossConfig
from nearsight.learning.targets import Targets


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
