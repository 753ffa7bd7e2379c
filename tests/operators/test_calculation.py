"""Calculation: structure, basis and operators must belong together."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.structures.structure import Structure


def test_parts_that_fit(hfo2, basis, hamiltonian):
    whole = basis_named("SZV-MOLOPT-SR-GTH")
    calculation = Calculation(hfo2, whole, hamiltonian)
    assert calculation.require_hamiltonian() is hamiltonian
    with pytest.raises(InputError, match="expected an overlap matrix S"):
        calculation.require_overlap()
    with pytest.raises(InputError, match="expected a Hamiltonian"):
        Calculation(hfo2, basis, overlap=hamiltonian).require_hamiltonian()


def test_an_initial_hamiltonian(hfo2, basis, hamiltonian):
    assert Calculation(hfo2, basis, h0=hamiltonian).require_h0() is hamiltonian
    with pytest.raises(InputError, match="expected the Kohn-Sham matrix of superposed atomic densities"):
        Calculation(hfo2, basis, hamiltonian).require_h0()
    with pytest.raises(InputError, match="expected H₀ on the 20 atoms"):
        Calculation(hfo2.permuted(np.arange(20)), basis, h0=hamiltonian)


def test_an_operator_on_other_atoms(hfo2, basis, hamiltonian):
    order = np.argsort(hfo2.numbers)
    with pytest.raises(InputError, match=r"expected H on the 24 atoms of Hf8O16, got .* in another order"):
        Calculation(hfo2.permuted(order), basis, hamiltonian)
    with pytest.raises(InputError, match="expected S on the 20 atoms"):
        Calculation(hfo2.permuted(order[:20]), basis, overlap=hamiltonian)


def test_an_operator_in_another_basis(hfo2, hamiltonian):
    other = basis_named("DZVP-MOLOPT-SR-GTH")
    with pytest.raises(InputError, match=r"expected H in .*, got O 1s1p, Hf 2s1p1d"):
        Calculation(hfo2, other, hamiltonian)
    with pytest.raises(InputError, match="got none for Hf"):
        Calculation(hfo2, BasisSet("oxygen", {8: (0, 1)}, {8: 6}))


def test_numbers_that_are_not_finite(hfo2, basis, hamiltonian):
    values = hamiltonian.values.copy()
    values[[3, 7]] = np.nan, np.inf
    with pytest.raises(InputError, match="finite numbers in H, got 2 that are NaN or infinite"):
        Calculation(hfo2, basis, hamiltonian.with_values(values))


def test_valence_electrons() -> None:
    structure = Structure(np.array([8, 1, 1, 0]), np.arange(12.0).reshape(4, 3), 20 * np.eye(3), (True,) * 3)
    shells = {0: (0,), 1: (0,), 8: (0, 1)}
    assert Calculation(structure, BasisSet("b", shells, {0: 0, 1: 1, 8: 6})).n_electrons == 8
    with pytest.raises(InputError, match="expected the valence of O in basis b, got none; it is the q"):
        _ = Calculation(structure, BasisSet("b", shells, {0: 0, 1: 1})).n_electrons
