"""Half of a Hermitian operator: the pairs i < j, and i = j with R ≥ 0 (lexicographic). The rest are transposes."""

from __future__ import annotations

import numpy as np

from nearsight.operators import runs
from nearsight.operators.blocks import BlockOperator, group_by_elements, zeros
from nearsight.structures.graph import pair_order


def in_half(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(P,) bool: which of the pairs belong to the half."""
    x, y, z = shift.T
    forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z >= 0))))
    return (source < target) | ((source == target) & forward)


def own_reverse(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(P,) bool: on-site pairs, whose transpose is the pair itself."""
    return (source == target) & ~shift.any(axis=1)


def whole_of_half(half: BlockOperator) -> BlockOperator:
    """The Hermitian operator of which `half` holds the pairs of `in_half`."""
    mirrored = np.flatnonzero(~own_reverse(half.source, half.target, half.shift))
    return with_transposes(half, np.arange(half.n_pairs), mirrored)


def with_transposes(stored: BlockOperator, direct: np.ndarray, mirrored: np.ndarray) -> BlockOperator:
    """The blocks of some pairs (positions `direct`) and the transposes of others (`mirrored`), sorted."""
    source = np.concatenate([stored.source[direct], stored.target[mirrored]])
    target = np.concatenate([stored.target[direct], stored.source[mirrored]])
    shift = np.concatenate([stored.shift[direct], -stored.shift[mirrored]])
    order = pair_order(source, target, shift)
    result = zeros(stored.numbers, stored.basis, source[order], target[order], shift[order], stored.folded)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    runs.copy(stored.values, stored.offsets[direct], result.values, result.offsets[place[: len(direct)]],
              stored.lengths[direct])
    turned = place[len(direct):]
    for pairs in group_by_elements(stored.numbers, stored.source[mirrored], stored.target[mirrored]).values():
        result.put(turned[pairs], stored.stack(mirrored[pairs]).transpose(0, 2, 1))
    return result


def symmetric(blocks: np.ndarray) -> np.ndarray:
    """On-site blocks (P, n, n) made equal to their transposes to the last bit: ½(B + Bᵀ).

    A product of matrices need not give both halves of a symmetric result the same rounding: that depends on the
    processor for which BLAS chose its kernels. A sum of two numbers does not depend on their order.
    """
    return np.asarray((blocks + blocks.transpose(0, 2, 1)) / 2)
