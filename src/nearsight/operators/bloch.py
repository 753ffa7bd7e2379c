"""Between blocks and matrices: SciPy CSR, the Γ sum, and H(k)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.orbitals.basis import BasisSet


def from_csr(matrix: sparse.spmatrix, numbers: np.ndarray, basis: BasisSet) -> BlockOperator:
    """A matrix at Γ as folded blocks: every pair of atoms with a stored element becomes a dense block.

    Args:
        matrix: (n, n) real, complete (both triangles); duplicates are summed.
        numbers: (N,) atomic numbers; orbitals are contiguous per atom in this order.
        basis: orbitals of each element.

    Raises:
        InputError: the size does not fit numbers and basis, or an element is complex or not finite.
    """
    offsets = basis.offsets(numbers)
    if matrix.shape != (offsets[-1], offsets[-1]):
        raise InputError(f"expected a matrix of size {offsets[-1]} for {len(numbers)} atoms in {basis.describe()}, "
                         f"got {matrix.shape[0]} × {matrix.shape[1]}")
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
    result = zeros(numbers, basis, source, target, np.zeros((len(pairs), 3), dtype=np.int64), True,
                   np.result_type(coo.dtype, np.float32))
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
        raise InputError(f"expected finite matrix elements, got {matrix.data[k]} in row {matrix.row[k]}, column "
                         f"{matrix.col[k]} (counted from 0) and {int((~finite).sum())} such in all")


def to_csr(operator: BlockOperator) -> sparse.csr_matrix:
    """The matrix at Γ, (n, n): images summed. Every element of a stored block is stored, zeros too."""
    rows, columns = element_indices(operator)
    n = operator.n_orbitals
    return sparse.coo_matrix((operator.values, (rows, columns)), shape=(n, n)).tocsr()


def bloch(operator: BlockOperator, k: np.ndarray) -> sparse.csr_matrix:
    """H(k) = Σ_R exp(2πi k·R) H(R), (n, n) complex, k in units of the reciprocal lattice vectors.

    Raises:
        InputError: an operator folded to Γ at another k.
    """
    k = np.asarray(k, dtype=np.float64)
    if operator.folded and k.any():
        raise InputError(f"expected an operator resolved in R for k = {k.tolist()}, got one folded to Γ")
    rows, columns = element_indices(operator)
    phase = np.exp(2j * np.pi * (operator.shift @ k))
    data = operator.values * np.repeat(phase, np.diff(operator.offsets))
    n = operator.n_orbitals
    return sparse.coo_matrix((data, (rows, columns)), shape=(n, n)).tocsr()


def fold(operator: BlockOperator) -> BlockOperator:
    """The sum over images, one block per pair of atoms: H_ij(Γ) = Σ_R H_ij(R)."""
    if operator.folded:
        return operator
    pairs, which = _distinct(operator.source * operator.n_atoms + operator.target, operator.n_atoms**2)
    source, target = np.divmod(pairs, operator.n_atoms)
    shift = np.zeros((len(pairs), 3), dtype=np.int64)
    result = zeros(operator.numbers, operator.basis, source, target, shift, True, operator.values.dtype)
    sizes = np.diff(operator.offsets)
    within = np.arange(operator.n_values) - np.repeat(operator.offsets[:-1], sizes)
    np.add.at(result.values, np.repeat(result.offsets[which], sizes) + within, operator.values)
    return result


def element_indices(operator: BlockOperator) -> tuple[np.ndarray, np.ndarray]:
    """Row and column in the matrix of every number in `values`."""
    first = operator.orbital_offsets
    sizes = np.diff(first)
    # Run by run: a row of a block is a run of consecutive columns. Dividing every position takes several times longer.
    height = sizes[operator.source]
    pair = np.repeat(np.arange(operator.n_pairs), height)
    row = first[operator.source][pair] + np.arange(len(pair)) - np.repeat(np.cumsum(height) - height, height)
    length = sizes[operator.target][pair]
    start = np.cumsum(length) - length
    columns = np.repeat(first[operator.target][pair] - start, length) + np.arange(operator.n_values)
    return np.repeat(row, length), columns


def _distinct(keys: np.ndarray, upper: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in [0, upper), ascending, and the place of each key among them (linear, unlike np.unique)."""
    seen = np.zeros(upper, dtype=bool)
    seen[keys] = True
    distinct = np.flatnonzero(seen)
    place = np.zeros(upper, dtype=np.int64)
    place[distinct] = np.arange(len(distinct))
    return distinct, place[keys]
