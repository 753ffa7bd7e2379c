"""Operators of a few blocks with known numbers, and chains with levels on paper."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import pairs_of

S_ONLY = BasisSet("one s", {1: (0,)}, {1: 1})
S_AND_P = BasisSet("H: s, O: p", {1: (0,), 8: (1,)}, {1: 1, 8: 6})
Pair = tuple[int, int, int]
"""i, j, and R along the first lattice vector."""


def operator(
    numbers: list[int], blocks: Mapping[Pair, object], *, folded: bool = False, basis: BasisSet = S_AND_P
) -> BlockOperator:
    """The operator with these blocks, in (i, j, R) order; a number fills its block."""
    pairs = sorted(blocks)
    source, target, x = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    shift = np.stack([x, 0 * x, 0 * x], axis=1)
    result = zeros(np.array(numbers), basis, source, target, shift, folded)
    for k, pair in enumerate(pairs):
        values = result.values[result.offsets[k] : result.offsets[k + 1]]
        values[:] = np.broadcast_to(np.ravel(blocks[pair]), values.shape)
    return result


def chain(n: int, on_site: float, hopping: float) -> BlockOperator:
    """One s orbital on each of n atoms 1 Å apart, periodic along x."""
    graph = build_graph(chain_structure(n), 1.5)
    result = zeros(np.ones(n, dtype=np.int64), S_ONLY, *pairs_of(graph), False)
    result.values[:] = np.where(result.on_site, on_site, hopping)
    return result


def chain_structure(n: int) -> Structure:
    """n hydrogen atoms 1 Å apart, periodic along x."""
    return Structure(np.ones(n), np.outer(np.arange(n), [1.0, 0, 0]), np.diag([float(n), 0, 0]), (True, False, False))


def chain_levels(n: int, on_site: float, hopping: float, overlap: float = 0.0) -> np.ndarray:
    """(ε + 2t cos k) / (1 + 2s cos k) at k = 2πm/n, ascending."""
    cosine = np.cos(2 * np.pi * np.arange(n) / n)
    return np.sort((on_site + 2 * hopping * cosine) / (1 + 2 * overlap * cosine))


def chain_calculation(n: int, on_site: float, hopping: float, overlap: float | None) -> Calculation:
    """A chain, without S where `overlap` is None."""
    s = None if overlap is None else chain(n, 1.0, overlap)
    return Calculation(chain_structure(n), S_ONLY, chain(n, on_site, hopping), s)
