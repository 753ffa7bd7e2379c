"""Whether kernels can be compiled for a GPU, how large chunks may be, and what happens when its memory runs out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from nearsight.errors import NearsightError
from nearsight.nn.batches import available_bytes

Result = TypeVar("Result")

USED = 0.5
"""Fraction of the free memory that a chunk may take."""

SMALL = 2**28
"""Bytes for which the GPU is not asked how much is free."""

OLDEST = (7, 0)
"""Compute capability that Triton needs."""


@cache
def compiles_kernels(device: torch.device) -> bool:
    """Return whether Triton, which comes with torch for CUDA, compiles kernels for a device."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= OLDEST


def rows_that_fit(device: torch.device, wanted: int, bytes_per_row: int, smallest: int) -> int:
    """Return how many rows, such as edges, are best computed at once.

    Parameters
    ----------
    device : torch.device
        Where they are computed.
    wanted : int
        Rows beyond which more save no time, or all there are.
    bytes_per_row : int
        Memory that a row takes while it is computed.
    smallest : int
        The least number.

    Returns
    -------
    int
        `wanted`, or as many as fit into half of the free memory.
    """
    if wanted * bytes_per_row <= SMALL:
        return wanted
    return max(smallest, min(wanted, int(USED * available_bytes(device) / bytes_per_row)))


def with_smaller_chunks(compute: Callable[[int], Result], size: int, smallest: int) -> Result:
    """Compute in chunks, and anew in chunks of half the size as long as a GPU's memory does not suffice.

    Parameters
    ----------
    compute : callable
        Computes everything in chunks of so many rows; what it did before memory ran out must not matter.
    size : int
        Rows of the first try.
    smallest : int
        Rows below which chunks are not divided.

    Returns
    -------
    object
        What `compute` returned.

    Raises
    ------
    NearsightError
        The smallest chunks do not fit.
    """
    while True:
        try:
            return compute(size)
        except torch.cuda.OutOfMemoryError as error:
            if size <= smallest:
                raise out_of_memory(error) from error
        torch.cuda.empty_cache()
        size = max(smallest, size // 2)


def out_of_memory(error: torch.cuda.OutOfMemoryError) -> NearsightError:
    """Return the error that says what to do when a GPU's memory does not suffice."""
    needed = str(error).partition(". GPU")[0].partition(". Of the")[0]
    return NearsightError(
        f"expected enough memory on the GPU, got: {needed}; leave more to computations (memory_gb=N), make batches "
        "smaller (partition.bonds_per_batch or partition.thickness), or compute on the CPU (device=cpu)"
    )
