"""The full and the empty levels of a Hamiltonian, followed from those of another one without an eigenproblem.

Of a matrix with full and empty levels only the spaces matter that these span. Of the eigenvectors of one Hamiltonian, A
are those of the full or of the empty levels, whichever are fewer, and B the others. The space of another Hamiltonian H
is that of W = A + B X, where

    B† H W − X A† H W = 0

(a Riccati equation; J. W. Demmel, Computing 38, 43, 1987). It is solved by Newton steps with the differences of the
first Hamiltonian's levels as Jacobian, X_ba −= (B† H W − X A† H W)_ba / (ε_b − ε_a): perturbation theory, to all orders
as steps are repeated with one H or another. A step takes the time of two products of matrices.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

FARTHEST = 0.5
"""Largest |X†X|, weight of B in a level of W, that is believed: beyond, levels may have crossed."""


class FollowedLevels:
    """The fewer ones of the full and the empty levels of a Hamiltonian that changes.

    Parameters
    ----------
    levels : (n,) array
        Ascending levels of the first Hamiltonian.
    orbitals : (n, n) array
        Its eigenvectors, columns with C† S C = 1.
    full : int
        Number of full levels.

    Attributes
    ----------
    empty : bool
        Whether the empty levels are the fewer ones, which are followed.
    """

    def __init__(self, levels: np.ndarray, orbitals: np.ndarray, full: int) -> None:
        self.empty = 2 * full > len(levels)
        self._few = slice(full, None) if self.empty else slice(0, full)
        self._many = slice(0, full) if self.empty else slice(full, None)
        self._orbitals = orbitals
        self._differences = levels[self._many, None] - levels[self._few]
        self._x = np.zeros(self._differences.shape, dtype=orbitals.dtype)
        self._triangle = np.eye(self._x.shape[1], dtype=orbitals.dtype)
        self._space = orbitals[:, self._few]

    def follow(self, hamiltonian: np.ndarray) -> np.ndarray | None:
        """Return coefficients (n, f) of orthonormal functions of these levels' space in the first eigenvectors.

        Parameters
        ----------
        hamiltonian : (n, n) array
            H, Hermitian, in the basis of the orbitals.

        Returns
        -------
        array or None
            None where the space is too far from the first one to be found like that.
        """
        product = hamiltonian @ self._space
        few, many = (self._orbitals[:, part].conj().T @ product for part in (self._few, self._many))
        residual = (many - self._x @ few) @ self._triangle
        x = self._x - residual / self._differences
        squares = x.conj().T @ x
        if not squares.diagonal().real.max(initial=0.0) < FARTHEST:
            return None
        factor = linalg.cholesky(squares + np.eye(len(squares), dtype=squares.dtype), check_finite=False)
        inverse = linalg.solve_triangular(factor, np.eye(len(squares), dtype=squares.dtype), check_finite=False)
        result = np.empty((len(self._orbitals), len(squares)), dtype=squares.dtype)
        result[self._few], result[self._many] = inverse, x @ inverse
        self._x, self._triangle, self._space = x, factor, self._orbitals @ result
        return result

    @property
    def space(self) -> np.ndarray:
        """(n, f) functions of the space that was found last, orthonormal in S."""
        return self._space
