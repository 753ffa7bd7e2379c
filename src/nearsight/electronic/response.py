"""How far H feels a change of one atom: the on-site blocks of the others against their distance (paper, Fig. 10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.geometry import find_mic

from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation

MOVED = 1e-6
"""Å; less is no displacement."""
FAR = 0.75
"""Atoms beyond this share of the largest distance tell the shift of the zero of energy."""


@dataclass(frozen=True, eq=False)
class Response:
    """What one changed atom does to the others.

    Attributes:
        site: the changed atom.
        atoms: (n,) the others, whose element and place are as before.
        distance: (n,) Å from the site, to the nearest image.
        error: (n,) eV, mean |H' − H| of the on-site block's elements.
        aligned: (n,) the same after `shift` is taken off the diagonal of H'.
        shift: eV, by which the far atoms' diagonals have moved: the zero of energy is the mean potential of the cell.
    """

    site: int
    atoms: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    aligned: np.ndarray
    shift: float


def response(unperturbed: Calculation, perturbed: Calculation) -> Response:
    """Compare the on-site blocks of two calculations that differ in one atom: moved, replaced, or a ghost.

    Raises:
        InputError: another number of atoms or cell, no change, changes of several atoms, or no H.
    """
    site = _site(unperturbed, perturbed)
    before, after = (fold(c.require_hamiltonian()) for c in (unperturbed, perturbed))
    structure = unperturbed.structure
    atoms = np.delete(np.arange(len(structure)), site)
    difference = [_block(after, a) - _block(before, a) for a in atoms.tolist()]
    vector = structure.positions[atoms] - structure.positions[site]
    distance = np.linalg.norm(vector, axis=1)
    if structure.pbc.any():
        distance = np.asarray(find_mic(vector, structure.cell, structure.pbc)[1])
    diagonal = np.array([np.diag(block).mean() for block in difference])
    shift = float(np.median(diagonal[distance >= FAR * distance.max()]))
    aligned = [np.abs(block - shift * np.eye(len(block))).mean() for block in difference]
    return Response(site, atoms, distance, np.array([np.abs(block).mean() for block in difference]),
                    np.array(aligned), shift)


def _site(unperturbed: Calculation, perturbed: Calculation) -> int:
    ours, theirs = unperturbed.structure, perturbed.structure
    if len(ours) != len(theirs) or not np.allclose(ours.cell, theirs.cell, atol=1e-6):
        raise InputError("expected two calculations of the same number of atoms in the same cell, got "
                         f"{ours.formula} and {theirs.formula}; a vacancy is a ghost (X)")
    moved = np.linalg.norm(ours.positions - theirs.positions, axis=1) > MOVED
    changed = np.flatnonzero(moved | (ours.numbers != theirs.numbers))
    if len(changed) != 1:
        raise InputError(f"expected one atom that was moved or replaced, got {len(changed)}")
    return int(changed[0])


def _block(operator: BlockOperator, atom: int) -> np.ndarray:
    return operator.block(atom, atom)
