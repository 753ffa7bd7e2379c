"""Tensors that lie one after another in one memory: many parameters are then read, summed or updated as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn


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


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Return the gradient of a parameter to be added to, zero where it has none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


class FlatParameters:
    """The numbers of parameters on a CPU, and of their gradients, one after another.

    Where the parameters lie in one memory these are views, and so are the gradients; else they are copies.

    Attributes
    ----------
    weights, gradients : ndarray
        (n,) numbers of all parameters, and of their gradients, to be added to.
    shared : bool
        Whether both are views of the parameters' own memory.

    Parameters
    ----------
    parameters : sequence of Parameter
        Contiguous ones of one type.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._gradients = [gradient_of(p) for p in parameters]
        self._pointers = _pointers(parameters)
        own = [p.detach() for p in parameters]
        weights, gradients = in_one_memory(own), in_one_memory(self._gradients)
        self.shared = weights is not None and gradients is not None
        self.weights = (_joined(own) if weights is None else weights).numpy()
        self._flat = _joined(self._gradients) if gradients is None else gradients
        self.gradients = self._flat.numpy()

    @classmethod
    def of(cls, owner: nn.Module, parameters: Sequence[nn.Parameter]) -> FlatParameters:
        """Return those of a module, which are kept for as long as its parameters stay where they are.

        Parameters
        ----------
        owner : Module
            The module.
        parameters : sequence of Parameter
            Its parameters, always the same ones.

        Returns
        -------
        FlatParameters
            Their numbers.
        """
        known = _KEPT.get(owner)
        if known is None or known._pointers != _pointers(parameters):
            known = cls(parameters)
            if known.shared:
                _KEPT[owner] = known
        return known

    def write_back(self) -> None:
        """Write what was added to copied gradients to those of the parameters."""
        if self._flat.data_ptr() != self._gradients[0].data_ptr():
            parts = self._flat.split([g.numel() for g in self._gradients])
            torch._foreach_copy_(self._gradients, [part.view(g.shape) for part, g in zip(parts, self._gradients)])


_KEPT: WeakKeyDictionary[nn.Module, FlatParameters] = WeakKeyDictionary()


def _pointers(parameters: Sequence[nn.Parameter]) -> list[int]:
    """Return where numbers and gradients of parameters lie; memory that views are kept of is not used for others."""
    return [t.data_ptr() for p in parameters for t in (p, gradient_of(p))]


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
