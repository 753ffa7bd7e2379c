"""Operators along the direction of transport: images counted from atoms that are wrapped into one period.

A device in a periodic cell is one period of a row of devices. Blocks whose two atoms lie in different periods belong to
the neighbours, in whose place the leads come. Which period an atom is in depends on where the cell is cut, so all atoms
are wrapped into one period first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, on_common_pairs
from nearsight.operators.calculation import Calculation
from nearsight.structures.structure import Structure

NEAR_HALF = 0.02
"""Fraction of a period within which a pair of atoms is about half a period apart, where its image is not told."""


@dataclass(frozen=True, eq=False)
class Axial:
    """H and S with atoms wrapped into one period along an axis.

    Attributes
    ----------
    structure : Structure
        Atoms whose fractional coordinate along the axis is in [cut, cut + 1).
    axis : int
        The lattice direction of transport.
    hamiltonian, overlap : BlockOperator
        H (eV) and S on the same pairs. `shift[:, axis]` is 0 within the period.
    gamma_only : bool
        Whether images across the axis are summed, so that k⊥ = 0 alone is possible.
    moved : (N, 3) array of int
        The lattice vectors by which atoms were moved.
    """

    structure: Structure
    axis: int
    hamiltonian: BlockOperator
    overlap: BlockOperator
    gamma_only: bool

    @property
    def along(self) -> np.ndarray:
        """(N,) fractional coordinates along the axis."""
        inverse = np.linalg.inv(self.structure.cell)
        return self.structure.positions @ inverse[:, self.axis]

    def sizes(self) -> np.ndarray:
        """(P,) largest |H| (eV) or |S| (1) of each pair's block."""
        both = np.maximum(np.abs(self.hamiltonian.values), np.abs(self.overlap.values))
        return np.maximum.reduceat(both, self.hamiltonian.offsets[:-1])

    def selected(self, keep: np.ndarray) -> Axial:
        """Return the operators on some of their pairs, (P,) bool."""
        return replace(self, hamiltonian=self.hamiltonian.select(keep), overlap=self.overlap.select(keep))


def along_axis(calculation: Calculation, axis: int, cut: float = 0.0, tolerance: float = 1e-4) -> Axial:
    """Wrap the atoms of a calculation into one period along an axis, and sort blocks by periods.

    Parameters
    ----------
    calculation : Calculation
        With H and S, in real space or folded to Γ; where only one is folded, the other is folded too. Of a folded
        operator each pair counts as its nearest image along the axis, which is right where the period is twice as long
        as H and S reach.
    axis : int
        0, 1 or 2.
    cut : float, default 0.0
        Fractional coordinate where a period begins.
    tolerance : float, default 1e-4
        Blocks of a folded operator about half a period long may be as large as this (H in eV, S).

    Returns
    -------
    Axial
        H and S on the pairs that either of them has.

    Raises
    ------
    InputError
        If H or S is missing, or a folded operator reaches half a period.
    """
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    if h.folded != s.folded:  # as of a prediction, and S from a run at Γ
        h, s = fold(h), fold(s)
    h, s = on_common_pairs(h, s)
    structure = calculation.structure
    cell = _full_cell(structure)
    fractional = structure.positions @ np.linalg.inv(cell)[:, axis]
    # An atom that lies on the cut may be on either side of it by a rounding.
    turns = np.zeros((len(structure), 3), dtype=np.int64)
    turns[:, axis] = np.floor(fractional - cut + 1e-6)
    wrapped = Structure(structure.numbers, structure.positions - turns @ cell, cell, structure.pbc)
    h, s = rewrapped(h, turns), rewrapped(s, turns)
    result = Axial(wrapped, axis, h, s, h.folded)
    return _unfolded(result, tolerance) if h.folded else result


def rewrapped(operator: BlockOperator, turns: np.ndarray) -> BlockOperator:
    """Return an operator after atom i moved by −turns[i] lattice vectors.

    Parameters
    ----------
    operator : BlockOperator
        In real space; folded ones do not change.
    turns : (N, 3) array of int
        Lattice vectors that are taken from each atom's place.
    """
    if operator.folded or not turns.any():
        return operator
    return replace(operator, shift=operator.shift + turns[operator.target] - turns[operator.source])


def _unfolded(axial: Axial, tolerance: float) -> Axial:
    """Count each pair of a folded operator as its nearest image along the axis."""
    along, h = axial.along, axial.hamiltonian
    apart = along[h.target] - along[h.source]
    shift = np.zeros_like(h.shift)
    shift[:, axial.axis] = -np.round(apart)
    half = np.abs(np.abs(apart + shift[:, axial.axis]) - 0.5) < NEAR_HALF
    sizes = axial.sizes()
    largest = float(sizes[half].max(initial=0.0))
    if largest > tolerance:
        length = float(np.linalg.norm(axial.structure.cell[axial.axis]))
        raise InputError(
            f"expected matrices at Γ whose blocks end before half of the cell along direction {axial.axis} "
            f"({length / 2:.2f} Å), got {largest:.2g} there: which image a block belongs to is not told; compute "
            "them in real space (images: true), or with a longer cell"
        )
    unfolded = [replace(o, shift=shift, folded=False) for o in (h, axial.overlap)]
    return replace(axial, hamiltonian=unfolded[0], overlap=unfolded[1])


def _full_cell(structure: Structure) -> np.ndarray:
    """Return the cell with vectors in directions that have none, longer than the structure is wide."""
    cell = np.array(structure.cell)
    missing = [k for k in range(3) if not cell[k].any()]
    for k in missing:
        cell[k, k] = 10.0 + float(np.ptp(structure.positions, axis=0).max())
    if np.linalg.matrix_rank(cell) < 3:
        raise InputError(f"expected three independent cell vectors, got {structure.cell.tolist()}")
    return cell
