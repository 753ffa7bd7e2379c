"""From blocks to matrices: SciPy's CSR format, the sum over images at Γ, and H(k)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from nearsight.errors import InputError
from nearsight.operators import runs
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.orbitals.basis import BasisSet


def from_csr(matrix: sparse.spmatrix, numbers: np.ndarray, basis: BasisSet) -> BlockOperator:
    """Turn a matrix at Γ into folded blocks: every pair of atoms with a stored element becomes a dense block.

    Parameters
    ----------
    matrix : scipy sparse matrix
        (n, n), real and complete (both triangles); duplicates are summed.
    numbers : (N,) array of int
        Atomic numbers; orbitals are contiguous for each atom in this order.
    basis : BasisSet
        Orbitals of each element.

    Returns
    -------
    BlockOperator
        Folded to Γ, in float32 or float64.

    Raises
    ------
    InputError
        If the size does not fit numbers and basis, or an element is complex or not finite.
    """
    offsets = basis.offsets(numbers)
    if matrix.shape != (offsets[-1], offsets[-1]):
        raise InputError(
            f"expected a matrix of size {offsets[-1]} for {len(numbers)} atoms in {basis.describe()}, "
            f"got {matrix.shape[0]} × {matrix.shape[1]}"
        )
    csr = sparse.csr_matrix(matrix)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    coo = csr.tocoo()
    _check_elements(coo)
    atom = np.repeat(np.arange(len(numbers)), np.diff(offsets))
    i, j = atom[coo.row], atom[coo.col]
    pairs, which = _distinct(i * len(numbers) + j, len(numbers) ** 2)
    source, target = np.divmod(pairs, len(numbers))
    result = zeros(
        numbers,
        basis,
        source,
        target,
        np.zeros((len(pairs), 3), dtype=np.int64),
        True,
        np.result_type(coo.dtype, np.float32),
    )
    width = np.diff(offsets)
    flat = result.offsets[which] + (coo.row - offsets[i]) * width[j] + (coo.col - offsets[j])
    result.values[flat] = coo.data
    return result


def _check_elements(matrix: sparse.coo_matrix) -> None:
    if np.iscomplexobj(matrix.data):
        raise InputError("expected a real matrix (at Γ), got a complex one; only H(k = 0) is real")
    finite = np.isfinite(matrix.data)
    if not finite.all():
        k = int(np.argmin(finite))
        raise InputError(
            f"expected finite matrix elements, got {matrix.data[k]} in row {matrix.row[k]}, column "
            f"{matrix.col[k]} (counted from 0) and {int((~finite).sum())} such in all"
        )


def to_csr(operator: BlockOperator) -> sparse.csr_matrix:
    """Return the matrix at Γ, in which images are summed.

    Parameters
    ----------
    operator : BlockOperator
        In real space or folded.

    Returns
    -------
    scipy.sparse.csr_matrix
        (n, n). Every element of a stored block is stored, zeros too.
    """
    return _matrix(fold(operator))


def bloch(operator: BlockOperator, k: np.ndarray) -> sparse.csr_matrix:
    """Compute H(k) = Σ_R exp(2πi k·R) H(R).

    Parameters
    ----------
    operator : BlockOperator
        In real space, unless k = 0.
    k : (3,) array of float
        In units of the reciprocal lattice vectors.

    Returns
    -------
    scipy.sparse.csr_matrix
        (n, n) complex.

    Raises
    ------
    InputError
        If the operator is folded to Γ and k is not 0.
    """
    k = np.asarray(k, dtype=np.float64)
    if operator.folded and k.any():
        raise InputError(f"expected an operator in real space for k = {k.tolist()}, got one folded to Γ")
    phase = np.exp(2j * np.pi * (operator.shift @ k))
    return _matrix(fold(operator.with_values(operator.values * np.repeat(phase, operator.lengths))))


def fold(operator: BlockOperator) -> BlockOperator:
    """Sum an operator over periodic images: H_ij(Γ) = Σ_R H_ij(R).

    Parameters
    ----------
    operator : BlockOperator
        In real space or folded; the latter comes back as it is.

    Returns
    -------
    BlockOperator
        One block for each pair of atoms.
    """
    if operator.folded:
        return operator
    # The images of a pair follow each other.
    new = np.ones(operator.n_pairs, dtype=bool)
    new[1:] = (np.diff(operator.source) != 0) | (np.diff(operator.target) != 0)
    first = np.flatnonzero(new)
    which = np.cumsum(new) - 1
    image = np.arange(operator.n_pairs) - first[which]
    source, target = operator.source[first], operator.target[first]
    shift = np.zeros((len(first), 3), dtype=np.int64)
    result = zeros(operator.numbers, operator.basis, source, target, shift, True, operator.values.dtype)
    for k in range(int(image.max()) + 1 if len(image) else 0):
        pairs = np.flatnonzero(image == k)
        places, starts, lengths = result.offsets[which[pairs]], operator.offsets[pairs], operator.lengths[pairs]
        runs.copy(operator.values, starts, result.values, places, lengths, add=k > 0)
    return result


def _matrix(operator: BlockOperator) -> sparse.csr_matrix:
    """The matrix of an operator with one image per pair; made in place, for sorting its elements takes longer."""
    first, height = operator.orbital_offsets, np.diff(operator.orbital_offsets)
    width = height[operator.target]
    row_length = np.bincount(operator.source, width, operator.n_atoms).astype(np.int64)
    before = np.cumsum(width) - width
    within = before - (np.cumsum(row_length) - row_length)[operator.source]
    row_start = np.concatenate([[0], np.cumsum(np.repeat(row_length, height))])
    data = np.empty(operator.n_values, dtype=operator.values.dtype)
    columns = np.empty(operator.n_values, dtype=np.int32 if operator.n_values < 2**31 else np.int64)
    for (zi, zj), pairs in operator.element_pairs.items():
        ni, nj = operator.basis.n_orbitals(zi), operator.basis.n_orbitals(zj)
        step = max(1, runs.AT_ONCE // (ni * nj))
        for some in (pairs[k : k + step] for k in range(0, len(pairs), step)):
            rows = first[operator.source[some]][:, None] + np.arange(ni)
            starts = (row_start[rows] + within[some][:, None]).reshape(-1)
            runs.scatter(data, starts, operator.stack(some).reshape(-1, nj))
            own = (first[operator.target[some]][:, None] + np.arange(nj)).astype(columns.dtype)
            runs.scatter(columns, starts, np.repeat(own, ni, axis=0))
    return sparse.csr_matrix((data, columns, row_start), shape=(operator.n_orbitals,) * 2)


def _distinct(keys: np.ndarray, upper: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in [0, upper), ascending, and the place of each key among them (linear, unlike np.unique)."""
    seen = np.zeros(upper, dtype=bool)
    seen[keys] = True
    distinct = np.flatnonzero(seen)
    place = np.zeros(upper, dtype=np.int64)
    place[distinct] = np.arange(len(distinct))
    return distinct, place[keys]
