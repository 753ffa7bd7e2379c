"""The generalised eigenproblem by LAPACK: S = L L†, A = L⁻¹ H L⁻†, A y = ε y, c = L⁻† y.

Matrices are made again from the given ones instead of being kept, so that eigenvalues need room for two dense matrices
(of 8 n² bytes, twice that where they are complex), their check and states for three.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from nearsight.electronic.conditioning import OVERLAP_THRESHOLD, independent_directions
from nearsight.electronic.matrices import Matrix, check_same_size, hermitian_dense, hermitian_part_dense
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.errors import InputError

RESIDUAL_TOLERANCE = 1e-6
"""Largest residual that is accepted, relative to the largest |ε|."""
SMALLEST_SCALE = 1e-2
"""Energy (eV) that the residual is compared with where all levels are smaller: inverse iteration finds levels to 1e-9
eV.
"""
SMALL = 64
"""Number of orbitals up to which the condition number comes from all eigenvalues; Lanczos needs more room than this."""


def dense_spectrum(
    hamiltonian: Matrix, overlap: Matrix, n_electrons: int, threshold: float = OVERLAP_THRESHOLD
) -> Spectrum:
    """Compute all levels by LAPACK. HOMO and LUMO are checked by inverse iteration, one vector each.

    Parameters
    ----------
    hamiltonian, overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        H in eV and S.
    n_electrons : int
        Number of electrons in the levels.
    threshold : float
        Directions in which eigenvalues of S are smaller are projected out.

    Returns
    -------
    Spectrum
        All levels.

    Raises
    ------
    InputError
        As `electronic.eigen.solve`.
    """
    reduced = _Reduced(hamiltonian, overlap, threshold)
    eigenvalues = linalg.eigh(
        reduced.take(), lower=True, eigvals_only=True, driver="ev", check_finite=False, overwrite_a=True
    )
    spectrum = reduced.spectrum(eigenvalues, n_electrons, 0.0)
    edges = {e for e in (spectrum.homo, spectrum.lumo) if np.isfinite(e)}
    residual, factor = 0.0, reduced.factor
    if factor is not None:
        residual = max((_residual(hamiltonian, overlap, factor, e) for e in edges), default=0.0)
    check_residual(residual, spectrum)
    return reduced.spectrum(eigenvalues, n_electrons, residual)


def dense_states(
    hamiltonian: Matrix,
    overlap: Matrix,
    n_electrons: int,
    number: int | None = None,
    threshold: float = OVERLAP_THRESHOLD,
) -> States:
    """Compute all states, or some around the gap, by LAPACK; the residual of each is measured.

    Parameters
    ----------
    hamiltonian, overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        H in eV and S.
    n_electrons : int
        Number of electrons in the levels.
    number : int, optional
        Number of states, half of them below the gap as far as there are so many. By default all.
    threshold : float
        Directions in which eigenvalues of S are smaller are projected out.

    Returns
    -------
    States
        Levels and coefficients.

    Raises
    ------
    InputError
        As `electronic.eigen.solve`.
    """
    reduced = _Reduced(hamiltonian, overlap, threshold)
    first, last = around_gap(reduced.size, n_electrons, number)
    chosen: dict[str, Any] = {"driver": "evd"}
    if last - first < reduced.size:
        chosen = {"driver": "evr", "subset_by_index": (first, last - 1)}
    eigenvalues, vectors = linalg.eigh(reduced.take(), lower=True, check_finite=False, overwrite_a=True, **chosen)
    coefficients = reduced.back(vectors)
    residual = reduced.residual(hamiltonian, overlap, eigenvalues, coefficients)
    spectrum = reduced.spectrum(eigenvalues, n_electrons, residual, first)
    check_residual(residual, spectrum)
    return States(spectrum, coefficients)


def around_gap(n_levels: int, n_electrons: int, number: int | None) -> tuple[int, int]:
    """Return the first level, and the one after the last, of some levels around the gap.

    Parameters
    ----------
    n_levels : int
        Number of all levels.
    n_electrons : int
        Number of electrons that fill them, two to each.
    number : int or None
        Number of levels that are wanted. None for all.

    Returns
    -------
    first, last : int
        Levels `first` … `last` − 1.
    """
    if number is None or number >= n_levels:
        return 0, n_levels
    first = min(max((n_electrons + 1) // 2 - number // 2, 0), n_levels - number)
    return first, first + number


def check_electrons(n_electrons: int, n_levels: int) -> None:
    """Check that electrons have room in the levels.

    Raises
    ------
    InputError
        If they have none.
    """
    if not 0 <= n_electrons <= 2 * n_levels:
        raise InputError(
            f"expected 0 to {2 * n_levels} electrons in {n_levels} orbitals, got {n_electrons}; "
            "does the basis belong to these pseudopotentials?"
        )


def check_residual(residual: float, spectrum: Spectrum) -> None:
    """Check that levels solve the equation.

    Raises
    ------
    InputError
        If the residual (eV) is above `RESIDUAL_TOLERANCE` times the largest |ε|.
    """
    scale = max(float(np.abs(spectrum.eigenvalues).max()), SMALLEST_SCALE)
    if not residual <= RESIDUAL_TOLERANCE * scale:
        raise InputError(
            f"expected eigenvalues with a residual below {RESIDUAL_TOLERANCE * scale:.1e} eV, "
            f"got {residual:.1e} eV; S is too close to singular (condition number "
            f"{spectrum.overlap_condition:.1e}): use a smaller or less diffuse basis"
        )


class _Reduced:
    """The standard problem A y = ε y, and the way back.

    Attributes
    ----------
    size
        Of A.
    factor
        Lower L with S = L L†; None where directions were projected out.
    """

    def __init__(self, hamiltonian: Matrix, overlap: Matrix, threshold: float) -> None:
        s = hermitian_dense(overlap, "S")
        self._n = len(s)
        self.factor, self._directions = _cholesky(s), None
        self._condition, lowest = _condition(self.factor) if self.factor is not None else (np.inf, 0.0)
        if self.factor is None or lowest < threshold:
            s = hermitian_dense(overlap, "S")
            self.factor, self._directions = None, independent_directions(s, threshold)
            lowest = float(linalg.norm(self._directions, axis=0).max()) ** -2
            self._condition = float(linalg.norm(self._directions, axis=0).min()) ** -2 / lowest
        h, self._deviation = hermitian_part_dense(hamiltonian, "H")
        check_same_size(h, s)
        self._matrix: np.ndarray | None = self._transformed(h)
        self.size = len(self._matrix)

    def take(self) -> np.ndarray:
        """A, of which the lower triangle counts; it is given away."""
        matrix, self._matrix = self._matrix, None
        assert matrix is not None
        return matrix

    def back(self, vectors: np.ndarray) -> np.ndarray:
        """Coefficients (n, m) of vectors of A."""
        if self._directions is not None:
            return np.asarray(self._directions @ vectors)
        return np.asarray(
            linalg.solve_triangular(self.factor, vectors, lower=True, trans="C", check_finite=False, overwrite_b=True)
        )

    def spectrum(self, eigenvalues: np.ndarray, n_electrons: int, residual: float, first: int = 0) -> Spectrum:
        """Levels of A with their filling."""
        check_electrons(n_electrons, self.size)
        filled, odd = divmod(n_electrons, 2)
        return Spectrum(
            eigenvalues,
            filled,
            self._condition,
            residual,
            bool(odd),
            self._deviation,
            first,
            self.size,
            self._n - self.size,
        )

    def residual(self, hamiltonian: Matrix, overlap: Matrix, levels: np.ndarray, coefficients: np.ndarray) -> float:
        """Largest ‖H c − ε S c‖ (norm of S⁻¹), eV; of what the kept directions see where some were projected out."""
        h, s = hermitian_dense(hamiltonian, "H"), hermitian_dense(overlap, "S")
        difference = h @ coefficients - (s @ coefficients) * levels
        if self._directions is not None:
            difference = self._directions.conj().T @ difference
        else:
            difference = linalg.solve_triangular(self.factor, difference, lower=True, check_finite=False)
        return float(linalg.norm(difference, axis=0).max())

    def _transformed(self, h: np.ndarray) -> np.ndarray:
        if self._directions is not None:
            return np.asfortranarray(self._directions.conj().T @ h @ self._directions)
        factor = self.factor
        assert factor is not None
        if np.iscomplexobj(h) != np.iscomplexobj(factor):
            inner = linalg.solve_triangular(factor, h, lower=True, check_finite=False).conj().T
            return np.asfortranarray(linalg.solve_triangular(factor, inner, lower=True, check_finite=False))
        (reduce,) = linalg.get_lapack_funcs(("hegst" if np.iscomplexobj(factor) else "sygst",), (factor,))
        result, info = reduce(h, factor, itype=1, lower=1, overwrite_a=1)
        assert info == 0
        return np.asarray(result)


def _cholesky(overlap: np.ndarray) -> np.ndarray | None:
    """Lower L with S = L L†; None where S is not positive definite. S is given away."""
    try:
        return np.asarray(linalg.cholesky(overlap, lower=True, check_finite=False, overwrite_a=True))
    except linalg.LinAlgError:
        return None


def _condition(factor: np.ndarray) -> tuple[float, float]:
    """Largest over smallest eigenvalue of S = L L†, and the smallest, by Lanczos on S and on S⁻¹."""
    n = len(factor)
    if n <= SMALL:
        values = linalg.svdvals(factor, check_finite=False) ** 2
        return float(values[0] / values[-1]), float(values[-1])
    (times,) = linalg.get_blas_funcs(("trmv",), (factor,))
    conjugate = 2 if np.iscomplexobj(factor) else 1
    start = np.random.default_rng(0).standard_normal(n).astype(factor.dtype)
    forward = LinearOperator(
        factor.shape,
        dtype=factor.dtype,
        matvec=lambda x: times(factor, times(factor, x.ravel(), lower=1, trans=conjugate), lower=1),
    )
    inverse = LinearOperator(
        factor.shape, dtype=factor.dtype, matvec=lambda x: linalg.cho_solve((factor, True), x, check_finite=False)
    )
    options: dict[str, Any] = {"k": 1, "which": "LA", "return_eigenvectors": False, "tol": 1e-4, "v0": start}
    largest, smallest = (float(eigsh(operator, **options)[0]) for operator in (forward, inverse))
    return largest * smallest, 1 / smallest


def _residual(hamiltonian: Matrix, overlap: Matrix, factor: np.ndarray, eigenvalue: float) -> float:
    """‖H x − ε S x‖ (norm of S⁻¹) for a vector x with ‖x‖ = 1 (norm of S), eV."""
    shift = 1e-9 * max(1.0, abs(eigenvalue))  # off the eigenvalue, where H − ε S would be singular
    matrix, s = hermitian_dense(hamiltonian, "H"), hermitian_dense(overlap, "S")
    if np.iscomplexobj(s) and not np.iscomplexobj(matrix):
        matrix = matrix.astype(s.dtype)
    matrix -= (eigenvalue + shift) * s
    lu = linalg.lu_factor(matrix, overwrite_a=True, check_finite=False)
    x = np.random.default_rng(0).standard_normal(len(s)).astype(matrix.dtype)
    for _ in range(3):
        x = linalg.lu_solve(lu, s @ x, check_finite=False)
        x /= np.sqrt((x.conj() @ s @ x).real)
    del lu, matrix
    difference = hermitian_dense(hamiltonian, "H") @ x - eigenvalue * (s @ x)
    return float(np.linalg.norm(linalg.solve_triangular(factor, difference, lower=True, check_finite=False)))
