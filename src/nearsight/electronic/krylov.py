"""Krylov: levels nearest to an energy, by block Lanczos with (H − σS)⁻¹ S.

This operator is Hermitian in the inner product ⟨x, y⟩ = x† S y and has the eigenvectors of H ψ = ε S ψ with eigenvalues
θ = 1/(ε − σ): the levels next to σ are its outermost and are found first. Nothing is restarted and every vector is made
orthogonal to all others: some hundred vectors take less memory than the factors. ARPACK needs about as many
solutions one by one as this in blocks of four, which are faster; it cannot be asked for the levels on both sides of
an energy where matrices are complex, and is blind to all but one state of a degenerate level.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.factorisation import Factorisation
from nearsight.electronic.matrices import AT_ONCE, SparseProduct
from nearsight.errors import InputError

BLOCK = 4
"""Number of vectors at a time. For 60 levels of a-HfO₂ with 8,928 orbitals blocks of 1, 2, 4 and 8 need 384, 416, 512
and 672.
"""
LARGE = 2_000_000
"""Number of elements of S from which on its products are worth all cores."""
DEPENDENT = 1e-10
"""Share of the operator's image below which what is outside the basis counts as inside."""


class Krylov:
    """An S-orthonormal basis that grows, and (H − σS)⁻¹ S in it.

    Parameters
    ----------
    factors : Factorisation
        Factors of H − σS.
    overlap : sparse matrix of shape (n, n)
        S.
    block : int
        Number of vectors at a time.

    Attributes
    ----------
    theta : ndarray of shape (m,)
        Ascending Ritz values θ = 1/(ε − σ), in 1/eV.
    errors : ndarray of shape (m,)
        In 1/eV; there is an exact θ within this distance of each Ritz value.
    applied : int
        Number m of vectors that the operator was applied to.
    complete : bool
        Whether the basis spans everything.
    """

    def __init__(self, factors: Factorisation, overlap: sparse.csr_matrix, block: int = BLOCK) -> None:
        self.n, self.block = overlap.shape[0], min(block, overlap.shape[0])
        self.theta = self.errors = np.zeros(0)
        self.applied = self._stored = 0
        self._factors, self._overlap = factors, overlap
        large = overlap.nnz > LARGE and not np.iscomplexobj(overlap.data)
        self._product = SparseProduct.of(overlap, overlap.dtype) if large else None
        self._random = np.random.default_rng(0)
        self._vectors = np.zeros((self.n, 0), overlap.dtype, order="F")
        self._weighted = self._vectors  # S times them
        self._projected = np.zeros((0, 0), overlap.dtype)
        self._ritz = self._projected
        self.refresh()

    @property
    def complete(self) -> bool:
        """Whether the basis spans everything."""
        return self.applied == self.n

    def refresh(self) -> None:
        """Add random vectors, which have a part in states that all others may be blind to."""
        self._append(self._random.standard_normal((self.n, self.block)).astype(self._overlap.dtype))

    def grow(self, blocks: int) -> None:
        """Apply the operator to so many blocks, or until the basis is complete; then find the Ritz values."""
        for _ in range(blocks):
            if self._stored == self.applied and not self.complete:
                self.refresh()  # the basis is an invariant subspace: nothing outside it is reached otherwise
            if not self.complete:
                self._apply(slice(self.applied, self._stored))
        m = self.applied
        self.theta, self._ritz = linalg.eigh(self._projected[:m, :m], check_finite=False)
        self.errors = np.linalg.norm(self._projected[m : self._stored, :m] @ self._ritz, axis=0)

    def states(self, chosen: np.ndarray) -> np.ndarray:
        """Return S-orthonormal Ritz vectors (n, k) of the k chosen Ritz values."""
        return np.asarray(self._vectors[:, : self.applied] @ self._ritz[:, chosen])

    def _apply(self, new: slice) -> None:
        """Project the operator's image of the new vectors, and keep what of it is outside the basis."""
        image = self._factors.iteration(self._weighted[:, new])
        inside = self._weighted[:, : self._stored].conj().T @ image
        self._projected[: self._stored, new] = inside
        self._projected[new, : self._stored] = inside.conj().T
        self.applied = new.stop
        image -= self._vectors[:, : self._stored] @ inside
        old = self._stored
        self._append(image, float(np.linalg.norm(inside, axis=0).max()))
        beyond = self._weighted[:, old : self._stored].conj().T @ image
        self._projected[old : self._stored, new] = beyond
        self._projected[new, old : self._stored] = beyond.conj().T

    def _append(self, block: np.ndarray, scale: float = 1.0) -> None:
        """What the block has outside the basis, as further vectors; fewer where its columns depend on each other."""
        block = self._outside(block)
        block, triangle, _ = linalg.qr(block, mode="economic", pivoting=True, check_finite=False)
        kept = np.abs(triangle.diagonal()) > DEPENDENT * scale
        block = self._outside(block[:, kept][:, : self.n - self._stored])
        weighted = self._times(block)
        gram = block.conj().T @ weighted
        try:
            factor = linalg.cholesky((gram + gram.conj().T) / 2, check_finite=False)
        except linalg.LinAlgError:
            raise InputError(
                "expected a positive definite overlap S, got one in which a state has no positive norm; "
                "is it complete (all neighbours, both triangles) and of this structure?"
            ) from None
        self._make_room(block.shape[1])
        new = slice(self._stored, self._stored + block.shape[1])
        for array, columns in ((self._vectors, block), (self._weighted, weighted)):
            array[:, new] = linalg.solve_triangular(factor, columns.T, trans="T", check_finite=False).T
        self._stored = new.stop

    def _times(self, block: np.ndarray) -> np.ndarray:
        """S times a block; on all cores where it is large."""
        if self._product is None or block.shape[1] % AT_ONCE:
            return np.asarray(self._overlap @ block)
        return np.asfortranarray(self._product @ np.ascontiguousarray(block))

    def _outside(self, block: np.ndarray) -> np.ndarray:
        """Without its part in the basis."""
        inside = self._weighted[:, : self._stored].conj().T @ block
        return np.asarray(block - self._vectors[:, : self._stored] @ inside)

    def _make_room(self, columns: int) -> None:
        have = self._vectors.shape[1]
        if self._stored + columns <= have:
            return
        room = min(self.n, max(2 * have, have + columns, 8 * self.block)) - have
        self._vectors, self._weighted = (
            np.asfortranarray(np.pad(array, ((0, 0), (0, room)))) for array in (self._vectors, self._weighted)
        )
        self._projected = np.pad(self._projected, ((0, room), (0, room)))
