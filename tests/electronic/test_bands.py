"""Bands: closed forms, symmetries, and the levels that PySCF itself gives along the path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nearsight.electronic.bands import bands, hamiltonian_at
from nearsight.electronic.density_of_states import density_of_states
from nearsight.electronic.k_points import KPath, monkhorst_pack, path_through, special_path
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from tests.electronic.small_models import chain_calculation

DATA = Path(__file__).parents[2] / "data"


def along_x(calculation: Calculation, numbers: np.ndarray) -> KPath:
    return path_through(calculation.structure, np.outer(numbers, [1.0, 0, 0]))


def reference() -> tuple[np.ndarray, np.ndarray]:
    rows = pd.read_csv(DATA / "silicon_2_bands.csv", comment="#").to_numpy()
    return rows[:, :3], rows[:, 3:]


def test_a_chain_has_its_cosine_band():
    """ε = (e + 2t cos 2πk)/(1 + 2s cos 2πk); half filled, so a metal."""
    chain = chain_calculation(1, -2.0, -0.7, 0.2)
    k = np.linspace(-0.5, 0.5, 41)
    found = bands(chain, along_x(chain, k))
    cosine = np.cos(2 * np.pi * k)
    np.testing.assert_allclose(found.levels[:, 0], (-2 - 1.4 * cosine) / (1 + 0.4 * cosine), atol=1e-12)
    assert np.isnan(found.gap)


def test_a_larger_cell_folds_the_same_levels():
    """Levels of n cells at k are those of one cell at (k + m)/n."""
    n, k = 5, np.array([0.0, 0.13, 0.5])
    large, small = chain_calculation(n, -2.0, -0.7, 0.2), chain_calculation(1, -2.0, -0.7, 0.2)
    many = bands(large, along_x(large, k)).levels
    for place, value in enumerate(k):
        each = bands(small, along_x(small, (value + np.arange(n)) / n)).levels[:, 0]
        np.testing.assert_allclose(many[place], np.sort(each), atol=1e-12)


def test_the_codes_own_levels_along_the_path():
    """H(R) comes from a mesh; between its points H(k) is an interpolation. What is left are the digits of the file."""
    calculation = read_calculation(DATA / "silicon_2.h5")
    points, levels = reference()
    found = bands(calculation, path_through(calculation.structure, points))
    difference = np.abs(found.levels - levels)
    assert difference.max() < 1e-3
    assert difference[:, : found.n_occupied].max() < 1e-5
    assert found.residual < 1e-7


def test_the_gap_is_indirect_and_near_x():
    """Silicon: the valence band's top is at Γ; the conduction band's bottom lies at 0.85 of the way to X."""
    calculation = read_calculation(DATA / "silicon_2.h5")
    found = bands(calculation, special_path(calculation.structure, "LGX", 60))
    top, bottom = found.path.points[found.highest_occupied[1]], found.path.points[found.lowest_empty[1]]
    np.testing.assert_allclose(top, 0, atol=1e-9)
    assert bottom == pytest.approx([0.425, 0, 0.425], abs=0.02)  # X = (½, 0, ½)
    assert found.gap == pytest.approx(0.6, abs=0.1)  # PBE; Heyd et al., J. Chem. Phys. 123, 174101 (2005)
    assert found.direct_gap == pytest.approx(2.57, abs=0.1)


def test_time_reversal():
    calculation = read_calculation(DATA / "silicon_2.h5")
    k = np.array([0.11, -0.2, 0.37])
    forth, back = (hamiltonian_at(calculation.hamiltonian, sign * k).toarray() for sign in (1, -1))
    np.testing.assert_allclose(forth, back.conj(), atol=1e-12)
    found = bands(calculation, path_through(calculation.structure, np.stack([k, -k]))).levels
    np.testing.assert_allclose(found[0], found[1], atol=1e-10)


def test_degeneracies_of_the_diamond_lattice():
    """Γ25': the top of the valence band is threefold; along ΓX two of the three stay together."""
    calculation = read_calculation(DATA / "silicon_2.h5")
    found = bands(calculation, path_through(calculation.structure, np.array([[0, 0, 0], [0.2, 0, 0.2]]))).levels
    assert np.ptp(found[0, 1:4]) < 1e-4
    assert np.ptp(found[1, 2:4]) < 1e-4
    assert found[1, 2] - found[1, 1] > 0.5


def test_a_mesh_makes_a_density_of_states():
    """Two electrons a level and cell, and a gap that no level of the mesh is in."""
    calculation = read_calculation(DATA / "silicon_2.h5")
    points, weights = monkhorst_pack((3, 3, 3))
    found = density_of_states(calculation, 0.1, "shell", points=points, weights=weights)
    step = found.energies[1] - found.energies[0]
    assert found.total.sum() * step == pytest.approx(2 * calculation.hamiltonian.n_orbitals, rel=1e-4)
    np.testing.assert_allclose(sum(found.projections.values()), found.total, atol=1e-9)
    assert found.filling.gap > 0.4
    assert found.filling.homo < found.filling.fermi < found.filling.lumo


def test_matrices_at_gamma_have_no_bands():
    chain = chain_calculation(3, -2.0, -0.7, 0.2)
    with pytest.raises(InputError, match="a real-space operator for bands, got one folded to Γ"):
        hamiltonian_at(fold(chain.hamiltonian), np.zeros(3))
