"""Levels of two spins: one Fermi level, fixed moments, and those of an unrestricted calculation of PySCF."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nearsight as ns
from nearsight.electronic.spin import fill_spins
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.store import read_calculation
from nearsight.units import BOLTZMANN_IN_EV, HARTREE_IN_EV

WEIGHTS = np.array([0.25, 0.75])
UP = np.array([[-2.0, 0.0, 3.0], [-1.5, 0.2, 2.0]])
DOWN = UP + 1.1


def test_one_fermi_level_fills_the_lowest_levels() -> None:
    """3 electrons: at each k the lowest levels of both spins are up, up, down, whatever the k."""
    up, down = fill_spins(UP, DOWN, 3, WEIGHTS)
    assert up.fermi == down.fermi
    np.testing.assert_array_equal(up.occupations, [[1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(down.occupations, [[1, 0, 0], [1, 0, 0]])
    assert (up.homo, up.lumo, down.homo, down.lumo) == (0.2, 2.0, pytest.approx(-0.4), pytest.approx(1.1))


def test_a_fixed_moment_has_two_fermi_levels() -> None:
    up, down = fill_spins(UP, DOWN, 3, WEIGHTS, moment=-1.0)
    assert (WEIGHTS @ up.occupations.sum(axis=1), WEIGHTS @ down.occupations.sum(axis=1)) == (1.0, 2.0)
    assert up.fermi < down.fermi
    with pytest.raises(InputError, match="a moment that leaves 0 to 3 electrons"):
        fill_spins(UP, DOWN, 3, WEIGHTS, moment=5.0)
    with pytest.raises(InputError, match="0 to 6 electrons"):
        fill_spins(UP, DOWN, 7, WEIGHTS)


@pytest.mark.parametrize("moment", [None, 0.5])
def test_at_a_temperature_they_are_fermi_and_dirac_s(moment: float | None) -> None:
    t = 3000.0
    up, down = fill_spins(UP, DOWN, 3, WEIGHTS, moment=moment, temperature=t)
    for filling, levels in ((up, UP), (down, DOWN)):
        expected = 1 / (1 + np.exp((levels - filling.fermi) / (BOLTZMANN_IN_EV * t)))
        np.testing.assert_allclose(filling.occupations, expected, atol=1e-10)
    number = [WEIGHTS @ filling.occupations.sum(axis=1) for filling in (up, down)]
    assert sum(number) == pytest.approx(3)
    if moment is not None:
        assert number[0] - number[1] == pytest.approx(moment)
    f = np.concatenate([up.occupations, down.occupations])
    entropy = np.concatenate([WEIGHTS, WEIGHTS]) @ -(f * np.log(f) + (1 - f) * np.log(1 - f)).sum(axis=1)
    assert up.entropy_energy + down.entropy_energy == pytest.approx(-BOLTZMANN_IN_EV * t * entropy)


def test_spins_without_a_difference_are_a_closed_shell() -> None:
    silicon = read_calculation(Path(__file__).parents[2] / "data" / "silicon_2.h5")
    h = silicon.hamiltonian
    both = replace(silicon, hamiltonian=None, hamiltonian_up=h, hamiltonian_down=h, k_eigenvalues=None)
    found, closed = ns.spin_spectrum(both), ns.spectrum(silicon)
    np.testing.assert_allclose(found.up[0], closed.eigenvalues, atol=1e-10)
    assert (found.moment, found.electrons_up) == (0, 4)
    assert (found.gap, found.fermi) == (pytest.approx(closed.gap), pytest.approx(closed.fermi))
    mesh, density = ns.spin_spectrum(both, mesh=(2, 2, 2)), ns.density_of_states(silicon, mesh=(2, 2, 2))
    assert mesh.fermi == pytest.approx(density.filling.fermi)
    energies, up, down = mesh.density(width=0.1)
    np.testing.assert_allclose(up + down, density.total, atol=1e-9)
    np.testing.assert_allclose(energies, density.energies)
    gamma = replace(both, overlap=fold(silicon.overlap), hamiltonian_up=fold(h), hamiltonian_down=fold(h))
    np.testing.assert_allclose(ns.spin_spectrum(gamma).up, found.up, atol=1e-9)
    with pytest.raises(InputError, match="summed at Γ"):
        ns.spin_spectrum(gamma, mesh=(2, 1, 1))
    with pytest.raises(InputError, match="H of both spins"):
        ns.spin_spectrum(silicon)


def test_oxygen_is_pyscf_s(tmp_path: Path) -> None:
    """The triplet: levels of either spin, and the moment that follows from one Fermi level."""
    from pyscf import dft, gto

    mol = gto.M(atom=[("O", (0, 0, 0)), ("O", (0, 0, 1.21))], basis="sto-3g", spin=2, verbose=0)
    field = dft.UKS(mol, xc="lda")
    field._chkfile.close()
    field.chkfile = str(tmp_path / "o2.chk")
    field.grids.level, field.conv_tol = 0, 1e-10
    field.kernel()
    found = ns.read(tmp_path / "o2.chk")
    assert (found.multiplicity, found.n_electrons, found.spin_polarised) == (3, 16, True)
    levels = ns.spin_spectrum(found)
    np.testing.assert_allclose(levels.up[0] / HARTREE_IN_EV, field.mo_energy[0], atol=1e-8)
    np.testing.assert_allclose(levels.down[0] / HARTREE_IN_EV, field.mo_energy[1], atol=1e-8)
    np.testing.assert_allclose(levels.occupations_up[0], field.mo_occ[0])
    assert levels.moment == 2
    assert ns.spin_spectrum(found, moment=0).electrons_up == 8
