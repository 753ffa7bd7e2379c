"""Parts that METIS cuts out of the graph itself, along few edges, whatever their shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from nearsight.errors import InputError
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

try:
    import pymetis
except ImportError:  # not on every system
    pymetis = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Metis:
    """Parts of equal work with few edges between them.

    Atoms weigh as many edges as end at them, and two atoms are joined by as many edges as images of one are neighbours
    of the other, so cuts at the borders of a periodic cell count like all others.

    Attributes
    ----------
    count : int
        Number of parts.

    Raises
    ------
    InputError
        If the count is not positive.

    References
    ----------
    G. Karypis and V. Kumar, SIAM J. Sci. Comput. 20, 359 (1998).
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"expected at least one part, got count={self.count}")

    def assign(self, structure: Structure, graph: Graph | None = None) -> np.ndarray:
        """Number the parts of all atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph
            Its edges.

        Returns
        -------
        (N,) array of int64
            Part 0 … count − 1 of every atom.

        Raises
        ------
        InputError
            If there is no graph, or pymetis is not installed.
        """
        if graph is None:
            raise InputError("expected the graph of the structure for METIS, got none")
        if pymetis is None:
            raise InputError("expected pymetis for partitions by METIS, got none: pip install pymetis")
        if self.count == 1:
            return np.zeros(len(structure), dtype=np.int64)
        joined = _joined(graph)
        degrees = np.maximum(np.bincount(graph.target, minlength=len(structure)), 1)
        _, parts = pymetis.part_graph(
            self.count,
            pymetis.CSRAdjacency(joined.indptr, joined.indices),
            vweights=degrees.tolist(),
            eweights=joined.data.tolist(),
        )
        return np.array(parts, dtype=np.int64)


def _joined(graph: Graph) -> scipy.sparse.csr_array:
    """(N, N) number of edges between different atoms."""
    other = graph.source != graph.target
    pairs = (graph.source[other], graph.target[other])
    counts = scipy.sparse.coo_array((np.ones(other.sum(), dtype=np.int64), pairs), shape=(graph.n_nodes,) * 2)
    return counts.tocsr()
