"""Batches, losses and gradients of the network `xia2025` as one step of the loop takes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nearsight.nn.architectures.xia2025.batches import PartitionBatch, plan_batches
from nearsight.nn.architectures.xia2025.config import Xia2025Loss, Xia2025Partition
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.architectures.xia2025.objective import CoupledObjective
from nearsight.nn.architectures.xia2025.targets import Targets
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from tests.learning.random_calculation import BASIS


def make_batches(calculation: Calculation, model: Xia2025Model, partition: Xia2025Partition) -> list[PartitionBatch]:
    """All partitions of a structure as tensors."""
    return [plan.build() for plan in plan_batches(calculation, model, partition)]


def n_terms(targets: Targets, loss: Xia2025Loss) -> int:
    """Numbers that a batch contributes to the mean, counted one by one."""
    return int(targets.mask.sum()) if loss.masked else targets.values.numel()


def total_terms(batches: Sequence[PartitionBatch], loss: Xia2025Loss) -> int:
    """The denominator of a step over some batches."""
    return sum(n_terms(batch.targets, loss) for batch in batches)


def part_sums(model: Xia2025Model, batch: PartitionBatch, loss: Xia2025Loss) -> torch.Tensor:
    """(Σ error², Σ |error|) of one batch."""
    return CoupledObjective(loss, model.layout).sums(model.network, batch)


def loss_of_sums(sums: torch.Tensor, terms: int, loss: Xia2025Loss) -> torch.Tensor:
    """The loss of a step."""
    return CoupledObjective(loss, CoupledLayout(BASIS)).loss(sums, terms)
