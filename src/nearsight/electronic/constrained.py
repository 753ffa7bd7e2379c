"""H − σS on a subspace: solutions and counts without some directions, from the factors of the whole matrix.

With A = H − σS and directions U, x = A⁻¹ (b − U y) with U† x = 0 solves the equation on the complement of U, where
y = G⁻¹ U† A⁻¹ b, G = U† A⁻¹ U. By the inertia of [[A, U], [U†, 0]] there are as many negative eigenvalues as A has,
less those of G.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.factorisation import Factorisation, SingularMatrixError, checked

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
