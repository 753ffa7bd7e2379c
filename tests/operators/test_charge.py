"""Charge and multiplicity: stored, read again, absent in older files, and counted by all that fills levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nearsight.api.spectra import charges, spectrum
from nearsight.checks.subject import Subject
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.reduction import reduced
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.recipes.warm_start import pyscf_density

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def silicon() -> Calculation:
    return read_calculation(DATA / "silicon_2.h5")


def test_electrons_less_the_charge(silicon: Calculation) -> None:
    for charge in (0.0, 2.0, -2.0):
        charged = replace(silicon, charge=charge, multiplicity=1)
        assert charged.n_electrons == 8 - charge
        assert charged.electrons(0) == 8
        assert spectrum(charged).n_electrons == 8 - charge
        assert Subject("a", charged).n_electrons == 8 - charge
        assert reduced(charged, 1e-4).charge == charge
        np.testing.assert_allclose(charges(charged).sum(), charge, atol=1e-9)
        np.testing.assert_allclose(charges(charged, charge=1.0).sum(), 1.0, atol=1e-9)


def test_a_start_has_the_electrons_of_the_calculation(silicon: Calculation) -> None:
    charged = replace(silicon, charge=2.0)
    np.testing.assert_array_equal(pyscf_density(charged), pyscf_density(silicon, 2))
    with pytest.raises(InputError, match=r"even number of electrons .* with charge 1;"):
        pyscf_density(replace(silicon, charge=1.0))


def test_round_trip(silicon: Calculation, tmp_path: Path) -> None:
    write_calculation(tmp_path / "a.h5", replace(silicon, charge=-1.0, multiplicity=2))
    back = read_calculation(tmp_path / "a.h5", hamiltonian=False, overlap=False)
    assert (back.charge, back.multiplicity, back.n_electrons) == (-1.0, 2, 9)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert (file.attrs["charge"], file.attrs["multiplicity"]) == (-1.0, 2)


def test_older_files_are_neutral(silicon: Calculation) -> None:
    assert (silicon.charge, silicon.multiplicity) == (0.0, None)


def test_what_cannot_be(silicon: Calculation) -> None:
    for wrong in ({"charge": float("nan")}, {"multiplicity": 0}):
        with pytest.raises(InputError, match="expected a finite charge and a multiplicity of at least 1"):
            replace(silicon, **wrong)  # type: ignore[arg-type]
