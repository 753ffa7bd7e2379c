"""S for predictions: real space where a file has it at Γ alone, and nothing new where it cannot be computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nearsight as ns
from nearsight.api.overlaps import unfolded_overlap, with_overlaps
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import read_calculation
from nearsight.recipes.overlap import with_pyscf_functions

DATA = Path(__file__).parents[2] / "data"
MODEL = Path(__file__).parents[1] / "data" / "version_0_1_0" / "nearsight"


def test_a_folded_overlap_is_computed_in_real_space() -> None:
    calculation = read_calculation(DATA / "aHfO2_96_A.h5", hamiltonian=False)
    known = with_pyscf_functions(calculation.basis)
    s = unfolded_overlap(calculation, known)
    assert s is not None
    assert not s.folded
    assert np.abs((to_csr(s) - to_csr(calculation.require_overlap())).data).max() < 1.1e-6
    assert unfolded_overlap(calculation, calculation.basis) is calculation.overlap
    assert unfolded_overlap(replace(calculation, overlap=None), known) is None


def test_training_data_without_s_get_that_of_their_basis() -> None:
    """In the form of H: summed over images where that is."""
    calculation = read_calculation(DATA / "aHfO2_96_A.h5")
    known = replace(calculation, overlap=None, basis=with_pyscf_functions(calculation.basis))
    computed, given = with_overlaps([known, calculation])
    assert computed.require_overlap().folded
    assert given.overlap is calculation.overlap
    assert np.abs((to_csr(computed.require_overlap()) - to_csr(calculation.require_overlap())).data).max() < 1.1e-6
    without = replace(calculation, overlap=None, basis=replace(calculation.basis, functions={}))
    assert with_overlaps([without])[0].overlap is None


def test_ghosts_that_a_model_does_not_know_are_refused_with_the_way_out(tmp_path: Path) -> None:
    """Also where the file holds S of them, which is looked at first."""
    model = ns.load_model(MODEL)
    for predict in (model.predict, lambda file: model.predict_to(tmp_path / "h.h5", file)):
        with pytest.raises(InputError, match=r"got ghosts \(X\) in Hf32O58X6; train on data that holds them"):
            predict(DATA / "aHfO1.8_96_test.h5")
