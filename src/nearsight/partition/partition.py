"""Partition: a part of a graph, with the halo that makes its messages complete.

A network learns a large structure part by part. Cutting the graph naively would take away neighbours of the
atoms near the cut, and the network would be fitted to sums over incomplete neighbourhoods. Algorithm 1 of the
paper (Xia et al. 2025, appendix B) therefore *augments* a part. With V the labelled atoms of the part,

1. every edge v1 → v2 of the graph with both ends in V is a *labelled edge*: its target block, and those
   of the atoms in V, are trained;
2. for every v1 in V and every edge v2 → v1 with v2 outside V, v2 becomes a *virtual node* and v2 → v1 a
   *virtual edge*: they take part in the messages, but their outputs are not used.

After one message-passing layer every labelled node has received all its messages, so labelled outputs are
those of the whole graph. An edge across a cut is labelled in no part, so it is never trained. With L layers a
labelled node also depends on the neighbours of its neighbours; a halo with `hops=L` keeps it exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.structures.graph import Graph


@dataclass(frozen=True, eq=False)
class Partition:
    """Labelled nodes and edges of a part, then its virtual ones, as positions in a graph.

    An edge (i, j, R) carries a message from its source i to its target j.

    Attributes:
        nodes: (n,) int64, atoms: the labelled ones ascending, then the virtual ones ascending.
        n_labelled: how many of `nodes` are labelled.
        edges: (e,) int64, positions in the graph's list of edges: labelled ascending, then virtual ascending.
        n_labelled_edges: how many of `edges` are labelled, which means that both ends are.
        source: (e,) int64, position in `nodes` of each edge's i.
        target: (e,) int64, position in `nodes` of each edge's j.
    """

    nodes: np.ndarray
    n_labelled: int
    edges: np.ndarray
    n_labelled_edges: int
    source: np.ndarray
    target: np.ndarray

    @property
    def n_nodes(self) -> int:
        """Labelled and virtual nodes."""
        return len(self.nodes)

    @property
    def n_edges(self) -> int:
        """Labelled and virtual edges."""
        return len(self.edges)


def with_halo(graph: Graph, labelled: np.ndarray, hops: int = 1) -> Partition:
    """The part of the labelled atoms with its halo.

    Args:
        graph: the whole structure.
        labelled: (N,) bool, or the positions of atoms.
        hops: number of message-passing layers that shall be exact on labelled nodes: nodes up to `hops` edges
            away, and all edges into every node that is nearer than `hops`. 1 is the paper's Algorithm 1.

    Raises:
        InputError: `labelled` does not fit the graph, or hops < 1.
    """
    if hops < 1:
        raise InputError(f"expected a halo of at least one hop, got hops={hops}; a part without halo is raw")
    inside = _mask(graph, labelled)
    complete = inside
    for _ in range(hops - 1):
        complete = complete | _senders(graph, complete[graph.target])
    return _assemble(graph, inside, complete[graph.target])


def without_halo(graph: Graph, labelled: np.ndarray) -> Partition:
    """The labelled nodes and edges alone, without halo: the ablation of the paper's Table 2.

    Args:
        graph: the whole structure.
        labelled: (N,) bool, or the positions of atoms.

    Raises:
        InputError: `labelled` does not fit the graph.
    """
    inside = _mask(graph, labelled)
    return _assemble(graph, inside, inside[graph.source] & inside[graph.target])


def undivided(graph: Graph) -> Partition:
    """The graph in one part: every node and every edge is labelled."""
    return without_halo(graph, np.ones(graph.n_nodes, dtype=bool))


def partition_graph(graph: Graph, parts: np.ndarray, halo: bool = True, hops: int = 1) -> list[Partition]:
    """The graph cut into parts.

    Args:
        graph: the whole structure.
        parts: (N,) int, part of each atom.
        halo: with virtual nodes and edges (`with_halo`), or without (`without_halo`).
        hops: of the halo.

    Returns:
        One partition for each part that has atoms, in ascending order of the part's number.

    Raises:
        InputError: `parts` is not one integer per atom, or hops < 1.
    """
    parts = np.asarray(parts)
    if parts.shape != (graph.n_nodes,) or not np.issubdtype(parts.dtype, np.integer):
        raise InputError(
            f"expected one integer part for each of {graph.n_nodes} atoms, got an array of "
            f"shape {parts.shape} and type {parts.dtype}"
        )
    masks = (parts == part for part in np.unique(parts))
    return [with_halo(graph, mask, hops) if halo else without_halo(graph, mask) for mask in masks]


def _mask(graph: Graph, labelled: np.ndarray) -> np.ndarray:
    """(N,) bool from a mask or from positions."""
    labelled = np.asarray(labelled)
    if labelled.dtype == bool:
        if labelled.shape != (graph.n_nodes,):
            raise InputError(f"expected a mask for {graph.n_nodes} atoms, got one of shape {labelled.shape}")
        return labelled
    if labelled.size == 0:
        return np.zeros(graph.n_nodes, dtype=bool)
    if not np.issubdtype(labelled.dtype, np.integer) or labelled.ndim != 1:
        raise InputError(
            f"expected labelled atoms as a mask or as integer positions, got an array of shape "
            f"{labelled.shape} and type {labelled.dtype}"
        )
    if labelled.min() < 0 or labelled.max() >= graph.n_nodes:
        raise InputError(
            f"expected labelled atoms among 0..{graph.n_nodes - 1}, got {labelled.min()} to {labelled.max()}"
        )
    mask = np.zeros(graph.n_nodes, dtype=bool)
    mask[labelled] = True
    return mask


def _senders(graph: Graph, edges: np.ndarray) -> np.ndarray:
    """(N,) bool: atoms that send a message along one of the given edges ((E,) bool)."""
    sends = np.zeros(graph.n_nodes, dtype=bool)
    sends[graph.source[edges]] = True
    return sends


def _assemble(graph: Graph, inside: np.ndarray, kept: np.ndarray) -> Partition:
    """The partition with labelled nodes `inside` ((N,) bool) and edges `kept` ((E,) bool)."""
    own = kept & inside[graph.source] & inside[graph.target]
    labelled = np.flatnonzero(inside)
    nodes = np.concatenate([labelled, np.flatnonzero(_senders(graph, kept) & ~inside)])
    labelled_edges = np.flatnonzero(own)
    edges = np.concatenate([labelled_edges, np.flatnonzero(kept & ~own)])
    place = np.full(graph.n_nodes, -1, dtype=np.int64)
    place[nodes] = np.arange(len(nodes))
    return Partition(
        nodes, len(labelled), edges, len(labelled_edges), place[graph.source[edges]], place[graph.target[edges]]
    )
