"""Random packing keeps its density, its composition and its distances, and repeats itself."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.errors import InputError, RecipeError
from nearsight.recipes.packing import pack
from nearsight.structures.radial_distribution import nearest_distance


def test_composition_density_and_distances():
    packed = pack({"Hf": 1, "O": 2}, 96, 12.17, 1.75, seed=5)
    assert packed.formula == "Hf32O64"
    assert packed.volume / 96 == pytest.approx(12.17)
    assert nearest_distance(packed) >= 1.75 * 0.97**2
    again = pack({"Hf": 1, "O": 2}, 96, 12.17, 1.75, seed=5)
    np.testing.assert_array_equal(packed.positions, again.positions)
    assert not np.array_equal(packed.positions, pack({"Hf": 1, "O": 2}, 96, 12.17, 1.75, seed=6).positions)


def test_whole_formula_units():
    assert pack({"Ge": 1, "Sb": 2, "Te": 4}, 72, 31.5, 2.5, seed=0).formula == "Ge10Sb20Te40"
    assert pack({"Ge": 1}, 1, 22.0, 2.0, seed=0).formula == "Ge"


def test_no_room():
    with pytest.raises(RecipeError, match="raise volume_per_atom or lower least_distance"):
        pack({"Hf": 1, "O": 2}, 30, 12.17, 4.0, seed=0)


def test_no_such_element():
    with pytest.raises(InputError, match="got Xx: 1"):
        pack({"Xx": 1}, 3, 12.0, 1.0, seed=0)


def test_a_long_box_has_the_same_density() -> None:
    box = pack({"Hf": 1, "O": 2}, 96, 12.17, 1.6, seed=5, aspect=(1.65, 1.0, 1.0))
    edges = np.diag(box.cell)
    assert np.allclose(edges / edges[1], (1.65, 1.0, 1.0))
    assert np.isclose(box.volume / len(box), 12.17)
    assert nearest_distance(box) >= 0.9 * 1.6
    assert box.positions[:, 0].max() > 1.5 * edges[1]
