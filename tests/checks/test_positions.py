"""S against positions: every single atom that does not fit is named, and good data is passed in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.checks.linter import check_calculation
from nearsight.checks.positions import check_positions, culprits
from nearsight.checks.subject import Finding, Subject
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.structures.structure import Structure
from tests.checks.faults import errors_of, good

SHIPPED = sorted((Path(__file__).parents[2] / "data").glob("*.h5"))


def found_with(change: Callable[[np.ndarray], np.ndarray], cell: float = 1.0) -> list[Finding]:
    structure = good().structure
    other = Structure(structure.numbers, change(structure.positions.copy()), structure.cell * cell, structure.pbc)
    return list(check_positions(Subject("a", Calculation(other, good().basis, overlap=good().overlap))))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_good_data(path: Path) -> None:
    calculation = read_calculation(path, hamiltonian=False, h0=False)
    assert list(check_positions(Subject("a", calculation))) == []


@pytest.mark.parametrize("length", [0.05, 0.1, 0.5, 2.5])
def test_every_single_atom(length: float, rng: np.random.Generator) -> None:
    for atom in range(0, 96, 5):
        direction = rng.normal(size=3)
        step = length * direction / np.linalg.norm(direction)

        def moved(places: np.ndarray, atom: int = atom, step: np.ndarray = step) -> np.ndarray:
            places[atom] += step
            return places

        try:
            (found,) = found_with(moved)
        except ValueError as error:
            raise AssertionError(f"atom {atom} by {length} Å is not found") from error
        assert found.level == "error"
        if length < 0.3:
            assert f"atom {atom} (" in found.message


def test_exchanged_atoms_of_different_elements(rng: np.random.Generator) -> None:
    numbers = good().structure.numbers
    for _ in range(10):
        pair = [int(rng.choice(np.flatnonzero(numbers == z))) for z in (72, 8)]

        def exchanged(places: np.ndarray, pair: list[int] = pair) -> np.ndarray:
            places[pair] = places[pair[::-1]]
            return places

        (found,) = found_with(exchanged)
        assert all(f" {atom} (" in found.message for atom in pair)


def test_another_cell() -> None:
    for factor in (0.98, 1.02, 1.1):
        (found,) = found_with(lambda places: places, factor)
        assert found.level == "error"


def test_it_is_one_of_the_checks() -> None:
    structure = good().structure
    places = structure.positions.copy()
    places[17, 0] += 0.15
    moved = replace(good(), structure=Structure(structure.numbers, places, structure.cell, structure.pbc))
    assert "positions" in errors_of(check_calculation(moved, quick=True))


def test_culprits_are_in_every_wrong_bond() -> None:
    atoms = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [4, 5]])
    assert culprits(atoms, np.array([True, True, True, False, False])) == [0]
    assert culprits(atoms, np.array([True, True, True, False, True]))[0] == 0
