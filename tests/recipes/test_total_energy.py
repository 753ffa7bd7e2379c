"""Total energies of given densities: exact at the exact H, above it and quadratic in the error elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import hermitian_part
from nearsight.recipes.pyscf_job import run_pyscf
from nearsight.recipes.pyscf_system import PyscfSettings
from nearsight.recipes.warm_start import total_energy
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.formats.molecules import NUMBERS, POSITIONS

WATER = Structure(NUMBERS, POSITIONS, np.zeros((3, 3)), np.zeros(3, dtype=bool))
SETTINGS = PyscfSettings(grid_level=1, functional="lda,vwn")


@pytest.fixture(scope="module")
def water() -> Calculation:
    return run_pyscf(WATER, SETTINGS)


def test_the_exact_hamiltonian_gives_the_codes_energy(water):
    energy = total_energy(water, SETTINGS)
    assert water.energy is not None
    assert energy.total == pytest.approx(water.energy, abs=1e-7 * HARTREE_IN_EV)
    assert energy.band + energy.rest == energy.total


def test_errors_of_h_count_quadratically(water):
    """The energy never falls below the minimum, and a tenth of the error costs a hundredth."""
    h = water.require_hamiltonian()
    noise = hermitian_part(h.with_values(np.random.default_rng(0).standard_normal(h.n_values)))
    above = [
        total_energy(replace(water, hamiltonian=h.with_values(h.values + size * noise.values)), SETTINGS).total
        - water.energy
        for size in (0.01, 0.1)
    ]
    assert 0 < above[0] < above[1]
    assert above[1] / above[0] == pytest.approx(100, rel=0.2)


def test_settings_that_do_not_fit(water):
    with pytest.raises(InputError, match="without smearing"):
        total_energy(water, PyscfSettings(smearing=300.0))
    with pytest.raises(InputError, match="basis of the prediction"):
        total_energy(water, PyscfSettings(basis="sto-3g"))
