"""Fitting overlaps as functions of distance to matrices S, where nobody said what the functions of the basis are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.fitted_overlap import Channel, FittedOverlap, radial_values
from nearsight.orbitals.rotations import bond_frames, orbital_frames, wigner_d
from nearsight.structures.graph import Graph, build_graph

RANGE = 12.0
"""Å, up to which overlaps are fitted; they are cut where nothing is left."""
ROUNDS = 4
"""Of a matrix folded to Γ, the other images of a pair are subtracted as the round before has them."""
LEFT_OUT = 5
"""Every fifth pair validates."""
SINGULAR = 1e-10
SMALLEST = 1e-7
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Source:
    """A structure's S with its pairs."""

    calculation: Calculation
    overlap: BlockOperator
    graph: Graph


def fit_overlap(calculations: Sequence[Calculation], basis: BasisSet) -> FittedOverlap:
    """Fit two-centre overlaps to the matrices S of some calculations.

    Parameters
    ----------
    calculations : sequence of Calculation
        With S, in real space or folded to Γ, of one basis.
    basis : BasisSet
        All elements.

    Returns
    -------
    FittedOverlap
        Validated on every fifth pair of atoms, then fitted to all.

    Raises
    ------
    InputError
        No calculation has S.
    """
    known = [c for c in calculations if c.overlap is not None]
    if not known:
        raise InputError("expected S in the data to learn overlaps from, got none")
    sources = [_Source(c, c.require_overlap(), build_graph(c.structure, RANGE)) for c in known]
    trial = _fitted(sources, basis, validate=True)
    return _fitted(sources, basis, validate=False, error=trial.error)


def _fitted(sources: Sequence[_Source], basis: BasisSet, *, validate: bool, error: float = 0.0) -> FittedOverlap:
    rounds = ROUNDS if any(s.overlap.folded for s in sources) else 1
    fit: FittedOverlap | None = None
    for k in range(rounds):
        worst, coefficients, nearest = 0.0, {}, {}
        for pair in _pairs(sources):
            parts = [_in_frames(s, basis, pair, fit) for s in sources]
            distance = np.concatenate([d for d, _ in parts])
            blocks = np.concatenate([b for _, b in parts])
            fitted = np.arange(len(distance)) % LEFT_OUT != 0 if validate else np.ones(len(distance), dtype=bool)
            coefficients[pair] = _channels(basis, pair, distance[fitted], blocks[fitted])
            nearest[pair] = float(distance.min())
            if validate and k == rounds - 1:
                one = FittedOverlap(RANGE, coefficients, {}, {}, 0.0)
                found = one.along_z(pair, (basis.shells[pair[0]], basis.shells[pair[1]]), distance[~fitted])
                worst = max(worst, float(np.abs(found - blocks[~fitted]).max(initial=0.0)))
        fit = FittedOverlap(RANGE, coefficients, {}, nearest, worst if validate else error)
        fit = FittedOverlap(RANGE, coefficients, _own(sources, basis, fit), nearest, fit.error)
    assert fit is not None
    return FittedOverlap(_end(fit, basis), fit.coefficients, fit.own, fit.nearest, fit.error)


def _pairs(sources: Sequence[_Source]) -> list[Pair]:
    found = {
        (a, b) for s in sources for a in s.calculation.structure.elements for b in s.calculation.structure.elements
    }
    return sorted(pair for pair in found if pair[0] <= pair[1])


def _in_frames(
    source: _Source, basis: BasisSet, pair: Pair, fit: FittedOverlap | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and blocks of the pairs of atoms of two elements, with the bond along z, other images subtracted."""
    numbers, graph, s = source.calculation.structure.numbers, source.graph, source.overlap
    own = (numbers[graph.source] == pair[0]) & (numbers[graph.target] == pair[1])
    edges = np.flatnonzero(own & (graph.source <= graph.target) if pair[0] == pair[1] else own)
    i, j, vectors = graph.source[edges], graph.target[edges], graph.vector[edges]
    distance = np.linalg.norm(vectors, axis=1)
    if s.folded:
        blocks = s.blocks(pair, i, j, np.zeros((len(edges), 3), dtype=np.int64)).astype(np.float64)
        blocks -= _other_images(source, basis, pair, edges, fit)
    else:
        blocks = s.blocks(pair, i, j, graph.shift[edges]).astype(np.float64)
    left, right = _frames(basis, pair, vectors)
    return distance, left @ blocks @ right.transpose(0, 2, 1)


def _frames(basis: BasisSet, pair: Pair, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames = wigner_d(bond_frames(vectors), max(*basis.shells[pair[0]], *basis.shells[pair[1]]))
    return orbital_frames(basis, pair[0], frames), orbital_frames(basis, pair[1], frames)


def _blocks(basis: BasisSet, fit: FittedOverlap, pair: Pair, vectors: np.ndarray) -> np.ndarray:
    """Blocks along vectors."""
    left, right = _frames(basis, pair, vectors)
    shells = basis.shells[pair[0]], basis.shells[pair[1]]
    return left.transpose(0, 2, 1) @ fit.along_z(pair, shells, np.linalg.norm(vectors, axis=1)) @ right


def _other_images(
    source: _Source, basis: BasisSet, pair: Pair, edges: np.ndarray, fit: FittedOverlap | None
) -> np.ndarray:
    """What a folded block holds besides one image: the other ones, and of an atom and its own images its own block."""
    graph, n = source.graph, len(source.calculation.structure)
    i, j = graph.source[edges], graph.target[edges]
    sizes = basis.n_orbitals(pair[0]), basis.n_orbitals(pair[1])
    if fit is None:  # at first only the nearest image of a pair is taken to be there
        distance = np.linalg.norm(graph.vector[edges], axis=1)
        order = np.lexsort((distance, i * n + j))
        first = np.zeros(len(edges), dtype=bool)
        first[order[np.flatnonzero(np.diff((i * n + j)[order], prepend=-1))]] = True
        blocks = source.overlap.blocks(pair, i, j, np.zeros((len(edges), 3), dtype=np.int64)).astype(np.float64)
        return np.where((first & (i != j))[:, None, None], 0.0, blocks)
    found = _blocks(basis, fit, pair, graph.vector[edges])
    place = np.unique(i * n + j, return_inverse=True)[1]
    total = np.zeros((int(place.max(initial=-1)) + 1, *sizes))
    np.add.at(total, place, found)
    result = total[place] - found
    if pair[0] == pair[1]:
        result[i == j] += fit.own[pair[0]]
    return result


def _channels(basis: BasisSet, pair: Pair, distance: np.ndarray, blocks: np.ndarray) -> dict[Channel, np.ndarray]:
    lower, upper = basis.shells[pair[0]], basis.shells[pair[1]]
    rows, columns = (basis.shell_offsets(z) for z in pair)
    result: dict[Channel, np.ndarray] = {}
    for l in sorted(set(lower)):
        for other in sorted(set(upper)):
            kinds = [
                (a, b, m)
                for a, la in enumerate(lower)
                for b, lb in enumerate(upper)
                for m in range(min(l, other) + 1)
                if la == l and lb == other
            ]
            targets = [
                sum(blocks[:, rows[a] + l + sign * m, columns[b] + other + sign * m] for sign in (1, -1)) / 2
                for a, b, m in kinds
            ]
            found = np.linalg.lstsq(radial_values(l, other, distance), np.array(targets).T, rcond=SINGULAR)[0]
            result |= {kind: found[:, k] for k, kind in enumerate(kinds)}
    return result


def _own(sources: Sequence[_Source], basis: BasisSet, fit: FittedOverlap) -> dict[int, np.ndarray]:
    """The block of an atom with itself: the mean over all atoms, without images."""
    sums: dict[int, list[np.ndarray]] = {}
    for source in sources:
        numbers, graph, s = source.calculation.structure.numbers, source.graph, source.overlap
        for z in source.calculation.structure.elements:
            atoms = np.flatnonzero(numbers == z)
            blocks = s.blocks((z, z), atoms, atoms, np.zeros((len(atoms), 3), dtype=np.int64)).astype(np.float64)
            images = np.flatnonzero((graph.source == graph.target) & (numbers[graph.source] == z))
            if s.folded and len(images):
                place = np.searchsorted(atoms, graph.source[images])
                np.add.at(blocks, place, -_blocks(basis, fit, (z, z), graph.vector[images]))
            sums.setdefault(z, []).append(blocks.mean(axis=0))
    return {z: np.mean(parts, axis=0) for z, parts in sums.items()}


def _end(fit: FittedOverlap, basis: BasisSet) -> float:
    """Å, from where on all functions are small."""
    grid = np.arange(1.0, RANGE, 0.05)
    largest = max(
        float(
            grid[
                np.abs(fit.along_z(pair, (basis.shells[pair[0]], basis.shells[pair[1]]), grid)).max((1, 2)) > SMALLEST
            ].max(initial=1.0)
        )
        for pair in fit.coefficients
    )
    return min(RANGE, largest + 0.1)
