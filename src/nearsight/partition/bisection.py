"""Recursive coordinate bisection: a cell cut in two, each part in two again, always across its smallest section."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.partition.fractions import fractions_and_edges
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True)
class Bisection:
    """Boxes of equal work with small surfaces, parallel to the faces of the cell.

    A box is cut across the lattice direction in which the cut has the smallest area, where the first cut across a
    periodic direction counts twice: it separates atoms at the border of the cell, too. Both sides get their share of
    the edges of the graph, or of the atoms where no graph is given.

    Attributes
    ----------
    count : int
        Number of boxes, any number.

    Raises
    ------
    InputError
        If the count is not positive.

    References
    ----------
    M. J. Berger and S. H. Bokhari, IEEE Trans. Comput. C-36, 570 (1987).
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"expected at least one part, got count={self.count}")

    def assign(self, structure: Structure, graph: Graph | None = None) -> np.ndarray:
        """Number the boxes of all atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph, optional
            Its edges, which are the work.

        Returns
        -------
        (N,) array of int64
            Box 0 … count − 1 of every atom; a box may be empty where there are fewer atoms.
        """
        fractions, edges = fractions_and_edges(structure)
        work = np.ones(len(structure))
        if graph is not None:
            work += np.bincount(graph.target, minlength=len(structure))
        labels = np.zeros(len(structure), dtype=np.int64)
        self._cut(np.arange(len(structure)), fractions, edges, structure.pbc.copy(), work, self.count, 0, labels)
        return labels

    def _cut(
        self,
        atoms: np.ndarray,
        fractions: np.ndarray,
        edges: np.ndarray,
        closed: np.ndarray,
        work: np.ndarray,
        count: int,
        first: int,
        labels: np.ndarray,
    ) -> None:
        """Number the boxes of some atoms from `first` on; `closed` says in which directions they reach around."""
        if count == 1 or len(atoms) == 0:
            labels[atoms] = first
            return
        axis = _cheapest_cut(fractions[atoms], edges, closed)
        # Atoms at one height are ordered by the other directions, so that the cut does not depend on their numbers.
        others = [(axis + 2) % 3, (axis + 1) % 3]
        order = np.lexsort((*(fractions[atoms, k] for k in others), fractions[atoms, axis]))
        share = count // 2
        below = np.cumsum(work[atoms[order]]) - 0.5 * work[atoms[order]]
        place = int(np.searchsorted(below, below[-1] * share / count if len(below) > 1 else np.inf))
        place = min(max(place, min(share, len(atoms))), max(len(atoms) - (count - share), 0))
        open_now = closed.copy()
        open_now[axis] = False
        for own, number, start in ((order[:place], share, first), (order[place:], count - share, first + share)):
            self._cut(atoms[own], fractions, edges, open_now, work, number, start, labels)


def _cheapest_cut(fractions: np.ndarray, edges: np.ndarray, closed: np.ndarray) -> int:
    """Return the direction across which a cut separates the smallest area."""
    spans = np.where(closed, 1.0, np.ptp(fractions, axis=0))
    vectors = edges * spans[:, None]
    areas = [np.linalg.norm(np.cross(vectors[(k + 1) % 3], vectors[(k + 2) % 3])) for k in range(3)]
    faces = np.where(closed, 2.0, 1.0)
    # A direction without extent cannot be cut.
    cost = np.where(spans * np.linalg.norm(edges, axis=1) > 1e-9, areas * faces, np.inf)
    return int(np.argmin(np.round(cost, 9)))
