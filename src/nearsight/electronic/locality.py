"""How near-sighted H is: the decay of its blocks with distance, levels of an H cut off, and the response to one atom.

These are the paper's Figs. 8, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import find_mic

from nearsight.electronic.eigen import solve
from nearsight.electronic.matrix_errors import pair_distances
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Decay:
    """The blocks between atoms against their distance.

    Attributes
    ----------
    distance : ndarray of shape (P,)
        In Å; to the nearest image where images are summed.
    largest : ndarray of shape (P,)
        Largest |H| of each block, in eV.
    elements : ndarray of shape (P,)
        Number of elements of each block that are larger than `threshold`.
    on_site : ndarray of shape (N,)
        Largest |H| of the on-site blocks, in eV.
    threshold : float
        In eV.
    """

    distance: np.ndarray
    largest: np.ndarray
    elements: np.ndarray
    on_site: np.ndarray
    threshold: float

    def frequency(self, width: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Count the elements above the threshold in bins of distance.

        Parameters
        ----------
        width : float
            Of the bins, in Å.

        Returns
        -------
        edges : ndarray of shape (b + 1,)
            Of the bins, in Å.
        number : ndarray of shape (b,)
            Elements above the threshold in each.
        """
        reach = float(self.distance.max(initial=width))
        edges = np.arange(0.0, reach + width, width)
        return edges, np.histogram(self.distance, edges, weights=self.elements)[0]

    def envelope(self, width: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the median and the largest of the blocks' largest elements in bins of distance.

        Parameters
        ----------
        width : float
            Of the bins, in Å.

        Returns
        -------
        middle : ndarray of shape (b,)
            Middles of the bins that hold blocks, in Å.
        median, largest : ndarray of shape (b,)
            In eV.
        """
        which = np.floor(self.distance / width).astype(np.int64)
        bins = np.unique(which)
        values = [self.largest[which == k] for k in bins]
        return (bins + 0.5) * width, np.array([np.median(v) for v in values]), np.array([v.max() for v in values])


def decay(operator: BlockOperator, structure: Structure, threshold: float = 1e-3) -> Decay:
    """Measure every block between atoms, with its distance.

    Parameters
    ----------
    operator : BlockOperator
        H in eV, in real space; or folded to Γ, where pairs of images lie on each other in a small cell.
    structure : Structure
        Its atoms.
    threshold : float
        Energy (eV) from which on an element counts.

    Returns
    -------
    Decay
        P blocks between atoms and N on site.
    """
    values = np.abs(operator.values)
    starts = operator.offsets[:-1]
    largest = np.maximum.reduceat(values, starts)
    elements = np.add.reduceat((values > threshold).astype(np.int64), starts)
    nodes = operator.on_site
    distance = pair_distances(operator, structure)
    return Decay(distance[~nodes], largest[~nodes], elements[~nodes], largest[nodes], threshold)


def truncated(operator: BlockOperator, structure: Structure, cutoff: float) -> BlockOperator:
    """Keep the blocks of pairs within a cutoff, and on-site blocks always.

    Parameters
    ----------
    operator : BlockOperator
        In real space; or folded to Γ, where images that are summed count by their nearest one.
    structure : Structure
        Its atoms.
    cutoff : float
        In Å.

    Returns
    -------
    BlockOperator
        The remaining blocks.

    Raises
    ------
    InputError
        If the cutoff is not positive.
    """
    if not cutoff > 0:
        raise InputError(f"expected a cutoff above 0 Å, got {cutoff:g}")
    return operator.select(operator.on_site | (pair_distances(operator, structure) <= cutoff))


def spectra_by_cutoff(calculation: Calculation, cutoffs: Sequence[float]) -> list[Spectrum]:
    """Compute the levels of H cut off at each of some distances, with the whole S.

    Parameters
    ----------
    calculation : Calculation
        With H and S.
    cutoffs : sequence of float
        In Å; infinity does not cut.

    Returns
    -------
    list of Spectrum
        One for each cutoff.

    Raises
    ------
    InputError
        If there is no H or no S, or a cutoff is not positive.
    """
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    electrons = calculation.n_electrons
    return [solve(truncated(h, calculation.structure, cutoff), s, electrons) for cutoff in cutoffs]


MOVED = 1e-6
"""Distance (Å) below which an atom has not moved."""
FAR = 0.75
"""Share of the largest distance beyond which atoms tell the shift of the zero of energy."""


@dataclass(frozen=True, eq=False)
class Response:
    """What one changed atom does to the others.

    Attributes
    ----------
    site : int
        The changed atom.
    atoms : ndarray of shape (n,)
        The others, whose element and place are as before.
    distance : ndarray of shape (n,)
        In Å from the site, to the nearest image.
    error : ndarray of shape (n,)
        Mean |H' − H| of the on-site block's elements, in eV.
    aligned : ndarray of shape (n,)
        Mean |H' − H| after `shift` is subtracted from the diagonal of H', in eV.
    shift : float
        Energy (eV) by which the far atoms' diagonals have moved: the zero of energy is the mean potential of the cell.
    """

    site: int
    atoms: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    aligned: np.ndarray
    shift: float


def response(unperturbed: Calculation, perturbed: Calculation) -> Response:
    """Compare the on-site blocks of two calculations that differ in one atom: moved, replaced, or a ghost.

    Parameters
    ----------
    unperturbed, perturbed : Calculation
        With H, of the same number of atoms in the same cell.

    Returns
    -------
    Response
        Of the other atoms.

    Raises
    ------
    InputError
        If the numbers of atoms or the cells differ, none or several atoms changed, or there is no H.
    """
    site = _site(unperturbed, perturbed)
    if len(unperturbed.structure) < 2:
        raise InputError("expected other atoms than the one that was changed, got a structure of one atom")
    before, after = (fold(c.require_hamiltonian()) for c in (unperturbed, perturbed))
    structure = unperturbed.structure
    atoms = np.delete(np.arange(len(structure)), site)
    difference = [_block(after, a) - _block(before, a) for a in atoms.tolist()]
    vector = structure.positions[atoms] - structure.positions[site]
    distance = np.linalg.norm(vector, axis=1)
    if structure.pbc.any():
        distance = np.asarray(find_mic(vector, structure.cell, structure.pbc)[1])
    diagonal = np.array([np.diag(block).mean() for block in difference])
    shift = float(np.median(diagonal[distance >= FAR * distance.max(initial=0.0)]))
    aligned = [np.abs(block - shift * np.eye(len(block))).mean() for block in difference]
    return Response(
        site, atoms, distance, np.array([np.abs(block).mean() for block in difference]), np.array(aligned), shift
    )


def _site(unperturbed: Calculation, perturbed: Calculation) -> int:
    ours, theirs = unperturbed.structure, perturbed.structure
    if len(ours) != len(theirs) or not np.allclose(ours.cell, theirs.cell, atol=1e-6):
        raise InputError(
            "expected two calculations of the same number of atoms in the same cell, got "
            f"{ours.formula} and {theirs.formula}; a vacancy is a ghost (X)"
        )
    moved = np.linalg.norm(ours.positions - theirs.positions, axis=1) > MOVED
    changed = np.flatnonzero(moved | (ours.numbers != theirs.numbers))
    if len(changed) != 1:
        raise InputError(f"expected one atom that was moved or replaced, got {len(changed)}")
    return int(changed[0])


def _block(operator: BlockOperator, atom: int) -> np.ndarray:
    return operator.block(atom, atom)
