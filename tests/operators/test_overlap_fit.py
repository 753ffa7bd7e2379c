"""S learnt from the S of other structures: its error on unseen ones is as said, an ill-conditioned S is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nearsight.api.overlaps import computed_overlap, with_known_functions
from nearsight.errors import InputError
from nearsight.nn.model_file import basis_metadata, basis_of_metadata
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.overlap_fit import fit_overlap
from nearsight.operators.store import read_calculation
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure

DATA = Path(__file__).parents[2] / "data"
ZERO = 1.1e-6
"""What CP2K neglects."""


@cache
def nameless(name: str) -> Calculation:
    """S of a structure in a basis of which the shells alone are known."""
    found = read_calculation(DATA / f"{name}.h5", hamiltonian=False)
    return replace(found, basis=BasisSet("unknown", found.basis.shells, found.basis.valence), eigenvalues=None)


@cache
def learnt() -> BasisSet:
    basis = nameless("aHfO2_372_C").basis
    return replace(basis, overlaps=fit_overlap([nameless("aHfO2_372_C")], basis))


def test_an_unseen_structure_has_its_own_s_within_what_is_said() -> None:
    """Folded to Γ: other images of pairs are told apart."""
    unseen, fitted = nameless("aHfO2_96_A"), learnt().overlaps
    assert fitted is not None
    assert fitted.error < 5e-5
    s, said = computed_overlap(unseen.structure, learnt())
    difference = to_csr(s) - to_csr(unseen.require_overlap())
    assert np.abs(difference.data).max() < fitted.error + ZERO
    assert f"{fitted.error:.1e}" in said


def test_a_model_keeps_it() -> None:
    again = basis_of_metadata(basis_metadata(learnt()))
    structure = nameless("aHfO2_96_A").structure
    np.testing.assert_array_equal(overlap_of(structure, again).values, overlap_of(structure, learnt()).values)


def test_a_damaged_model_is_refused() -> None:
    text = basis_metadata(learnt())
    plain = json.loads(text)
    plain["overlaps"]["pairs"][0]["channels"][0].append(0.0)
    with pytest.raises(InputError, match="expected fitted overlaps of the shells of the basis"):
        basis_of_metadata(json.dumps(plain))


def test_nearly_dependent_functions_are_refused() -> None:
    said: list[str] = []
    (known,) = with_known_functions([nameless("aGST_70_train")], lambda event: said.append(event.message))
    assert "overlaps learnt from S of the data" in said[-1]
    with pytest.raises(InputError, match=r"well-conditioned enough to be learnt|at least .* Å apart"):
        computed_overlap(nameless("aGST_70_test").structure, known.basis)
    with pytest.raises(
        InputError, match=r"expected an S that is well-conditioned enough .* smallest eigenvalue of 0\.0"
    ):
        computed_overlap(known.structure, known.basis)


def test_atoms_nearer_than_in_the_data_are_refused() -> None:
    pair = Structure(np.array([8, 72]), np.array([[0, 0, 0], [0, 0, 1.5]]), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    with pytest.raises(InputError, match=r"expected O and Hf at least 1\.84 Å apart, .* got 1\.50 Å"):
        overlap_of(pair, learnt())


def test_functions_of_the_name_are_believed_only_where_they_give_the_data_s() -> None:
    calculation = read_calculation(DATA / "aHfO2_96_A.h5", hamiltonian=False)
    said: list[str] = []
    (known,) = with_known_functions([calculation], lambda event: said.append(event.message))
    assert not known.basis.lacking_functions
    assert "S follows from it" in said[0]
    wrong = replace(calculation.basis, name="Hf:SZV-MOLOPT-SR-GTH, O:GTH-SZV")
    (known,) = with_known_functions([replace(calculation, basis=wrong)], lambda event: said.append(event.message))
    assert "not the basis of these data" in said[1]
    assert known.basis.lacking_functions == (8, 72)
    assert known.basis.overlaps is not None
