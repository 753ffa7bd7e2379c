"""The potential between two conductors: a bias drops where there is no metal, and follows the metals' surfaces.

The atoms of each electrode, as far as they touch each other, are one conductor at ±V/2. Charges on them, Gaussians in
place of atoms, are those for which every conducting atom has that potential; from them follows the potential of all
others. What the atoms between are polarised by is not counted: a uniform dielectric would change nothing, an
inhomogeneous one does.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from nearsight.electrostatics.potential import COULOMB, electrostatics
from nearsight.errors import InputError
from nearsight.quantum_transport.junction import Junction
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

TOUCHING = 1.25
"""Atoms of a conductor are nearer to each other than this many shortest distances within the lead's layer."""
SPREAD = 0.4
"""Standard deviation of an atom's charge in such distances."""
FARTHEST = 16.0
"""Å, beyond which atoms of a lead do not touch."""
LEAST = 1e-8
"""Combinations of charges with a smaller share of the largest potential are left out."""


def conducting_atoms(junction: Junction) -> tuple[np.ndarray, np.ndarray]:
    """Return the atoms of the left and of the right electrode, those of the leads' layers among them.

    Parameters
    ----------
    junction : Junction
        Atoms belong to an electrode if they are of its lead's elements and touch it, directly or through others.

    Raises
    ------
    InputError
        If both electrodes are one piece of metal, or a lead's atoms touch none of their elements.
    """
    structure = _open(junction)
    found = []
    for lead in (junction.left, junction.right):
        reach = TOUCHING * _shortest(structure, lead.atoms)
        graph = build_graph(structure, reach)
        metal = np.isin(structure.numbers, np.unique(structure.numbers[lead.atoms]))
        kept = metal[graph.source] & metal[graph.target]
        n = len(structure)
        links = sparse.csr_matrix((np.ones(kept.sum()), (graph.source[kept], graph.target[kept])), shape=(n, n))
        piece = connected_components(links, directed=False)[1]
        found.append(np.flatnonzero(metal & np.isin(piece, piece[lead.atoms])))
    if np.isin(found[0], found[1]).any():
        raise InputError(
            "expected two electrodes that do not touch, got one piece of metal from lead to lead: the potential drops "
            "within it; use potential=linear or give one energy for each atom"
        )
    return found[0], found[1]


def conductor_potential(junction: Junction, bias: float) -> np.ndarray:
    """Return (N,) energies of an electron at the atoms in eV, between conductors at ±bias/2.

    Parameters
    ----------
    junction : Junction
        At zero bias; periodic directions across the axis stay so.
    bias : float
        V, the left electrode's electrons higher by it than the right one's.

    Raises
    ------
    InputError
        As `conducting_atoms`.
    """
    return bias * _of_one_volt(junction)


@lru_cache(maxsize=1)
def _of_one_volt(junction: Junction) -> np.ndarray:
    left, right = conducting_atoms(junction)
    structure, atoms = _open(junction), np.concatenate([left, right])
    width = SPREAD * min(_shortest(structure, lead.atoms) for lead in (junction.left, junction.right))
    charges = np.zeros((len(atoms) - 1, len(structure)))
    charges[:, atoms[0]] = -1
    charges[np.arange(len(atoms) - 1), atoms[1:]] = 1
    # The charges' own potentials are left out of the sum over others: erf(x)/x → 2/√π.
    own = COULOMB * np.sqrt(2 / np.pi) / width
    columns = np.array([electrostatics(structure, q, width).potential + own * q for q in charges]).T
    wanted = np.concatenate([np.full(len(left), 0.5), np.full(len(right), -0.5)])
    # Neutral pairs of charges, and the zero of the potential.
    matrix = np.column_stack([columns, np.full(len(structure), columns.max())])
    solution = np.linalg.lstsq(matrix[atoms], wanted, rcond=LEAST)[0]
    result: np.ndarray = matrix @ solution
    result[atoms] = wanted
    return result


def _open(junction: Junction) -> Structure:
    """The device between vacuum: it does not go on along the axis."""
    periodic = np.array(junction.structure.pbc)
    periodic[junction.axial.axis] = False
    return replace(junction.structure, pbc=periodic)


def _shortest(structure: Structure, atoms: np.ndarray) -> float:
    """Shortest distance from an atom of a lead's layer to another one of its elements, Å."""
    metal = np.isin(structure.numbers, np.unique(structure.numbers[atoms]))
    for reach in (4.0, 8.0, FARTHEST):
        graph = build_graph(structure, reach)
        own = graph.distance[np.isin(graph.source, atoms) & metal[graph.target]]
        if len(own):
            return float(own.min())
    raise InputError(f"expected a lead whose atoms touch each other, got none within {FARTHEST:g} Å of another one")
