"""Hermiticity, rotation and permutation of block operators.

Half of a Hermitian operator are the pairs with i < j, and those with i = j and R ≥ 0 (lexicographically). The other
blocks are their transposes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nearsight.errors import InputError
from nearsight.operators import runs
from nearsight.operators.blocks import BlockOperator, group_by_elements, is_on_site, zeros
from nearsight.orbitals.rotations import atom_rotation
from nearsight.structures.graph import pair_order

_AT_ONCE = 1 << 13
"""Blocks compared at once."""


def with_reverses(operator: BlockOperator) -> BlockOperator:
    """Complete the list of pairs, so that it has (j, i, −R) with every (i, j, R).

    Parameters
    ----------
    operator : BlockOperator
        Any operator.

    Returns
    -------
    BlockOperator
        The same operator; new blocks are zero.
    """
    try:
        _ = operator.reverse  # often known already
    except InputError:
        absent = operator.find(operator.target, operator.source, -operator.shift) < 0
    else:
        return operator
    source = np.concatenate([operator.source, operator.target[absent]])
    target = np.concatenate([operator.target, operator.source[absent]])
    shift = np.concatenate([operator.shift, -operator.shift[absent]])
    order = pair_order(source, target, shift)
    return operator.on_pairs(source[order], target[order], shift[order])


def adjoint(operator: BlockOperator) -> BlockOperator:
    """Return O†: its block (i, j, R) is the transpose of O's block (j, i, −R).

    Parameters
    ----------
    operator : BlockOperator
        An operator with every pair's reverse.

    Returns
    -------
    BlockOperator
        On the same pairs.

    Raises
    ------
    InputError
        If the reverse of a pair is missing.
    """
    result = operator.with_values(np.empty_like(operator.values))
    for pairs in operator.element_pairs.values():
        blocks = operator.stack(operator.reverse[pairs])
        result.put(pairs, blocks.transpose(0, 2, 1))
    return result


def hermitian_part(operator: BlockOperator) -> BlockOperator:
    """Return ½(O + O†), which is exactly Hermitian.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.

    Returns
    -------
    BlockOperator
        With every pair's reverse.
    """
    complete = with_reverses(operator)
    return complete.with_values((complete.values + adjoint(complete).values) / 2)


def hermiticity_error(operator: BlockOperator) -> float:
    """Return max |O − O†| over all elements.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.

    Returns
    -------
    float
        In the operator's unit.
    """
    complete = with_reverses(operator)
    return max((float(np.abs(block - transposed).max()) for block, transposed in _mirrored(complete)), default=0.0)


def is_exactly_hermitian(operator: BlockOperator) -> bool:
    """Tell whether an operator is Hermitian to the last bit (0 and −0 differ).

    Half of such a matrix gives back the same numbers.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.

    Returns
    -------
    bool
        False also where the reverse of a pair is missing.
    """
    bits = f"u{operator.values.dtype.itemsize}"
    try:
        return all(np.array_equal(block.view(bits), transposed.view(bits)) for block, transposed in _mirrored(operator))
    except InputError:  # a pair without its reverse
        return False


def _mirrored(operator: BlockOperator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks (i, j, R) and the transposes of (j, i, −R), many at a time, every two pairs once."""
    for pairs in operator.element_pairs.values():
        once = pairs[pairs <= operator.reverse[pairs]]
        for first in range(0, len(once), _AT_ONCE):
            some = once[first : first + _AT_ONCE]
            yield operator.stack(some), operator.stack(operator.reverse[some]).transpose(0, 2, 1)


def rotate(operator: BlockOperator, rotation: np.ndarray) -> BlockOperator:
    """Return the operator of the rotated structure: O'_ij(R) = D_i O_ij(R) D_jᵀ.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.
    rotation : (3, 3) array of float
        An orthogonal matrix acting on (x, y, z).

    Returns
    -------
    BlockOperator
        On the same pairs, for R counts lattice vectors.
    """
    result = operator.with_values(np.empty_like(operator.values))
    for (zi, zj), pairs in operator.element_pairs.items():
        di = atom_rotation(operator.basis, zi, rotation)
        dj = atom_rotation(operator.basis, zj, rotation)
        result.put(pairs, di @ operator.stack(pairs) @ dj.T)
    return result


def permute(operator: BlockOperator, order: np.ndarray) -> BlockOperator:
    """Return the operator of the structure with its atoms in another order.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.
    order : (N,) array of int
        Atom k of the result is atom `order[k]`.

    Returns
    -------
    BlockOperator
        The same blocks under their new names.
    """
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    source, target = place[operator.source], place[operator.target]
    sort = pair_order(source, target, operator.shift)
    result = zeros(
        operator.numbers[order],
        operator.basis,
        source[sort],
        target[sort],
        operator.shift[sort],
        operator.folded,
        operator.values.dtype,
    )
    runs.copy(operator.values, operator.offsets[sort], result.values, result.offsets[:-1], result.lengths)
    return result


def in_half(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Tell which pairs belong to the half of a Hermitian operator that is stored.

    Parameters
    ----------
    source, target : (P,) array of int
        The atoms of each pair.
    shift : (P, 3) array of int
        The cell of the second atom.

    Returns
    -------
    (P,) array of bool
        True for i < j, and for i = j with R ≥ 0.
    """
    x, y, z = shift.T
    forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z >= 0))))
    return (source < target) | ((source == target) & forward)


def whole_of_half(half: BlockOperator) -> BlockOperator:
    """Return the Hermitian operator of which the half is given.

    Parameters
    ----------
    half : BlockOperator
        The pairs of `in_half`.

    Returns
    -------
    BlockOperator
        All pairs.
    """
    mirrored = np.flatnonzero(~is_on_site(half.source, half.target, half.shift))
    return with_transposes(half, np.arange(half.n_pairs), mirrored)


def merged(parts: Sequence[BlockOperator]) -> BlockOperator:
    """Return one operator with the pairs of several, sorted.

    Parameters
    ----------
    parts : sequence of BlockOperator
        At least one; of the same atoms and basis, with different pairs.

    Raises
    ------
    InputError
        If a pair is in two of them.
    """
    source, target, shift = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("source", "target", "shift")
    )
    order = pair_order(source, target, shift)
    first = parts[0]
    values = np.concatenate([part.values for part in parts])
    result = zeros(
        first.numbers, first.basis, source[order], target[order], shift[order], first.folded, first.values.dtype
    )
    lengths = np.concatenate([part.lengths for part in parts])
    starts = np.cumsum(lengths) - lengths
    runs.copy(values, starts[order], result.values, result.offsets[:-1], result.lengths)
    return result


def with_transposes(stored: BlockOperator, direct: np.ndarray, mirrored: np.ndarray) -> BlockOperator:
    """Assemble an operator of stored blocks and of transposes of stored blocks.

    Parameters
    ----------
    stored : BlockOperator
        The blocks.
    direct : (d,) array of int
        Positions of the pairs that are taken as they are.
    mirrored : (m,) array of int
        Positions of the pairs whose transposes are taken.

    Returns
    -------
    BlockOperator
        d + m pairs, sorted.
    """
    source = np.concatenate([stored.source[direct], stored.target[mirrored]])
    target = np.concatenate([stored.target[direct], stored.source[mirrored]])
    shift = np.concatenate([stored.shift[direct], -stored.shift[mirrored]])
    order = pair_order(source, target, shift)
    result = zeros(stored.numbers, stored.basis, source[order], target[order], shift[order], stored.folded)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    runs.copy(
        stored.values,
        stored.offsets[direct],
        result.values,
        result.offsets[place[: len(direct)]],
        stored.lengths[direct],
    )
    turned = place[len(direct) :]
    for pairs in group_by_elements(stored.numbers, stored.source[mirrored], stored.target[mirrored]).values():
        result.put(turned[pairs], stored.stack(mirrored[pairs]).transpose(0, 2, 1))
    return result


def symmetric(blocks: np.ndarray) -> np.ndarray:
    """Make on-site blocks equal to their transposes to the last bit: ½(B + Bᵀ).

    A product of matrices need not give both halves of a symmetric result the same rounding: that depends on the
    processor for which BLAS chose its kernels. A sum of two numbers does not depend on their order.

    Parameters
    ----------
    blocks : (P, n, n) array
        Blocks that are symmetric up to rounding.

    Returns
    -------
    (P, n, n) array
        Symmetric blocks.
    """
    return np.asarray((blocks + blocks.transpose(0, 2, 1)) / 2)
