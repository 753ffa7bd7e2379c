"""All eigenvectors of a dense Hermitian matrix by LAPACK, while other threads of Python run.

SciPy's functions hold the interpreter's lock for as long as LAPACK computes, and NumPy's compute single precision in
double. These call the same routines of SciPy's LAPACK, ?syevd and ?heevd (divide and conquer), through `ctypes`, which
releases the lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import get_cython_function_address

from nearsight.errors import InputError

_ROUTINES = {
    np.dtype(np.float32): "ssyevd",
    np.dtype(np.float64): "dsyevd",
    np.dtype(np.complex64): "cheevd",
    np.dtype(np.complex128): "zheevd",
}

MOST = 32_766
"""Rows for which the size of the work space, 1 + 6 n + 2 n², is an integer of 32 bits."""


def eigenvectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonalise a Hermitian matrix.

    Parameters
    ----------
    matrix : (n, n) array
        Of single or double precision, real or complex; overwritten where it lies in Fortran's order.

    Returns
    -------
    levels : (n,) array
        Ascending.
    vectors : (n, n) array
        Columns.

    Raises
    ------
    InputError
        There are more rows than LAPACK can number the work space of.
    numpy.linalg.LinAlgError
        LAPACK did not converge, which it does for any finite matrix.
    """
    if len(matrix) > MOST:
        raise InputError(f"expected at most {MOST:,} orbitals for all eigenvectors by LAPACK, got {len(matrix):,}")
    vectors = np.asfortranarray(matrix)
    n, complex_ = len(vectors), np.iscomplexobj(vectors)
    levels, info = np.empty(n, dtype=vectors.real.dtype), np.zeros(1, dtype=np.intc)
    many = max(1, 1 + 6 * n + 2 * n * n)  # what LAPACK asks for
    works = [np.empty(many, dtype=vectors.dtype), np.empty(3 + 5 * n, dtype=np.intc)]
    if complex_:
        works = [np.empty(2 * n + n * n + 1, dtype=vectors.dtype), np.empty(many, dtype=levels.dtype), works[1]]
    sizes = np.array([n, max(1, n), *(len(work) for work in works)], dtype=np.intc)
    spaces = [_place(part) for k, work in enumerate(works) for part in (work, sizes[2 + k :])]
    _routine(vectors.dtype)(
        b"V", b"L", _place(sizes), _place(vectors), _place(sizes[1:]), _place(levels), *spaces, _place(info)
    )
    if info[0]:
        raise np.linalg.LinAlgError(f"expected eigenvectors of a finite matrix, got error {info[0]} of LAPACK")
    return levels, vectors


def _place(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@cache
def _routine(precision: np.dtype) -> Callable[..., Any]:
    name = _ROUTINES[precision]
    pointers = 9 + 2 * (precision.kind == "c")
    kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_void_p] * pointers)
    return kind(get_cython_function_address("scipy.linalg.cython_lapack", name))
