"""Factorisation: H − σS factorised once, to solve with it many times and to count the levels below σ.

By Sylvester's law H − σS has as many negative eigenvalues as H ψ = ε S ψ has levels below σ; in L D L† these are the
negative eigenvalues of D. There are three methods: our own block L D L† (sparse), SciPy's SuperLU (sparse, pivots on
the diagonal) and LAPACK's ?sytrf (dense). A count is given only where it can be relied upon.

`constrained` solves and counts on a subspace, without some directions U, from the factors of the whole matrix A. There
x = A⁻¹ (b − U y) with U† x = 0 solves the equation on the complement of U, where y = G⁻¹ U† A⁻¹ b, G = U† A⁻¹ U. By the
inertia of [[A, U], [U†, 0]] there are as many negative eigenvalues as A has, less those of G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import norm, splu

from nearsight.electronic.block_ldl import BlockLdl
from nearsight.electronic.elimination import Elimination
from nearsight.errors import InputError

Method = Literal["auto", "sparse", "superlu", "dense"]

Solver = Callable[[np.ndarray], np.ndarray]

INEXACT = 5e-15
"""Error of a solution, relative to the matrix, from which on solutions are refined."""
UNSTABLE = 1e-9
"""Error of a solution, relative to the matrix, beyond which pivots were not good enough to count with."""
FULL = 0.25
"""Share of elements from which on LAPACK is used."""
LARGE = 20_000
"""Number of orbitals up to which LAPACK counts (3 GB) where the sparse factors cannot."""
TINY = float(np.finfo(float).tiny)


class SingularMatrixError(InputError):
    """A matrix H − σS without an inverse to working precision."""


@dataclass(frozen=True, eq=False)
class Factorisation:
    """Factors of a Hermitian matrix A = L D L†.

    Attributes
    ----------
    name : str
        The method: sparse, superlu or dense.
    solve : callable
        Gives A⁻¹ b for b of shape (n,) or (n, m).
    below : int or None
        Number of negative eigenvalues of A. None where pivots were too small or too inexact to tell.
    error : float
        ‖A x − b‖ / ‖x‖ for a random b, in the unit of A. Solution and count are those of a matrix about this far away:
        levels much farther from σ than that are on the right side.
    nearest : float
        1 / ‖x‖ for the same b, which is not much larger than the smallest |eigenvalue| of A.
    iterate : callable or None
        As `solve`, which refines its solution where the factors are inexact, but without refinement: for iterations
        whose result is checked.
    """

    name: str
    solve: Solver
    below: int | None
    error: float = 0.0
    nearest: float = 0.0
    iterate: Solver | None = None

    @property
    def iteration(self) -> Solver:
        """Solver for iterations: `iterate`, or `solve` where there is nothing to refine."""
        return self.solve if self.iterate is None else self.iterate


def factorise(matrix: sparse.csr_matrix, method: Method = "auto", plan: Elimination | None = None) -> Factorisation:
    """Factorise a Hermitian matrix, real or complex.

    Parameters
    ----------
    matrix : sparse matrix of shape (n, n)
        With both triangles stored.
    method : {"auto", "sparse", "superlu", "dense"}
        ``"auto"`` takes LAPACK for a matrix that is nearly full, else the sparse factors, and LAPACK again where these
        cannot count.
    plan : Elimination, optional
        Order of elimination of the sparse factors, see `BlockLdl`.

    Returns
    -------
    Factorisation
        The factors with their error.

    Raises
    ------
    SingularMatrixError
        If the matrix has no inverse.
    """
    matrix = sparse.csr_matrix(matrix)
    if method == "superlu":
        return checked(matrix, _superlu(matrix))
    if method == "dense" or (method == "auto" and is_full(matrix)):
        return checked(matrix, _dense(matrix))
    result = checked(matrix, _sparse(matrix, plan))
    if result.below is None and method == "auto" and matrix.shape[0] <= LARGE:
        return checked(matrix, _dense(matrix))
    return result


def is_full(matrix: sparse.csr_matrix) -> bool:
    """Return whether a matrix has so many elements that LAPACK is used."""
    return bool(matrix.nnz >= FULL * matrix.shape[0] ** 2)


def checked(matrix: sparse.csr_matrix, made: Factorisation, project: Solver = lambda x: x) -> Factorisation:
    """Measure the error of factors, remove their count where it is too large, and refine solutions where it is not
    small.

    Parameters
    ----------
    matrix : sparse matrix of shape (n, n)
        A.
    made : Factorisation
        Its factors.
    project : callable, optional
        Projects vectors on the subspace that the factors are for. By default that is the whole space.

    Returns
    -------
    Factorisation
        With `error` and `nearest`.
    """
    b = np.random.default_rng(0).standard_normal(matrix.shape[0]).astype(matrix.dtype)
    x = made.solve(b)
    size = float(np.linalg.norm(x))
    sound = np.isfinite(size) and size > 0
    error = float(np.linalg.norm(project(matrix @ x - b))) / size if sound else float("inf")
    largest = float(norm(matrix, np.inf))

    def refined(b: np.ndarray) -> np.ndarray:
        x = made.solve(b)
        return np.asarray(x + made.solve(b - matrix @ x))

    below = made.below if error <= UNSTABLE * largest else None
    if error <= INEXACT * largest:
        return Factorisation(made.name, made.solve, below, error, 1 / max(size, TINY))
    return Factorisation(made.name, refined, below, error, 1 / max(size, TINY), made.solve)


def _sparse(matrix: sparse.csr_matrix, plan: Elimination | None) -> Factorisation:
    """Block L D L†."""
    try:
        made = BlockLdl(matrix, plan)
    except ZeroDivisionError:
        raise SingularMatrixError(
            "expected a matrix H − σS that is not singular, got a diagonal block that is; "
            "is σ a level, or an orbital there twice?"
        ) from None
    return Factorisation("sparse", made.solve, made.negative)


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
        raise SingularMatrixError(
            "expected a matrix H − σS that is not singular, got a pivot of exactly zero; "
            "is σ a level, or an orbital there twice?"
        )
    single = pivots > 0
    below = int(np.count_nonzero(single & (factor.diagonal().real < 0))) + int(np.count_nonzero(~single)) // 2

    def solve(b: np.ndarray) -> np.ndarray:
        return np.asarray(trs(factor, pivots, b, lower=1)[0]).reshape(b.shape)

    return Factorisation("dense", solve, below)


AT_ONCE = 64
"""Number of directions that are solved for at a time."""


def constrained(matrix: sparse.csr_matrix, factors: Factorisation, directions: np.ndarray) -> Factorisation:
    """Restrict the factors of a matrix A to the complement of some directions.

    Parameters
    ----------
    matrix : sparse matrix of shape (n, n)
        A, Hermitian.
    factors : Factorisation
        Factors of A.
    directions : ndarray of shape (n, m)
        The directions, orthonormal.

    Returns
    -------
    Factorisation
        Solutions have no part in the directions, and the count is that of the complement.

    Raises
    ------
    SingularMatrixError
        If A has no inverse on the complement.
    """

    def project(x: np.ndarray) -> np.ndarray:
        return np.asarray(x - directions @ (directions.conj().T @ x))

    parts = range(0, directions.shape[1], AT_ONCE)
    image = np.concatenate([factors.solve(directions[:, k : k + AT_ONCE]) for k in parts], axis=1)
    inner = directions.conj().T @ image
    values, turn = linalg.eigh((inner + inner.conj().T) / 2, check_finite=False)
    if not np.abs(values).min() > 0:
        raise SingularMatrixError(
            "expected H − σS with an inverse where S is well-conditioned, got one without; is σ a level?"
        )
    turned = image @ (turn / values)

    def solve(b: np.ndarray) -> np.ndarray:
        x = factors.iteration(b)
        return project(x - turned @ (turn.conj().T @ (directions.conj().T @ x)))

    below = None if factors.below is None else factors.below - int(np.count_nonzero(values < 0))
    name = f"{factors.name}, {directions.shape[1]} directions projected out"
    return checked(matrix, Factorisation(name, solve, below), project)
