"""Compilation of loops, once per machine, without the interpreter's lock, with sums in any order; scratch buffers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.compiled_code import compiled_with

FAST = {"contract", "reassoc", "arcp", "nsz"}
"""Freedoms in rounding that the compiler may take; infinities and NaN keep their meaning."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, which is kept on disk for the next process where a folder can be written.

    Parameters
    ----------
    function : callable
        A function that numba can compile; functions that it inlines lie in its own package or in this one.

    Returns
    -------
    callable
        The compiled function; it is compiled anew when a source file in either package changes.
    """
    return compiled_with(function, (Path(__file__).parent,), nogil=True, fastmath=FAST, error_model="numpy")


class Buffers:
    """Named scratch tensors of one thread; the memory of a name grows to the largest shape asked for.

    Parameters
    ----------
    dtype : torch.dtype
        Number type of all tensors.
    device : torch.device, optional
        Where they are; on the CPU by default.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | None = None) -> None:
        self.dtype, self.device = dtype, device
        self._memory: dict[str, Tensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._arrays: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Return the tensor of a name and shape; its content is undefined.

        Parameters
        ----------
        name : str
            Name of the buffer; tensors of one name share their memory.
        *shape : int
            Sizes of the tensor.

        Returns
        -------
        Tensor
            A view of the buffer.
        """
        view = self._views.get((name, shape))
        if view is None:
            size = math.prod(shape)
            memory = self._memory.get(name)
            if memory is None or len(memory) < size:
                memory = self._memory[name] = torch.empty(size, dtype=self.dtype, device=self.device)
                self._views = {key: v for key, v in self._views.items() if key[0] != name}
                self._arrays = {key: v for key, v in self._arrays.items() if key[0] != name}
            view = self._views[name, shape] = memory[:size].view(shape)
        return view

    def array(self, name: str, *shape: int) -> np.ndarray:
        """Return the tensor of a name and shape as a NumPy array, of a buffer on the CPU.

        Parameters
        ----------
        name : str
            Name of the buffer.
        *shape : int
            Sizes of the array.

        Returns
        -------
        ndarray
            A view of the buffer.
        """
        array = self._arrays.get((name, shape))
        if array is None:
            view = self(name, *shape)
            array = self._arrays[name, shape] = view.numpy()
        return array
