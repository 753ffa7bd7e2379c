"""How far the matrix elements of a predicted Hamiltonian are from the reference: by kind of block, by distance, by
atom.
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
"""Width of the bins of distances, in Å."""


@dataclass(frozen=True)
class BlockErrors:
    """Errors over some blocks.

    Attributes
    ----------
    n_blocks, n_elements : int
        Numbers of blocks, and of matrix elements in them.
    mean_absolute : float
        Mean |H_pred − H_ref| over the elements, in eV. NaN over nothing.
    largest : float
        max |H_pred − H_ref|, in eV. NaN over nothing.
    magnitude : float
        Mean |H_ref| over the elements, in eV. NaN over nothing.
    """

    n_blocks: int
    n_elements: int
    mean_absolute: float
    largest: float
    magnitude: float


@dataclass(frozen=True)
class ElementPairErrors:
    """Errors of one kind of block: an element's on-site blocks, or the directed edges from Z_i to Z_j.

    Attributes
    ----------
    elements : (int, int)
        Atomic numbers Z_i and Z_j.
    on_site : bool
        Whether the blocks are on site.
    errors : BlockErrors
        Over these blocks.
    """

    elements: ElementPair
    on_site: bool
    errors: BlockErrors


@dataclass(frozen=True)
class DistanceErrors:
    """Errors of the edges in a bin of distances.

    Attributes
    ----------
    lower, upper : float
        The edges have lower ≤ r < upper, in Å (folded blocks: r to the nearest image).
    errors : BlockErrors
        Over these edges.
    """

    lower: float
    upper: float
    errors: BlockErrors


@dataclass(frozen=True)
class MatrixErrors:
    """Errors of a predicted Hamiltonian over the prediction's pairs of atoms.

    Attributes
    ----------
    nodes : BlockErrors
        On-site blocks; its mean absolute error is the paper's ε_n.
    edges : BlockErrors
        Blocks of directed edges, (i, j) and (j, i) both counted; its mean absolute error is ε_e.
    total : BlockErrors
        Both; its mean absolute error is ε_tot.
    element_pairs : tuple of ElementPairErrors
        On-site blocks of every element, then every directed pair of elements.
    distances : tuple of DistanceErrors
        Bins of `DISTANCE_BIN` that hold edges, ascending.
    outside : BlockErrors
        What the reference holds at pairs that are not predicted (there the prediction is zero).
    folded : bool
        Whether both were summed over images first, because one of them was.
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
        """ε_n, the mean absolute error of on-site elements, in eV."""
        return self.nodes.mean_absolute

    @property
    def eps_e(self) -> float:
        """ε_e, the mean absolute error of elements between atoms, in eV."""
        return self.edges.mean_absolute

    @property
    def eps_tot(self) -> float:
        """ε_tot, the mean absolute error of all elements, in eV."""
        return self.total.mean_absolute


@dataclass(frozen=True, eq=False)
class Parity:
    """Reference and predicted matrix elements side by side, a random sample where there are many, in eV.

    Attributes
    ----------
    node_reference, node_prediction : ndarray of shape (a,)
        On-site elements.
    edge_reference, edge_prediction : ndarray of shape (b,)
        Elements between atoms.
    n_nodes, n_edges : int
        Numbers of elements that the samples stand for.
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
    """Compute the errors of a predicted Hamiltonian.

    Errors are taken over the prediction's pairs; one that the reference does not store is zero there. Where one
    operator is folded to Γ the other is folded too, so that like is compared with like.

    Parameters
    ----------
    prediction, reference : BlockOperator
        In eV, of the same atoms and basis.
    structure : Structure
        For the distances.

    Returns
    -------
    MatrixErrors
        In eV.

    Raises
    ------
    InputError
        If the atoms or the basis differ.
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
    """Sample at most `limit` on-site and `limit` edge elements of both operators, with a fixed seed.

    Parameters
    ----------
    prediction, reference : BlockOperator
        In eV, of the same atoms and basis.
    limit : int
        Largest number of elements of each kind.

    Returns
    -------
    Parity
        Elements side by side.

    Raises
    ------
    InputError
        If the atoms or the basis differ.
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
    """Return both operators in real space, or both folded to Γ where one is.

    Parameters
    ----------
    prediction, reference : BlockOperator
        Of the same atoms and basis.

    Returns
    -------
    prediction, reference : BlockOperator
        As they were, or folded.

    Raises
    ------
    InputError
        If the atoms or the basis differ.
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
    """Compute the distances |r_j + R·cell − r_i| of an operator's pairs of atoms.

    Parameters
    ----------
    operator : BlockOperator
        With P pairs. Where it is folded to Γ, distances are to the nearest image.
    structure : Structure
        Its atoms.

    Returns
    -------
    ndarray of shape (P,)
        In Å.
    """
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
    """Compute the mean |H_pred − H_ref| of each atom's on-site block, and of its blocks with other atoms.

    Parameters
    ----------
    prediction, reference : BlockOperator
        In eV, of the same atoms and basis.

    Returns
    -------
    on_site, between : ndarray of shape (N,)
        In eV; NaN of an atom without such blocks. Weighted with the numbers of elements they are ε_n and ε_e.

    Raises
    ------
    InputError
        If the atoms or the basis differ.
    """
    prediction, reference = comparable(prediction, reference)
    aligned = reference.on_pairs(prediction.source, prediction.target, prediction.shift)
    error = np.add.reduceat(np.abs(prediction.values - aligned.values), prediction.offsets[:-1])
    nodes = prediction.on_site
    on_site, between = (_means(error, prediction, chosen) for chosen in (nodes, ~nodes))
    return on_site, between


def expected_errors(operator: BlockOperator, estimate: np.ndarray) -> np.ndarray:
    """Sum the expected errors of blocks up for each atom.

    Parameters
    ----------
    operator : BlockOperator
        H, with P pairs.
    estimate : ndarray of shape (P,)
        Expected r.m.s. error of the elements of each block, in eV.

    Returns
    -------
    ndarray of shape (N,)
        Expected r.m.s. error of the elements of each atom's row of blocks, in eV; NaN where one is not known.
    """
    squares = np.bincount(operator.source, estimate**2 * operator.lengths, operator.n_atoms)
    return np.asarray(np.sqrt(squares / np.bincount(operator.source, operator.lengths, operator.n_atoms)))


def _means(sums: np.ndarray, operator: BlockOperator, chosen: np.ndarray) -> np.ndarray:
    of, sizes = operator.source[chosen], operator.lengths[chosen]
    count = np.bincount(of, sizes, operator.n_atoms)
    total = np.bincount(of, sums[chosen], operator.n_atoms)
    return np.divide(total, count, out=np.full(operator.n_atoms, np.nan), where=count > 0)
