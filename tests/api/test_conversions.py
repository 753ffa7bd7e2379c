"""Objects of other libraries: PySCF's field, ASE's bands and calculator; sisl's are in quantum_transport."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError

import nearsight as ns
from nearsight.recipes.pyscf_job import run_pyscf
from nearsight.recipes.pyscf_system import PyscfSettings
from nearsight.units import HARTREE_IN_EV

MODEL = Path(__file__).parents[1] / "data" / "version_0_1_0" / "nearsight"


def test_pyscf_has_the_levels_and_the_order_of_its_own() -> None:
    settings = PyscfSettings(basis="def2-svp")
    exact = run_pyscf(ns.Structure.from_ase(molecule("H2O")), settings)
    field = ns.to_pyscf(exact, basis="def2-svp")
    np.testing.assert_allclose(field.mo_energy * HARTREE_IN_EV, exact.eigenvalues, atol=1e-6)
    np.testing.assert_allclose(field.get_ovlp(), field.mol.intor("int1e_ovlp"), atol=1e-10)
    assert field.make_rdm1().trace() > 0
    with pytest.raises(ns.NearsightError, match="expected the basis of H"):
        ns.to_pyscf(exact, basis="sto-3g")


def test_bands_of_ase() -> None:
    found = ns.to_ase_bands("data/silicon_2.h5", "GX", 7)
    own = ns.bands("data/silicon_2.h5", path=np.asarray(found.path.kpts))
    np.testing.assert_array_equal(found.energies[0], own.levels)
    assert found.reference == ns.read("data/silicon_2.h5").fermi


def test_a_model_as_calculator() -> None:
    places = np.array([[0.0, 0, 0], [2.0, 0.3, 0.2], [0.4, 2.1, 0.3]])
    atoms = ase.Atoms("HfO2", places, cell=[5.1, 5.2, 5.3], pbc=True)
    atoms.calc = ns.Calculator(MODEL, self_consistent=False)
    assert atoms.get_charges().shape == (3,)
    assert abs(atoms.get_charges().sum()) < 1e-6
    assert atoms.calc.get_property("gap", atoms) == ns.spectrum(atoms.calc.hamiltonian).gap
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_potential_energy()


def test_ase_s_own_functions_on_the_calculator() -> None:
    """Gap and density of states by ASE, and bands; H is predicted once for a structure."""
    from ase.dft.bandgap import bandgap
    from ase.dft.dos import DOS

    places = np.array([[0.0, 0, 0], [2.0, 0.3, 0.2], [0.4, 2.1, 0.3]])
    atoms = ase.Atoms("HfO2", places, cell=[5.1, 5.2, 5.3], pbc=True)
    calculator = atoms.calc = ns.Calculator(MODEL, self_consistent=False)
    with pytest.raises(ns.NearsightError, match="got none yet"):
        calculator.get_fermi_level()
    density = calculator.dos(atoms)
    gap = calculator.results["gap"]
    levels = calculator.get_eigenvalues()
    assert len(levels) == calculator.hamiltonian.operator.n_orbitals
    assert density.filling.gap == pytest.approx(gap)
    assert bandgap(calculator, output=None)[0] == pytest.approx(max(gap, 0), abs=1e-9)
    assert DOS(calculator, width=0.2).get_dos().max() > 0
    assert calculator.band_structure("GX", 5).energies.shape == (1, 5, len(levels))
    before = calculator.hamiltonian
    assert calculator.dos() is not density
    assert calculator.hamiltonian is before
    atoms.positions[0, 0] += 0.1
    calculator.dos(atoms)
    assert calculator.hamiltonian is not before
    with pytest.raises(ns.NearsightError, match="spin 0, got 0 and 1"):
        calculator.get_eigenvalues(spin=1)


def test_energies_by_pyscf() -> None:
    """Of the exact H the energy is that of the run; without `energy` there is none."""
    exact = run_pyscf(ns.Structure.from_ase(molecule("H2O")), PyscfSettings(basis="sto-3g"))

    class Exact:
        def predict(self, atoms: ase.Atoms, **keys: object) -> object:
            return exact

    atoms = molecule("H2O")
    atoms.calc = ns.Calculator(Exact(), energy={"functional": "pbe", "basis": "sto-3g"})
    assert atoms.get_potential_energy() == pytest.approx(exact.energy, abs=1e-4)
    assert atoms.get_charges().shape == (3,)
