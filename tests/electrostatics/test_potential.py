"""Potentials and fields of charges: published constants, symmetries, and one periodicity against another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.electrostatics.ewald import ewald
from nearsight.electrostatics.potential import COULOMB, electrostatics
from nearsight.errors import InputError
from nearsight.structures.structure import Structure

ROCK_SALT, CAESIUM_CHLORIDE, ZINCBLENDE = 1.747564594633182, 1.762674773070988, 1.638055053388789
"""Madelung constants for the shortest distance; Borwein and others, Lattice Sums Then and Now (2013)."""

FACES = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
PERIODIC = [(True, True, True), (False, True, True), (True, True, False), (False, True, False), (False, False, False)]


def disordered(pbc: tuple[bool, bool, bool], n: int = 10) -> tuple[Structure, np.ndarray, np.ndarray]:
    """A skewed cell, charges that add up to 0, and widths, every other one 0."""
    rng = np.random.default_rng(3)
    cell = np.array([[5.0, 0, 0], [1.0, 6.0, 0], [0.5, -1.0, 7.0]])
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (rng.permutation(grid)[:n] + rng.uniform(-0.2, 0.2, (n, 3))) / 3 @ cell
    charges = rng.standard_normal(n)
    widths = rng.uniform(0.1, 0.8, n) * (np.arange(n) % 2)
    return Structure(np.full(n, 8), positions, cell, np.array(pbc)), charges - charges.mean(), widths


@pytest.mark.parametrize(
    ("madelung", "cell", "place"),
    [
        (ROCK_SALT, FACES, [0.5, 0.5, 0.5]),
        (CAESIUM_CHLORIDE, np.eye(3), [0.5, 0.5, 0.5]),
        (ZINCBLENDE, FACES, [0.25, 0.25, 0.25]),
    ],
)
def test_madelung_constants(madelung: float, cell: np.ndarray, place: list[float]) -> None:
    structure = Structure([11, 17], [[0.0, 0, 0], 4.0 * np.array(place)], 4.0 * cell, np.ones(3, bool))
    found = electrostatics(structure, np.array([1.0, -1.0]))
    nearest = 4.0 * np.sqrt((np.array(place) ** 2).sum()) if madelung != ROCK_SALT else 2.0
    np.testing.assert_allclose(found.potential * nearest / COULOMB, [-madelung, madelung], atol=1e-8)
    np.testing.assert_allclose(found.field, 0, atol=1e-8)


@pytest.mark.parametrize("width", [0.0, 0.3])
def test_one_charge_in_a_background(width: float) -> None:
    """A simple cubic lattice of unit charges: −2.837297479 e/a at the charges, where V is 0 on average.

    A narrow Gaussian lacks 2πw² of the integral of 1/r; the zero moves by that over the volume.
    """
    structure = Structure([11], [[0.3, 0.1, 0]], 3.0 * np.eye(3), np.ones(3, bool))
    found = electrostatics(structure, np.array([1.0]), width).potential[0] / COULOMB
    assert found == pytest.approx(-2.837297479480619 / 3 + 2 * np.pi * width**2 / 27, abs=1e-9)


@pytest.mark.parametrize("cutoff", [6.0, 9.0, 15.0])
def test_the_split_does_not_matter(cutoff: float) -> None:
    structure, charges, widths = disordered((True, True, True))
    for known, found in zip(ewald(structure, charges, widths), ewald(structure, charges, widths, cutoff)):
        np.testing.assert_allclose(found, known, atol=1e-9)


@pytest.mark.parametrize("pbc", PERIODIC)
def test_the_field_is_the_slope_of_the_potential(pbc: tuple[bool, bool, bool]) -> None:
    """At an atom without charge."""
    structure, charges, widths = disordered(pbc)
    charges[0] = 0
    charges[1:] -= charges[1:].mean()
    field = electrostatics(structure, charges, widths).field[0]
    step, slope = 1e-3, np.zeros(3)
    for axis in range(3):
        for factor, weight in ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0)):
            moved = np.zeros((len(structure), 3))
            moved[0, axis] = factor * step
            potential = electrostatics(structure.translated(moved), charges, widths).potential[0]
            slope[axis] += weight * potential / (12 * step)
    np.testing.assert_allclose(field, -slope, atol=1e-7)


@pytest.mark.parametrize("pbc", PERIODIC)
def test_symmetries(pbc: tuple[bool, bool, bool], rng: np.random.Generator) -> None:
    """Translation, other images of atoms, improper rotation, permutation."""
    structure, charges, widths = disordered(pbc)
    known = electrostatics(structure, charges, widths)
    images = rng.integers(-2, 3, (len(structure), 3)) * np.array(pbc) @ structure.cell
    rotation, order = -Rotation.random(random_state=1).as_matrix(), rng.permutation(len(structure))
    for other, turn, chosen in (
        (structure.translated(rng.standard_normal(3)), np.eye(3), slice(None)),
        (structure.translated(images), np.eye(3), slice(None)),
        (structure.rotated(rotation), rotation, slice(None)),
        (structure.permuted(order), np.eye(3), order),
    ):
        found = electrostatics(other, charges[chosen], widths[chosen])
        np.testing.assert_allclose(found.potential, known.potential[chosen], atol=1e-8)
        np.testing.assert_allclose(found.field, known.field[chosen] @ turn.T, atol=1e-8)


@pytest.mark.parametrize("pbc", PERIODIC[:4])
def test_a_supercell_is_its_cell(pbc: tuple[bool, bool, bool]) -> None:
    structure, charges, widths = disordered(pbc)
    known, axis = electrostatics(structure, charges, widths), pbc.index(True)
    positions = np.concatenate([structure.positions + k * structure.cell[axis] for k in range(3)])
    cell = np.array(structure.cell)
    cell[axis] *= 3
    large = Structure(np.tile(structure.numbers, 3), positions, cell, structure.pbc)
    found = electrostatics(large, np.tile(charges, 3), np.tile(widths, 3))
    np.testing.assert_allclose(found.potential, np.tile(known.potential, 3), atol=1e-8)
    np.testing.assert_allclose(found.field, np.tile(known.field, (3, 1)), atol=1e-8)


@pytest.mark.parametrize("pbc", [(True, True, False), (True, False, False)])
def test_cells_with_room_approach_isolated_atoms(pbc: tuple[bool, bool, bool]) -> None:
    """The rest is that of dipoles: it falls with the square of the period or faster."""
    structure, charges, widths = disordered((False, False, False))
    known = electrostatics(structure, charges, widths)
    left = []
    for length in (100.0, 200.0):
        periodic = Structure(structure.numbers, structure.positions, length * np.eye(3), np.array(pbc))
        found = electrostatics(periodic, charges, widths)
        left.append([np.abs(found.potential - known.potential).max(), np.abs(found.field - known.field).max()])
    assert (np.array(left[1]) < np.array(left[0]) / 3.5).all()
    assert left[1][0] < 2e-2


def test_a_neutral_molecule_in_a_large_box_is_isolated() -> None:
    """Without a dipole; the cell's zero of potential is that of its average."""
    positions = np.array([[0.0, 0, 0], [1.2, 0, 0], [-1.2, 0, 0], [0, 1.2, 0], [0, -1.2, 0], [0, 0, 1.2], [0, 0, -1.2]])
    charges = np.array([3.0, *[-0.5] * 6])
    alone = electrostatics(Structure(np.full(7, 8), positions, np.zeros((3, 3)), np.zeros(3, bool)), charges)
    boxed = electrostatics(Structure(np.full(7, 8), positions, 40.0 * np.eye(3), np.ones(3, bool)), charges)
    average = -2 * np.pi / 3 * COULOMB / 40.0**3 * (charges @ (positions**2).sum(axis=1))
    np.testing.assert_allclose(boxed.potential, alone.potential - average, atol=1e-4)
    np.testing.assert_allclose(boxed.field, alone.field, atol=1e-4)


def test_a_layer_of_charge_has_the_field_of_a_capacitor() -> None:
    """Two planes of opposite charge: V differs by σd/ε₀ far from the corrugation."""
    cell = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 0]])
    structure = Structure([8, 8], [[0.0, 0, 0], [0, 0, 30.0]], cell, np.array([True, True, False]))
    found = electrostatics(structure, np.array([1.0, -1.0]))
    one = electrostatics(Structure([8, 8], [[0.0, 0, 0], [0, 0, 10.0]], cell, structure.pbc), np.array([1.0, -1.0]))
    step = (found.potential[0] - found.potential[1]) - (one.potential[0] - one.potential[1])
    assert step == pytest.approx(4 * np.pi * COULOMB * 20.0 / 4.0, rel=1e-10)


def test_what_cannot_be_summed_is_refused() -> None:
    structure, charges, _ = disordered((True, True, False))
    with pytest.raises(InputError, match="charges that add up to 0 in a cell with 2 periodic"):
        electrostatics(structure, charges + 0.1)
    with pytest.raises(InputError, match="expected 10 finite charges"):
        electrostatics(structure, charges[:3])
    with pytest.raises(InputError, match="expected one width or 10"):
        electrostatics(structure, charges, -1.0)
