"""Geometries of molecules: equipartition, rigid motions left out, the Hessian against PySCF, repeating."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from nearsight.errors import InputError
from nearsight.recipes.molecules import MoleculeSet, NormalModes, equilibrium, molecule_names
from nearsight.structures.structure import Structure


def water_set(**changes) -> MoleculeSet:
    return MoleculeSet(molecule="water", count=3, **changes)


def test_dynamics_need_their_method():
    with pytest.raises(ValidationError, match="steps only with method=langevin"):
        MoleculeSet(molecule="water", steps=10)


@pytest.mark.parametrize("name", ["water", "malondialdehyde", "uracil", "ethanol"])
def test_equilibria_are_minima_with_all_vibrations(name: str):
    modes = equilibrium(name)
    assert name in molecule_names()
    assert modes.vectors.shape == (3 * len(modes.minimum) - 6, len(modes.minimum), 3)
    assert 3000 < modes.wavenumbers[-1] < 3900  # C–H, N–H, O–H


def test_water_has_the_known_vibrations():
    # Harmonic ones of experiment (Benedict et al. 1956); those of PBE are lower by 2 to 4 %.
    ratio = equilibrium("water").wavenumbers / np.array([1649, 3832, 3943])
    assert 0.95 < ratio.min() < ratio.max() < 1


def test_nothing_moves_at_zero_temperature():
    modes = equilibrium("water")
    np.testing.assert_array_equal(water_set(temperature=0).sample(1).structure.positions, modes.minimum.positions)


@pytest.mark.parametrize("name", ["water", "malondialdehyde"])
def test_modes_hold_half_kt_each(name: str, rng: np.random.Generator):
    modes, temperature, count = equilibrium(name), 300.0, 4000
    energies = [modes.energy(modes.sample(temperature, rng)) for _ in range(count)]
    expected = len(modes.stiffness) / 2 * units.kB * temperature
    deviation = np.sqrt(len(modes.stiffness) / 2) * units.kB * temperature  # a sum of squares: χ² with M degrees
    assert abs(np.mean(energies) - expected) < 4 * deviation / np.sqrt(count)
    assert np.std(energies) == pytest.approx(deviation, rel=0.1)


def test_samples_neither_move_nor_turn_the_molecule(rng: np.random.Generator):
    modes = equilibrium("water")
    mass = modes.minimum.to_ase().get_masses()
    about = modes.minimum.positions - mass @ modes.minimum.positions / mass.sum()
    moved = modes.sample(300, rng).positions - modes.minimum.positions
    assert np.abs(moved).max() > 0.005
    np.testing.assert_allclose(mass @ moved, 0, atol=1e-12)
    np.testing.assert_allclose(mass @ np.cross(about, moved), 0, atol=1e-12)


def test_modes_do_not_depend_on_the_orientation(rng: np.random.Generator):
    modes = equilibrium("water")
    turn = Rotation.random(random_state=rng).as_matrix()
    all_atoms = np.kron(np.eye(3), turn)
    turned = NormalModes.of(modes.minimum.rotated(turn), all_atoms @ modes.hessian @ all_atoms.T)
    np.testing.assert_allclose(turned.wavenumbers, modes.wavenumbers, rtol=1e-10)


def test_a_linear_molecule_has_one_mode_more():
    # Two springs: a carbon between two oxygens, each bending direction its own.
    place = np.array([[-1.2, 0, 0], [0, 0, 0], [1.2, 0, 0]])
    stretch, bend = np.zeros((3, 9)), np.zeros((2, 9))
    stretch[0, [0, 3]], stretch[1, [3, 6]] = (-1, 1), (-1, 1)
    for row, axis in enumerate((1, 2)):
        bend[row, [axis, 3 + axis, 6 + axis]] = 1, -2, 1
    hessian = 90 * stretch.T @ stretch + 3 * bend.T @ bend
    modes = NormalModes.of(Structure([8, 6, 8], place, np.zeros((3, 3)), False), hessian)
    assert len(modes.stiffness) == 4
    reduced = 1 / (2 / 15.999)  # symmetric stretch: both oxygens, ω² = k / m_O
    assert np.min(np.abs(modes.stiffness - 90 / (2 * reduced))) < 1e-3


def test_a_saddle_point_is_refused():
    modes = equilibrium("water")
    with pytest.raises(InputError, match="imaginary"):
        NormalModes.of(modes.minimum, -modes.hessian)
    with pytest.raises(InputError, match=r"shape \(9, 9\)"):
        NormalModes.of(modes.minimum, np.eye(6))


def test_geometries_are_the_same_whenever_they_are_made():
    whole = water_set(seed=5).samples()
    alone = water_set(seed=5).sample(2)
    np.testing.assert_array_equal(alone.structure.positions, whole[2].structure.positions)
    assert alone.provenance["seed"] == "5, geometry 2"
    assert np.abs(whole[0].structure.positions - whole[1].structure.positions).max() > 1e-3
    assert np.abs(water_set(seed=6).sample(2).structure.positions - alone.structure.positions).max() > 1e-3


def test_unknown_molecules_are_refused():
    with pytest.raises(ValidationError, match="water"):
        MoleculeSet(molecule="gold")  # type: ignore[arg-type]


def test_small_displacements_cost_what_the_hessian_says(rng: np.random.Generator):
    pytest.importorskip("pyscf")
    from nearsight.recipes.pyscf_forces import PyscfForces
    from nearsight.recipes.pyscf_system import PyscfSettings

    modes, forces = equilibrium("water"), PyscfForces(PyscfSettings())

    def energy(structure: Structure) -> float:
        return float(forces.get_potential_energy(structure.to_ase()))

    moved = modes.sample(5, rng)  # K; so little that anharmonic terms are below 1 %
    assert energy(moved) - energy(modes.minimum) == pytest.approx(modes.energy(moved), rel=0.03)
    assert np.abs(forces.get_forces(modes.minimum.to_ase())).max() < 2e-3  # eV/Å


def test_dynamics_repeat_and_conserve_the_molecule():
    pytest.importorskip("pyscf")
    short = water_set(method="langevin", steps=2, basis="sto-3g", temperature=300)
    said: list[str] = []
    first, second = short.sample(0, lambda event: said.append(event.message)), short.sample(0)
    np.testing.assert_array_equal(first.structure.positions, second.structure.positions)
    begun = water_set(temperature=300).sample(0).structure.positions
    assert 1e-3 < np.abs(first.structure.positions - begun).max() < 0.3  # Å, in 1 fs
    assert said[-1] == "dynamics, step 2 of 2"
    assert "2 steps of 0.5 fs" in first.provenance["structure"]


@pytest.mark.slow
def test_the_shipped_minimum_and_hessian_of_water_can_be_made_again():
    pytest.importorskip("pyscf")
    from ase.build import molecule

    from nearsight.recipes.pyscf_forces import hessian, relaxed
    from nearsight.recipes.pyscf_system import PyscfSettings

    minimum = relaxed(Structure.from_ase(molecule("H2O")), PyscfSettings())
    made = NormalModes.of(minimum, hessian(minimum, PyscfSettings()))
    assert made.wavenumbers == pytest.approx(equilibrium("water").wavenumbers, abs=2)
