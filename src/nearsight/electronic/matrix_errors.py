"""How far a predicted Hamiltonian, and its spectrum, are from the reference.

Errors of a predicted Hamiltonian atom by atom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.geometry import find_mic

from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, ElementPair
from nearsight.structures.structure import Structure

DISTANCE_BIN = 0.5
"""Å."""


@dataclass(frozen=True)
class BlockErrors:
    """Errors over some blocks.

    Attributes:
        n_blocks, n_elements: blocks, and matrix elements in them.
        mean_absolute: mean |H_pred − H_ref| over the elements, eV; NaN over nothing.
        largest: max |H_pred − H_ref|, eV; NaN over nothing.
        magnitude: mean |H_ref| over the elements, eV; NaN over nothing.
    """

    n_blocks: int
    n_elements: int
    mean_absolute: float
    largest: float
    magnitude: float


@dataclass(frozen=True)
class ElementPairErrors:
    """Errors of one kind of block: an element's on-site blocks, or the directed edges from Z_i to Z_j."""

    elements: ElementPair
    on_site: bool
    errors: BlockErrors


@dataclass(frozen=True)
class DistanceErrors:
    """Errors of the edges with lower ≤ r < upper, Å (folded blocks: r to the nearest image)."""

    lower: float
    upper: float
    errors: BlockErrors


@dataclass(frozen=True)
class MatrixErrors:
    """Errors of a predicted Hamiltonian over the prediction's pairs.

    Attributes:
        nodes: on-site blocks; its error is the paper's ε_n.
        edges: blocks of directed edges, (i, j) and (j, i) both counted; its error is ε_e.
        total: both; its error is ε_tot.
        element_pairs: on-site blocks of every element, then every directed pair of elements.
        distances: bins of `DISTANCE_BIN` that hold edges, ascending.
        outside: what the reference holds at pairs that are not predicted (there the prediction is zero).
        folded: both were summed over images first, because one of them was.
    """

    nodes: BlockErrors
    edges: BlockErrors
    total: BlockErrors
    element_pairs: tuple[ElementPairErrors, ...]
    distances: tuple[DistanceErrors, ...]
    outside: BlockErrors
    folded: bool

    @property
    def eps_n(self) -> float:
        """ε_n, eV."""
        return self.nodes.mean_absolute

    @property
    def eps_e(self) -> float:
        """ε_e, eV."""
        return self.edges.mean_absolute

    @property
    def eps_tot(self) -> float:
        """ε_tot, eV."""
        return self.total.mean_absolute


@dataclass(frozen=True, eq=False)
class Parity:
    """Reference and predicted matrix elements side by side, a random sample where there are many; eV.

    Attributes:
        node_reference, node_prediction: (a,) on-site elements.
        edge_reference, edge_prediction: (b,) elements between atoms.
        n_nodes, n_edges: elements that the samples stand for.
    """

    node_reference: np.ndarray
    node_prediction: np.ndarray
    edge_reference: np.ndarray
    edge_prediction: np.ndarray
    n_nodes: int
    n_edges: int


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Sums over the elements of each block, (P,) each."""

    error: np.ndarray
    largest: np.ndarray
    magnitude: np.ndarray
    size: np.ndarray

    def summary(self, chosen: np.ndarray) -> BlockErrors:
        size = int(self.size[chosen].sum())
        if size == 0:
            return BlockErrors(0, 0, float("nan"), float("nan"), float("nan"))
        return BlockErrors(
            int(np.count_nonzero(chosen)),
            size,
            float(self.error[chosen].sum() / size),
            float(self.largest[chosen].max()),
            float(self.magnitude[chosen].sum() / size),
        )


def matrix_errors(prediction: BlockOperator, reference: BlockOperator, structure: Structure) -> MatrixErrors:
    """ε_n, ε_e, ε_tot of the paper with tables: mean absolute errors of un-padded, uncoupled matrix elements.

    They run over the prediction's pairs; one that the reference does not store is zero there. Where one
    operator is folded to Γ the other is folded too, so that like is compared with like.

    Args:
        prediction, reference: eV, of the same atoms and basis.
        structure: for the distances.

    Raises:
        InputError: other atoms or another basis.
    """
    prediction, reference = comparable(prediction, reference)
    aligned = reference.on_pairs(prediction.source, prediction.target, prediction.shift)
    blocks = _block_sums(prediction, aligned.values)
    nodes = prediction.on_site
    distance = pair_distances(prediction, structure)
    return MatrixErrors(
        blocks.summary(nodes),
        blocks.summary(~nodes),
        blocks.summary(np.ones(len(nodes), dtype=bool)),
        _by_elements(blocks, prediction),
        _by_distance(blocks, distance, nodes),
        _outside(prediction, reference),
        prediction.folded,
    )


def parity(prediction: BlockOperator, reference: BlockOperator, limit: int = 50_000) -> Parity:
    """At most `limit` on-site and `limit` edge elements of both operators, drawn with a fixed seed.

    Raises:
        InputError: other atoms or another basis.
    """
    prediction, reference = comparable(prediction, reference)
    aligned = reference.on_pairs(prediction.source, prediction.target, prediction.shift).values
    node = np.repeat(prediction.on_site, np.diff(prediction.offsets))
    random = np.random.default_rng(0)
    at_nodes, at_edges = (
        np.sort(random.choice(places, limit, replace=False)) if len(places) > limit else places
        for places in (np.flatnonzero(node), np.flatnonzero(~node))
    )
    values = prediction.values
    return Parity(
        aligned[at_nodes], values[at_nodes], aligned[at_edges], values[at_edges], int(node.sum()), int((~node).sum())
    )


def comparable(prediction: BlockOperator, reference: BlockOperator) -> tuple[BlockOperator, BlockOperator]:
    """Both operators resolved in R, or both folded to Γ where one is.

    Raises:
        InputError: other atoms or another basis.
    """
    if not np.array_equal(prediction.numbers, reference.numbers):
        raise InputError(
            f"expected two Hamiltonians of the same atoms, got {prediction.n_atoms} and "
            f"{reference.n_atoms} atoms or another order of elements"
        )
    if prediction.basis != reference.basis:
        raise InputError(
            f"expected two Hamiltonians in the same basis, got {prediction.basis.describe()} in "
            f"the prediction and {reference.basis.describe()} in the reference"
        )
    if prediction.folded or reference.folded:
        return fold(prediction), fold(reference)
    return prediction, reference


def pair_distances(operator: BlockOperator, structure: Structure) -> np.ndarray:
    """(P,) Å: |r_j + R·cell − r_i|; to the nearest image for a folded operator."""
    vector = structure.positions[operator.target] - structure.positions[operator.source]
    if operator.folded and structure.pbc.any():
        return np.asarray(find_mic(vector, structure.cell, structure.pbc)[1])
    return np.linalg.norm(vector + operator.shift @ structure.cell, axis=1)


def _block_sums(prediction: BlockOperator, reference: np.ndarray) -> _Blocks:
    size = np.diff(prediction.offsets)
    if len(size) == 0:
        return _Blocks(np.zeros(0), np.zeros(0), np.zeros(0), size)
    starts = prediction.offsets[:-1]
    error = np.abs(prediction.values.astype(np.float64) - reference)
    return _Blocks(
        np.add.reduceat(error, starts),
        np.maximum.reduceat(error, starts),
        np.add.reduceat(np.abs(reference), starts, dtype=np.float64),
        size,
    )


def _by_elements(blocks: _Blocks, operator: BlockOperator) -> tuple[ElementPairErrors, ...]:
    rows = []
    for on_site in (True, False):
        for elements, pairs in operator.element_pairs.items():
            chosen = np.zeros(operator.n_pairs, dtype=bool)
            chosen[pairs] = operator.on_site[pairs] == on_site
            if chosen.any():
                rows.append(ElementPairErrors(elements, on_site, blocks.summary(chosen)))
    return tuple(rows)


def _by_distance(blocks: _Blocks, distance: np.ndarray, nodes: np.ndarray) -> tuple[DistanceErrors, ...]:
    which = np.where(nodes, -1, np.floor(distance / DISTANCE_BIN).astype(np.int64))
    return tuple(
        DistanceErrors(float(k * DISTANCE_BIN), float((k + 1) * DISTANCE_BIN), blocks.summary(which == k))
        for k in np.unique(which)
        if k >= 0
    )


def _outside(prediction: BlockOperator, reference: BlockOperator) -> BlockErrors:
    rest = reference.select(prediction.find(reference.source, reference.target, reference.shift) < 0)
    blocks = _block_sums(rest.with_values(np.zeros_like(rest.values)), rest.values)
    return blocks.summary(np.ones(rest.n_pairs, dtype=bool))


def atom_errors(prediction: BlockOperator, reference: BlockOperator) -> tuple[np.ndarray, np.ndarray]:
    """Mean |H_pred − H_ref| of each atom's on-site block, and of its blocks with other atoms, (N,) each, eV.

    Weighted with the numbers of elements they are ε_n and ε_e. NaN of an atom without such blocks.

    Raises:
        InputError: other atoms or another basis.
    """
    prediction, reference = comparable(prediction, reference)
    aligned = reference.on_pairs(prediction.source, prediction.target, prediction.shift)
    error = np.add.reduceat(np.abs(prediction.values - aligned.values), prediction.offsets[:-1])
    nodes = prediction.on_site
    on_site, between = (_means(error, prediction, chosen) for chosen in (nodes, ~nodes))
    return on_site, between


def expected_errors(operator: BlockOperator, estimate: np.ndarray) -> np.ndarray:
    """(N,) eV, expected r.m.s. error of the elements of each atom's row of blocks; NaN where one is not known."""
    squares = np.bincount(operator.source, estimate**2 * operator.lengths, operator.n_atoms)
    return np.asarray(np.sqrt(squares / np.bincount(operator.source, operator.lengths, operator.n_atoms)))


def _means(sums: np.ndarray, operator: BlockOperator, chosen: np.ndarray) -> np.ndarray:
    of, sizes = operator.source[chosen], operator.lengths[chosen]
    count = np.bincount(of, sizes, operator.n_atoms)
    total = np.bincount(of, sums[chosen], operator.n_atoms)
    return np.divide(total, count, out=np.full(operator.n_atoms, np.nan), where=count > 0)
