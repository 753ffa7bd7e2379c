"""Block-tridiagonal matrices: a long device cut across into layers that couple to the layers beside them alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from nearsight.errors import InputError


@dataclass(frozen=True, eq=False)
class Coupling:
    """The matrix between two neighbouring layers, without the rows and columns in which it is zero.

    Attributes
    ----------
    rows, columns : (r,), (c,) array of int
        Which functions of the first and of the second layer couple.
    h, s : (r, c) array
        H (eV) and S between them.
    """

    rows: np.ndarray
    columns: np.ndarray
    h: np.ndarray
    s: np.ndarray


@dataclass(frozen=True, eq=False)
class BlockTridiagonal:
    """H and S of a device, cut into layers along the direction of transport.

    Attributes
    ----------
    starts : (B+1,) array of int
        First function of each layer; the last entry is the size of the matrix.
    h, s : tuple of (n_b, n_b) array
        H (eV) and S within each layer.
    couplings : tuple of Coupling
        From each layer to the next one; B − 1 of them.
    """

    starts: np.ndarray
    h: tuple[np.ndarray, ...]
    s: tuple[np.ndarray, ...]
    couplings: tuple[Coupling, ...]

    @property
    def n_layers(self) -> int:
        """Number B of layers."""
        return len(self.h)

    @property
    def n_orbitals(self) -> int:
        """Size of the matrix."""
        return int(self.starts[-1])

    @property
    def sizes(self) -> np.ndarray:
        """(B,) number of functions in each layer."""
        return np.diff(self.starts)


def block_tridiagonal(h: sparse.csr_matrix, s: sparse.csr_matrix, starts: np.ndarray) -> BlockTridiagonal:
    """Cut two sparse Hermitian matrices into layers.

    Parameters
    ----------
    h, s : sparse matrix of shape (n, n)
        H (eV) and S.
    starts : (B+1,) array of int
        First function of each layer, and n.

    Returns
    -------
    BlockTridiagonal
        Dense layers.

    Raises
    ------
    InputError
        If an element couples layers that are not neighbours.
    """
    starts = np.asarray(starts, dtype=np.int64)
    _check_reach(h, starts)
    _check_reach(s, starts)
    spans = [slice(a, b) for a, b in itertools.pairwise(starts)]
    couplings = tuple(_coupling(h[a][:, b], s[a][:, b]) for a, b in itertools.pairwise(spans))
    return BlockTridiagonal(
        starts,
        tuple(h[span][:, span].toarray() for span in spans),
        tuple(s[span][:, span].toarray() for span in spans),
        couplings,
    )


def require_positive_overlap(device: BlockTridiagonal) -> None:
    """Refuse an S that is not positive definite, with which transmissions mean nothing.

    Parameters
    ----------
    device : BlockTridiagonal
        H and S in layers; S is eliminated layer after layer, S_b − S_{b,b−1} (…)⁻¹ S_{b−1,b}, as in its Cholesky
        factorisation.

    Raises
    ------
    InputError
        Names the first layer up to which S is not positive definite.
    """
    rest: np.ndarray | None = None
    for number, own in enumerate(device.s):
        left = own.copy()
        if rest is not None:
            columns = device.couplings[number - 1].columns
            left[np.ix_(columns, columns)] -= rest
        try:
            factor = cholesky(left, lower=True, check_finite=False, overwrite_a=True)
        except LinAlgError:
            start, end = device.starts[number], device.starts[number + 1]
            raise InputError(
                f"expected a positive definite overlap S, got one that is not up to functions {start} to {end - 1} of "
                f"{device.n_orbitals} along the direction of transport; is it that of these atoms, and the tolerance "
                "below which blocks are left out small enough?"
            ) from None
        if number < len(device.couplings):
            coupling = device.couplings[number]
            onto = np.zeros((len(own), coupling.s.shape[1]), dtype=factor.dtype)
            onto[coupling.rows] = coupling.s
            solved = solve_triangular(factor, onto, lower=True, check_finite=False)
            rest = solved.conj().T @ solved


def _coupling(h: sparse.csr_matrix, s: sparse.csr_matrix) -> Coupling:
    pattern = abs(h) + abs(s)
    rows = np.flatnonzero(np.asarray(pattern.sum(axis=1)).ravel())
    columns = np.flatnonzero(np.asarray(pattern.sum(axis=0)).ravel())
    return Coupling(rows, columns, h[rows][:, columns].toarray(), s[rows][:, columns].toarray())


def _check_reach(matrix: sparse.csr_matrix, starts: np.ndarray) -> None:
    coo = matrix.tocoo()
    layer = np.searchsorted(starts, np.arange(starts[-1]), side="right") - 1
    apart = np.abs(layer[coo.row] - layer[coo.col])
    wrong = (apart > 1) & (coo.data != 0)
    if wrong.any():
        k = int(np.argmax(np.where(wrong, np.abs(coo.data), 0)))
        raise InputError(
            f"expected layers that couple to the layers beside them alone, got {coo.data[k]:.3g} between layers "
            f"{layer[coo.row[k]]} and {layer[coo.col[k]]}"
        )
