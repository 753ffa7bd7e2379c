"""Slabs: a structure cut into equal slices across one lattice direction.

Slices across one direction keep every edge through the other two periodic boundaries (Xia et al. 2025, section 3.3). A
slab is a half-open interval of the fractional coordinate along the cut direction, so its faces are parallel to the
other two lattice vectors, in a skewed cell too, and its thickness is measured perpendicular to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nearsight.errors import InputError
from nearsight.partition.fractions import complete_cell
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

Axis = Literal[0, 1, 2, "longest"]


@dataclass(frozen=True)
class Slabs:
    """Equal slabs across a lattice direction, given by either their number or their thickness.

    Attributes
    ----------
    axis : {0, 1, 2, "longest"}
        The lattice direction that is cut; `longest` is the one with the greatest perpendicular height (of the cell
        where it is periodic, of the atoms where it is not; the first of equals).
    count : int, optional
        Number of slabs.
    thickness : float, optional
        Å, perpendicular to the faces; the height is cut into the nearest whole number of slabs.
    origin : float, default 0.0
        Fraction of the cell at which slab 0 begins, along a periodic direction. Along one that is not periodic the
        slabs span the atoms.

    Raises
    ------
    InputError
        If both or neither of count and thickness are given, or a value is out of range.
    """

    axis: Axis = "longest"
    count: int | None = None
    thickness: float | None = None
    origin: float = 0.0

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2, "longest"):
            raise InputError(f"expected axis 0, 1, 2 or 'longest', got {self.axis!r}")
        if (self.count is None) == (self.thickness is None):
            raise InputError(
                "expected either the number of slabs or their thickness, got "
                f"count={self.count} and thickness={self.thickness}"
            )
        if self.count is not None and self.count < 1:
            raise InputError(f"expected at least one slab, got count={self.count}")
        if self.thickness is not None and not 0 < self.thickness < np.inf:
            raise InputError(f"expected a positive thickness in Å, got {self.thickness}")
        if not np.isfinite(self.origin):
            raise InputError(f"expected a finite origin (fraction of the cell), got {self.origin}")

    def assign(self, structure: Structure, graph: Graph | None = None) -> np.ndarray:
        """Number the slabs of all atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph, optional
            Not needed.

        Returns
        -------
        (N,) array of int64
            Slab 0 … count − 1 of every atom; a slab may be empty.
        """
        cell = complete_cell(structure)
        fractional = structure.positions @ np.linalg.inv(cell)
        spans = np.where(structure.pbc, 1.0, np.ptp(fractional, axis=0))
        heights = spans * _heights(cell)
        axis = int(np.argmax(heights)) if self.axis == "longest" else int(self.axis)
        count = self._count(float(heights[axis]))
        along = fractional[:, axis]
        if structure.pbc[axis]:
            along = (along - self.origin) % 1.0
        elif spans[axis] > 0:
            along = (along - along.min()) / spans[axis]
        else:
            along = np.zeros(len(along))
        # An atom at the far end, or one that rounding puts there, stays in the last slab.
        return np.minimum(np.floor(along * count).astype(np.int64), count - 1)

    def _count(self, height: float) -> int:
        if self.count is not None:
            return self.count
        assert self.thickness is not None
        return max(1, round(height / self.thickness))


def _heights(cell: np.ndarray) -> np.ndarray:
    """(3,) Å, distance between the faces of the cell that each lattice vector connects."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
