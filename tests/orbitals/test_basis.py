"""BasisSet: the sizes of the paper's matrices, the shipped table, and what happens without a basis."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.orbitals.basis import BasisSet, basis_named, shipped_names

SZV, DZVP = "SZV-MOLOPT-SR-GTH", "DZVP-MOLOPT-SR-GTH"


def atoms(**counts: int) -> np.ndarray:
    numbers = {"X": 0, "H": 1, "N": 7, "O": 8, "Ti": 22, "Ge": 32, "Sb": 51, "Te": 52, "Hf": 72, "Pt": 78}
    return np.concatenate([np.full(n, numbers[symbol]) for symbol, n in counts.items()])


PAPER = {
    "a-HfO2": (SZV, {"Hf": 1000, "O": 2000}, 18_000),
    "a-GST-124": (DZVP, {"Ge": 144, "Sb": 288, "Te": 576}, 13_104),
    "a-PtGe2": (SZV, {"Pt": 896, "Ge": 1792}, 16_128),
}
"""Table 1 of Xia et al. (2025): basis, atoms, orbitals."""


@pytest.mark.parametrize("material", PAPER)
def test_orbitals_of_the_paper(material):
    name, counts, orbitals = PAPER[material]
    numbers = atoms(**counts)
    basis = basis_named(name)
    assert basis.offsets(numbers)[-1] == orbitals
    assert basis.sizes(numbers).sum() == orbitals
    np.testing.assert_array_equal(np.diff(basis.offsets(numbers)), basis.sizes(numbers))


def test_occupied_states_of_the_paper():
    """12,000 doubly occupied of 18,000 states in a-HfO2 of 3,000 atoms."""
    assert basis_named(SZV).n_electrons(atoms(Hf=1000, O=2000)) == 24_000


@pytest.mark.parametrize(
    ("name", "number", "orbitals", "valence"),
    [
        (SZV, 1, 1, 1),
        (SZV, 8, 4, 6),
        (SZV, 7, 4, 5),
        (SZV, 22, 10, 12),
        (SZV, 72, 10, 12),
        (SZV, 78, 10, 18),
        (SZV, 0, 4, 0),
        (DZVP, 1, 5, 1),
        (DZVP, 8, 13, 6),
        (DZVP, 32, 13, 4),
        (DZVP, 51, 13, 5),
        (DZVP, 52, 13, 6),
        (DZVP, 72, 26, 12),
        (DZVP, 0, 13, 0),
    ],
)
def test_the_shipped_table(name, number, orbitals, valence):
    basis = basis_named(name)
    assert basis.n_orbitals(number) == orbitals
    assert basis.valence[number] == valence


def test_every_element_of_the_paper_is_shipped():
    for name in (SZV, DZVP):
        assert {0, 1, 7, 8, 22, 32, 51, 52, 72, 78} <= set(basis_named(name).shells)
    assert shipped_names() == (SZV, DZVP)


def test_shells_in_order():
    basis = basis_named(SZV).restricted([72, 8, 8])
    assert dict(basis.shells) == {8: (0, 1), 72: (0, 0, 1, 2)}
    assert basis.shell_offsets(72) == (0, 1, 2, 5)
    assert basis.describe() == "O 1s1p, Hf 2s1p1d"


def test_missing_elements_are_named():
    basis = basis_named(SZV)
    message = r"got none for C, Si in SZV-MOLOPT-SR-GTH \(it has X, H, Li, N, O, .*\); give the basis file"
    for fails in (basis.offsets, basis.restricted, basis.sizes, basis.check):
        with pytest.raises(InputError, match=message):
            fails(np.array([8, 14, 6, 14]))
    with pytest.raises(InputError, match="got none for Au"):
        basis.n_orbitals(79)


def test_missing_valence():
    with pytest.raises(InputError, match=r"the valence of O in basis mine, got none; it is the q"):
        BasisSet("mine", {8: (0, 1)}, {}).n_electrons(np.array([8]))


def test_unknown_name():
    with pytest.raises(InputError, match=r"a basis among SZV-MOLOPT-SR-GTH, .* got 'TZV'"):
        basis_named("TZV")


@pytest.mark.parametrize("shells", [(), (-1,), (0, 7)])
def test_impossible_shells(shells):
    with pytest.raises(InputError, match=r"expected shells l = 0..6 for O"):
        BasisSet("bad", {8: shells}, {8: 6})


def test_equal_by_shells_and_fit_to_be_pickled():
    basis = basis_named(SZV).restricted([8, 72])
    same = BasisSet("another name", {72: [0, 0, 1, 2], 8: [0, 1]}, {})
    assert basis == same
    assert hash(basis) == hash(same)
    assert basis != basis_named(DZVP).restricted([8, 72])
    again = pickle.loads(pickle.dumps(basis))
    assert again == basis
    assert dict(again.valence) == dict(basis.valence)


def test_it_cannot_be_changed():
    with pytest.raises(TypeError):
        basis_named(SZV).shells[8] = (0,)
