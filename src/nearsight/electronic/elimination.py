"""Elimination: in which order the orbitals of a sparse Hermitian matrix are eliminated, and which elements fill in.

Orbitals with the same neighbours, those of an atom, are one node of a graph. Nested dissection (METIS, of the package
pymetis) orders the nodes so that little fills in; where there is no METIS, reverse Cuthill-McKee of SciPy does, with
half as many operations more in 3,000 atoms of a-HfO₂. Nodes that fill in nearly alike are merged into fronts, which are
dense and large enough for matrix products.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

try:
    import pymetis
except ImportError:  # no wheel for this machine
    pymetis: ModuleType | None = None  # type: ignore[no-redef]

ALIKE = 0.7
"""Share of their columns that rows of one node have in common."""
SEPARATORS, UNBALANCED = 30, 30
"""Of METIS: separators it chooses from, and by how many thousandths the halves may differ. With 3,000 atoms of a-HfO₂
the factors take 14 % fewer operations than with its defaults, and the ordering a second."""
MOVED = 60.0
"""Number of operations in the time that it takes to add an element of an update where it belongs."""


@dataclass(frozen=True, eq=False)
class Front:
    """Orbitals that are eliminated together, by their positions in the order of elimination.

    Attributes
    ----------
    start : int
        First position.
    stop : int
        One past the last position.
    coupled : ndarray of shape (m,)
        Ascending positions after `stop` that a matrix element or fill couples to them.
    """

    start: int
    stop: int
    coupled: np.ndarray

    @property
    def size(self) -> int:
        """Number of orbitals that are eliminated."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Elimination:
    """An order of elimination, and its fronts.

    Attributes
    ----------
    orbitals : ndarray of shape (n,)
        The orbital at each position.
    fronts : list of Front
        In order of elimination; their positions are 0 … n − 1.
    """

    orbitals: np.ndarray
    fronts: list[Front]

    @property
    def elements(self) -> int:
        """Number of elements stored for the factor."""
        return sum(f.size * (f.size + len(f.coupled)) for f in self.fronts)


def elimination(matrix: sparse.csr_matrix) -> Elimination:
    """Order the orbitals of a matrix for elimination.

    Parameters
    ----------
    matrix : sparse matrix of shape (n, n)
        With a symmetric pattern, in CSR with sorted indices. Values do not count.

    Returns
    -------
    Elimination
        Order and fronts.
    """
    node = _nodes(matrix)
    graph = _graph(matrix, node)
    sequence = _sequence(graph)
    members = np.split(np.argsort(node, kind="stable"), np.cumsum(np.bincount(node))[:-1])
    members = [members[k] for k in sequence]
    coupled = _fill(sparse.csr_matrix(graph[sequence][:, sequence]))
    weights = np.array([len(m) for m in members], dtype=float)
    return _fronts(_merged(coupled, weights), coupled, members)


def _nodes(matrix: sparse.csr_matrix) -> np.ndarray:
    """(n,) number of each orbital's node: one for successive rows with nearly the same columns.

    They are compared with the first row of their node, not with each other: zeros may be missing in some.
    """
    node, mark, size = np.zeros(matrix.shape[0], dtype=np.int64), np.full(matrix.shape[0], -1), -1
    for row, (start, stop) in enumerate(itertools.pairwise(matrix.indptr)):
        columns = matrix.indices[start:stop]
        shared = np.count_nonzero(mark[columns] == node[row - 1])
        if size >= 0 and shared >= ALIKE * (size + len(columns) - shared):
            node[row] = node[row - 1]
            continue
        node[row], size = node[row - 1] + (size >= 0), len(columns)
        mark[columns] = node[row]
    return node


def _graph(matrix: sparse.csr_matrix, node: np.ndarray) -> sparse.csr_matrix:
    """Neighbours of each node, without itself."""
    n, ones = matrix.shape[0], np.ones(matrix.nnz, dtype=np.int32)
    member = sparse.csr_matrix((np.ones(n, dtype=np.int32), (node, np.arange(n))))
    graph = sparse.csr_matrix(member @ sparse.csr_matrix((ones, matrix.indices, matrix.indptr), (n, n)) @ member.T)
    graph.setdiag(0)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _sequence(graph: sparse.csr_matrix) -> np.ndarray:
    """Nodes in order of elimination."""
    if pymetis is None:
        return np.asarray(reverse_cuthill_mckee(graph, symmetric_mode=True), dtype=np.int64)
    if graph.nnz == 0:
        return np.arange(graph.shape[0])
    options = pymetis.Options(nseps=SEPARATORS, ufactor=UNBALANCED)
    adjacency = pymetis.CSRAdjacency(graph.indptr, graph.indices)
    return np.array(pymetis.nested_dissection(adjacency, options=options)[0], dtype=np.int64)


def _fill(graph: sparse.csr_matrix) -> list[np.ndarray]:
    """Later nodes that each node is coupled to when it is eliminated: its neighbours and its children's."""
    n = graph.shape[0]
    coupled: list[np.ndarray] = []
    children: list[list[int]] = [[] for _ in range(n)]
    for k in range(n):
        mark = np.zeros(n, dtype=bool)
        mark[graph.indices[graph.indptr[k] : graph.indptr[k + 1]]] = True
        for child in children[k]:
            mark[coupled[child]] = True
        coupled.append((k + 1 + np.flatnonzero(mark[k + 1 :])).astype(np.int32))
        if len(coupled[k]):
            children[coupled[k][0]].append(k)
    return coupled


def _operations(eliminated: float, coupled: float) -> float:
    return eliminated**3 / 3 + eliminated**2 * coupled + eliminated * coupled**2


def _cost(eliminated: float, coupled: float) -> float:
    """Of a front, in operations."""
    return _operations(eliminated, coupled) + MOVED * coupled**2 / 2


def _merged(coupled: list[np.ndarray], weights: np.ndarray) -> list[list[int]]:
    """Nodes of each front, which is named by its last node and empty where that is in another's.

    A front is merged into its parent where elements that are zero cost less than a separate update.
    """
    n = len(coupled)
    own, beyond = weights.copy(), np.array([weights[c].sum() for c in coupled])
    nodes = [[k] for k in range(n)]
    children: list[list[int]] = [[] for _ in range(n)]
    for parent in range(n):
        for child in sorted(children[parent], key=lambda k: -beyond[k]):
            apart = _cost(own[child], beyond[child]) + _cost(own[parent], beyond[parent])
            if _cost(own[child] + own[parent], beyond[parent]) <= apart:
                nodes[parent] = nodes[child] + nodes[parent]
                own[parent] += own[child]
                nodes[child] = []
        if len(coupled[parent]):
            children[coupled[parent][0]].append(parent)
    return nodes


def _fronts(nodes: list[list[int]], coupled: list[np.ndarray], members: list[np.ndarray]) -> Elimination:
    """Fronts in ascending order of their last nodes, which puts children before their parents."""
    last = [k for k, merged in enumerate(nodes) if merged]
    orbitals = [np.concatenate([members[k] for k in nodes[k_last]]) for k_last in last]
    stops = np.cumsum([len(o) for o in orbitals])
    order = np.concatenate(orbitals)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    fronts = []
    for k, own, stop in zip(last, orbitals, stops, strict=True):
        beyond = np.sort(place[np.concatenate([members[c] for c in coupled[k]])]) if len(coupled[k]) else order[:0]
        fronts.append(Front(int(stop - len(own)), int(stop), beyond))
    return Elimination(order, fronts)
