"""The full and the empty levels of a Hamiltonian, followed from those of another one without an eigenproblem.

Of a matrix with full and empty levels only the spaces matter that these span. Of the eigenvectors of one Hamiltonian, A
are those of the full or of the empty levels, whichever are fewer, and B the others. The space of another Hamiltonian H
is that of W = A + B X, where

    B† H W − X A† H W = 0

(a Riccati equation; J. W. Demmel, Computing 38, 43, 1987). It is solved by Newton steps with the differences of the
first Hamiltonian's levels as Jacobian, X_ba −= (B† H W − X A† H W)_ba / (ε_b − ε_a): perturbation theory, to all orders
as steps are repeated with one H or another. A step takes the time of two products of matrices.

A space of eigenvectors need not be that of the empty levels any more: levels that do not mix cross unseen. How many
levels lie below one is counted by Sylvester's law of inertia (`levels_below`), in a third of the time of a product.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from nearsight.electronic.lapack import LETTERS, place, routine

WORK = 64
"""Rows that LAPACK factorises at once, at most."""
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
    nearest : float
        Of the levels that are followed the one nearest to the others: the energy of the last Hamiltonian in the space
        that was found before it, right to second order in what changed.
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
        self._found = np.zeros((len(orbitals), self._x.shape[1]), dtype=orbitals.dtype)
        self._found[self._few] = self._triangle
        self.nearest = float(levels[full] if self.empty else levels[full - 1])

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
        own = self._found[self._few].conj().T @ few + self._found[self._many].conj().T @ many
        at = 0 if self.empty else len(own) - 1
        self.nearest = float(linalg.eigvalsh(own, subset_by_index=[at, at], check_finite=False)[0])
        residual = (many - self._x @ few) @ self._triangle
        x = self._x - residual / self._differences
        squares = x.conj().T @ x
        if not squares.diagonal().real.max(initial=0.0) < FARTHEST:
            return None
        factor = linalg.cholesky(squares + np.eye(len(squares), dtype=squares.dtype), check_finite=False)
        inverse = linalg.solve_triangular(factor, np.eye(len(squares), dtype=squares.dtype), check_finite=False)
        result = np.empty((len(self._orbitals), len(squares)), dtype=squares.dtype)
        result[self._few], result[self._many] = inverse, x @ inverse
        self._x, self._triangle, self._space, self._found = x, factor, self._orbitals @ result, result
        return result

    @property
    def space(self) -> np.ndarray:
        """(n, f) functions of the space that was found last, orthonormal in S."""
        return self._space


def levels_below(hamiltonian: np.ndarray, overlap: np.ndarray, level: float) -> int:
    """Return how many levels of H lie below one, by the inertia of H − level · S = L D L†.

    Parameters
    ----------
    hamiltonian, overlap : (n, n) array
        H and S, Hermitian, S positive definite.
    level : float
        In the unit of H.
    """
    shifted = hamiltonian - hamiltonian.real.dtype.type(level) * overlap.astype(hamiltonian.dtype, copy=False)
    factors = np.asfortranarray(shifted if shifted.flags.f_contiguous else shifted.T)  # L or L* of a Hermitian matrix
    name = f"{LETTERS[factors.dtype]}{'he' if np.iscomplexobj(factors) else 'sy'}trf"
    n, pivots, info = len(factors), np.empty(len(factors), dtype=np.intc), np.zeros(1, dtype=np.intc)
    work = np.empty(WORK * n, dtype=factors.dtype)
    size, room = np.array([n], dtype=np.intc), np.array([len(work)], dtype=np.intc)
    spaces = [place(part) for part in (size, factors, size, pivots, work, room, info)]
    routine(name, 1, len(spaces))(b"L", *spaces)
    # A block of two rows, which both have a negative pivot, has one eigenvalue of each sign.
    single = pivots > 0
    return int(np.count_nonzero(factors.diagonal().real[single] < 0) + np.count_nonzero(~single) // 2)
