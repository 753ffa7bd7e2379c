"""What a predicted Hamiltonian writes: matrices, and charges and potential where it is self-consistent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from nearsight.api.matrices import Hamiltonian
from nearsight.operators.store import read_calculation

DATA = Path(__file__).parents[2] / "data"


def test_a_self_consistent_one_keeps_charges_and_potential(tmp_path: Path) -> None:
    calculation = read_calculation(DATA / "silicon_2.h5")
    estimate = np.full(calculation.require_hamiltonian().n_pairs, 0.01)
    solved = Hamiltonian(
        replace(calculation, error_estimate=estimate, provenance={"self_consistent": "6 diagonalisations"}),
        out_of_distribution=np.array([False, True]),
        charges=np.array([0.1, -0.1]),
        potential=np.array([0.5, -0.5]),
    )
    solved.write(tmp_path / "h.h5")
    again = read_calculation(tmp_path / "h.h5")
    np.testing.assert_array_equal(again.require_hamiltonian().values, calculation.require_hamiltonian().values)
    assert again.provenance["self_consistent"] == "6 diagonalisations"
    np.testing.assert_allclose(again.error_estimate, estimate)
    with h5py.File(tmp_path / "h.h5") as file:
        assert file["charges"][()].tolist() == [0.1, -0.1]
        assert (file["charges"].attrs["unit"], file["potential"].attrs["unit"]) == ("e", "eV")
        assert file["out_of_distribution"][()].tolist() == [1]
