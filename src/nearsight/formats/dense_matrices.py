"""Whole matrices of isolated molecules, in any code's order of orbitals, as blocks."""

from __future__ import annotations

import numpy as np

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import OrbitalConvention, reordered, to_internal_order

ASYMMETRY = 1e-5
"""Largest |M − Mᵀ|, relative to the largest element, that is still a symmetric matrix; its mean with Mᵀ is taken."""

FOREIGN_OVERLAP = 1e-3
"""Largest overlap of functions of different l on one atom; exactly zero but for a code's grid."""


def from_dense(
    matrix: np.ndarray, numbers: np.ndarray, basis: BasisSet, convention: OrbitalConvention
) -> BlockOperator:
    """Turn a symmetric matrix of an isolated molecule into blocks of all pairs of atoms.

    Parameters
    ----------
    matrix : (n, n) array
        In any unit, atoms in the order of `numbers`.
    numbers : (N,) array of int
        Atomic numbers.
    basis : BasisSet
        Shells of each element in the matrix's order.
    convention : OrbitalConvention
        Order and signs inside the shells.

    Returns
    -------
    BlockOperator
        In the internal order and signs, exactly symmetric, in float64, every pair with R = 0, not folded.

    Raises
    ------
    InputError
        If the matrix has another shape, is not finite or not symmetric, or the convention does not know a shell.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    index, sign = to_internal_order(convention, basis, numbers)
    symmetric = _symmetric(np.asarray(matrix), len(index), numbers, basis)
    return _blocks(reordered(symmetric, index, sign), numbers, basis)


def check_shells(overlap: BlockOperator) -> None:
    """Check that functions of different l on one atom do not overlap; else the shells are in another order.

    Parameters
    ----------
    overlap : BlockOperator
        S.

    Raises
    ------
    InputError
        If they overlap.
    """
    for pair in np.flatnonzero(overlap.on_site):
        number = int(overlap.numbers[overlap.source[pair]])
        l = np.concatenate([np.full(2 * l + 1, l) for l in overlap.basis.shells[number]])
        wrong = np.abs(overlap.stack(np.array([pair]))[0])[l[:, None] != l].max(initial=0.0)
        if wrong > FOREIGN_OVERLAP:
            raise InputError(
                f"expected shells {' '.join('spdfghi'[k] for k in overlap.basis.shells[number])} of "
                f"{symbol_of(number)}, got functions of different l on one atom that overlap by {wrong:.2g}; is it "
                "another basis or another order of its shells?"
            )


def _symmetric(matrix: np.ndarray, size: int, numbers: np.ndarray, basis: BasisSet) -> np.ndarray:
    if matrix.shape != (size, size):
        raise InputError(
            f"expected a matrix of shape ({size}, {size}) for {len(numbers)} atoms in "
            f"{basis.restricted(numbers).describe()}, got {matrix.shape}"
        )
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all():
        raise InputError(f"expected finite numbers, got {int((~np.isfinite(matrix)).sum())} that are NaN or infinite")
    error = np.abs(matrix - matrix.T).max()
    if error > ASYMMETRY * np.abs(matrix).max():
        raise InputError(f"expected a symmetric matrix, got |M − Mᵀ| = {error:.3g}")
    return np.asarray((matrix + matrix.T) / 2)


def _blocks(matrix: np.ndarray, numbers: np.ndarray, basis: BasisSet) -> BlockOperator:
    source, target = np.divmod(np.arange(len(numbers) ** 2), len(numbers))
    shift = np.zeros((len(source), 3), dtype=np.int64)
    operator = zeros(numbers, basis.restricted(numbers), source, target, shift, folded=False)
    cuts = operator.orbital_offsets[1:-1]
    blocks = [block.reshape(-1) for rows in np.split(matrix, cuts) for block in np.split(rows, cuts, axis=1)]
    return operator.with_values(np.concatenate(blocks))
