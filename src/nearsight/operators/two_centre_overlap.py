"""S of any structure from the radial functions of its basis, or from overlaps that were fitted to other structures.

With the bond along z, the overlap of two atoms depends on their distance alone. So the block of each pair of elements
is computed at the Chebyshev points of the range of distances, which converge exponentially, interpolated by splines of
fifth order, and rotated to the direction of each bond.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, group_by_elements, zeros
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.fitted_overlap import FittedOverlap
from nearsight.orbitals.gaussian_overlap import overlaps_along_z
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.orbitals.rotations import bond_frames, orbital_frames, wigner_d
from nearsight.structures.cluster_graph import graph_at
from nearsight.structures.graph import Graph, build_graph, pair_order
from nearsight.structures.structure import MINIMUM_DISTANCE, Structure

SMALLEST = 1e-8
"""Blocks at distances beyond which no element is larger are not stored."""
STEP = 0.02
"""Å, between tabulated distances: splines are then exact to 1e-10."""
FARTHEST = 30.0
"""Å, that tables reach at most."""
_NODES_PER_ANGSTROM = 14
"""Chebyshev points: functions as narrow as 0.2 Å are interpolated to 1e-11."""
_AT_ONCE = 20_000
"""Pairs that are rotated together."""


def overlap_of(structure: Structure, basis: BasisSet, *, smallest: float = SMALLEST) -> BlockOperator:
    """Compute the overlap matrix S of a structure as a real-space operator, Hermitian to the last bit.

    Parameters
    ----------
    structure : Structure
        The atoms and ghosts.
    basis : BasisSet
        The basis with its functions.
    smallest : float, optional
        Blocks at distances beyond which no element of any block is larger are not stored.

    Returns
    -------
    BlockOperator
        S, without unit, with a block for every pair of atoms and cell vector R.

    Raises
    ------
    InputError
        Where neither functions nor overlaps of an element are known, or atoms are nearer than any that overlaps were
        fitted to.
    """
    basis = basis.restricted(structure.numbers)
    known = TwoCentreOverlap.of(basis, smallest=smallest)
    graph = build_graph(structure, known.range)
    result = empty_operator(structure, basis, graph)
    upper = np.arange(result.n_pairs) <= result.reverse
    for (a, b), pairs in result.element_pairs.items():
        own = result.on_site[pairs]
        if own.any():
            result.put(pairs[own], known.on_site(a, int(own.sum())))
        pairs = pairs[~own & (a < b if a != b else upper[pairs])]
        for some in (pairs[k : k + _AT_ONCE] for k in range(0, len(pairs), _AT_ONCE)):
            blocks = known.blocks((a, b), pair_vectors(structure, result, some))
            result.put(some, blocks)
            result.put(result.reverse[some], blocks.transpose(0, 2, 1))
    return result


@dataclass(frozen=True, eq=False)
class TwoCentreOverlap:
    """S of any atoms of one basis, as functions of the vectors between them.

    Attributes
    ----------
    basis : BasisSet
        The orbitals.
    tables : dict of (int, int) to OverlapTable or fitted overlaps
        Z ≤ Z' → blocks along z.
    own : dict of int to (n, n) array
        Z → the block of an atom with itself.
    fitted : FittedOverlap or None
        What was fitted to other matrices S, where functions are not known.
    """

    basis: BasisSet
    tables: Mapping[tuple[int, int], OverlapTable | _Fitted]
    own: Mapping[int, np.ndarray]
    fitted: FittedOverlap | None

    @classmethod
    def of(cls, basis: BasisSet, *, smallest: float = SMALLEST) -> TwoCentreOverlap:
        """Tabulate the overlaps of a basis.

        Parameters
        ----------
        basis : BasisSet
            The basis of some elements, with its functions.
        smallest : float, optional
            As of `overlap_of`.

        Raises
        ------
        InputError
            Where neither functions nor overlaps of an element are known.
        """
        fitted = basis.overlaps if basis.lacking_functions else None
        if basis.lacking_functions and fitted is None:
            names = ", ".join(symbol_of(z) for z in basis.lacking_functions)
            raise InputError(
                f"expected the radial functions of {names} ({basis.name}), got a basis whose shells alone are known; "
                "import with the basis file (--basis-file), or give a file that holds S"
            )
        elements = tuple(basis.shells)
        both = [(a, b) for a in elements for b in elements if a <= b]
        if fitted is None:
            own = {z: overlaps_along_z(basis.functions[z], basis.functions[z], np.zeros(1))[0] for z in elements}
            return cls(basis, {(a, b): _table(basis, a, b, smallest) for a, b in both}, own, None)
        _check_fitted(fitted, both, elements)
        shells = basis.shells
        tables = {(a, b): _Fitted(fitted.range, fitted, (a, b), (shells[a], shells[b])) for a, b in both}
        return cls(basis, tables, dict(fitted.own), fitted)

    @property
    def range(self) -> float:
        """Å, beyond which no atoms overlap."""
        return max(table.range for table in self.tables.values())

    def on_site(self, z: int, count: int) -> np.ndarray:
        """Return (count, n, n) blocks of atoms of an element with themselves."""
        block = (self.own[z] + self.own[z].T) / 2
        return np.broadcast_to(block, (count, *block.shape))

    def blocks(self, elements: tuple[int, int], vectors: np.ndarray) -> np.ndarray:
        """Return (P, n_i, n_j) blocks of two elements, zero beyond the range.

        Parameters
        ----------
        elements : (int, int)
            Z_i and Z_j in any order; the transpose of one order is the other, to the last bit.
        vectors : (P, 3) array of float
            From i to j, Å.

        Raises
        ------
        InputError
            Atoms are nearer than any that overlaps were fitted to.
        """
        a, b = elements
        if a > b:
            return self.blocks((b, a), -vectors).transpose(0, 2, 1)
        if self.fitted is not None:
            _check_distances(self.fitted, elements, vectors)
        return _rotated(self.tables[elements], self.basis, elements, vectors)


@dataclass(frozen=True, eq=False)
class OverlapRows:
    """Half of the rows of S of some atoms, whose blocks are computed when they are asked for.

    Attributes
    ----------
    structure : Structure
        The atoms, without periodic directions.
    known : TwoCentreOverlap
        S of atoms of their basis.
    source, target : (P,) array of int64
        Sorted pairs (i, j), i ≤ j, of atoms within its range, each i with itself.
    """

    structure: Structure
    known: TwoCentreOverlap
    source: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, structure: Structure, known: TwoCentreOverlap, rows: np.ndarray) -> OverlapRows:
        """Find the pairs whose first atom is one of `rows` (ascending positions in a structure without images)."""
        graph = graph_at(structure, known.range, rows)
        edges = graph.leaving(rows)[0]
        edges = edges[graph.source[edges] < graph.target[edges]]
        source, target = np.concatenate([rows, graph.source[edges]]), np.concatenate([rows, graph.target[edges]])
        order = np.lexsort((target, source))
        return cls(structure, known, source[order], target[order])

    def values(self, batch: slice) -> np.ndarray:
        """Return the blocks of consecutive pairs one after another, each row-major."""
        source, target, numbers = self.source[batch], self.target[batch], self.structure.numbers
        sizes = self.known.basis.sizes(numbers)
        ends = np.cumsum(sizes[source] * sizes[target])
        result = np.empty(int(ends[-1]))
        for (a, b), pairs in group_by_elements(numbers, source, target).items():
            own = source[pairs] == target[pairs]
            vectors = self.structure.positions[target[pairs]] - self.structure.positions[source[pairs]]
            blocks = np.empty((len(pairs), self.known.basis.n_orbitals(a), self.known.basis.n_orbitals(b)))
            blocks[~own] = self.known.blocks((a, b), vectors[~own])
            if own.any():
                blocks[own] = self.known.on_site(a, int(own.sum()))
            flat = blocks.reshape(len(pairs), -1)
            result[(ends[pairs] - flat.shape[1])[:, None] + np.arange(flat.shape[1])] = flat
        return result


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """Blocks of two elements, the second above the first along z; `filled` says which elements are not always zero."""

    range: float
    filled: np.ndarray
    spline: Any

    def blocks(self, distance: np.ndarray) -> np.ndarray:
        """Return (P, n_i, n_j) blocks at distances in Å."""
        result = np.zeros((len(distance), *self.filled.shape))
        result[:, self.filled] = self.spline(distance)
        return result


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Blocks of two elements as they were fitted."""

    range: float
    fitted: FittedOverlap
    pair: tuple[int, int]
    shells: tuple[tuple[int, ...], tuple[int, ...]]

    def blocks(self, distance: np.ndarray) -> np.ndarray:
        """Return (P, n_i, n_j) blocks at distances in Å."""
        return self.fitted.along_z(self.pair, self.shells, distance)


NEARER = 0.05
"""Å, by which atoms may be nearer than any that overlaps were fitted to."""


def _check_fitted(fitted: FittedOverlap, pairs: list[tuple[int, int]], elements: tuple[int, ...]) -> None:
    missing = [pair for pair in pairs if pair not in fitted.coefficients]
    if missing or any(z not in fitted.own for z in elements):
        names = ", ".join(f"{symbol_of(a)}-{symbol_of(b)}" for a, b in missing)
        raise InputError(f"expected overlaps of {names} in the training data, got none; give a file that holds S")


def _check_distances(fitted: FittedOverlap, pair: tuple[int, int], vectors: np.ndarray) -> None:
    nearest = float(np.linalg.norm(vectors, axis=1).min(initial=np.inf))
    if nearest < fitted.nearest[pair] - NEARER:
        raise InputError(
            f"expected {symbol_of(pair[0])} and {symbol_of(pair[1])} at least {fitted.nearest[pair]:.2f} Å apart, as "
            f"in the data that overlaps were learnt from, got {nearest:.2f} Å; give a file that holds S, or the basis "
            "file when importing the training data (--basis-file)"
        )


_KEPT: OrderedDict[tuple[Any, ...], OverlapTable] = OrderedDict()
_MOST_KEPT = 32
"""Tables are kept: predictions of many structures need the same ones."""


def _table(basis: BasisSet, a: int, b: int, smallest: float) -> OverlapTable:
    lower, upper = basis.functions[a], basis.functions[b]
    key = (_identity(lower), _identity(upper), smallest)
    if key not in _KEPT:
        _KEPT[key] = tabulated(lower, upper, smallest)
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
    return _KEPT[key]


def _identity(shells: tuple[GaussianShell, ...]) -> tuple[tuple[int, bytes, bytes], ...]:
    return tuple((s.l, s.exponents.tobytes(), s.coefficients.tobytes()) for s in shells)


def tabulated(lower: tuple[GaussianShell, ...], upper: tuple[GaussianShell, ...], smallest: float) -> OverlapTable:
    """Tabulate the blocks of two elements up to the distance at which all elements are small."""
    begin = 0.5 * MINIMUM_DISTANCE
    coarse = np.arange(begin, FARTHEST, 0.25)
    large = np.flatnonzero(np.abs(overlaps_along_z(lower, upper, coarse)).max(axis=(1, 2)) > smallest)
    last = float(coarse[min(int(large[-1]) + 2, len(coarse) - 1)]) if len(large) else begin + 1.0
    nodes = int(_NODES_PER_ANGSTROM * (last - begin)) + 30
    points = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    values = overlaps_along_z(lower, upper, begin + (points + 1) / 2 * (last - begin))
    distance = np.arange(begin, last, STEP)
    filled = np.abs(values).max(axis=0) > 1e-14
    series = np.polynomial.chebyshev.chebfit(points, values[:, filled], nodes - 1) if filled.any() else None
    fine: np.ndarray = np.zeros((len(distance), int(filled.sum())))
    if series is not None:
        fine = np.polynomial.chebyshev.chebval(2 * (distance - begin) / (last - begin) - 1, series).T
    large = np.flatnonzero(np.abs(fine).max(axis=1, initial=0.0) > smallest)
    end = min(int(large[-1]) + 2, len(distance)) if len(large) else 2
    inner = slice(0, min(end + 5, len(distance)))
    return OverlapTable(float(distance[end - 1]), filled, make_interp_spline(distance[inner], fine[inner], k=5))


def empty_operator(structure: Structure, basis: BasisSet, graph: Graph) -> BlockOperator:
    """Return an operator of zeros on site and on all edges of a graph.

    Parameters
    ----------
    structure : Structure
        The atoms.
    basis : BasisSet
        Their orbitals.
    graph : Graph
        Its edges.

    Returns
    -------
    BlockOperator
        In real space.
    """
    atoms = np.arange(len(structure))
    source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
    shift = np.concatenate([np.zeros((len(atoms), 3), dtype=np.int64), graph.shift])
    order = pair_order(source, target, shift)
    return zeros(structure.numbers, basis, source[order], target[order], shift[order], folded=False)


def pair_vectors(structure: Structure, operator: BlockOperator, pairs: np.ndarray) -> np.ndarray:
    """Return the (P, 3) vectors between the atoms of pairs of an operator, Å."""
    i, j = operator.source[pairs], operator.target[pairs]
    vectors: np.ndarray = structure.positions[j] + operator.shift[pairs] @ structure.cell - structure.positions[i]
    return vectors


def _rotated(
    table: OverlapTable | _Fitted, basis: BasisSet, elements: tuple[int, int], vectors: np.ndarray
) -> np.ndarray:
    """Return (P, n_i, n_j) blocks along the given vectors; zero beyond the table's range."""
    distance = np.linalg.norm(vectors, axis=1)
    near = distance <= table.range
    a, b = elements
    frames = wigner_d(bond_frames(vectors[near]), max(*basis.shells[a], *basis.shells[b]))
    left, right = orbital_frames(basis, a, frames), orbital_frames(basis, b, frames)
    result = np.zeros((len(vectors), basis.n_orbitals(a), basis.n_orbitals(b)))
    result[near] = left.transpose(0, 2, 1) @ table.blocks(distance[near]) @ right
    return result
