"""g(r) and coordination against crystals whose shells are known, and against an ideal gas."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from nearsight.errors import InputError
from nearsight.structures.radial_distribution import coordination, nearest_distance, pair_distribution
from nearsight.structures.structure import Structure

SALT = Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64))


def test_rock_salt_has_six_neighbours_at_half_the_edge():
    assert coordination(SALT, (11, 17), 3.0).tolist() == [6]
    assert coordination(SALT, (11, 11), 4.2).tolist() == [12]
    assert nearest_distance(SALT) == pytest.approx(2.82)
    assert pair_distribution(SALT, (11, 17)).peak == pytest.approx(2.82, abs=0.025)


def test_the_integral_of_the_distribution_counts_neighbours():
    found = pair_distribution(SALT, (11, 17), reach=5.5, width=0.05)
    shells = 4 / 3 * np.pi * ((found.r + 0.025) ** 3 - (found.r - 0.025) ** 3)
    near = found.r < 3.5
    assert (found.g * shells)[near].sum() / SALT.volume == pytest.approx(6)


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(3)
    gas = Structure(np.full(400, 2), rng.random((400, 3)) * 200, np.eye(3) * 200, np.ones(3, dtype=bool))
    found = pair_distribution(gas, (2, 2), reach=60.0, width=5.0)
    assert found.g[4:] == pytest.approx(np.ones(len(found.g) - 4), abs=0.1)


def test_a_skewed_cell_gives_the_same():
    skewed = Structure(SALT.numbers, SALT.positions, SALT.cell @ np.eye(3), SALT.pbc)
    cell = skewed.cell.copy()
    cell[2] += 2 * cell[0] - cell[1]
    other = Structure(SALT.numbers, SALT.positions, cell, SALT.pbc)
    np.testing.assert_allclose(pair_distribution(other, (11, 17)).g, pair_distribution(SALT, (11, 17)).g)


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="got none of one"):
        pair_distribution(SALT, (11, 8))
    molecule = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 0.74]]), np.zeros((3, 3)), np.zeros(3, bool))
    with pytest.raises(InputError, match="three periodic directions"):
        pair_distribution(molecule, (1, 1))
    assert nearest_distance(molecule) == pytest.approx(0.74)
