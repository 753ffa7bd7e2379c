"""Matrix products inside compiled loops, by the BLAS that torch or SciPy brings, called without Python.

On x86 torch carries MKL and exports its Fortran names; elsewhere SciPy's BLAS serves. Both are bound to names of this
module, so that compiled code kept on disk finds them in any process. All matrices are row-major and contiguous, given
as flat arrays or slices of them.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import torch
from numba import types
from numba.extending import get_cython_function_address, overload

REALS = {"s": types.float32, "d": types.float64}


def _address(kind: str) -> int:
    """Return the address of sgemm or dgemm with 32-bit integers."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            function = getattr(ctypes.CDLL(str(library)), f"{kind}gemm_")
        except (OSError, AttributeError):
            continue
        return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
    return int(get_cython_function_address("scipy.linalg.cython_blas", f"{kind}gemm"))


def _external(kind: str) -> Any:
    """Declare sgemm or dgemm as a function that compiled code can call."""
    name = f"nearsight_{kind}gemm"
    llvmlite.binding.add_symbol(name, _address(kind))
    character, integer, real = (types.CPointer(t) for t in (types.uint8, types.int32, REALS[kind]))
    return types.ExternalFunction(
        name,
        types.void(
            character, character, integer, integer, integer, real, real, integer, real, integer, real, real, integer
        ),
    )


_SINGLE, _DOUBLE = _external("s"), _external("d")
_PLAIN, _TRANSPOSED = ord("N"), ord("T")


def _gemm(*arguments: Any) -> None:
    raise NotImplementedError("only inside compiled functions")


@overload(_gemm)
def _choose_gemm(how: Any, sizes: Any, factors: Any, a: Any, b: Any, c: Any) -> Any:
    """Call Fortran's gemm with how = (trans a, trans b), sizes = (m, n, k, lda, ldb, ldc) and factors = (α, β)."""
    external = _SINGLE if a.dtype == types.float32 else _DOUBLE

    def call(how: Any, sizes: Any, factors: Any, a: Any, b: Any, c: Any) -> Any:
        external(
            how.ctypes,
            how[1:].ctypes,
            sizes.ctypes,
            sizes[1:].ctypes,
            sizes[2:].ctypes,
            factors.ctypes,
            a.ctypes,
            sizes[3:].ctypes,
            b.ctypes,
            sizes[4:].ctypes,
            factors[1:].ctypes,
            c.ctypes,
            sizes[5:].ctypes,
        )

    return call


@numba.njit(inline="always")
def workspace(like: Any) -> Any:
    """Return memory for the arguments of the products, as Fortran wants them; made once per compiled function.

    Parameters
    ----------
    like : array
        An array whose dtype the products have.

    Returns
    -------
    tuple of arrays
        Transposition flags (2,), sizes (6,) and factors (2,), the first argument of every product.
    """
    return np.zeros(2, dtype=np.uint8), np.zeros(6, dtype=np.int32), np.ones(2, dtype=like.dtype)


@numba.njit(inline="always")
def _set(space: Any, first: int, second: int, m: int, n: int, k: int, lda: int, ldb: int, beta: int) -> None:
    """Write the arguments of one product into the workspace."""
    how, sizes, factors = space
    how[0], how[1] = first, second
    sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5] = m, n, k, lda, ldb, m
    factors[1] = beta


@numba.njit
def product(space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int) -> None:
    """Compute c = a · b [+ c].

    Parameters
    ----------
    space : tuple of arrays
        What `workspace` returned.
    a, b, c : array
        Flat matrices (rows, inner), (inner, columns) and (rows, columns).
    rows, columns, inner : int
        Their sizes.
    add : int
        1 adds the product to c, 0 overwrites c.
    """
    _set(space, _PLAIN, _PLAIN, columns, rows, inner, columns, inner, add)
    _gemm(space[0], space[1], space[2], b, a, c)


@numba.njit
def product_nt(space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int) -> None:
    """Compute c = a · bᵀ [+ c].

    Parameters
    ----------
    space : tuple of arrays
        What `workspace` returned.
    a, b, c : array
        Flat matrices (rows, inner), (columns, inner) and (rows, columns).
    rows, columns, inner : int
        Their sizes.
    add : int
        1 adds the product to c, 0 overwrites c.
    """
    _set(space, _TRANSPOSED, _PLAIN, columns, rows, inner, inner, inner, add)
    _gemm(space[0], space[1], space[2], b, a, c)


@numba.njit
def product_tn(space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int) -> None:
    """Compute c = aᵀ · b [+ c].

    Parameters
    ----------
    space : tuple of arrays
        What `workspace` returned.
    a, b, c : array
        Flat matrices (inner, rows), (inner, columns) and (rows, columns).
    rows, columns, inner : int
        Their sizes.
    add : int
        1 adds the product to c, 0 overwrites c.
    """
    _set(space, _PLAIN, _TRANSPOSED, columns, rows, inner, columns, rows, add)
    _gemm(space[0], space[1], space[2], b, a, c)
