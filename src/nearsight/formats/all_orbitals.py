"""H and S of a molecule from all its orbitals C and their energies ε: S = C⁻ᵀC⁻¹ and H = C⁻ᵀ ε C⁻¹.

As many orbitals as functions are needed. S must be that of the functions at the atoms: where order, signs or
normalisation are others than expected, or positions are those of another step, it is not.
"""

from __future__ import annotations

import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.formats.dense_matrices import check_shells, from_dense
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import OrbitalConvention
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

OWN_OVERLAP = 1e-5
"""Largest difference between S of the orbitals and that of the functions at the atoms; an atom 1e-5 Å away changes it
by less.
"""
_SAME_OVERLAP = 1e-8
"""Largest difference between S of the orbitals of either spin, whose digits are those of float64."""
_ILL_CONDITIONED = 1e12
"""Condition number of C from which on H is not that of the run to more than a few digits."""


def matrices_of(
    path: object,
    orbitals: np.ndarray,
    levels: np.ndarray,
    structure: Structure,
    basis: BasisSet,
    convention: OrbitalConvention,
    *,
    same: float = _SAME_OVERLAP,
) -> tuple[list[BlockOperator], BlockOperator]:
    """Compute H of each spin, and S.

    Parameters
    ----------
    path : object
        The file, for messages.
    orbitals : (s, n, n) array of float
        C of each spin: a row for every function, a column for every orbital.
    levels : (s, n) array of float
        E_h.
    structure : Structure
        An isolated molecule.
    basis : BasisSet
        With its radial functions.
    convention : OrbitalConvention
        Order and signs of the functions in their shells.
    same : float, optional
        Largest difference of S between the spins; that of a text has its digits.

    Returns
    -------
    hamiltonians : list of BlockOperator
        H of each spin, eV.
    overlap : BlockOperator
        S.

    Raises
    ------
    FormatError
        If orbitals depend on each other, those of both spins have other S, or S is not that of the functions.
    """
    inverses = [inverse_of(path, own) for own in orbitals]
    if np.abs(inverses[0].T @ inverses[0] - inverses[-1].T @ inverses[-1]).max() > same:
        raise FormatError(path, "expected orbitals of both spins with one S, got others")
    try:
        hamiltonians = [
            from_dense(inverse.T * own @ inverse * HARTREE_IN_EV, structure.numbers, basis, convention)
            for inverse, own in zip(inverses, levels)
        ]
        overlap = from_dense(inverses[0].T @ inverses[0], structure.numbers, basis, convention)
        check_shells(overlap)
    except InputError as error:
        raise FormatError(path, str(error)) from error
    away = farthest(overlap, overlap_of(structure, basis))
    if not away <= OWN_OVERLAP:  # NaN, too
        raise FormatError(
            path,
            f"expected orbitals whose S is that of the molecule's functions, got one that is {away:.2g} off; are they "
            "of other positions, as where an optimisation was interrupted, or in another order or normalisation?",
        )
    return hamiltonians, overlap


def inverse_of(path: object, orbitals: np.ndarray) -> np.ndarray:
    """Return C⁻¹ of orbitals that must not depend on each other.

    Parameters
    ----------
    path : object
        The file, for messages.
    orbitals : (n, n) array
        Real or complex.

    Raises
    ------
    FormatError
        If they do.
    """
    condition = np.linalg.cond(orbitals)
    if not condition < _ILL_CONDITIONED:
        raise FormatError(path, f"expected independent orbitals, got some that are not (condition {condition:.1e})")
    return np.linalg.inv(orbitals)


def farthest(one: BlockOperator, other: BlockOperator) -> float:
    """Return the largest difference of two operators, whose pairs may be others."""
    there, back = (a.on_pairs(b.source, b.target, b.shift) for a, b in ((other, one), (one, other)))
    return max(float(np.abs(a.values - b.values).max(initial=0)) for a, b in ((there, one), (back, other)))
