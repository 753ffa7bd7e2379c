"""Hermiticity, rotation and permutation of block operators."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.errors import InputError
from nearsight.operators import runs
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.orbitals.rotations import atom_rotation
from nearsight.structures.graph import pair_order

_AT_ONCE = 1 << 13
"""Blocks compared at once."""


def with_reverses(operator: BlockOperator) -> BlockOperator:
    """The same operator on a list of pairs that has (j, i, −R) with every (i, j, R); new blocks are zero."""
    absent = operator.find(operator.target, operator.source, -operator.shift) < 0
    if not absent.any():
        return operator
    source = np.concatenate([operator.source, operator.target[absent]])
    target = np.concatenate([operator.target, operator.source[absent]])
    shift = np.concatenate([operator.shift, -operator.shift[absent]])
    order = pair_order(source, target, shift)
    return operator.on_pairs(source[order], target[order], shift[order])


def adjoint(operator: BlockOperator) -> BlockOperator:
    """O†: block (i, j, R) is the transpose of O's block (j, i, −R). Needs every pair's reverse."""
    result = operator.with_values(np.empty_like(operator.values))
    for pairs in operator.element_pairs.values():
        blocks = operator.stack(operator.reverse[pairs])
        result.put(pairs, blocks.transpose(0, 2, 1))
    return result


def hermitian_part(operator: BlockOperator) -> BlockOperator:
    """½(O + O†), exactly Hermitian."""
    complete = with_reverses(operator)
    return complete.with_values((complete.values + adjoint(complete).values) / 2)


def hermiticity_error(operator: BlockOperator) -> float:
    """max |O − O†| over all elements, in the operator's unit."""
    complete = with_reverses(operator)
    return max((float(np.abs(block - transposed).max()) for block, transposed in _mirrored(complete)), default=0.0)


def is_exactly_hermitian(operator: BlockOperator) -> bool:
    """To the last bit (0 and −0 differ), so that half of the matrix gives back the same numbers."""
    bits = f"u{operator.values.dtype.itemsize}"
    try:
        return all(np.array_equal(block.view(bits), transposed.view(bits))
                   for block, transposed in _mirrored(operator))
    except InputError:  # a pair without its reverse
        return False


def _mirrored(operator: BlockOperator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks (i, j, R) and the transposes of (j, i, −R), many at a time, every two pairs once."""
    for pairs in operator.element_pairs.values():
        once = pairs[pairs <= operator.reverse[pairs]]
        for first in range(0, len(once), _AT_ONCE):
            some = once[first:first + _AT_ONCE]
            yield operator.stack(some), operator.stack(operator.reverse[some]).transpose(0, 2, 1)


def rotate(operator: BlockOperator, rotation: np.ndarray) -> BlockOperator:
    """The operator of the rotated structure: O'_ij(R) = D_i O_ij(R) D_jᵀ (R counts lattice vectors, so it stays)."""
    result = operator.with_values(np.empty_like(operator.values))
    for (zi, zj), pairs in operator.element_pairs.items():
        di = atom_rotation(operator.basis, zi, rotation)
        dj = atom_rotation(operator.basis, zj, rotation)
        result.put(pairs, di @ operator.stack(pairs) @ dj.T)
    return result


def permute(operator: BlockOperator, order: np.ndarray) -> BlockOperator:
    """The operator of the structure whose atom k is atom `order[k]` of the old one."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    source, target = place[operator.source], place[operator.target]
    sort = pair_order(source, target, operator.shift)
    result = zeros(operator.numbers[order], operator.basis, source[sort], target[sort], operator.shift[sort],
                   operator.folded, operator.values.dtype)
    runs.copy(operator.values, operator.offsets[sort], result.values, result.offsets[:-1], result.lengths)
    return result
