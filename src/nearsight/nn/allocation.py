"""A limit on what torch allocates while a network of somebody's settings is made."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nearsight.errors import CheckpointError

_FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn", "new_empty", "new_zeros", "new_full", "new_ones")


class AllocationLimit(TorchDispatchMode):
    """Within a `with` block, tensors are made up to a total number of elements.

    Parameters
    ----------
    elements : int
        The largest total.

    Raises
    ------
    CheckpointError
        Where a tensor is asked for that exceeds it, before it is allocated.
    """

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.left = elements

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; torch would import its compiler, a second of CPU time, to say so to it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the elements of a new tensor, and carry the operation out."""
        name = func.overloadpacket.__name__
        if name in _FACTORIES:
            size = args[1] if name.startswith("new_") else args[0]
            self.left -= math.prod(int(n) for n in size) if isinstance(size, (list, tuple, torch.Size)) else 0
        elif name in ("arange", "linspace", "eye"):
            self.left -= int(max((abs(a) for a in args if isinstance(a, (int, float))), default=0))
        if self.left < 0:
            raise CheckpointError("expected a network of the size of its weights, got settings of a much larger one")
        return func(*args, **(kwargs or {}))
