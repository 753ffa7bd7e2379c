"""Partitions of a graph, with the halo that makes their messages complete.

A network learns a large structure partition by partition. Cutting the graph naively would take away neighbours of the
atoms near the cut, and the network would be fitted to sums over incomplete neighbourhoods. Algorithm 1 of Xia et al.
(2025, appendix B) therefore *augments* a partition. With V its labelled atoms,

1. every edge v1 → v2 of the graph with both ends in V is a *labelled edge*: its target block, and those
   of the atoms in V, are trained;
2. for every v1 in V and every edge v2 → v1 with v2 outside V, v2 becomes a *virtual node* and v2 → v1 a
   *virtual edge*: they take part in the messages, but their outputs are not used.

After one message-passing layer every labelled node has received all its messages, so labelled outputs are those of the
whole graph. An edge across a cut is labelled in no partition, so it is never trained. With L layers a labelled node
also depends on the neighbours of its neighbours; a halo with `hops=L` keeps it exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.structures.graph import Graph


@dataclass(frozen=True, eq=False)
class Partition:
    """Labelled nodes and edges, then virtual ones, as positions in a graph.

    An edge (i, j, R) carries a message from its source i to its target j.

    Attributes
    ----------
    nodes : (n,) array of int64
        Atoms: the labelled ones ascending, then the virtual ones ascending.
    n_labelled : int
        How many of `nodes` are labelled.
    edges : (e,) array of int64
        Positions in the graph's list of edges: the labelled ones ascending, then the virtual ones ascending.
    n_labelled_edges : int
        How many of `edges` are labelled, which means that both ends are.
    source, target : (e,) array of int64
        Positions in `nodes` of each edge's i and j.
    """

    nodes: np.ndarray
    n_labelled: int
    edges: np.ndarray
    n_labelled_edges: int
    source: np.ndarray
    target: np.ndarray

    @property
    def n_nodes(self) -> int:
        """Number of labelled and virtual nodes."""
        return len(self.nodes)

    @property
    def n_edges(self) -> int:
        """Number of labelled and virtual edges."""
        return len(self.edges)


def with_halo(graph: Graph, labelled: np.ndarray, hops: int = 1) -> Partition:
    """Make the partition of some labelled atoms with its halo.

    Parameters
    ----------
    graph : Graph
        The whole structure.
    labelled : (N,) array of bool, or array of int
        A mask, or the positions of atoms.
    hops : int, default 1
        Number of message-passing layers that shall be exact on labelled nodes: the halo holds nodes up to `hops` edges
        away, and all edges into every node that is nearer than `hops`. 1 is Algorithm 1 of Xia et al. (2025).

    Returns
    -------
    Partition
        Labelled and virtual nodes and edges.

    Raises
    ------
    InputError
        If `labelled` does not fit the graph, or hops < 1.
    """
    if hops < 1:
        raise InputError(
            f"expected a halo of at least one hop, got hops={hops}; partitions without a halo are made with halo=False"
        )
    inside = _mask(graph, labelled)
    complete = inside
    for _ in range(hops - 1):
        complete = complete | _senders(graph, complete[graph.target])
    return _assemble(graph, inside, complete[graph.target])


def without_halo(graph: Graph, labelled: np.ndarray) -> Partition:
    """Make the partition of some labelled atoms alone, the ablation of Table 2 of Xia et al. (2025).

    Parameters
    ----------
    graph : Graph
        The whole structure.
    labelled : (N,) array of bool, or array of int
        A mask, or the positions of atoms.

    Returns
    -------
    Partition
        Labelled nodes and the edges between them; nothing is virtual.

    Raises
    ------
    InputError
        If `labelled` does not fit the graph.
    """
    inside = _mask(graph, labelled)
    return _assemble(graph, inside, inside[graph.source] & inside[graph.target])


def undivided(graph: Graph) -> Partition:
    """Make a partition of the whole graph.

    Parameters
    ----------
    graph : Graph
        The whole structure.

    Returns
    -------
    Partition
        Every node and every edge is labelled.
    """
    return without_halo(graph, np.ones(graph.n_nodes, dtype=bool))


def partition_graph(graph: Graph, parts: np.ndarray, halo: bool = True, hops: int = 1) -> list[Partition]:
    """Divide a graph into partitions.

    Parameters
    ----------
    graph : Graph
        The whole structure.
    parts : (N,) array of int
        The number of each atom's partition.
    halo : bool, default True
        Whether partitions have virtual nodes and edges (`with_halo`) or not (`without_halo`).
    hops : int, default 1
        Hops of the halo.

    Returns
    -------
    list of Partition
        One for each number that occurs, in ascending order.

    Raises
    ------
    InputError
        If `parts` is not one integer for each atom, or hops < 1.
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
