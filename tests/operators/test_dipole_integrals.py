"""Dipole integrals: closed forms, and the identity that ties them to S."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.operators.dipole_integrals import dipole_integrals
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

RNG = np.random.default_rng(2)
POSITIONS = np.array([[0.0, 0, 0], [1.1, 0.4, -0.3], [-0.5, 1.7, 0.9]])
MOLECULE = Structure(np.array([1, 8, 8]), POSITIONS, np.zeros((3, 3)), np.zeros(3, dtype=bool))


def shell(l: int, *exponents: float) -> GaussianShell:
    return GaussianShell.of_normalised(l, exponents, RNG.uniform(0.5, 1, len(exponents)))


BASIS = BasisSet(
    "test",
    {1: (0, 0), 8: (0, 1, 2)},
    {},
    {1: (shell(0, 0.7, 0.3), shell(0, 0.4)), 8: (shell(0, 0.9), shell(1, 0.8, 0.3), shell(2, 1.1))},
)


def test_seen_from_either_atom_they_differ_by_the_way_between_them() -> None:
    """⟨μ_i|r − R_j|ν_j⟩ − ⟨ν_j|r − R_i|μ_i⟩ᵀ = (R_i − R_j) S_ij."""
    s = overlap_of(MOLECULE, BASIS)
    for axis, integrals in enumerate(dipole_integrals(MOLECULE, BASIS)):
        for i in range(3):
            for j in range(3):
                difference = integrals.block(i, j) - integrals.block(j, i).T
                expected = (POSITIONS[i, axis] - POSITIONS[j, axis]) * s.block(i, j)
                np.testing.assert_allclose(difference, expected, atol=2e-5)


def test_closed_forms() -> None:
    """s and p_z of one exponent a on one atom: ⟨s|z|p_z⟩ = 1/(2 √a); two s functions: half way between the atoms."""
    basis = BasisSet("test", {1: (0, 1)}, {}, {1: (shell(0, 0.6), shell(1, 0.6))})
    pair = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.2]]), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    x, _, z = dipole_integrals(pair, basis)
    np.testing.assert_allclose(z.block(0, 0)[0, 2], 0.5 / np.sqrt(0.6) * BOHR_IN_ANGSTROM, rtol=1e-5)
    assert abs(x.block(0, 0)[0, 2]) < 1e-12
    np.testing.assert_allclose(z.block(0, 1)[0, 0], -0.6 * overlap_of(pair, basis).block(0, 1)[0, 0], rtol=1e-5)


def test_unknown_functions_are_refused() -> None:
    with pytest.raises(InputError, match="expected the radial functions of all elements"):
        dipole_integrals(MOLECULE, BasisSet("bare", {1: (0, 0), 8: (0, 1, 2)}, {}))
