"""Eigenvalues at Γ: the dense generalised problem H ψ = ε S ψ, with both matrices checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator

Matrix: TypeAlias = "BlockOperator | sparse.spmatrix | np.ndarray"

DRIVER = "gv"
"""LAPACK's ?sygv. Eigenvalues of 2,232 orbitals, one core: gv 1.35 s, gvx 1.37 s, gvd 2.26 s (best of 6)."""
HERMITICITY_TOLERANCE = 1e-6
"""Largest |A − A†| over largest |A|: what single precision or text with seven digits leaves."""
RESIDUAL_TOLERANCE = 1e-6
"""Largest residual over largest |ε|."""
SMALLEST_SCALE = 1e-2
"""eV. Where all levels are smaller than this, the residual is compared with it: inverse iteration resolves 1e-9 eV."""
STRIP = 1024
SMALL = 64
"""Up to this size the condition number comes from all eigenvalues; Lanczos needs more room than this."""


def solve(hamiltonian: Matrix, overlap: Matrix, n_electrons: int) -> Spectrum:
    """All eigenvalues of H ψ = ε S ψ at Γ (images are summed), filled with `n_electrons`.

    The residual is measured on HOMO and LUMO: one vector each from inverse iteration, then ‖H x − ε S x‖ in
    the norm of S⁻¹ over ‖x‖ in the norm of S, which bounds the distance of ε to an exact eigenvalue.

    Args:
        hamiltonian: (n, n) Hermitian, eV, or blocks.
        overlap: (n, n) Hermitian and positive definite, or blocks.
        n_electrons: 0 to 2n; two to a level.

    Raises:
        InputError: sizes that differ, numbers that are not finite, a matrix that is not Hermitian, an overlap
            that is not positive definite, more electrons than 2n, or a solution that fails the equation.
    """
    h, s = _dense(hamiltonian, "H"), _dense(overlap, "S")
    if h.shape != s.shape:
        raise InputError(f"expected H and S of the same size, got {h.shape[0]} and {s.shape[0]} orbitals; "
                         "are they of the same structure and basis?")
    if not 0 <= n_electrons <= 2 * len(h):
        raise InputError(f"expected 0 to {2 * len(h)} electrons in {len(h)} orbitals, got {n_electrons}; "
                         "does the basis belong to these pseudopotentials?")
    deviation = _make_hermitian(h, "H")
    _make_hermitian(s, "S")
    factor = _cholesky(s)
    eigenvalues = linalg.eigh(h, s, eigvals_only=True, driver=DRIVER, check_finite=False)
    filled, odd = divmod(n_electrons, 2)
    spectrum = Spectrum(eigenvalues, filled, _condition(s, factor), 0.0, bool(odd), deviation)
    edges = {e for e in (spectrum.homo, spectrum.lumo) if np.isfinite(e)}
    residual = max((_residual(h, s, factor, e) for e in edges), default=0.0)
    _check_residual(residual, spectrum)
    return replace(spectrum, residual=residual)


def hermiticity_error(matrix: np.ndarray) -> float:
    """max |A − A†| of a square matrix, strip by strip (no second matrix in memory)."""
    worst = 0.0
    for start in range(0, len(matrix), STRIP):
        rows = slice(start, start + STRIP)
        difference = matrix[rows, start:] - matrix[start:, rows].conj().T
        worst = max(worst, float(np.abs(difference).max(initial=0.0)))
    return worst


def hermitian_dense(matrix: Matrix, name: str) -> np.ndarray:
    """½(A + A†) as a dense double-precision copy (n, n), images summed to Γ.

    Raises:
        InputError: not square, not finite or not Hermitian.
    """
    dense = _dense(matrix, name)
    _make_hermitian(dense, name)
    return dense


def _dense(matrix: Matrix, name: str) -> np.ndarray:
    """A writable (n, n) double-precision copy, finite."""
    plain: Any = to_csr(matrix) if isinstance(matrix, BlockOperator) else matrix
    dense = plain.toarray() if sparse.issparse(plain) else np.array(plain)
    if dense.ndim != 2 or dense.shape[0] != dense.shape[1] or len(dense) == 0:
        raise InputError(f"expected a square matrix {name}, got shape {dense.shape}")
    dense = np.asfortranarray(dense, dtype=np.complex128 if np.iscomplexobj(dense) else np.float64)
    wrong = ~np.isfinite(dense)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(f"expected finite numbers in {name}, got {dense[row, column]} at row {row}, column "
                         f"{column} (counted from 0), {int(wrong.sum())} such numbers in all")
    return dense


def _make_hermitian(matrix: np.ndarray, name: str) -> float:
    """Replace A by ½(A + A†) in place; returns max |A − A†|."""
    deviation = hermiticity_error(matrix)
    if deviation > HERMITICITY_TOLERANCE * np.abs(matrix).max():
        difference = np.abs(matrix - matrix.conj().T)
        row, column = np.unravel_index(int(np.argmax(difference)), difference.shape)
        raise InputError(f"expected a Hermitian {name}, got {matrix[row, column]:.6g} at ({row}, {column}) "
                         f"and {matrix[column, row]:.6g} at ({column}, {row}), counted from 0 (max |{name} − "
                         f"{name}†| = {deviation:.3g}); is only one triangle stored?")
    if deviation:
        matrix += matrix.conj().T.copy()
        matrix /= 2
    return deviation


def _cholesky(overlap: np.ndarray) -> np.ndarray:
    """Lower L with S = L L†."""
    try:
        return np.asarray(linalg.cholesky(overlap, lower=True, check_finite=False))
    except linalg.LinAlgError:
        lowest = linalg.eigh(overlap, eigvals_only=True, subset_by_index=[0, 0], check_finite=False)[0]
        raise InputError(f"expected a positive definite overlap S, got one with smallest eigenvalue "
                         f"{lowest:.6g}; is it complete (all neighbours, both triangles) and of this "
                         "structure, and no atom there twice?") from None


def _condition(overlap: np.ndarray, factor: np.ndarray) -> float:
    """Largest over smallest eigenvalue of S, by Lanczos on S and on S⁻¹."""
    n = len(overlap)
    if n <= SMALL:
        eigenvalues = linalg.eigvalsh(overlap, check_finite=False)
        return float(eigenvalues[-1] / eigenvalues[0])
    start = np.random.default_rng(0).standard_normal(n)
    start = start.astype(overlap.dtype)
    inverse = LinearOperator(
        overlap.shape, dtype=overlap.dtype,
        matvec=lambda x: linalg.cho_solve((factor, True), x, check_finite=False),
    )
    options: dict[str, Any] = {"k": 1, "which": "LA", "return_eigenvectors": False, "tol": 1e-4, "v0": start}
    return float(eigsh(overlap, **options)[0]) * float(eigsh(inverse, **options)[0])


def _residual(h: np.ndarray, s: np.ndarray, factor: np.ndarray, eigenvalue: float) -> float:
    """‖H x − ε S x‖ (norm of S⁻¹) for a vector x with ‖x‖ = 1 (norm of S), eV."""
    shift = 1e-9 * max(1.0, abs(eigenvalue))  # off the eigenvalue, where H − ε S would be singular
    lu = linalg.lu_factor(h - (eigenvalue + shift) * s, overwrite_a=True, check_finite=False)
    x = np.random.default_rng(0).standard_normal(len(h)).astype(h.dtype)
    for _ in range(3):
        x = linalg.lu_solve(lu, s @ x, check_finite=False)
        x /= np.sqrt((x.conj() @ s @ x).real)
    difference = linalg.solve_triangular(factor, h @ x - eigenvalue * (s @ x), lower=True, check_finite=False)
    return float(np.linalg.norm(difference))


def _check_residual(residual: float, spectrum: Spectrum) -> None:
    scale = max(float(np.abs(spectrum.eigenvalues).max()), SMALLEST_SCALE)
    if not residual <= RESIDUAL_TOLERANCE * scale:
        raise InputError(f"expected eigenvalues with a residual below {RESIDUAL_TOLERANCE * scale:.1e} eV, "
                         f"got {residual:.1e} eV; S is too close to singular (condition number "
                         f"{spectrum.overlap_condition:.1e}): use a smaller or less diffuse basis")
