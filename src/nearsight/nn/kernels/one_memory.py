"""Tensors that lie one after another in one memory: many parameters are then read, summed or updated as one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def in_one_memory(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return the memory of tensors that lie one after another.

    Parameters
    ----------
    tensors : sequence of Tensor
        Contiguous tensors of one type; those without numbers lie anywhere.

    Returns
    -------
    Tensor or None
        (n,) their numbers, a view; None where they are not contiguous or do not lie one after another.
    """
    own = [t for t in tensors if t.numel()]
    if not own:
        return None
    place = own[0].data_ptr()
    for t in own:
        if t.data_ptr() != place or not t.is_contiguous():
            return None
        place += t.nbytes
    first, size = own[0].detach(), (place - own[0].data_ptr()) // own[0].element_size()
    # What belongs to another storage may begin where this one ends.
    if (first.storage_offset() + size) * first.element_size() > first.untyped_storage().nbytes():
        return None
    return first.as_strided((size,), (1,), first.storage_offset())


def gradient_of(parameter: torch.nn.Parameter) -> Tensor:
    """Return the gradient of a parameter to be added to, zero where it has none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
