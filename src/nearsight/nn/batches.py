"""Batches that are made on demand and kept between steps as far as memory allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import psutil
import torch

from nearsight import memory
from nearsight.errors import ConfigError
from nearsight.launch import launched


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


B = TypeVar("B", bound=_Sized)
B_co = TypeVar("B_co", bound=_Sized, covariant=True)
T = TypeVar("T")


class BatchPlan(Protocol[B_co]):
    """The description of a batch before its tensors are made."""

    @property
    def n_terms(self) -> int:
        """Number of terms that the batch contributes to the mean of a loss."""

    @property
    def cost(self) -> int:
        """Work that the batch takes, beside that of others: its edges, those of the halo included."""

    def build(self) -> B_co:
        """Make the tensors of the batch on the device of the network; every call gives bitwise equal tensors."""

    def part(self, index: int, count: int) -> BatchPlan[B_co] | None:
        """Return one of so many parts whose sums add up to those of the batch; None where it cannot be divided."""


@dataclass
class MemoryBudget:
    """A number of bytes from which kept batches are paid.

    Attributes
    ----------
    remaining : float
        Bytes that are not taken yet; unlimited by default.
    """

    remaining: float = math.inf

    def take(self, size: int) -> bool:
        """Take memory from the budget if it suffices.

        Parameters
        ----------
        size : int
            Bytes wanted.

        Returns
        -------
        bool
            Whether the bytes were there; if not, nothing is taken.
        """
        if size > self.remaining:
            return False
        self.remaining -= size
        return True


class PlannedBatches(Generic[B]):
    """A sequence of batches that are built from their plans when they are indexed.

    Parameters
    ----------
    plans : sequence of BatchPlan
        One plan for each batch.
    budget : MemoryBudget, optional
        Memory for kept batches, possibly shared with other sets; unlimited by default.
    """

    def __init__(self, plans: Sequence[BatchPlan[B]], budget: MemoryBudget | None = None) -> None:
        self.plans, self.budget = list(plans), budget or MemoryBudget()
        self._kept: dict[int, B] = {}

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, index: int) -> B:
        if not 0 <= index < len(self.plans):
            raise IndexError(index)
        batch = self._kept.get(index)
        if batch is None:
            batch = self.plans[index].build()
            if self.budget.take(batch.nbytes):
                self._kept[index] = batch
        return batch

    def cost(self, index: int) -> int:
        """Return the work that a batch takes, beside that of others."""
        return self.plans[index].cost

    def part(self, index: int, count: int) -> PlannedBatches[B] | None:
        """Return one of so many parts of every batch.

        Parameters
        ----------
        index : int
            Number of the part, from 0.
        count : int
            Number of parts.

        Returns
        -------
        PlannedBatches or None
            The parts, paid from the same budget; None where a batch cannot be divided.
        """
        parts = [part for plan in self.plans if (part := plan.part(index, count)) is not None]
        return PlannedBatches(parts, self.budget) if len(parts) == len(self.plans) else None

    def n_terms(self, chosen: Sequence[int]) -> int:
        """Return the common denominator of a step over several batches.

        Parameters
        ----------
        chosen : sequence of int
            Positions of the batches.

        Returns
        -------
        int
            Sum of their numbers of terms.
        """
        return sum(self.plans[k].n_terms for k in chosen)


def available_bytes(device: torch.device, limit_gb: float | None = None) -> int:
    """Return the bytes that are free where the network is.

    Parameters
    ----------
    device : torch.device
        Device of the network.
    limit_gb : float, optional
        Memory that the process may use in all, in units of 10⁹ bytes.

    Returns
    -------
    int
        Free bytes of the device (on a CPU those of the machine, shared with its other processes of this launch), at
        most what the limit leaves of what is in use; not below 0.
    """
    if device.type == "cuda":
        free, used = torch.cuda.mem_get_info(device)[0], torch.cuda.memory_reserved(device)
        free += used - torch.cuda.memory_allocated(device)
    else:
        used = psutil.Process().memory_info().rss
        free = memory.free_bytes() // launched().local_count
    return max(0, free if limit_gb is None else min(free, int(limit_gb * 1e9) - used))


def split_validation(slabs: Sequence[T], count: int) -> tuple[list[T], list[T]]:
    """Split the slabs of a structure into a training and a validation set.

    Parameters
    ----------
    slabs : sequence
        The slabs in their order along the axis.
    count : int
        Number of equally spaced slabs for validation.

    Returns
    -------
    training, validation : list
        The slabs to train on, and the slabs to validate on.

    Raises
    ------
    ConfigError
        No slab would remain to train on.
    """
    if count >= len(slabs):
        raise ConfigError(
            f"expected more slabs than data.validation_slabs={count}, got {len(slabs)}: make the slabs thinner "
            "(partition.thickness), give data.validation=[...], or validate on nothing (data.validation_slabs=0)"
        )
    chosen = {int(k) for k in np.round((np.arange(count) + 0.5) * len(slabs) / max(count, 1) - 0.5)}
    training = [slab for k, slab in enumerate(slabs) if k not in chosen]
    return training, [slab for k, slab in enumerate(slabs) if k in chosen]
