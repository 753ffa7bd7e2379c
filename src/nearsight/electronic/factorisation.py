"""Factorisation: H − σS taken apart once, to solve with it many times and to count the levels below σ.

By Sylvester's law H − σS has as many negative eigenvalues as H ψ = ε S ψ has levels below σ; in L D L† these are
the negative eigenvalues of D. Three makers: MKL's PARDISO (sparse, L D L† with 1×1 and 2×2 pivots; where the
package mkl is installed), SciPy's SuperLU (sparse, pivots on the diagonal) and LAPACK's ?sytrf
(dense). A count is given only where it can be relied upon.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import norm, splu

from nearsight.errors import InputError

Method = Literal["auto", "pardiso", "superlu", "dense"]

UNSTABLE = 1e-9
"""Error of a solution, relative to the matrix, beyond which pivots were not good enough to count with."""
FILLS = 0.005
"""Share of elements of a matrix whose factor is nearly dense: LAPACK is then faster than SuperLU, six times with 2,232
and with 6,696 orbitals of a-HfO₂ within 8 Å (0.2 s to 1.2 s and 4.6 s to 26 s, one core)."""
FULL = 0.25
"""Share of elements from which LAPACK is faster than PARDISO (2,232 of these orbitals: 0.2 s to 0.5 s)."""
SYMMETRIC = -2
"""PARDISO's name of real symmetric indefinite matrices."""
TINY = float(np.finfo(float).tiny)
PIVOT_EXPONENT = 13
"""PARDISO replaces pivots below 10⁻¹³ of the matrix; then nothing is counted."""


class SingularMatrixError(InputError):
    """A matrix H − σS without an inverse to working precision."""


@dataclass(frozen=True, eq=False)
class Factorisation:
    """A Hermitian matrix A = L D L†.

    Attributes:
        name: pardiso, superlu or dense.
        solve: A⁻¹ b for b of shape (n,) or (n, m).
        below: negative eigenvalues of A; None where pivots were too small or too inexact to tell.
        error: ‖A x − b‖ / ‖x‖ for a random b, in the unit of A. Solution and count are those of a matrix about this
            far away: levels much farther from σ than that are on the right side.
        nearest: 1 / ‖x‖ for the same b; no larger than the smallest |eigenvalue| of A by much.
    """

    name: str
    solve: Callable[[np.ndarray], np.ndarray]
    below: int | None
    error: float = 0.0
    nearest: float = 0.0


def factorise(matrix: sparse.csr_matrix, method: Method = "auto") -> Factorisation:
    """Factors of a Hermitian matrix, real or complex, both triangles stored.

    Args:
        matrix: (n, n).
        method: auto takes LAPACK for a matrix that is nearly full, else PARDISO where there is one. Without it SuperLU
            is for very sparse matrices, and LAPACK for others and where SuperLU cannot count.

    Raises:
        SingularMatrixError: the matrix has no inverse.
        InputError: PARDISO is asked for and not there.
    """
    matrix = sparse.csr_matrix(matrix)
    full = matrix.nnz / max(1, matrix.shape[0] ** 2)
    if method == "pardiso" or (method == "auto" and full < FULL and has_pardiso()):
        return _checked(matrix, _pardiso(matrix))
    if method == "superlu" or (method == "auto" and full < FILLS):
        try:
            result = _checked(matrix, _superlu(matrix))
        except RuntimeError:  # exactly singular on the diagonal
            result = None
        if result is not None and (result.below is not None or method == "superlu"):
            return result
    return _checked(matrix, _dense(matrix))


def has_pardiso() -> bool:
    """Whether MKL is installed."""
    return _mkl() is not None


@contextmanager
def on_one_core() -> Iterator[None]:
    """PARDISO in this thread takes one core, so that others can factorise at the same time."""
    library = _mkl()
    if library is None:
        yield
        return
    before = library.MKL_Set_Num_Threads_Local(1)
    try:
        yield
    finally:
        library.MKL_Set_Num_Threads_Local(before)


@functools.cache
def _mkl() -> Any:
    """MKL: that of the Python package mkl, or the system's; None where there is neither."""
    try:
        package = metadata.distribution("mkl")
        files = [package.locate_file(f) for f in package.files or () if re.match(r"(lib)?mkl_rt\b", f.name)]
    except metadata.PackageNotFoundError:
        files = []
    for name in (*map(os.path.realpath, map(str, files)), ctypes.util.find_library("mkl_rt")):
        try:
            if name is not None:
                return ctypes.CDLL(name)
        except OSError:  # not for this machine
            continue
    return None


def _checked(matrix: sparse.csr_matrix, made: Factorisation) -> Factorisation:
    """With its error; without its count where that is too large."""
    b = np.random.default_rng(0).standard_normal(matrix.shape[0]).astype(matrix.dtype)
    x = made.solve(b)
    size = float(np.linalg.norm(x))
    error = float(np.linalg.norm(matrix @ x - b)) / size if np.isfinite(size) and size > 0 else float("inf")
    stable = error <= UNSTABLE * float(norm(matrix, np.inf))
    return Factorisation(made.name, made.solve, made.below if stable else None, error, 1 / max(size, TINY))


class _Pardiso:
    """PARDISO's handle on one real matrix; its memory is given back when this object is collected."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self.library = _mkl()
        if self.library is None:
            raise InputError("expected MKL for method pardiso, got none; install it with `pip install mkl`, "
                             "or use method auto")
        upper = sparse.triu(matrix, format="csr")
        upper.sum_duplicates()
        self.data = np.ascontiguousarray(upper.data, dtype=np.float64)
        self.starts, self.columns = upper.indptr.astype(np.int32), upper.indices.astype(np.int32)
        self.size = upper.shape[0]
        self.handle, self.settings = np.zeros(64, dtype=np.int64), np.zeros(64, dtype=np.int32)
        for place, value in {1: 1, 2: 2, 10: PIVOT_EXPONENT, 21: 1, 35: 1}.items():  # METIS, Bunch-Kaufman, from 0
            self.settings[place - 1] = value
        weakref.finalize(self, _release, self.library, self.handle, self.size).atexit = False
        self.call(12)

    def call(self, phase: int, b: np.ndarray | None = None) -> np.ndarray:
        """Phase 12: factors. Phase 33: the solution for b (n, m)."""
        b = np.zeros((self.size, 1)) if b is None else np.asfortranarray(b, dtype=np.float64)
        x = np.zeros_like(b, order="F")
        matrix = (self.data, self.starts, self.columns)
        _call(self.library, self.handle, phase, self.size, matrix, self.settings, (b, x))
        return x

    def solve(self, b: np.ndarray) -> np.ndarray:
        """A⁻¹ b."""
        return self.call(33, b.reshape(self.size, -1)).reshape(b.shape)

    @property
    def below(self) -> int | None:
        """Negative eigenvalues."""
        positive, negative, replaced = (int(self.settings[k - 1]) for k in (22, 23, 14))
        return negative if replaced == 0 and positive + negative == self.size else None


def _call(
    library: Any, handle: np.ndarray, phase: int, size: int, matrix: tuple[np.ndarray | None, ...],
    settings: np.ndarray, vectors: tuple[np.ndarray | None, np.ndarray | None],
) -> None:
    """MKL's `pardiso`."""
    columns = 1 if vectors[0] is None else vectors[0].shape[1]
    failed = ctypes.c_int(0)
    number = [ctypes.byref(ctypes.c_int(k)) for k in (1, 1, SYMMETRIC, phase, size, columns, 0)]
    library.pardiso(_pointer(handle), *number[:5], *map(_pointer, matrix), None, number[5], _pointer(settings),
                    number[6], *map(_pointer, vectors), ctypes.byref(failed))
    if failed.value == -2:
        raise MemoryError(f"PARDISO has not enough memory for the factor of {size} orbitals")
    if failed.value:
        raise SingularMatrixError(f"expected a matrix H − σS that PARDISO can factorise, got its error {failed.value}; "
                                  "is σ a level, or an orbital there twice?")


def _pointer(array: np.ndarray | None) -> ctypes.c_void_p | None:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


def _release(library: Any, handle: np.ndarray, size: int) -> None:
    _call(library, handle, -1, size, (None, None, None), np.zeros(64, dtype=np.int32), (None, None))


def _pardiso(matrix: sparse.csr_matrix) -> Factorisation:
    """A complex X + iY as [[X, −Y], [Y, X]], with every eigenvalue twice: PARDISO does not count in complex ones."""
    if not np.iscomplexobj(matrix.data):
        made = _Pardiso(matrix)
        return Factorisation("pardiso", made.solve, made.below)
    x, y, n = matrix.real, matrix.imag, matrix.shape[0]
    twice = _Pardiso(sparse.csr_matrix(sparse.bmat([[x, -y], [y, x]])))

    def solve(b: np.ndarray) -> np.ndarray:
        both = twice.solve(np.concatenate([b.real, b.imag]))
        return np.asarray(both[:n] + 1j * both[n:])

    below = twice.below
    return Factorisation("pardiso", solve, None if below is None or below % 2 else below // 2)


def _superlu(matrix: sparse.csr_matrix) -> Factorisation:
    """A = L U with pivots on the diagonal is L D L† with D the diagonal of U; with others nothing is known of D."""
    factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    below = None
    if np.array_equal(factors.perm_r, factors.perm_c):
        below = int(np.count_nonzero(factors.U.diagonal().real < 0))
    return Factorisation("superlu", factors.solve, below)


def _dense(matrix: sparse.csr_matrix) -> Factorisation:
    """Bunch-Kaufman over the whole matrix; a 2×2 pivot has one negative and one positive eigenvalue."""
    full = matrix.toarray(order="F")
    kind = "he" if np.iscomplexobj(full) else "sy"
    trf, lwork, trs = lapack.get_lapack_funcs((f"{kind}trf", f"{kind}trf_lwork", f"{kind}trs"), (full,))
    room = max(1, int(np.real(lwork(len(full), lower=1)[0])))
    factor, pivots, info = trf(full, lower=1, lwork=room, overwrite_a=1)
    if info > 0:
        raise SingularMatrixError("expected a matrix H − σS that is not singular, got a pivot of exactly zero; "
                                  "is σ a level, or an orbital there twice?")
    single = pivots > 0
    below = int(np.count_nonzero(single & (factor.diagonal().real < 0))) + int(np.count_nonzero(~single)) // 2

    def solve(b: np.ndarray) -> np.ndarray:
        return np.asarray(trs(factor, pivots, b, lower=1)[0]).reshape(b.shape)

    return Factorisation("dense", solve, below)
