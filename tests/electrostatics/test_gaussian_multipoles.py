"""Gaussian charges and dipoles against Gaussian charges alone."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.electrostatics.gaussian_multipoles import gaussian_multipoles
from nearsight.electrostatics.potential import COULOMB, electrostatics
from nearsight.structures.structure import Structure

WIDTH, SMALL = 0.9, 1e-3
PERIODIC = [(True, True, True), (False, False, False)]


def atoms(periodic: tuple[bool, bool, bool]) -> tuple[Structure, np.ndarray, np.ndarray]:
    """Seven atoms in a skewed cell, neutral, and dipoles."""
    rng = np.random.default_rng(5)
    cell = np.array([[5.0, 0, 0], [1.0, 6.0, 0], [0.5, -1.0, 7.0]])
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:7]
    positions = (grid + rng.uniform(-0.1, 0.1, (7, 3))) / 2 @ cell
    charges = rng.standard_normal(7)
    structure = Structure(np.full(7, 8), positions, cell, np.array(periodic))
    return structure, charges - charges.mean(), rng.standard_normal((7, 3))


@pytest.mark.parametrize("periodic", PERIODIC)
def test_charges_alone_are_those_of_gaussian_charges(periodic: tuple[bool, bool, bool]) -> None:
    structure, charges, dipoles = atoms(periodic)
    found = gaussian_multipoles(structure, charges, 0 * dipoles, WIDTH)
    expected = electrostatics(structure, charges, WIDTH)
    np.testing.assert_allclose(found.potential, expected.potential, atol=1e-5)
    np.testing.assert_allclose(found.field, expected.field, atol=1e-5)


@pytest.mark.parametrize("periodic", PERIODIC)
def test_a_dipole_is_two_opposite_charges(periodic: tuple[bool, bool, bool]) -> None:
    """At the other atoms; where the dipole is, nothing of it is felt but its images."""
    structure, charges, dipoles = atoms(periodic)
    only = np.zeros((7, 3))
    only[2] = dipoles[2]
    found = gaussian_multipoles(structure, 0 * charges, only, WIDTH)
    length, charge = np.linalg.norm(dipoles[2]), np.arange(7) == 2
    ends = []
    for sign in (1, -1):
        positions = structure.positions.copy()
        positions[2] += sign * SMALL / 2 * dipoles[2] / length
        moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
        ends.append(electrostatics(moved, length / SMALL * charge, WIDTH))
    others = np.arange(7) != 2
    np.testing.assert_allclose(found.potential[others], (ends[0].potential - ends[1].potential)[others], atol=1e-4)
    np.testing.assert_allclose(found.field[others], (ends[0].field - ends[1].field)[others], atol=1e-4)


def test_fields_are_minus_the_slope_of_potentials() -> None:
    """The field at an atom moves its energy q V when it alone has no charge and no dipole."""
    structure, charges, dipoles = atoms((True, True, True))
    charges, dipoles = charges.copy(), dipoles.copy()
    charges[3], dipoles[3] = 0.0, 0.0
    charges -= charges.sum() / 6 * (np.arange(7) != 3)
    field = gaussian_multipoles(structure, charges, dipoles, WIDTH).field[3]
    slopes = []
    for axis in range(3):
        moved = []
        for sign in (1, -1):
            positions = structure.positions.copy()
            positions[3, axis] += sign * SMALL
            other = Structure(structure.numbers, positions, structure.cell, structure.pbc)
            moved.append(gaussian_multipoles(other, charges, dipoles, WIDTH).potential[3])
        slopes.append((moved[0] - moved[1]) / (2 * SMALL))
    np.testing.assert_allclose(-field, slopes, atol=1e-4)
    assert np.abs(field).max() > 0.01 * COULOMB
