"""Structure: what it refuses, with which message, and that it cannot be changed."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest

from nearsight.elements import HEAVIEST, number_of, symbol_of
from nearsight.errors import InputError
from nearsight.structures.structure import Structure
from tests.random_cases import random_structure

GOOD = {"numbers": [8, 72], "positions": [[0, 0, 0], [0, 0, 2.0]], "cell": np.eye(3) * 5, "pbc": True}

BAD = {
    "no atoms": ({"numbers": [], "positions": np.zeros((0, 3))}, "at least one atom"),
    "positions of another length": ({"positions": [[0, 0, 0]]}, r"shape \(2, 3\), got \(1, 3\)"),
    "positions in a plane": ({"positions": [[0, 0], [0, 2]]}, r"shape \(2, 3\), got \(2, 2\)"),
    "numbers in a table": ({"numbers": [[8], [72]]}, r"one row of atomic numbers, got .* shape \(2, 1\)"),
    "one number without a list": ({"numbers": 8}, r"one row of atomic numbers, got .* shape \(\)"),
    "fractional number": ({"numbers": [8, 72.5]}, "whole atomic numbers"),
    "number that is NaN": ({"numbers": [8, np.nan]}, "whole atomic numbers"),
    "cell lengths only": ({"cell": [5.0, 5.0, 5.0]}, r"cell of shape \(3, 3\) in Å, rows = vectors, got \(3,\)"),
    "NaN position": ({"positions": [[0, 0, 0], [0, np.nan, 2]]}, "finite positions, got .* for atom 1"),
    "infinite position": ({"positions": [[0, np.inf, 0], [0, 0, 2]]}, "finite positions, got .* for atom 0"),
    "NaN cell": ({"cell": np.diag([5, 5, np.nan])}, "finite cell"),
    "negative number": ({"numbers": [-1, 8]}, f"atomic numbers 0 to {HEAVIEST}, got -1"),
    "too heavy": ({"numbers": [8, 500]}, f"atomic numbers 0 to {HEAVIEST}, got 8 to 500"),
    "zero cell": ({"cell": np.zeros((3, 3))}, "a cell with volume along the periodic directions"),
    "flat cell": ({"cell": [[5, 0, 0], [0, 5, 0], [5, 5, 0]]}, "a cell with volume"),
    "periodic zero row": ({"cell": np.diag([5, 0, 5]), "pbc": [False, True, False]}, "a cell with volume"),
    "two periodic directions": ({"pbc": [True, False]}, "pbc as one or three"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message):
        Structure(**{**GOOD, **changes})


def test_open_directions_need_no_cell():
    assert Structure(**{**GOOD, "cell": np.zeros((3, 3)), "pbc": False}).volume == 0
    assert Structure(**{**GOOD, "cell": np.diag([0, 4, 0]), "pbc": [False, True, False]}).pbc.sum() == 1


def test_it_keeps_its_own_copy_and_cannot_be_changed():
    positions = np.array(GOOD["positions"], dtype=float)
    structure = Structure(**{**GOOD, "positions": positions})
    positions[0, 0] = 3.0
    assert structure.positions[0, 0] == 0.0
    for array in (structure.numbers, structure.positions, structure.cell, structure.pbc):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


def test_what_it_says_of_itself():
    structure = Structure([8, 72, 8, 0], np.arange(12).reshape(4, 3), np.diag([2, 3, 4]), True)
    assert (len(structure), structure.elements, structure.formula) == (4, (0, 8, 72), "HfO2X")
    assert structure.volume == pytest.approx(24)


def test_ase_round_trip(rng):
    structure = random_structure(5, rng, pbc=(True, False, True), numbers=(0, 8, 72))
    again = Structure.from_ase(structure.to_ase())
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(again, name), getattr(structure, name))
    assert Structure.from_ase(ase.build.molecule("H2O")).formula == "H2O"


def test_rotation_keeps_distances_and_fractional_coordinates(rng):
    structure = random_structure(5, rng)
    turned = structure.rotated(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(turned.positions[:, 0], -structure.positions[:, 1])
    np.testing.assert_allclose(
        turned.positions @ np.linalg.inv(turned.cell), structure.positions @ np.linalg.inv(structure.cell), atol=1e-12
    )


def test_permutation_takes_atom_k_from_order_k(rng):
    structure, order = random_structure(5, rng), rng.permutation(5)
    permuted = structure.permuted(order)
    np.testing.assert_array_equal(permuted.positions[2], structure.positions[order[2]])
    assert permuted.numbers[2] == structure.numbers[order[2]]


def test_symbols():
    assert [symbol_of(z) for z in (0, 1, 72)] == ["X", "H", "Hf"]
    assert symbol_of(999) == "Z=999"
    assert (number_of("Hf"), number_of("X"), number_of("Qq")) == (72, 0, None)
