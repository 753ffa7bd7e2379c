"""Routines of SciPy's LAPACK that run while other threads of Python do.

SciPy's own functions hold the interpreter's lock for as long as LAPACK computes. `ctypes` calls the same routines, and
releases it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import get_cython_function_address

LETTERS = {
    np.dtype(np.float32): "s",
    np.dtype(np.float64): "d",
    np.dtype(np.complex64): "c",
    np.dtype(np.complex128): "z",
}
"""With which the names of routines begin, by precision."""


@cache
def routine(name: str, flags: int, arrays: int) -> Callable[..., Any]:
    """Return a routine of LAPACK.

    Parameters
    ----------
    name : str
        Such as ``ssyevd``.
    flags, arrays : int
        How many of its arguments are characters, which come first, and how many are places of arrays (`place`).
    """
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_char_p] * flags, *[ctypes.c_void_p] * arrays)
    return kind(get_cython_function_address("scipy.linalg.cython_lapack", name))


def place(array: np.ndarray) -> ctypes.c_void_p:
    """Return where an array begins, for a routine."""
    return ctypes.c_void_p(array.ctypes.data)
