"""Regions of a structure, each as a cluster of its own atoms with every atom that they see.

What is computed of a region's atoms needs atoms up to some reach around them, images through the faces of the cell
included. As a cluster without periodic directions, with each image an atom of its own, a region is a structure like any
other, and memory never holds more than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.partition.fractions import complete_cell
from nearsight.structures.structure import Structure

_MARGIN = 1e-6
"""Å, added to the reach: an atom just there may be rounded to either side."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """The atoms of a region, and the atoms and images around it.

    Atoms are sorted by their number in the whole structure, then by image: pairs of a region's own atom and any other
    have the order that they have in the whole structure, and so has the half of them that a Hermitian matrix needs.

    Attributes
    ----------
    structure : Structure
        The n atoms, without periodic directions.
    atoms : (n,) array of int64
        The number of each in the whole structure.
    cells : (n, 3) array of int64
        R of each: it is at r_atom + R·cell.
    own : (m,) array of int64
        Positions of the region's own atoms, ascending.
    """

    structure: Structure
    atoms: np.ndarray
    cells: np.ndarray
    own: np.ndarray

    def pairs(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what pairs of the cluster are in the whole structure.

        Parameters
        ----------
        source, target : (P,) array of int
            Positions in the cluster.

        Returns
        -------
        source, target : (P,) array of int64
            The atoms i and j of the whole structure.
        shift : (P, 3) array of int64
            R of the second relative to the first.
        """
        return self.atoms[source], self.atoms[target], self.cells[target] - self.cells[source]


class Regions:
    """All regions of a structure.

    Parameters
    ----------
    structure : Structure
        The whole structure.
    labels : (N,) array of int
        The region of each atom, 0 … count − 1, as a partitioner assigns them; each has atoms.

    Raises
    ------
    InputError
        If the labels are not such numbers.
    """

    def __init__(self, structure: Structure, labels: np.ndarray) -> None:
        labels = np.asarray(labels)
        n = len(structure)
        if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
            raise InputError(f"expected the region of each of {n} atoms, got an array of shape {labels.shape}")
        sizes = np.bincount(labels)
        if not sizes.all():
            raise InputError(f"expected atoms in each of {len(sizes)} regions, got none in {int(np.argmin(sizes))}")
        self.structure, self.labels = structure, labels.astype(np.int64)
        self._order = np.argsort(labels, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        cell = complete_cell(structure)
        fractions = structure.positions @ np.linalg.inv(cell)
        self._wraps = np.where(structure.pbc, np.floor(fractions), 0).astype(np.int64)
        self._fractions = fractions - self._wraps
        self._positions = structure.positions - self._wraps @ structure.cell
        self._heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def atoms(self, region: int) -> np.ndarray:
        """Return the atoms of a region, ascending."""
        return self._order[self._starts[region] : self._starts[region + 1]]

    def cluster(self, region: int, reach: float) -> Cluster:
        """Return a region with everything within reach of its atoms.

        Parameters
        ----------
        region : int
            Number of the region.
        reach : float
            Å; some atoms farther away are in the cluster, too.

        Returns
        -------
        Cluster
            Its atoms and those around it.
        """
        atoms, cells = self._around(region, reach)
        order = np.lexsort((cells[:, 2], cells[:, 1], cells[:, 0], atoms))
        atoms, cells = atoms[order], cells[order]
        positions = self._positions[atoms] + cells @ self.structure.cell
        structure = Structure(self.structure.numbers[atoms], positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        at_home = np.flatnonzero(~cells.any(axis=1) & (self.labels[atoms] == region))
        return Cluster(structure, atoms, cells - self._wraps[atoms], at_home)

    def near(self, region: int, reach: float) -> np.ndarray:
        """Return the regions with atoms in the cluster of one, itself included, ascending."""
        return np.unique(self.labels[self._around(region, reach)[0]])

    def _around(self, region: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Atoms and cells (of wrapped atoms) in the box around a region."""
        own = self.atoms(region)
        margin = (reach + _MARGIN) / self._heights
        return self._within(self._fractions[own].min(axis=0) - margin, self._fractions[own].max(axis=0) + margin)

    def _within(self, lowest: np.ndarray, highest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Atoms and cells (of wrapped atoms) in a box of fractional coordinates."""
        found, cells = [np.arange(len(self.structure))], [np.zeros((len(self.structure), 3), dtype=np.int64)]
        for axis in range(3):
            atoms, before = found.pop(), cells.pop()
            along = self._fractions[atoms, axis]
            if not self.structure.pbc[axis]:
                inside = (along >= lowest[axis]) & (along <= highest[axis])
                found, cells = [atoms[inside]], [before[inside]]
                continue
            images = range(int(np.floor(lowest[axis])), int(np.floor(highest[axis])) + 1)
            inside_of = [np.flatnonzero((along + n >= lowest[axis]) & (along + n <= highest[axis])) for n in images]
            found = [np.concatenate([atoms[inside] for inside in inside_of])]
            cells = [
                np.concatenate([before[i] + n * np.eye(3, dtype=np.int64)[axis] for i, n in zip(inside_of, images)])
            ]
        return found[0], cells[0]
