"""The pairs of a prediction in the order of the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.operators.symmetry import in_half
from nearsight.structures.graph import Graph


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs (i, j, R) of a graph and of every atom with itself, sorted; all of them or only the half.

    Attributes:
        source, target: (P,) int64, i and j.
        shift: (P, 3) int64, R.
        edge: (P,) int64, position of the pair in the graph, −1 on site.
    """

    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    edge: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


def pairs_of(graph: Graph, half: bool) -> Pairs:
    """The pairs of a graph; with `half` those that `in_half` marks."""
    ahead = in_half(graph.source, graph.target, graph.shift)
    edges = np.flatnonzero(ahead) if half else np.arange(graph.n_edges)
    source, atoms = graph.source[edges], np.arange(graph.n_nodes)
    # An atom's own pair comes after those of its edges that the half leaves out.
    place = np.searchsorted(source, atoms) + np.bincount(source[~ahead[edges]], minlength=graph.n_nodes)
    return Pairs(
        np.insert(source, place, atoms),
        np.insert(graph.target[edges], place, atoms),
        np.insert(graph.shift[edges], place, 0, axis=0),
        np.insert(edges, place, -1),
    )
