"""Directions of the basis that the overlap resolves, and those it does not: one policy for ill-conditioned S.

An eigenvector u of S with eigenvalue λ is a function of squared norm λ. In it an error δ of H counts δ/λ, and numbers
stored in single precision are good to about 1e-7 times the square root of the number of orbitals. So directions with λ
below `SMALLEST` are noise: they are projected out (canonical orthogonalisation), and the spectrum says how many were
(`Spectrum.left_out`). An eigenvalue below −`SMALLEST` is not noise but a mistake, and refused.

In which directions of the basis a Hamiltonian with errors still says something.

In an eigenvector of S with eigenvalue λ an error δ of H moves a level by δ/λ. A predicted H comes with expected errors,
and where they move a level by as much as the whole spectrum is wide, it may end up anywhere, below the gap, too: such
directions are left out, as those that S does not resolve (`electronic.independent`). What they would add to the levels
near the gap is small, because their own levels are high.

H − σS on a subspace: solutions and counts without some directions, from the factors of the whole matrix.

With A = H − σS and directions U, x = A⁻¹ (b − U y) with U† x = 0 solves the equation on the complement of U, where
y = G⁻¹ U† A⁻¹ b, G = U† A⁻¹ U. By the inertia of [[A, U], [U†, 0]] there are as many negative eigenvalues as A has,
less those of G.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.factorisation import Factorisation, SingularMatrixError, checked
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation

SMALLEST = 1e-5
"""Eigenvalue of S. CP2K's EPS_EIGVAL is the same."""


def independent_directions(overlap: np.ndarray, smallest: float = SMALLEST) -> np.ndarray:
    """X, (n, r), of the r directions with eigenvalues of S of at least `smallest`: X† S X = 1.

    Args:
        overlap: (n, n) Hermitian.
        smallest: which eigenvalues of S count.

    Raises:
        InputError: an eigenvalue below −`smallest`, or no direction left.
    """
    values, vectors = linalg.eigh(overlap, check_finite=False)
    if values[0] < -max(smallest, SMALLEST):
        raise InputError(
            f"expected a positive definite overlap S, got one with smallest eigenvalue "
            f"{values[0]:.6g}; is it complete (all neighbours, both triangles) and of this structure?"
        )
    kept = values >= smallest
    if not kept.any():
        raise InputError(
            f"expected an overlap S with eigenvalues of {smallest:g} or more, got {values[-1]:.6g} at most"
        )
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


WIDTH = 100.0
"""eV, of a spectrum."""


def overlap_threshold(calculation: Calculation) -> float:
    """The smallest eigenvalue of S of directions that are kept: `SMALLEST`, or more for an H with expected errors."""
    return max(SMALLEST, error_norm(calculation) / WIDTH)


def error_norm(calculation: Calculation) -> float:
    """Expected norm of the errors of H, eV: 2 √(mean over rows of the sum of squares), as of a random matrix.

    0 for an H without expected errors; blocks whose error is unknown (NaN) do not count.
    """
    operator, estimate = calculation.hamiltonian, calculation.error_estimate
    if operator is None or estimate is None:
        return 0.0
    squares = np.nan_to_num(estimate) ** 2 * operator.lengths
    return float(2 * np.sqrt(squares.sum() / operator.n_orbitals))


AT_ONCE = 64
"""Directions solved for at a time."""


def constrained(matrix: sparse.csr_matrix, factors: Factorisation, directions: np.ndarray) -> Factorisation:
    """Factors of a matrix A for the complement of some directions.

    Args:
        matrix: A, (n, n) Hermitian.
        factors: of A.
        directions: (n, m), orthonormal.

    Raises:
        SingularMatrixError: A has no inverse on the complement.
    """

    def project(x: np.ndarray) -> np.ndarray:
        return np.asarray(x - directions @ (directions.conj().T @ x))

    parts = range(0, directions.shape[1], AT_ONCE)
    image = np.concatenate([factors.solve(directions[:, k : k + AT_ONCE]) for k in parts], axis=1)
    inner = directions.conj().T @ image
    values, turn = linalg.eigh((inner + inner.conj().T) / 2, check_finite=False)
    if not np.abs(values).min() > 0:
        raise SingularMatrixError("expected H − σS with an inverse where S is resolved, got one without; is σ a level?")
    turned = image @ (turn / values)

    def solve(b: np.ndarray) -> np.ndarray:
        x = factors.iteration(b)
        return project(x - turned @ (turn.conj().T @ (directions.conj().T @ x)))

    below = None if factors.below is None else factors.below - int(np.count_nonzero(values < 0))
    name = f"{factors.name}, {directions.shape[1]} directions left out"
    return checked(matrix, Factorisation(name, solve, below), project)
