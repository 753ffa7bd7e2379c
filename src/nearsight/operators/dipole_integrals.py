"""Dipole integrals ⟨μ_i | r − R_j | ν_j⟩ of atom-centred functions, seen from the atom of the second function.

(r − R_j) times a Gaussian shell of degree l is a sum of shells of degrees l + 1 and l − 1, so that the integrals are
overlaps with these. That of degree l − 1 is r² r^(l−1) exp(−αr²), a derivative with respect to α, which is taken as a
difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.two_centre_overlap import OverlapTable, empty_operator, pair_vectors, tabulated
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_overlap import overlaps_along_z
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.orbitals.rotations import bond_frames, orbital_frames, spherical_harmonics, wigner_d
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

SMALLEST = 1e-5
"""Å; integrals at distances beyond which none is larger are left out."""
STEP = 1e-3
"""Of the exponents, relative: differences are then exact to about 1e-6."""
_AT_ONCE = 20_000
"""Pairs that are rotated together."""


def dipole_integrals(structure: Structure, basis: BasisSet) -> tuple[BlockOperator, BlockOperator, BlockOperator]:
    """Compute the dipole integrals of a structure in real space.

    Parameters
    ----------
    structure : Structure
        The atoms and ghosts.
    basis : BasisSet
        The basis with the functions of all its elements.

    Returns
    -------
    tuple of three BlockOperator
        ⟨μ_i0 | (r − R_j)_a | ν_jR⟩ in Å for a = x, y, z; not Hermitian.

    Raises
    ------
    InputError
        Functions of an element are not known.
    """
    basis = basis.restricted(structure.numbers)
    if basis.lacking_functions:
        raise InputError(f"expected the radial functions of all elements for dipoles, got {basis.describe()}")
    moved = {z: _Moved.of(basis.functions[z]) for z in basis.shells}
    raised = BasisSet("moved", {z: tuple(s.l for s in own.shells) for z, own in moved.items()}, {})
    tables = {(a, b): tabulated(basis.functions[a], moved[b].shells, SMALLEST) for a in moved for b in moved}
    graph = build_graph(structure, max(table.range for table in tables.values()))
    results = [empty_operator(structure, basis, graph) for _ in range(3)]
    first = results[0]
    for (a, b), pairs in first.element_pairs.items():
        own = first.on_site[pairs]
        if own.any():
            centre = overlaps_along_z(basis.functions[a], moved[b].shells, np.zeros(1))
            _put(results, pairs[own], np.repeat(centre, int(own.sum()), axis=0) @ moved[b].matrix)
        apart = pairs[~own]
        for some in (apart[k : k + _AT_ONCE] for k in range(0, len(apart), _AT_ONCE)):
            blocks = _turned(tables[a, b], (basis, raised), (a, b), pair_vectors(structure, first, some))
            _put(results, some, blocks @ moved[b].matrix)
    return results[0], results[1], results[2]


def _put(results: Sequence[BlockOperator], pairs: np.ndarray, blocks: np.ndarray) -> None:
    """Set blocks (3, P, n_i, n_j)."""
    for operator, own in zip(results, blocks):
        operator.put(pairs, np.ascontiguousarray(own))


def _turned(
    table: OverlapTable, bases: tuple[BasisSet, BasisSet], elements: tuple[int, int], vectors: np.ndarray
) -> np.ndarray:
    """Return (P, n_i, moved n_j) overlaps along the given vectors; zero beyond the table's range."""
    distance = np.linalg.norm(vectors, axis=1)
    near, l_max = distance <= table.range, max(max(b.shells[z]) for b, z in zip(bases, elements))
    frames = wigner_d(bond_frames(vectors[near]), l_max)
    left, right = (orbital_frames(b, z, frames) for b, z in zip(bases, elements))
    result = np.zeros((len(vectors), *(b.n_orbitals(z) for b, z in zip(bases, elements))))
    result[near] = left.transpose(0, 2, 1) @ table.blocks(distance[near]) @ right
    return result


@dataclass(frozen=True, eq=False)
class _Moved:
    """The functions of an element times x, y, z, as combinations of shells of their own.

    Attributes
    ----------
    shells : tuple of GaussianShell
        The shells.
    matrix : (3, 1, moved, n) array
        Å, coefficients of (r − R)_a ν in the normalised functions of these shells.
    """

    shells: tuple[GaussianShell, ...]
    matrix: np.ndarray

    @classmethod
    def of(cls, functions: Sequence[GaussianShell]) -> _Moved:
        shells: list[GaussianShell] = []
        parts: list[tuple[int, np.ndarray]] = []
        start = 0
        for shell in functions:
            for degree, turned in _products(shell.l).items():
                other = _raised(shell) if degree > shell.l else _lowered(shell)
                shells.append(other)
                parts.append((start, turned * other.norm / shell.norm * BOHR_IN_ANGSTROM))
            start += 2 * shell.l + 1
        matrix, row = np.zeros((3, sum(2 * s.l + 1 for s in shells), start)), 0
        for column, part in parts:
            matrix[:, row : row + part.shape[1], column : column + part.shape[2]] = part
            row += part.shape[1]
        return cls(tuple(shells), matrix[:, None])


def _raised(shell: GaussianShell) -> GaussianShell:
    """r^(l+1) with the same Gaussians."""
    return GaussianShell(shell.l + 1, shell.exponents, shell.coefficients)


def _lowered(shell: GaussianShell) -> GaussianShell:
    """r² r^(l−1) with the same Gaussians."""
    alpha, c = shell.exponents, shell.coefficients / (2 * STEP * shell.exponents)
    both = np.concatenate([alpha * (1 - STEP), alpha * (1 + STEP)])
    return GaussianShell(shell.l - 1, both, np.concatenate([c, -c]))


def _products(l: int) -> Mapping[int, np.ndarray]:
    """Degree → (3, 2·degree+1, 2l+1) coefficients of r̂_a Y_lm in the harmonics of that degree."""
    points = np.random.default_rng(0).standard_normal((8 * (l + 2) ** 2, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    harmonics = spherical_harmonics(points, l + 1)
    degrees = [k for k in (l - 1, l + 1) if k >= 0]
    known = np.concatenate([harmonics[k] for k in degrees], axis=1)
    result: dict[int, list[np.ndarray]] = {k: [] for k in degrees}
    for a in range(3):
        found, row = np.linalg.lstsq(known, points[:, a, None] * harmonics[l], rcond=None)[0], 0
        for k in degrees:
            result[k].append(found[row : row + 2 * k + 1])
            row += 2 * k + 1
    return {k: np.array(own) for k, own in result.items()}
