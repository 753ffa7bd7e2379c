"""Predictions: a Hamiltonian that comes block after block, in the order of the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from nearsight.operators.blocks import BlockOperator
from nearsight.operators.symmetry import in_half, symmetric, whole_of_half
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import Graph

Group = tuple[slice, np.ndarray]
"""Which pairs come next, and their blocks one after another, (m,) float64, eV."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sorted pairs (i, j, R) of a graph and of every atom with itself: all of them, or one of each two transposes.

    Attributes
    ----------
    source, target : ndarray
        (P,) int64, atoms i and j.
    shift : ndarray
        (P, 3) int64, lattice vector R.
    edge : ndarray
        (P,) int64, position of the pair among the edges of the graph; −1 on site.
    """

    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    edge: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


def pairs_of(graph: Graph, half: bool, rows: np.ndarray | None = None) -> Pairs:
    """Return the pairs of a graph and of every atom with itself, sorted.

    Parameters
    ----------
    graph : Graph
        Atoms and directed edges within the cutoff.
    half : bool
        Only the pairs that `in_half` marks; the others are their transposes.
    rows : (n,) array of int, optional
        Only pairs whose first atom is one of these, ascending; all by default.

    Returns
    -------
    Pairs
        The pairs in the order of the store.
    """
    atoms = np.arange(graph.n_nodes) if rows is None else rows
    edges = np.arange(graph.n_edges) if rows is None else graph.leaving(rows)[0]
    ahead = in_half(graph.source[edges], graph.target[edges], graph.shift[edges])
    if half:
        edges, ahead = edges[ahead], ahead[ahead]
    source = graph.source[edges]
    # An atom's own pair comes after those of its edges that the half leaves out.
    place = np.searchsorted(source, atoms) + np.bincount(source[~ahead], minlength=graph.n_nodes)[atoms]
    return Pairs(
        np.insert(source, place, atoms),
        np.insert(graph.target[edges], place, atoms),
        np.insert(graph.shift[edges], place, 0, axis=0),
        np.insert(edges, place, -1),
    )


class ExpectedErrors(Protocol):
    """What a calibrated model says of the errors of a prediction."""

    @property
    def of_blocks(self) -> np.ndarray:
        """(P,) expected r.m.s. errors (eV) of the elements of the blocks that have come; NaN where unknown."""

    @property
    def out_of_distribution(self) -> np.ndarray:
        """(N,) bool, atoms in environments unlike those of the training data."""

    @property
    def mean_to_rms(self) -> tuple[float, float]:
        """Ratios of mean absolute to r.m.s. errors, on site and between atoms, as found in training."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A Hamiltonian whose blocks are computed while they are read.

    Attributes
    ----------
    numbers : ndarray
        (N,) atomic numbers.
    basis : BasisSet
        Basis of the structure's elements.
    pairs : Pairs
        The blocks to come, in real space.
    half : bool
        Whether only the pairs of `in_half` come; the other blocks are their transposes.
    groups : iterator of (slice, ndarray)
        Which pairs come next and their blocks; it is read once, through `blocks`.
    expected_errors : ExpectedErrors or None
        Expected errors, filled while the blocks come; None where the model is not calibrated.
    """

    numbers: np.ndarray
    basis: BasisSet
    pairs: Pairs
    half: bool
    groups: Iterator[Group]
    expected_errors: ExpectedErrors | None = None

    def blocks(self) -> Iterator[Group]:
        """Compute the blocks group after group.

        The on-site blocks of a half are bitwise symmetric, whatever their rounding was.

        Yields
        ------
        batch : slice
            Which pairs come next.
        values : ndarray
            (m,) float64, their blocks one after another, eV.
        """
        for batch, values in self.groups:
            if self.half:
                self._symmetrise_on_site(batch, values)
            yield batch, values

    def operator(self) -> BlockOperator:
        """Return the whole Hamiltonian in memory, in eV."""
        values = [values for _, values in self.blocks()]
        flat = np.concatenate(values) if values else np.empty(0)
        pairs = self.pairs
        operator = BlockOperator(self.numbers, self.basis, pairs.source, pairs.target, pairs.shift, flat, False)
        return whole_of_half(operator) if self.half else operator

    def mean_expected_errors(self) -> tuple[float, float] | None:
        """Return the expected mean absolute errors of the matrix elements.

        Returns
        -------
        tuple of float or None
            Errors on site and between atoms, eV; None where the model is not calibrated.
        """
        known = self.expected_errors
        if known is None:
            return None
        weights, own = self._sizes[self.pairs.source] * self._sizes[self.pairs.target], self.pairs.edge < 0
        means = [np.average(known.of_blocks[k], weights=weights[k]) if k.any() else 0.0 for k in (own, ~own)]
        on_site, between = (ratio * float(mean) for ratio, mean in zip(known.mean_to_rms, means))
        return on_site, between

    @cached_property
    def _sizes(self) -> np.ndarray:
        """(N,) number of orbitals of each atom."""
        return self.basis.sizes(self.numbers)

    def _symmetrise_on_site(self, batch: slice, values: np.ndarray) -> None:
        """Replace the on-site blocks of a group by their symmetric parts, in place."""
        sizes = self._sizes
        rows, columns = sizes[self.pairs.source[batch]], sizes[self.pairs.target[batch]]
        starts = np.cumsum(rows * columns) - rows * columns
        on_site = np.flatnonzero(self.pairs.edge[batch] < 0)
        for n in np.unique(rows[on_site]):
            places = starts[on_site[rows[on_site] == n]][:, None] + np.arange(n * n)
            values[places] = symmetric(values[places].reshape(-1, n, n)).reshape(len(places), n * n)
