"""How electrons fill levels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError

LEVELS = np.array([-3.0, -1.0, 0.5, 2.5])


def filled(n_occupied: int, singly: bool = False) -> Spectrum:
    return Spectrum(LEVELS, n_occupied, 1.0, 0.0, singly)


def test_even_number_of_electrons():
    spectrum = filled(2)
    assert (spectrum.homo, spectrum.lumo, spectrum.gap, spectrum.fermi) == (-1.0, 0.5, 1.5, -0.25)
    assert (spectrum.n_levels, spectrum.n_filled, spectrum.n_electrons) == (4, 2, 4)
    assert spectrum.occupied.tolist() == [-3.0, -1.0]


def test_odd_number_of_electrons():
    """The level with one electron is HOMO, LUMO and Fermi level."""
    spectrum = filled(2, singly=True)
    assert (spectrum.homo, spectrum.lumo, spectrum.gap, spectrum.fermi) == (0.5, 0.5, 0.0, 0.5)
    assert (spectrum.n_filled, spectrum.n_electrons) == (3, 5)
    assert spectrum.occupied.tolist() == [-3.0, -1.0, 0.5]


def test_one_electron():
    spectrum = filled(0, singly=True)
    assert (spectrum.homo, spectrum.lumo, spectrum.n_electrons) == (-3.0, -3.0, 1)


def test_no_electrons():
    spectrum = filled(0)
    assert math.isnan(spectrum.homo)
    assert math.isnan(spectrum.gap)
    assert spectrum.lumo == -3.0
    assert len(spectrum.occupied) == 0


def test_all_levels_full():
    spectrum = filled(4)
    assert spectrum.homo == 2.5
    assert math.isnan(spectrum.lumo)
    assert math.isnan(spectrum.fermi)


@pytest.mark.parametrize(("n_occupied", "singly", "electrons"), [(5, False, 10), (4, True, 9), (-1, False, -2)])
def test_more_electrons_than_room(n_occupied, singly, electrons):
    with pytest.raises(InputError, match=f"expected 0 to 8 electrons in 4 levels, got {electrons}"):
        filled(n_occupied, singly)


@pytest.mark.parametrize("levels", [np.array([1.0, 0.0]), np.array([]), np.zeros((2, 2))])
def test_not_a_list_of_levels(levels):
    with pytest.raises(InputError, match="expected ascending eigenvalues, at least one"):
        Spectrum(levels, 0, 1.0, 0.0)
